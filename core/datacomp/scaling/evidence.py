"""How far forecasts one scale up were off when the larger scale's score was known.

The figures were measured by `datacomp scaling back-test` on DataComp's Tables 25 to 28 (Gadre et al. 2023,
arXiv:2304.14108): root mean square misses of the log of the error, the largest of the steps that a number of points
has. A test measures them again where the tables are at hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from datacomp.scaling.metrics import Metric


@dataclass(frozen=True)
class Measured:
    """Root mean square miss of log error over `tests` forecasts."""

    rms: float
    tests: int

    def quantile(self) -> float:
        """How many deviations a 95% interval spans: Student's, for so many tests."""
        from scipy.special import stdtrit

        return float(stdtrit(max(self.tests - 1, 1), 0.975))


BackTestError = Mapping[tuple[str, int], Measured]
"""By metric (`average`, `main`, `group:<name>`) and number of points: 2, or 3 for three and more."""

MEASURED: BackTestError = {
    ("average", 2): Measured(0.102, 6),
    ("average", 3): Measured(0.093, 6),
    ("main", 2): Measured(0.180, 32),
    ("main", 3): Measured(0.134, 6),
    ("group:shift", 2): Measured(0.111, 32),
    ("group:shift", 3): Measured(0.083, 6),
    ("group:vtab", 2): Measured(0.130, 6),
    ("group:vtab", 3): Measured(0.123, 6),
    ("group:retrieval", 2): Measured(0.155, 6),
    ("group:retrieval", 3): Measured(0.084, 6),
}

CHECKED = ("small", "medium", "large", "xlarge")
"""Scales between which those misses were measured: of any other nothing is known."""


def measured_error(metric: Metric, points: int, errors: BackTestError | None = None) -> Measured:
    """The miss to reckon with; of a metric that was not measured the largest of all."""
    known = MEASURED if errors is None else errors
    count = min(points, 3)
    if (str(metric), count) in known:
        return known[str(metric), count]
    of_count = [found for (_, number), found in known.items() if number == count] or list(known.values())
    return max(of_count, key=lambda found: found.rms, default=Measured(0.0, 2))
