"""Cancellation: a caller who gives up waits all the same for what works for him, since he is about to clean up.

A thread can't be stopped, and a start that is broken off between two threads leaves what the second one still makes.
Who is cancelled here: requests that follow something, when their client hangs up; all of them when the daemon ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def to_its_end(work: Awaitable[T]) -> T:
    """Its result. A caller who is cancelled learns of that when the work is done."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
