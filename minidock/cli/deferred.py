"""Modules that click imports at its start and hardly uses: postponed until somebody does.

For __init__.py, which runs before the first import of click. A module that is postponed stands there with the few names
that click takes from it on the way in; whoever asks for another gets the real one. importlib.util.LazyLoader would be
the standard way, but the import statement itself asks a lazy module for its __spec__, which loads it; this stand-in
answers that with None. Read next: tests/unit/test_import_diet.py, which holds the client to what is saved here.
"""

from __future__ import annotations

import sys
from types import ModuleType


class Postponed(ModuleType):
    """Stands in for a module until an attribute is asked for that is not there; then it is that module."""

    def __getattr__(self, attribute: str) -> object:
        if attribute.startswith("__"):
            raise AttributeError(attribute)
        sys.modules.pop(self.__name__, None)
        real = __import__(self.__name__)
        self.__dict__.update(real.__dict__)
        return getattr(real, attribute)


def postpone(name: str, **ready: object) -> None:
    """A module that nobody has imported yet becomes a postponed one, with some names ready. Top-level names only."""
    if name not in sys.modules:
        module = sys.modules[name] = Postponed(name)
        module.__dict__.update(ready)
