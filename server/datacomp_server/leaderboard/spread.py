"""The intervals of what a board shows: other seeds and other items in mind.

SE² of a difference = sigma² (1/s1 + 1/s2) + both sampling variances, sigma being the deviation between seeds. An entry
whose sampling variances were never computed counts with its seeds alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from datacomp.messages import SeedDeviationOut
from datacomp.statistics.errors import interval
from datacomp.statistics.intervals import Interval
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.leaderboard.visibility import ShownScore

RULE = """\
Two entries differ when the 95% interval of the difference of their averages excludes 0. Its squared standard error is
the squared deviation between seeds, over each entry's number of seeds, plus both sampling variances of the averages
from the items that they were evaluated on. A rank range goes from 1 + the number of entries that are significantly
better to the number of all less those that are significantly worse; it is not corrected for many comparisons. The
stricter range beside it is (Holm's correction over each entry's comparisons). Entries stand in the order of their
averages; of equal ones, what was handed in earlier stands first. Without a finite average there is no rank.\
"""


@dataclass(frozen=True)
class Baseline:
    """The best pinned baseline."""

    submission: str
    average: float
    seeds: int
    sampling_variance: float | None


@dataclass(frozen=True)
class Spread:
    """A board's uncertainty."""

    deviation: SeedDeviation

    def average(self, score: ShownScore) -> Interval | None:
        """Of the average shown."""
        return interval(score.average, self.variance(score.seeds, score.variances.get("average")))

    def main(self, score: ShownScore) -> Interval | None:
        """Of the headline task's figure."""
        sampling = score.variances.get("main") or 0.0
        return interval(score.main, self.deviation.main**2 / max(score.seeds, 1) + sampling)

    def delta(self, submission: str, score: ShownScore, best: Baseline | None) -> Interval | None:
        """Of the difference to the best baseline; its own difference to itself has none."""
        if best is None or score.average is None or submission == best.submission:
            return None
        variance = self.variance(score.seeds, score.variances.get("average"))
        return interval(score.average - best.average, variance + self.variance(best.seeds, best.sampling_variance))

    def variance(self, seeds: int, sampling: float | None) -> float:
        """Of an average over so many seeds."""
        return self.deviation.average**2 / max(seeds, 1) + (sampling or 0.0)

    def out(self) -> SeedDeviationOut:
        """As the API shows it."""
        found = self.deviation
        return SeedDeviationOut(average=found.average, main=found.main, source=found.source, freedom=found.freedom)
