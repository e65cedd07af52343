"""The part of the package's build that pyproject.toml has no words for: C.

Two things are compiled: ``minidock._shim`` (cffi reads csrc/shim_build.py) and the static monitor (``make -C csrc``,
which puts it into minidock/linux/, where it travels as package data). So ``pip install .`` makes all
that there is. Everything else about the package stands in pyproject.toml. Read next: csrc/Makefile.
"""

import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

TOP = Path(__file__).resolve().parent


def make_monitor() -> None:
    """Idempotent and quick when nothing changed; make decides."""
    subprocess.run(["make", "-C", str(TOP / "csrc"), "--no-print-directory"], check=True)


class BuildPython(build_py):
    """Collects package data, the monitor among it, so the monitor has to exist first."""

    def run(self) -> None:
        make_monitor()
        super().run()


class BuildExtensions(build_ext):
    """``setup.py build_ext --inplace`` alone must leave a tree that works, too."""

    def run(self) -> None:
        make_monitor()
        super().run()


setup(
    cffi_modules=["csrc/shim_build.py:ffibuilder"],
    cmdclass={"build_py": BuildPython, "build_ext": BuildExtensions},
)
