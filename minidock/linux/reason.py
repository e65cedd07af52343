"""What the kernel answered, for people: ``EBUSY (device or resource busy)``, the form of all our messages.

Serves cgroup, network and doctor, wherever an OSError becomes an error of ours. See: errno(3).
Read next: ../wire/errors.py.
"""

from __future__ import annotations

import errno
import os


def reason(error: OSError) -> str:
    """The symbol and the text of an error number; what carries no number gives its own words."""
    if error.errno is None:
        return str(error)
    return f"{errno.errorcode.get(error.errno, error.errno)} ({os.strerror(error.errno).lower()})"
