"""Forecasts of scores that are known: how far off they are, and how often the interval holds the truth."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from datacomp.messages import CoverageOut, Forecast, ScalePoint, Series
from datacomp.scales import SCALES, Scale
from datacomp.scaling.agreement import right_pairs
from datacomp.scaling.evidence import BackTestError, Measured
from datacomp.scaling.laws import log_errors
from datacomp.scaling.trends import Question, trend, usable


@dataclass(frozen=True)
class BackTest:
    """One score that was expected from the scales below it."""

    method: str
    scale: str
    points: int
    forecast: Forecast
    truth: float
    last: float
    """The score at the largest scale that the forecast knew."""

    @property
    def miss(self) -> float:
        """Expected less true score."""
        return self.forecast.score - self.truth

    @property
    def log_miss(self) -> float:
        """The same of the logarithm of the error."""
        return float(log_errors(self.forecast.score) - log_errors(self.truth))

    @property
    def inside(self) -> bool:
        """Whether the interval holds the truth."""
        return self.forecast.lo <= self.truth <= self.forecast.hi


def back_tests(
    series: Iterable[Series], question: Question | None = None, *, most: int | None = None, dated: bool = False
) -> list[BackTest]:
    """Expect every score from those of the smaller scales, where there are at least two.

    `most`: use only so many scales right below. `dated`: only what could be told at the time, when the smaller scales'
    scores were known before the larger's.
    """
    question = question or Question()
    found = []
    for each in series:
        points = usable(each.points, question)
        for end in range(2, len(points)):
            known, target = points[:end][-most:] if most else points[:end], points[end]
            if len(known) >= 2 and (not dated or _before(known, target)):
                found.append(_test(each, known, target, question))
    return found


def _test(series: Series, known: Sequence[ScalePoint], target: ScalePoint, question: Question) -> BackTest:
    expected = trend(series.model_copy(update={"points": list(known)}), question, _scale_of(target)).forecast
    if expected is None:
        raise ValueError("a forecast needs two places")
    return BackTest(series.method, target.scale, len(known), expected, target.score, known[-1].score)


def _before(known: Sequence[ScalePoint], target: ScalePoint) -> bool:
    times = [point.at for point in known if point.at is not None]
    return target.at is not None and len(times) == len(known) and max(times) < target.at


def _scale_of(point: ScalePoint) -> Scale:
    """The scale that a point was measured at, with the point's own compute and samples."""
    base = SCALES.get(point.scale, next(iter(SCALES.values())))
    model = point.model or base.model
    return replace(base, name=point.scale, train_macs=point.macs, samples_seen=round(point.samples_seen), model=model)


def coverage(tests: Sequence[BackTest]) -> CoverageOut:
    """How many forecasts held."""
    misses = [abs(test.miss) for test in tests]
    return CoverageOut(
        forecasts=len(tests),
        inside=sum(test.inside for test in tests),
        mean_miss=float(np.mean(misses)) if misses else None,
    )


def measure(tests: Iterable[BackTest]) -> dict[int, Measured]:
    """By number of points (2, or 3 for three and more): the largest root mean square log miss of any scale that was
    expected from so many, so that a step at which laws fail is reckoned with everywhere."""
    by_step: dict[tuple[int, str], list[float]] = defaultdict(list)
    for test in tests:
        by_step[min(test.points, 3), test.scale].append(test.log_miss)
    found: dict[int, Measured] = {}
    for (points, _), misses in sorted(by_step.items()):
        step = Measured(float(np.sqrt(np.mean(np.square(misses)))), len(misses))
        if points not in found or step.rms > found[points].rms:
            found[points] = step
    return found


def left_out_coverage(series: Sequence[Series], question: Question) -> CoverageOut:
    """Coverage with intervals from the misses of all other methods at the same steps."""
    tests = [test for most in (2, None) for test in back_tests(series, question, most=most)]
    held: list[BackTest] = []
    for each in series:
        others = measure(test for test in tests if test.method != each.method)
        errors = {(str(question.metric), points): found for points, found in others.items()}
        held += back_tests([each], replace(question, errors=errors))
    return coverage(held)


def other_step_coverage(series: Sequence[Series], question: Question) -> CoverageOut:
    """Coverage of forecasts from two scales with intervals from the misses at the other steps: what happens at a step
    that nobody has measured."""
    tests = back_tests(series, question, most=2)
    held: list[BackTest] = []
    for scale in dict.fromkeys(test.scale for test in tests):
        others = measure(test for test in tests if test.scale != scale)
        errors: BackTestError = {(str(question.metric), points): found for points, found in others.items()}
        if errors:
            again = back_tests(series, replace(question, errors=errors), most=2)
            held += [test for test in again if test.scale == scale]
    return coverage(held)


def ranking(tests: Sequence[BackTest]) -> tuple[float, float, int]:
    """Of one scale's methods: share of pairs that the forecasts put in the right order, the same of the scores at the
    largest scale seen, and the number of pairs."""
    truth = [test.truth for test in tests]
    expected, pairs = right_pairs([test.forecast.score for test in tests], truth)
    last, _ = right_pairs([test.last for test in tests], truth)
    return expected, last, pairs
