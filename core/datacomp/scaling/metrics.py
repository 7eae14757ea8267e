"""Which score a trend is about, what chance would give, and how far seeds move it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from datacomp.problems import BadInput
from datacomp.statistics.errors import DEFAULT_AVERAGE, DEFAULT_MAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from datacomp.suite import Suite

SEED_DEVIATION = {"average": DEFAULT_AVERAGE, "main": DEFAULT_MAIN}
"""How far another seed moves a score, as a standard deviation, until a board has measured its own."""
KNOWN = 0.75
"""Share of tasks whose chance level must be known."""
OTHER_SEED_DEVIATION = 0.006
"""Of groups and tasks: means over fewer tasks move more."""


class Scores(Protocol):
    """Anything that has a suite's means and tasks."""

    @property
    def average(self) -> float | None:
        """Mean over the counted tasks."""

    @property
    def main(self) -> float | None:
        """The headline task."""

    @property
    def groups(self) -> Mapping[str, float]:
        """Means by group."""

    @property
    def tasks(self) -> Mapping[str, float]:
        """Main metric by task."""


@dataclass(frozen=True)
class Metric:
    """`average`, `main`, a group's mean or a task's score."""

    kind: str = "average"
    name: str = ""

    @classmethod
    def parse(cls, text: str, suite: Suite | None = None) -> Metric:
        """`average`, `main`, `group:NAME`, `task:KEY`; with a suite at hand also a bare group or task.

        `BadInput` for anything else, and for what the suite does not have.
        """
        kind, _, name = text.partition(":")
        groups = list(suite.groups()) if suite else []
        tasks = [task.key for task in suite.tasks if task.metric is not None] if suite else []
        if not name and suite and kind not in {"average", "main"}:
            kind, name = ("group", kind) if kind in groups else ("task", kind)
        known = {
            "average": [""],
            "main": [""],
            "group": groups if suite else [name],
            "task": tasks if suite else [name],
        }
        if kind not in known or name not in known[kind] or bool(name) != (kind in {"group", "task"}):
            hint = f"average, main, group:NAME or task:KEY; groups are {', '.join(groups) or 'unknown'}"
            raise BadInput.of("metric-unknown", f"there is no metric {text!r}", where="metric", hint=hint)
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    def of(self, scores: Scores) -> float | None:
        """The score, None where there is none."""
        match self.kind:
            case "average":
                return scores.average
            case "main":
                return scores.main
            case "group":
                return scores.groups.get(self.name)
        return scores.tasks.get(self.name)

    def chance(self, suite: Suite | None) -> float | None:
        """What a model that knows nothing would score; None where that is not known of most tasks.

        A task of which it is not known counts as 0, so that a mean errs to the low side.
        """
        if suite is None:
            return None
        chosen = {
            "average": suite.counted,
            "main": tuple(task for task in suite.counted if task.group == "main")[:1],
            "group": suite.groups().get(self.name, ()),
            "task": tuple(task for task in suite.tasks if task.key == self.name),
        }[self.kind]
        levels = [task.chance for task in chosen]
        known = [level for level in levels if level is not None]
        return sum(known) / len(levels) if known and len(known) >= KNOWN * len(levels) else None

    @property
    def seed_deviation(self) -> float:
        """How far another seed moves it."""
        return SEED_DEVIATION.get(self.kind, OTHER_SEED_DEVIATION)
