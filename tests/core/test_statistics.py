"""Intervals and rank ranges: exact where theory is, against brute force, and covering as often as they say."""

import csv
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import oracle
from scipy.stats import norm

from datacomp.statistics.intervals import Interval, cluster_bootstrap, paired_bootstrap, task_bootstrap, wilson
from datacomp.statistics.ranks import rank_ranges, score_variance


def test_wilson_against_known_values() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for hits, n, lo, hi in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = wilson(hits, n)
        assert (found.lo, found.hi) == (pytest.approx(lo, abs=5e-5), pytest.approx(hi, abs=5e-5))
    assert wilson(20, 20).hi == 1.0
    assert (wilson(0, 0).lo, wilson(0, 0).hi) == (0.0, 1.0)


def test_a_bootstrap_over_items_agrees_with_the_normal_one() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0.5, 0.2, 400)
    found = cluster_bootstrap(values)
    half = 1.96 * values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert (found.lo, found.hi) == (
        pytest.approx(values.mean() - half, abs=0.001),
        pytest.approx(values.mean() + half, abs=0.001),
    )
    assert found == cluster_bootstrap(values)
    hits = (rng.random(500) < 0.3).astype(float)
    wide = cluster_bootstrap(hits)
    assert (wide.lo, wide.hi) == (
        pytest.approx(wilson(hits.sum(), 500).lo, abs=0.004),
        pytest.approx(wilson(hits.sum(), 500).hi, abs=0.004),
    )


def test_clusters_make_intervals_wider() -> None:
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(40), 25)
    values = rng.normal(0, 1, 40)[clusters] + rng.normal(0, 0.2, 1000)
    alone, together = cluster_bootstrap(values), cluster_bootstrap(values, clusters)
    assert together.hi - together.lo > 4 * (alone.hi - alone.lo)


def test_pairing_removes_what_items_share() -> None:
    rng = np.random.default_rng(3)
    hard = rng.normal(0, 1, 500)
    first, second = hard + rng.normal(0.05, 0.1, 500), hard + rng.normal(0, 0.1, 500)
    assert paired_bootstrap(first, second).excludes(0.0)
    assert not cluster_bootstrap(first).excludes(cluster_bootstrap(second).value)
    with pytest.raises(ValueError, match="shapes"):
        paired_bootstrap(first, second[:-1])
    with pytest.raises(ValueError, match="clusters"):
        cluster_bootstrap(first, [1, 2])
    with pytest.raises(ValueError, match="at least one"):
        task_bootstrap([])


def test_alexandrias_recorded_intervals() -> None:
    """Theirs resample documents too: bounds agree within 0.4 points, the difference of two arms is paired."""
    with oracle("alexandria", "judge_rows.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["extractor"] == "27B"]
    with oracle("alexandria", "summary_27B.csv").open() as file:
        lines = list(csv.DictReader(file))
    for line in lines:
        chosen = [row for row in rows if row["domain"] == line["domain"]]
        papers = [row["doc"] for row in chosen]
        right = {arm: np.array([row[arm] == row["gold"] for row in chosen], float) for arm in ARMS}
        for arm in ARMS:
            found = cluster_bootstrap(right[arm], papers)
            assert 100 * found.value == pytest.approx(float(line[f"{arm}_percent"]), abs=0.001)
            assert 100 * found.lo == pytest.approx(float(line[f"{arm}_ci_low"]), abs=0.4)
            assert 100 * found.hi == pytest.approx(float(line[f"{arm}_ci_high"]), abs=0.4)
        difference = paired_bootstrap(right["knowledge_units"], right["original"], papers)
        assert 100 * difference.value == pytest.approx(float(line["ku_minus_original_pp"]), abs=0.001)
        assert 100 * difference.lo == pytest.approx(float(line["ku_minus_original_ci_low"]), abs=0.4)
        assert 100 * difference.hi == pytest.approx(float(line["ku_minus_original_ci_high"]), abs=0.4)
    assert len(lines) == 2


ARMS = ("no_context", "original", "knowledge_units")


# --- ranks


def brute(scores: list[float], variances: list[float], z: float = 1.959963984540054) -> list[tuple[int, int]]:
    found = []
    for x, v in zip(scores, variances, strict=True):
        others = list(zip(scores, variances, strict=True))
        better = sum(y - x > z * np.sqrt(v + w) for y, w in others)
        worse = sum(x - y > z * np.sqrt(v + w) for y, w in others)
        found.append((1 + better, len(scores) - worse))
    return found


def brute_holm(scores: list[float], variances: list[float]) -> list[tuple[int, int]]:
    found = []
    for i, (x, v) in enumerate(zip(scores, variances, strict=True)):
        tests = []
        for j, (y, w) in enumerate(zip(scores, variances, strict=True)):
            if i != j:
                se = np.sqrt(v + w)
                tests.append((2 * norm.sf(abs(y - x) / se) if se else float(x == y), y > x))
        tests.sort()
        better = worse = 0
        for place, (p, up) in enumerate(tests):
            if p > 0.05 / (len(tests) - place):
                break
            better, worse = better + up, worse + (not up)
        found.append((1 + better, len(scores) - worse))
    return found


VARIANCES = (1e-5, 4e-5, 9e-5, 3e-4)
entries = st.tuples(st.integers(0, 40).map(lambda n: n / 200), st.sampled_from(VARIANCES))
boards = st.lists(entries, min_size=1, max_size=30)


@given(boards)
def test_ranges_are_those_of_all_pairs(board: list[tuple[float, float]]) -> None:
    scores, variances = map(list, zip(*board, strict=True))
    found = rank_ranges(scores, variances)
    assert list(zip(found.lo.tolist(), found.hi.tolist(), strict=True)) == brute(scores, variances)
    assert list(zip(found.holm_lo.tolist(), found.holm_hi.tolist(), strict=True)) == brute_holm(scores, variances)
    assert (found.holm_lo <= found.lo).all()
    assert (found.holm_hi >= found.hi).all()
    assert (found.lo >= 1).all()
    assert (found.lo <= found.hi).all()
    assert (found.hi <= len(board)).all()


@given(boards, st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.integers(0, 30))
def test_what_is_missing_is_never_placed_and_counts_nowhere(
    board: list[tuple[float, float]], missing: float, at: int
) -> None:
    scores, variances = map(list, zip(*board, strict=True))
    whole = rank_ranges(scores, variances)
    at = min(at, len(scores))
    found = rank_ranges([*scores[:at], missing, *scores[at:]], [*variances[:at], 1e-5, *variances[at:]])
    assert (found.lo[at], found.hi[at], found.holm_lo[at], found.holm_hi[at]) == (0, 0, 0, 0)
    assert np.delete(found.lo, at).tolist() == whole.lo.tolist()
    assert np.delete(found.hi, at).tolist() == whole.hi.tolist()


def test_many_variances_are_rounded_up_never_down() -> None:
    rng = np.random.default_rng(4)
    scores, variances = rng.normal(0.3, 0.05, 300), rng.uniform(1e-6, 1e-3, 300)
    found, exact = rank_ranges(scores, variances), brute(scores.tolist(), variances.tolist())
    assert all(lo <= e[0] and hi >= e[1] for lo, hi, e in zip(found.lo, found.hi, exact, strict=True))
    width = np.mean([hi - lo for lo, hi in exact])
    assert np.mean(found.hi - found.lo) < 1.03 * width


def test_many_entries_are_placed_too() -> None:
    rng = np.random.default_rng(5)
    found = rank_ranges(rng.normal(0.3, 0.05, 20_000), rng.uniform(1e-5, 2e-5, 20_000))
    assert (found.lo >= 1).all()
    assert found.hi.max() == 20_000


def test_ranges_cover_the_true_rank_as_often_as_they_say() -> None:
    """Uncorrected ranges hold each comparison at 95%; Holm's hold all of an entry's comparisons together."""
    rng = np.random.default_rng(6)
    truth = np.sort(rng.normal(0.3, 0.02, 20))[::-1]
    true_rank = np.arange(1, 21)
    plain, holm, single = [], [], []
    for _ in range(1500):
        scores = truth + rng.normal(0, 0.004, 20)
        found = rank_ranges(scores, np.full(20, score_variance(0.004, 1)))
        plain.append(((found.lo <= true_rank) & (true_rank <= found.hi)).mean())
        holm.append(((found.holm_lo <= true_rank) & (true_rank <= found.holm_hi)).mean())
        differences = np.subtract.outer(scores, scores) - np.subtract.outer(truth, truth)
        single.append((np.abs(differences[np.triu_indices(20, 1)]) <= 1.96 * np.sqrt(2) * 0.004).mean())
    assert np.mean(single) == pytest.approx(0.95, abs=0.005)
    assert np.mean(plain) > 0.95
    assert np.mean(holm) >= np.mean(plain)


def test_more_seeds_and_larger_evaluation_sets_make_ranges_narrower() -> None:
    scores = np.linspace(0.2, 0.3, 30)
    widths = [
        float((found.hi - found.lo).mean())
        for seeds, sampling in itertools.product((1, 5), (1e-5, 0.0))
        for found in [rank_ranges(scores, np.full(30, score_variance(0.004, seeds, sampling)))]
    ]
    assert widths == sorted(widths, reverse=True)
    assert Interval(0.5, 0.4, 0.6).excludes(0.7)
