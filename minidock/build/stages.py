"""A Dockerfile → stages: each FROM begins one; what stands before the first are arguments for the FROM lines alone.

``load`` reads, parses and checks the whole file before anything runs, so that a typo in the last line costs nothing.

See: Dockerfile reference, "FROM"; moby's instructions.Parse. Read next: settings.py, then ../engine/building/builds.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from minidock.build import instructions, lines
from minidock.build.instructions import Instruction
from minidock.wire.errors import InvalidArgument

SCRATCH = "scratch"
_STAGE_NAME = re.compile(r"[a-z][a-z0-9-_.]*", re.ASCII)


@dataclass(frozen=True)
class Stage:
    """One FROM and what belongs to it. ``base`` still has its variables."""

    start: Instruction
    name: str = ""
    steps: tuple[Instruction, ...] = ()

    @property
    def base(self) -> str:
        return self.start.words[0]


@dataclass(frozen=True)
class Dockerfile:
    """All of it: ARG lines before the first FROM, then the stages."""

    arguments: tuple[Instruction, ...]
    stages: tuple[Stage, ...]
    escape: str

    @property
    def count(self) -> int:
        """How many steps there are, as "Step 1/N" counts."""
        return len(self.arguments) + sum(1 + len(stage.steps) for stage in self.stages)

    def up_to(self, target: str) -> Dockerfile:
        """The stages that end with ``target``, a name or a number. Raises InvalidArgument."""
        at = self.find(target)
        if at is None:
            raise InvalidArgument(f"failed to reach build target {target} in Dockerfile", self._names())
        return replace(self, stages=self.stages[: at + 1])

    def find(self, wanted: str) -> int | None:
        """A stage by its name or number."""
        for at, stage in enumerate(self.stages):
            if stage.name and stage.name == wanted.lower():
                return at
        if wanted.isascii() and wanted.isdigit() and len(wanted) < 6 and int(wanted) < len(self.stages):
            return int(wanted)
        return None

    def _names(self) -> str:
        names = [stage.name for stage in self.stages if stage.name]
        return f"its stages are called {', '.join(names)}" if names else "give FROM … AS NAME"

    def with_labels(self, labels: dict[str, str]) -> Dockerfile:
        """The same with a LABEL at the end of the last stage, as ``--label`` asks for."""
        if not labels:
            return self
        # in single quotes nothing is expanded; a single quote itself stands in double ones
        shown = " ".join(f"{name}={value}" for name, value in sorted(labels.items()))
        flat = tuple(_quoted(part) for item in sorted(labels.items()) for part in item)
        last = self.stages[-1]
        label = Instruction("LABEL", last.start.line, f"LABEL {shown}", shown, flat)
        return replace(self, stages=(*self.stages[:-1], replace(last, steps=(*last.steps, label))))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\"'\"'") + "'"


def load(data: bytes) -> Dockerfile:
    """The Dockerfile in ``data``. Raises InvalidArgument, mostly as ParseError."""
    read = lines.read(data)
    found = [instructions.parse(line, read.escape) for line in read.lines]
    if not found:
        raise InvalidArgument("the Dockerfile cannot be empty")
    arguments: list[Instruction] = []
    stages: list[Stage] = []
    for one in found:
        if one.name == "FROM":
            stages.append(_begin(one, stages))
        elif stages:
            last = stages[-1]
            stages[-1] = replace(last, steps=(*last.steps, one))
        elif one.name == "ARG":
            arguments.append(one)
        else:
            raise one.error("no build stage in current context", "it begins with FROM; only ARG may precede that")
    if not stages:
        raise found[-1].error("file with no instructions: there is no FROM")
    return Dockerfile(tuple(arguments), tuple(stages), read.escape)


def _begin(one: Instruction, before: list[Stage]) -> Stage:
    if len(one.words) == 1:
        return Stage(one)
    name = one.words[2].lower()
    if not _STAGE_NAME.fullmatch(name):
        why = "name can't start with a number or contain symbols"
        raise one.error(f'invalid name for build stage: "{name[:80]}", {why}')
    if name in [stage.name for stage in before]:
        raise one.error(f"duplicate name {name}", "each stage has a name of its own")
    return Stage(one, name)
