"""What minidock has and Docker has not: the plan of a start, and the doctor.

They stand under a path of their own, /minidock, so that they never collide with what Docker may add. The client's side
is ``minidock plan``, ``inspect --plan``, ``run --trace`` and ``doctor``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from minidock.api.containers import create_request
from minidock.api.request import Request
from minidock.api.response import Answer, json_answer
from minidock.engine.codec import encode
from minidock.engine.requests import StepReport

if TYPE_CHECKING:
    from minidock.engine.engine import Engine


async def plan(engine: Engine, request: Request) -> Answer:
    """POST /minidock/plan: the body of a create; nothing is made"""
    steps, warnings = await engine.plan(create_request(request, await request.json()))
    return json_answer({"Steps": [_step(step) for step in steps], "Warnings": list(warnings)})


async def plan_of(engine: Engine, request: Request) -> Answer:
    """GET /minidock/containers/{c}/plan: the latest start, each step with its result and its microseconds"""
    steps = await engine.plan_of(request.name)
    outcome = [{**_step(step), "Errno": step.errno, "Usec": step.usec} for step in steps]
    return json_answer({"Steps": outcome, "Warnings": []})


def _step(step: StepReport) -> dict[str, Any]:
    return {"Kind": step.kind, "Fields": list(step.fields), "Text": step.text}


async def doctor(engine: Engine, request: Request) -> Answer:
    """GET /minidock/doctor"""
    return json_answer({"Checks": [encode(check) for check in await engine.doctor()]})


async def leaks(engine: Engine, request: Request) -> Answer:
    """GET /minidock/leaks: what is here in our name and belongs to nobody"""
    found = [{"Kind": one.kind, "Name": one.name, "Why": one.why} for one in await engine.leaks()]
    return json_answer({"Leaks": found})
