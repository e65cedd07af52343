"""A tar from a writer to a reader, through a pipe: files copied from one tree to another without a file between them.

The writer works in a thread of its own, the reader where it is called, and neither is more than a pipe ahead of the
other. Serves engine/copyup.py and engine/building/copy.py. Read next: tarwriter.py, extract.py.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from minidock.image.tarwriter import PIECE, TarWriter
from minidock.wire.errors import InvalidArgument


@contextmanager
def piped(write: Callable[[TarWriter], None]) -> Iterator[Iterator[bytes]]:
    """What ``write`` writes, to be read in the block. What goes wrong with the writing is raised at its end."""
    out, into = os.pipe()
    failed: list[BaseException] = []

    def put(data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(into, rest) :]

    def run() -> None:
        try:
            writer = TarWriter(put)
            write(writer)
            writer.finish()
        except BrokenPipeError:  # the reader gave up, and says why itself
            pass
        except BaseException as error:
            failed.append(error)
        finally:
            os.close(into)

    def pieces() -> Iterator[bytes]:
        while piece := os.read(out, PIECE):
            yield piece

    thread = threading.Thread(target=run, name="copy", daemon=True)
    thread.start()
    try:
        yield pieces()
    except InvalidArgument:
        if failed:  # a tar that ended early is the writer's fault
            raise failed[0] from None
        raise
    finally:
        os.close(out)
        thread.join()
    if failed:
        raise failed[0]
