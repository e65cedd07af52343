"""Every error that minidock raises on purpose, in one tree.

    Error                    what a user can be told
    ├── InvalidArgument      400  125   bad request or option
    ├── Unauthorized         401  125   a registry refuses the credentials, or wants some
    ├── NotFound             404  125   no such object
    ├── Ambiguous            400  125   the prefix fits several objects
    ├── Conflict             409  125   wrong state, name taken, in use
    ├── NotModified          304    0   it is so already
    ├── Forbidden            403  125   policy says no
    ├── NotImplemented       501  125   Docker has it, minidock has not
    ├── Unavailable          503  125   a kernel feature is missing, or the daemon is stopping
    ├── ServerError          500  125   something failed that should not have
    │   └── StepFailed       500  125   a kernel step of a plan failed: step, errno, path
    ├── ExecFailed           400  126   execve failed; 127 where nothing was found
    └── DaemonUnreachable      –    1   client only: nobody answers on the socket

The first number is the HTTP status that the daemon answers with, the second the exit code of ``minidock run``, where a
daemon out of reach is 125 as well. The other commands end with 1 for all of them, and with 125 for a bad flag; ``exec``
keeps 126 and 127. All this is docker's. Both sides branch on the class, never on the text; the text is for people:
lower case, no full stop, operation + object + reason, then a hint where there is one.
"""

from __future__ import annotations

import errno as _errno
import os


class Error(Exception):
    """The root: a message for people, an optional hint, an HTTP status and an exit code."""

    status = 500
    exit_code = 125

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; hint: {self.hint}" if self.hint else self.message


class InvalidArgument(Error):
    """The request or an option is malformed; nothing was changed."""

    status = 400


class Unauthorized(Error):
    """A registry refuses the credentials, or what they are not enough for."""

    status = 401


class NotFound(Error):
    """No object of that name or id."""

    status = 404


class Ambiguous(Error):
    """An id prefix that fits several objects."""

    status = 400


class Conflict(Error):
    """The object is in the wrong state, or its name is taken, or it is in use."""

    status = 409


class NotModified(Error):
    """The object is already as asked for. HTTP 304 has no body, so the message is for logs."""

    status = 304
    exit_code = 0


class Forbidden(Error):
    """Refused by policy: a predefined network, active endpoints."""

    status = 403


class NotImplemented(Error):  # noqa: A001 - the field's name for it (HTTP 501)
    """Docker has this, minidock has not."""

    status = 501


class Unavailable(Error):
    """A kernel feature is missing on this machine, or the daemon is stopping."""

    status = 503


class ServerError(Error):
    """A failure on the daemon's side."""


class StepFailed(ServerError):
    """A kernel step of a plan failed.

    Attributes: ``step`` (the kind, such as ``mount``), ``errno``, ``path`` (what the step was about, may be empty),
    ``index`` (its place in the plan).
    """

    def __init__(self, step: str, errno: int, path: str = "", index: int = -1, hint: str = "") -> None:
        name = _errno.errorcode.get(errno, str(errno))
        subject = f"{step} {path}" if path else step
        super().__init__(f"{subject}: {name} ({os.strerror(errno).lower()})", hint)
        self.step = step
        self.errno = errno
        self.path = path
        self.index = index


class ExecFailed(Error):
    """execve(2) of the container's command failed.

    The exit code is the shell's convention, which Docker follows: 127 where the command was not found, 126 where it
    was found and could not be executed. The texts are runc's, because the docker CLI derives its exit code from them.
    """

    status = 400

    def __init__(self, command: str, errno: int) -> None:
        self.errno = errno
        self.exit_code = 127 if errno == _errno.ENOENT else 126
        super().__init__(f"exec: {_quote(command)}: {_exec_reason(command, errno)}")


class DaemonUnreachable(Error):
    """Client only: nobody answers on the socket."""

    exit_code = 1


def _quote(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _exec_reason(command: str, errno: int) -> str:
    if errno == _errno.ENOENT:
        if "/" in command:
            return f"stat {command}: no such file or directory"
        return "executable file not found in $PATH"
    if errno in (_errno.EACCES, _errno.EISDIR):
        return "permission denied"
    return os.strerror(errno).lower()


BY_STATUS: dict[int, type[Error]] = {
    cls.status: cls
    for cls in (
        *(InvalidArgument, Unauthorized, NotFound, Conflict, NotModified, Forbidden, NotImplemented, Unavailable),
        ServerError,
    )
}
"""For the client: the class that stands for an HTTP status. What is not listed is a ServerError."""


def from_status(status: int, message: str) -> Error:
    """The client's half of the table: an error for what the daemon answered."""
    return BY_STATUS.get(status, ServerError)(message)


def exit_code_of_start(error: Error) -> int:
    """The exit code of ``run`` and ``start`` for an error that came over the wire.

    The wire carries a status and a text only (Docker's contract), so a failed execve is told by the texts of
    ``ExecFailed``, which is the same rule as in the docker CLI.
    """
    if "executable file not found" in error.message or "no such file or directory" in error.message:
        return 127
    if "exec: " in error.message and "permission denied" in error.message:
        return 126
    return error.exit_code
