"""Modules that click imports at its start and needs for help pages at most: postponed until somebody uses them.

For __init__.py, which runs before the first import of click. `inspect` brings dis, ast, tokenize and linecache, which
take as long as half of a bare interpreter's start; `uuid` brings platform. importlib.util.LazyLoader would be the
standard way, but the import statement itself asks a lazy module for its __spec__, which loads it; this stand-in answers
that with None.
"""

from __future__ import annotations

import sys
from types import ModuleType


class Postponed(ModuleType):
    """Stands in for a module until an attribute is asked for; then it is that module."""

    def __getattr__(self, attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        sys.modules.pop(self.__name__, None)
        real = __import__(self.__name__)
        self.__dict__.update(real.__dict__)
        return getattr(real, attribute)


def postpone(*names: str) -> None:
    """Modules that nobody has imported yet become postponed ones. Top-level names only."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = Postponed(name)
