"""What to answer when something was raised: the error's class gives the status, its text becomes ``{"message": …}``.

The classes and their statuses stand in ``wire/errors.py``; here is only what HTTP adds to them, and the last resort:
whatever is not an Error of ours is a bug, is logged with its traceback and answered 500, and the connection lives on.
"""

from __future__ import annotations

import logging

from minidock.api.response import Answer, json_answer
from minidock.wire.errors import Error

log = logging.getLogger("minidock.api")


class ProtocolError(Exception):
    """What arrived is not HTTP as we accept it; answered with ``status``, then the connection is closed."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def answer(error: Exception, what: str) -> Answer:
    """The response to an exception. ``what`` names the request in the log."""
    return message(*explain(error, what))


def explain(error: Exception, what: str) -> tuple[int, str]:
    """An exception's status, and its text for people; logs what nobody expected."""
    if isinstance(error, (Error, ProtocolError)):
        return error.status, str(error)
    log.error("%s: unexpected %s", what, type(error).__name__, exc_info=error)
    return 500, str(error) or type(error).__name__


def message(status: int, text: str) -> Answer:
    """Docker's shape of an error."""
    return Answer(status) if status == 304 else json_answer({"message": text}, status)
