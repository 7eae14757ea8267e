"""What to be careful about with a trend: each with a stable code and a sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from datacomp.messages import Caution, ScalePoint, TrendOut
from datacomp.scales import SCALES, Scale
from datacomp.scaling.evidence import CHECKED
from datacomp.scaling.laws import FORMS, Fitted

if TYPE_CHECKING:
    from datacomp.scaling.trends import Question

FAR = 10.0
NEAR_CHANCE = 0.03
NO_BASIS = "no-basis"
"""Code of the caution that stands beside a forecast itself."""
MANY_EPOCHS = 4.0
"""Muennighoff et al. 2023 (arXiv:2305.16264): up to four epochs over the same data are almost as good as new data."""


def cautions(
    trend: TrendOut, points: Sequence[ScalePoint], question: Question, law: Fitted, to: Scale | None
) -> list[Caution]:
    """All that apply."""
    found = [*_of_fit(trend, points, law), *_of_points(points, question, to)]
    if to is not None and (ratio := question.where(to) / question.where(points[-1])) > FAR:
        found.append(Caution(code="far", text=f"extrapolated {ratio:.0f}-fold beyond the largest scale"))
    unchecked = [point.scale for point in points if point.scale not in CHECKED]
    if trend.forecast is not None and unchecked and question.errors is None:
        text = f"no forecast from {', '.join(unchecked)} was ever checked: this one has no basis, its interval neither"
        found.append(Caution(code=NO_BASIS, text=text))
    if question.metric.kind == "task":
        found.append(Caution(code="single-task", text="single tasks are not predictable: only averages are"))
    return found


def _of_fit(trend: TrendOut, points: Sequence[ScalePoint], law: Fitted) -> Iterator[Caution]:
    parameters = len(FORMS[law.form])
    if parameters > len(points):
        yield Caution(code="too-few-points", text=f"{parameters} parameters for {len(points)} points")
    elif parameters == len(points):
        yield Caution(code="no-goodness-of-fit", text=f"{parameters} parameters for {len(points)} points fit always")
    if trend.exponent is not None and trend.exponent.lo <= 0 <= trend.exponent.hi:
        text = (
            f"the exponent's interval, {trend.exponent.lo:.3f} to {trend.exponent.hi:.3f}, holds 0: no trend is shown"
        )
        yield Caution(code="exponent-unsure", text=text)
    if law.at_bound:
        yield Caution(code="bound-reached", text=f"the fit stopped at a bound of {', '.join(law.at_bound)}")


def _of_points(points: Sequence[ScalePoint], question: Question, to: Scale | None) -> Iterator[Caution]:
    models = list(dict.fromkeys(name for name in [*map(_model, points), to.model if to else ""] if name))
    if len(models) > 1:
        text = f"the architecture changes: {', '.join(models)}; this is a trend of the protocol, not a law"
        yield Caution(code="architecture-changes", text=text)
    low = [
        point.scale for point in points if question.chance is not None and point.score - question.chance < NEAR_CHANCE
    ]
    if low:
        yield Caution(code="near-chance", text=f"within 3 points of chance ({question.chance:.3f}) at {', '.join(low)}")
    epochs = {point.scale: point.samples_seen / point.dataset_size for point in points if point.dataset_size}
    many = [f"{count:.1f} at {scale}" for scale, count in epochs.items() if count > MANY_EPOCHS]
    if many:
        yield Caution(code="many-epochs", text=f"epochs over the subset: {', '.join(many)}")
    if epochs and max(epochs.values()) > 2 * min(epochs.values()):
        text = "the share of the pool that is kept changes between scales, and with it the epochs"
        yield Caution(code="share-changes", text=text)


def _model(point: ScalePoint) -> str:
    return point.model or (SCALES[point.scale].model if point.scale in SCALES else "")
