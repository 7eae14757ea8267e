"""What is said of a method's scores, by how many scales it was entered at, and what warns of it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datacomp.messages import ScalePoint, Series, TrendOut
from datacomp.problems import BadInput
from datacomp.scales import SCALES
from datacomp.scaling.agreement import agreement, agreements, right_pairs
from datacomp.scaling.backtest import back_tests, coverage
from datacomp.scaling.cautions import cautions
from datacomp.scaling.crossings import crossings
from datacomp.scaling.evidence import MEASURED, Measured, measured_error
from datacomp.scaling.laws import fit, log_errors
from datacomp.scaling.metrics import Metric
from datacomp.scaling.overview import overview
from datacomp.scaling.trends import LAST_TWO, NO_FIT, Question, by_held_out, describe, trend
from datacomp.suite import load_suite

SUITE = load_suite("datacomp-38")
MAIN = Question(Metric("main"), chance=0.001)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def point(scale: str, score: float, **changes: object) -> ScalePoint:
    known = SCALES[scale]
    fields = {"scale": scale, "score": score, "macs": known.train_macs, "samples_seen": known.samples_seen}
    return ScalePoint.model_validate(fields | changes)


def series(name: str = "a filter", **scores: float) -> Series:
    return Series(method=name, points=[point(scale, score) for scale, score in scores.items()])


def codes(found: TrendOut) -> set[str]:
    return {caution.code for caution in found.cautions}


def law_points(count: int, decades: float, alpha: float = 0.3, floor: float = 0.2) -> Series:
    """Points on A C^-alpha + E, beside the known scales."""
    compute = np.geomspace(1e17, 1e17 * 10**decades, count)
    errors = 0.7 * (compute / compute[0]) ** -alpha + floor
    points = [
        ScalePoint(scale=f"s{place}", score=1 - error, macs=c, samples_seen=c / 1e10, model="one")
        for place, (c, error) in enumerate(zip(compute, errors, strict=True))
    ]
    return Series(method="made", points=points)


def test_one_scale_tells_nothing() -> None:
    found = trend(series(small=0.05))
    assert (found.law, found.forecast, found.exponent, found.cautions) == (None, None, None, [])
    assert "tells nothing" in found.note
    assert trend(Series(method="none", points=[])).law is None


def test_two_scales_give_a_line_and_no_goodness_of_fit() -> None:
    found = trend(series(small=0.132, medium=0.258))
    assert (found.law, found.note, found.fit_error) == ("log-log line", NO_FIT, None)
    assert found.forecast is not None
    assert found.exponent is not None
    alpha = -np.log((1 - 0.258) / (1 - 0.132)) / np.log(10)
    assert found.exponent.value == pytest.approx(alpha, abs=1e-6)
    expected = 1 - (1 - 0.258) * (2.6e19 / 9.5e17) ** -alpha
    assert found.forecast.score == pytest.approx(expected, abs=1e-6)
    assert (found.forecast.scale, found.forecast.alternatives) == ("large", {})
    assert {"no-goodness-of-fit", "far", "architecture-changes"} <= codes(found)


def test_three_scales_have_the_last_two_points_as_alternative() -> None:
    found = trend(series(small=0.025, medium=0.176, large=0.459), MAIN)
    assert found.forecast is not None
    assert found.fit_error is not None
    assert found.fit_error > 0
    last = trend(series(medium=0.176, large=0.459), MAIN).forecast
    assert last is not None
    assert found.forecast.alternatives == {LAST_TWO: pytest.approx(last.score)}
    assert found.forecast.deviations["laws"] > 0
    assert found.forecast.lo < found.forecast.score < found.forecast.hi


def test_five_scales_over_two_decades_choose_their_law_by_the_held_out_largest() -> None:
    made = law_points(6, 4)
    found = describe(made, Question())
    assert found is not None
    assert found.law.form in {"floor", "full"}
    assert found.law.form == by_held_out(found.compute, found.log_error)
    assert len(found.others) == 3
    told = trend(made)
    assert told.parameters["E"] == pytest.approx(0.2, abs=0.01)
    assert told.parameters["alpha"] == pytest.approx(0.3, abs=0.02)


def test_five_scales_within_two_decades_stay_with_the_line() -> None:
    found = describe(law_points(5, 1.9), Question())
    assert found is not None
    assert (found.law.form, list(found.others)) == ("line", [LAST_TWO])


def test_the_axis_may_be_samples() -> None:
    scores = series(small=0.1, medium=0.3, large=0.5)
    by_macs, by_samples = trend(scores), trend(scores, Question(x="samples"))
    assert by_macs.exponent is not None
    assert by_samples.exponent is not None
    assert by_samples.exponent.value > by_macs.exponent.value  # 10-fold samples are more than 10-fold compute
    assert "far" not in codes(by_samples)


def test_the_interval_has_all_that_moves_the_score() -> None:
    scores = series(small=0.132, medium=0.258, large=0.437)
    found = trend(scores).forecast
    assert found is not None
    assert found.deviations.keys() == {"seeds", "bootstrap", "laws", "back_test"}
    assert all(value > 0 for value in found.deviations.values())
    assert found.deviations["back_test"] == MEASURED["average", 3].rms
    half = MEASURED["average", 3].quantile() * np.sqrt(sum(value**2 for value in found.deviations.values()))
    assert np.log((1 - found.lo) / (1 - found.score)) == pytest.approx(half)
    noisy = [each.model_copy(update={"deviation": 0.05}) for each in scores.points]
    wide = trend(scores.model_copy(update={"points": noisy})).forecast
    steady = trend(
        scores.model_copy(update={"points": [each.model_copy(update={"seeds": 9}) for each in noisy]})
    ).forecast
    assert wide is not None
    assert steady is not None
    assert wide.deviations["bootstrap"] > steady.deviations["bootstrap"] > found.deviations["bootstrap"]
    assert wide.deviations["seeds"] == pytest.approx(3 * steady.deviations["seeds"])


def test_there_is_nothing_above_the_largest_scale() -> None:
    found = trend(series(large=0.437, xlarge=0.621))
    assert found.forecast is None
    assert found.law is not None
    assert "far" not in codes(found)


def test_scores_that_are_no_numbers_are_left_out() -> None:
    broken = series(small=float("nan"), medium=0.3, large=float("inf"))
    assert trend(broken).law is None
    assert trend(series(small=0.1, medium=float("nan"), large=0.4)).note == NO_FIT


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        (series(small=0.025, medium=0.03), {"near-chance", "exponent-unsure"}),
        (series(small=0.2, medium=0.2), {"exponent-unsure"}),
        (law_points(3, 1), {"far", "architecture-changes"}),
    ],
)
def test_cautions(scores: Series, expected: set[str]) -> None:
    found = codes(trend(scores, MAIN))
    assert expected <= found
    clear = codes(trend(series(small=0.2, medium=0.4), MAIN))
    assert not expected & clear - {"far", "architecture-changes"}


some_points = st.lists(
    st.tuples(
        st.sampled_from(["tiny", "small", "medium", "large", "xlarge"]),
        st.one_of(st.floats(0, 1), st.sampled_from([0.0, 1.0, -0.5, 2.0, float("nan"), float("inf")])),
        st.one_of(st.none(), st.integers(1, 10**10)),
    ),
    max_size=4,
    unique_by=lambda each: each[0],
)


@settings(deadline=None, max_examples=40)
@given(some_points, st.sampled_from(["macs", "samples"]))
def test_every_caution_is_there_when_its_cause_is_and_only_then(
    given_points: list[tuple[str, float, int | None]], x: str
) -> None:
    points = [point(scale, score, dataset_size=size) for scale, score, size in given_points]
    found = trend(Series(method="m", points=points), Question(Metric("main"), x=x, chance=0.001))
    used = sorted((each for each in points if np.isfinite(each.score)), key=lambda each: each.macs)
    if len(used) < 2:
        assert (found.law, found.forecast, found.cautions) == (None, None, [])
        return
    told, to = codes(found), found.forecast
    assert (to is None) == (used[-1].scale == "xlarge")
    if to is not None:
        assert 0 <= to.lo <= to.score <= to.hi <= 1
        at, last = (to.macs, used[-1].macs) if x == "macs" else (to.samples_seen, used[-1].samples_seen)
        assert ("far" in told) == (at / last > 10)
    assert ("no-goodness-of-fit" in told) == (len(used) == 2)
    assert ("near-chance" in told) == any(each.score < 0.031 for each in used)
    epochs = [each.samples_seen / each.dataset_size for each in used if each.dataset_size]
    assert ("many-epochs" in told) == any(count > 4 for count in epochs)
    models = {SCALES[each.scale].model for each in used} | ({SCALES[to.scale].model} if to else set())
    assert ("architecture-changes" in told) == (len(models) > 1)
    assert ("no-basis" in told) == (to is not None and used[0].scale == "tiny")
    assert found.exponent is not None
    assert ("exponent-unsure" in told) == (found.exponent.lo <= 0 <= found.exponent.hi)


def test_more_parameters_than_points_are_told() -> None:
    few = law_points(3, 3)
    bent = fit("full", [each.macs for each in few.points], log_errors([each.score for each in few.points]))
    found = cautions(TrendOut(series=few), few.points, Question(), bent, None)
    assert "4 parameters for 3 points" in [each.text for each in found if each.code == "too-few-points"]


def test_epochs_over_the_subset_and_a_changing_share_are_told() -> None:
    def sized(**sizes: float) -> Series:
        return Series(
            method="m",
            points=[point(scale, 0.1 + n / 5, dataset_size=size) for n, (scale, size) in enumerate(sizes.items())],
        )

    assert not {"many-epochs", "share-changes"} & codes(trend(sized(small=12.8e6, medium=128e6)))
    assert {"many-epochs"} == codes(trend(sized(small=1.28e6, medium=12.8e6))) & {"many-epochs", "share-changes"}
    assert {"many-epochs", "share-changes"} <= codes(trend(sized(small=12.8e6, medium=12.8e6)))


def test_a_bound_is_told() -> None:
    steep = [
        ScalePoint(scale=name, score=score, macs=macs, samples_seen=1, model="m")
        for name, score, macs in (("a", 0.1, 1e16), ("b", 0.999, 2e16))
    ]
    assert "bound-reached" in codes(trend(Series(method="m", points=steep)))


def test_measured_errors_and_their_fallback() -> None:
    assert measured_error(Metric("main"), 2) == MEASURED["main", 2]
    assert measured_error(Metric("main"), 7) == MEASURED["main", 3]
    largest = max(found.rms for (_, count), found in MEASURED.items() if count == 2)
    assert measured_error(Metric("task", "cifar10"), 2).rms == largest
    own = {("average", 3): Measured(0.5, 4)}
    assert measured_error(Metric(), 3, own).rms == 0.5


def test_metrics_by_name() -> None:
    assert str(Metric.parse("vtab", SUITE)) == str(Metric.parse("group:vtab", SUITE)) == "group:vtab"
    assert Metric.parse("cifar10", SUITE) == Metric("task", "cifar10")
    assert Metric.parse("main").chance(SUITE) == 0.001
    assert Metric.parse("average").chance(SUITE) == pytest.approx(0.0886, abs=1e-3)
    for wrong in ("none", "group:", "group:none", "task:none", "average:x", ""):
        with pytest.raises(BadInput, match="metric-unknown"):
            Metric.parse(wrong, SUITE)


# --- agreement and crossings ----------------------------------------------------------------------------------------


def test_agreement_is_that_of_scipy() -> None:
    from scipy.stats import kendalltau, spearmanr

    rng = np.random.default_rng(3)
    below = np.round(rng.normal(size=40), 1)  # with ties
    above = np.round(below + rng.normal(size=40), 1)
    found = agreement("small", "large", below, above)
    assert found.spearman.value == pytest.approx(spearmanr(below, above).statistic)
    assert found.kendall.value == pytest.approx(kendalltau(below, above).statistic)
    differ = [(i, j) for i in range(40) for j in range(i) if above[i] != above[j]]
    right = [(np.sign(below[i] - below[j]) * np.sign(above[i] - above[j]) + 1) / 2 for i, j in differ]
    assert (found.pairwise.value, found.pairs) == (pytest.approx(np.mean(right)), len(differ))
    assert right_pairs(below.tolist(), above.tolist()) == (found.pairwise.value, found.pairs)
    for figure in (found.spearman, found.kendall, found.pairwise):
        assert figure.lo < figure.value < figure.hi


def test_intervals_of_agreement_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datacomp.scaling.agreement.RESAMPLES", 200)
    rng = np.random.default_rng(4)
    true = 6 / np.pi * np.arcsin(0.8 / 2)  # Spearman's of two normals with correlation .8
    held = 0
    for _ in range(60):
        below = rng.normal(size=40)
        above = 0.8 * below + 0.6 * rng.normal(size=40)
        figure = agreement("a", "b", below, above).spearman
        held += figure.lo <= true <= figure.hi
    assert 51 <= held <= 60


def test_orders_are_compared_where_three_methods_are_at_both_scales() -> None:
    every = [series(f"m{n}", small=0.1 + n / 100, medium=0.3 - n / 100, large=0.4 + n / 100) for n in range(5)]
    every[3] = series("m3", small=0.2)
    every[4] = series("m4", small=0.3, medium=0.4)
    found = {(each.small, each.large): each for each in agreements(every)}
    assert found.keys() == {("small", "medium"), ("small", "large"), ("medium", "large")}
    assert [found[key].methods for key in found] == [4, 3, 3]
    turned = found["medium", "large"]
    assert (turned.kendall.value, turned.kendall.lo, turned.pairwise.value) == (-1, -1, 0)
    # Three methods in one order make no certainty, though all draws of them agree.
    assert turned.pairwise.hi > 0.7
    assert turned.kendall.hi == pytest.approx(2 * turned.pairwise.hi - 1)
    assert agreements([]) == []


def test_equal_scores_have_no_order() -> None:
    found = agreement("small", "large", np.full(4, 0.1), np.array([0.1, 0.2, 0.3, 0.4]))
    assert (found.spearman.value, found.spearman.lo, found.spearman.hi) == (0, -1, 1)
    assert found.pairwise.value == 0.5
    none = agreement("small", "large", np.array([0.1, 0.2, 0.3, 0.4]), np.full(4, 0.1)).pairwise
    assert (none.value, none.lo, none.hi) == (0.5, 0, 1)


def test_many_methods_are_sampled() -> None:
    rng = np.random.default_rng(0)
    found = agreement("small", "large", *rng.normal(size=(2, 1500)))
    assert found.methods == 1500
    assert found.pairs == 500 * 499 // 2


def test_a_crossing_is_found_where_it_is() -> None:
    ahead, behind = series("early", small=0.20, medium=0.30), series("late", small=0.10, medium=0.35)
    (found,) = crossings([behind, ahead])
    assert (found.first, found.second, found.between, found.measured) == (
        *("early", "late"),
        *("between small and medium", True),
    )
    assert 9.5e16 < found.x < 9.5e17
    (beyond,) = crossings([series("early", small=0.20, medium=0.30), series("late", small=0.10, medium=0.28)])
    assert (beyond.between, beyond.measured) == ("beyond medium", False)
    assert crossings([ahead, series("worse", small=0.1, medium=0.2)]) == []
    assert crossings([series("a", small=0.200, medium=0.300), series("b", small=0.201, medium=0.299)]) == []


# --- back-tests ------------------------------------------------------------------------------------------------------


def dated(days: tuple[int, int, int]) -> Series:
    scores = zip(("small", "medium", "large"), (0.132, 0.258, 0.437), days, strict=True)
    points = [point(scale, score, at=NOON + timedelta(days=day)) for scale, score, day in scores]
    return Series(method="dated", points=points)


def test_a_forecast_counts_only_if_it_came_first() -> None:
    assert len(back_tests([dated((0, 1, 2))], dated=True)) == 1
    assert back_tests([dated((0, 2, 1))], dated=True) == []
    assert back_tests([dated((0, 1, 1))], dated=True) == []
    assert back_tests([series(small=0.1, medium=0.2, large=0.3)], dated=True) == []
    assert len(back_tests([dated((2, 1, 0))])) == 1


def test_back_tests_know_nothing_of_what_they_expect() -> None:
    true = series(small=0.132, medium=0.258, large=0.437, xlarge=0.621)
    changed = series(small=0.132, medium=0.258, large=0.437, xlarge=0.9)
    first, second = back_tests([true]), back_tests([changed])
    assert [test.forecast for test in first] == [test.forecast for test in second]
    assert [test.points for test in first] == [2, 3]
    assert first[1].truth == 0.621
    assert coverage(second).inside < coverage(first).inside == 2
    assert coverage([]).mean_miss is None


def test_the_overview_keeps_own_and_published_rows_apart() -> None:
    own = [series(f"own {n}", small=0.1 + n / 50, medium=0.2 + n / 50) for n in range(3)]
    papers = [
        series(f"paper {n}", small=0.1, medium=0.2 + n / 50).model_copy(update={"published": True}) for n in range(4)
    ]
    found = overview([*own, *papers, series("alone", small=0.3)])
    assert [each.methods for each in found.agreements] == [3]
    assert [each.methods for each in found.published_agreements] == [4]
    assert len(found.trends) == 7
    assert [each.series.method for each in overview([*own, series("alone", small=0.3)], method="ALO").trends] == [
        "alone"
    ]
    few = overview([*own, *papers], most=2)
    assert (len(few.trends), few.left_out) == (2, 5)
