"""A method's scores at several scales: the law that describes them, and what it expects one scale up.

How much may be said depends on the number of scales. One: nothing. Two: a straight line in log-log, of which no
goodness of fit is possible. Three and four, or more within two decades: that line, with the line through the last two
points as the alternative. Five or more over two decades: the law that expected the largest scale best when it was
fitted without it.

Each of DataComp's scales changes data, architecture and batch size together, so a trend is one of a protocol and no
pure law. Fits alone would give far too narrow intervals; ours add the error that back-tests measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from datacomp.messages import Figure, Forecast, ScalePoint, Series, TrendOut
from datacomp.scales import SCALES, Scale
from datacomp.scaling.cautions import cautions
from datacomp.scaling.evidence import BackTestError, measured_error
from datacomp.scaling.laws import FORMS, Fitted, Floats, fit, log_errors
from datacomp.scaling.metrics import Metric

LAST_TWO = "last two points"
ENOUGH_POINTS, ENOUGH_DECADES = 5, 2.0
DRAWS = 2000
MOST_NOISE = 1.0
"""Of seeds, in log error: near a perfect score an absolute deviation is no relative one any more."""
LAW_DRAWS = 200
"""Fits of a bent law to drawn points; the straight line's are done all at once."""
NO_FIT = "no goodness of fit possible: two points, two parameters"
NAMES = {
    "line": "log-log line",
    "shift": "A (C + B)^-alpha",
    "floor": "A C^-alpha + E",
    "full": "A (C + B)^-alpha + E",
}
UNITS = ("macs", "samples")


@dataclass(frozen=True)
class Question:
    """What is asked of every series: which score, over what, and what chance would give."""

    metric: Metric = field(default_factory=Metric)
    x: str = "macs"
    """`macs` or `samples`."""
    chance: float | None = None
    errors: BackTestError | None = None
    """Measured errors of forecasts to use instead of those that come with this package."""

    def deviation(self, points: Sequence[ScalePoint]) -> Floats:
        """How far other seeds would move these scores, as standard deviations: shape (points,)."""
        default = self.metric.seed_deviation
        each = [default if point.deviation is None else point.deviation for point in points]
        return np.array(each) / np.sqrt([max(point.seeds, 1) for point in points])

    def where(self, place: ScalePoint | Scale) -> float:
        """The place of a point, or of a scale, on the axis."""
        if self.x == "samples":
            return float(place.samples_seen)
        return place.macs if isinstance(place, ScalePoint) else place.train_macs


@dataclass(frozen=True)
class Description:
    """A fitted law with the others that were considered."""

    law: Fitted
    others: dict[str, Fitted]
    compute: Floats
    log_error: Floats


def describe(series: Series, question: Question) -> Description | None:
    """The law of a series' finite scores; None for fewer than two places."""
    points = usable(series.points, question)
    if len(points) < 2:
        return None
    compute = np.array([question.where(point) for point in points])
    log_error = log_errors([point.score for point in points])
    line = fit("line", compute, log_error)
    if len(points) == 2:
        return Description(line, {}, compute, log_error)
    last = fit("line", compute[-2:], log_error[-2:])
    if len(points) < ENOUGH_POINTS or np.log10(compute[-1] / compute[0]) < ENOUGH_DECADES:
        return Description(line, {LAST_TWO: last}, compute, log_error)
    chosen = by_held_out(compute, log_error)
    found = {NAMES[form]: fit(form, compute, log_error) for form in FORMS if form != chosen}
    return Description(fit(chosen, compute, log_error), found, compute, log_error)


def by_held_out(compute: Floats, log_error: Floats) -> str:
    """The form that misses the largest point least when fitted to the others; the simpler of equal ones."""
    misses = {}
    for form in FORMS:
        if len(FORMS[form]) < compute.size:
            expected = fit(form, compute[:-1], log_error[:-1]).log_error(compute[-1:])
            misses[form] = abs(float(expected[0] - log_error[-1]))
    return min(misses, key=lambda form: (round(misses[form], 6), len(FORMS[form])))


def usable(points: Sequence[ScalePoint], question: Question) -> list[ScalePoint]:
    """Points with a finite score and place, by place; of several at one place the first."""
    found: dict[float, ScalePoint] = {}
    for point in points:
        place = question.where(point)
        if np.isfinite(point.score) and np.isfinite(place) and place > 0:
            found.setdefault(place, point)
    return [found[place] for place in sorted(found)]


def trend(series: Series, question: Question | None = None, target: Scale | None = None) -> TrendOut:
    """What a series' scores tell. `target`: the scale to expect the score of; by default one scale up."""
    question = question or Question()
    found = describe(series, question)
    if found is None:
        return TrendOut(series=series, note="one scale alone tells nothing of others")
    points = usable(series.points, question)
    to = target or one_up(points[-1])
    log_draws, exponents = _draws(found, points, question, to)
    exponent = Figure(value=float(found.law.theta[1]), **_bounds(exponents))
    out = TrendOut(
        series=series,
        law=NAMES[found.law.form],
        parameters=found.law.parameters(),
        exponent=exponent,
        fit_error=found.law.rms if len(points) > 2 else None,
        note=NO_FIT if len(points) == 2 else "",
        forecast=None if to is None else forecast(found, points, question, to, log_draws),
    )
    return out.model_copy(update={"cautions": cautions(out, points, question, found.law, to)})


def one_up(largest: ScalePoint) -> Scale | None:
    """The next larger scale; None after the largest. A point beside the known scales is placed by its compute."""
    known = list(SCALES.values())
    if largest.scale in SCALES:
        larger = known[known.index(SCALES[largest.scale]) + 1 :]
    else:
        larger = [scale for scale in known if scale.train_macs > 2 * largest.macs]
    return larger[0] if larger else None


def forecast(
    found: Description, points: Sequence[ScalePoint], question: Question, to: Scale, log_draws: Floats
) -> Forecast:
    """The expected score with an interval of everything that is known to move it."""
    place = question.where(to)
    centre = float(found.law.log_error(place))
    others = {name: float(other.log_error(place)) for name, other in found.others.items()}
    measured = measured_error(question.metric, len(points), question.errors)
    deviations = {
        "seeds": min(float(question.deviation(points[-1:])[0]) / float(np.exp(centre)), MOST_NOISE),
        "bootstrap": float(np.std(log_draws)),
        "laws": max((abs(other - centre) for other in others.values()), default=0.0),
        "back_test": measured.rms,
    }
    half = measured.quantile() * float(np.sqrt(sum(value**2 for value in deviations.values())))
    return Forecast(
        scale=to.name,
        macs=to.train_macs,
        samples_seen=to.samples_seen,
        score=_score(centre),
        lo=_score(centre + half),
        hi=_score(centre - half),
        alternatives={name: _score(other) for name, other in others.items()},
        deviations=deviations,
    )


def _draws(
    found: Description, points: Sequence[ScalePoint], question: Question, to: Scale | None
) -> tuple[Floats, Floats]:
    """Log errors expected at the target, and exponents, of fits to points drawn anew: the law's own, moved as seeds
    would move them and by what the law misses (residuals, scaled up for the parameters that were fitted)."""
    rng = np.random.default_rng(0)
    straight = found.law.form == "line"
    shape = (DRAWS if straight else LAW_DRAWS, len(points))
    fitted = found.law.log_error(found.compute)
    spare = max(len(points) - len(FORMS[found.law.form]), 1)
    left = (found.log_error - fitted) * np.sqrt(len(points) / spare)
    noise = np.minimum(question.deviation(points) / np.exp(found.log_error), MOST_NOISE)
    drawn = fitted + rng.choice(left, shape) + rng.normal(size=shape) * noise
    place = question.where(to) if to is not None else found.compute[-1]
    if straight:
        x = np.log(found.compute)
        slopes = (drawn @ (x - x.mean())) / float((x - x.mean()) @ (x - x.mean()))
        return drawn.mean(axis=1) + slopes * (np.log(place) - x.mean()), -slopes
    fits = [fit(found.law.form, found.compute, row, start=found.law.theta) for row in drawn]
    return np.array([float(each.log_error(place)) for each in fits]), np.array([each.theta[1] for each in fits])


def _bounds(values: Floats) -> dict[str, float]:
    lo, hi = np.percentile(values, [2.5, 97.5])
    return {"lo": float(lo), "hi": float(hi)}


def _score(log_error: float) -> float:
    return float(1 - np.exp(min(log_error, 0.0)))  # not below 0, and without overflow
