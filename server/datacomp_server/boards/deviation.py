"""How far seeds of the same submission lie apart on a board: what its ranks reckon with.

Until somebody measures it from submissions that were trained with several seeds, it is what DataComp's authors and
others found at all scales. The boards file may name it too; then that counts from the next start on.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from datacomp.statistics.errors import DEFAULT_AVERAGE, DEFAULT_MAIN
from datacomp.suite import Suite
from datacomp_server.boards.models import Board

DEFAULT, CONFIGURED, GIVEN, MEASURED = "default", "configured", "given", "measured"


@dataclass(frozen=True)
class SeedDeviation:
    """Standard deviations between seeds."""

    average: float = DEFAULT_AVERAGE
    main: float = DEFAULT_MAIN
    groups: dict[str, float] = field(default_factory=dict)
    """By group, where they were measured."""
    source: str = DEFAULT
    """`default`, `configured` (in the boards file), `given` (by an organiser) or `measured`."""
    freedom: int | None = None
    """Degrees of freedom of a measurement."""

    @classmethod
    def of(cls, board: Board) -> SeedDeviation:
        """As a board has it."""
        return cls(**board.seed_deviation) if board.seed_deviation else cls()

    def to_json(self) -> dict[str, Any]:
        """As the board's row keeps it."""
        return asdict(self)

    def of_group(self, group: str, suite: Suite) -> float:
        """Of a group's mean. Where it was not measured, as if every task moved by itself and all alike: the fewer tasks
        a group has, the more its mean moves."""
        if group in self.groups:
            return self.groups[group]
        if group == "main":
            return self.main
        return self.average * math.sqrt(len(suite.counted) / len(suite.groups()[group]))
