"""Statistics of variations against brute force and scipy."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import betabinom, fisher_exact

from datacomp.statistics import variations as v


@pytest.mark.parametrize(("hits", "asked"), [([1, 5], [8, 9]), ([0, 4], [12, 12]), ([2, 2], [5, 30])])
def test_the_exact_test_of_two_variations_is_fishers_by_chi_square_order(hits: list[int], asked: list[int]) -> None:
    """By all ways to share the right answers out, each weighed by its number of permutations."""
    p, exact = v.homogeneity(hits, asked)
    assert exact
    assert p == pytest.approx(brute_force(hits, asked), abs=1e-12)
    if asked[0] == asked[1]:
        other = fisher_exact(np.stack([hits, np.subtract(asked, hits)], axis=1)).pvalue
        assert p == pytest.approx(other, abs=1e-12), "with equal sizes the order is Fisher's"


@pytest.mark.parametrize(
    ("hits", "asked"), [([0, 3, 1, 5], [6, 6, 6, 8]), ([4, 4, 1], [5, 4, 4]), ([1, 0, 0], [3, 3, 9])]
)
def test_the_exact_test_of_several_variations_is_that_of_all_permutations(hits: list[int], asked: list[int]) -> None:
    assert v.homogeneity(hits, asked)[0] == pytest.approx(brute_force(hits, asked), abs=1e-12)


def brute_force(hits: list[int], asked: list[int]) -> float:
    from math import comb, prod

    def statistic(some: tuple[int, ...]) -> float:
        expected = np.array(asked) * sum(hits) / sum(asked)
        return float(((np.array(some) - expected) ** 2 * (1 / expected + 1 / (asked - expected))).sum())

    seen, at_least, total = statistic(tuple(hits)), 0, 0
    for some in product(*(range(n + 1) for n in asked)):
        if sum(some) == sum(hits):
            ways = prod(comb(n, k) for n, k in zip(asked, some, strict=True))
            total += ways
            at_least += ways * (statistic(some) >= seen - 1e-9)
    return at_least / total


def test_drawn_permutations_come_near_the_exact_ones() -> None:
    few, n = np.array([0, 3, 1, 8]), np.array([60, 60, 60, 60])
    assert v._drawn(few, n) == pytest.approx(v._exact(few, n), abs=2e-3)
    p, exact = v.homogeneity([0, 0, 300], [1, 1000, 1000])
    assert not exact, "so many permutations are drawn"
    assert p < 1e-4


def test_under_equal_rates_p_values_are_not_too_small() -> None:
    rng = np.random.default_rng(0)
    for rate, asked in ((0.5, [60] * 4), (0.03, [60] * 4), (0.5, [8] * 5)):
        found = np.array([v.homogeneity(rng.binomial(asked, rate), asked)[0] for _ in range(200)])
        for level in (0.05, 0.2):
            assert (found <= level).mean() < level + 3 * np.sqrt(level * (1 - level) / 200)


def test_items_that_go_together_are_tested_together() -> None:
    """One variation loses 6 of 40 items that all others win: certain, the items being the same."""
    outcomes = np.ones((40, 4), bool)
    outcomes[:6, 2] = False
    assert v.same_items(outcomes) == pytest.approx(4 / 4**6, rel=1e-9)
    many = np.tile(outcomes, (3, 1))
    assert v.same_items(many) < 1e-6
    assert v.same_items(np.ones((5, 3), bool)) == 1.0
    assert v.same_items(np.zeros((0, 3), bool)) == 1.0
    with pytest.raises(ValueError, match="shape"):
        v.same_items([True, False])


def test_cochrans_q_is_exact_for_few_items_and_near_it_for_more() -> None:
    rng = np.random.default_rng(3)
    outcomes = rng.random((8, 3)) < np.array([0.9, 0.5, 0.3])
    telling = outcomes[(outcomes.sum(axis=1) > 0) & (outcomes.sum(axis=1) < 3)]
    seen, drawn = (telling.sum(axis=0) ** 2).sum(), []
    for _ in range(20_000):
        drawn.append((rng.permuted(telling, axis=1).sum(axis=0) ** 2).sum() >= seen)
    assert v.same_items(outcomes) == pytest.approx(np.mean(drawn), abs=0.015)


def test_over_dispersion_is_found_at_its_size() -> None:
    rng = np.random.default_rng(0)
    mean, rho, asked = 0.4, 0.3, np.full(400, 60)
    a, b = mean * (1 - rho) / rho, (1 - mean) * (1 - rho) / rho
    hits = betabinom.rvs(asked, a, b, random_state=rng)
    assert v.overdispersion(hits, asked) == pytest.approx(rho, abs=0.03)
    assert v.overdispersion(rng.binomial(asked, mean), asked) < 0.01
    assert v.overdispersion([30, 30, 30], [60, 60, 60]) == 0.0, "closer together than chance makes them"
    assert v.overdispersion([0, 60, 0, 60], [60] * 4) > 0.9
    assert np.isnan(v.overdispersion([0, 0], [5, 5]))
    assert np.isnan(v.overdispersion([3], [5]))


@pytest.mark.parametrize(
    ("hits", "asked"), [([], []), ([1], [1, 2]), ([3], [2]), ([-1], [2]), ([0.5], [2]), ([0], [0])]
)
def test_what_is_no_table_is_refused(hits: list, asked: list) -> None:
    with pytest.raises(ValueError, match=r"variation"):
        v.variations(hits, asked)
