"""Published results of others, reproduced: DCLM's centred aggregates, Alexandria's intervals, AIW's variations.

The tables are not in the repository; without them the tests say where they were looked for (see `oracles`).
"""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pytest
from oracles import oracle

from datacomp.statistics.centered import centered, centered_mean
from datacomp.statistics.intervals import Interval, cluster_bootstrap, paired_bootstrap
from datacomp.statistics.variations import Variations, homogeneity, variations

Row = dict[str, str]


def table(*parts: str) -> list[Row]:
    with oracle(*parts).open(newline="") as file:
        return list(csv.DictReader(file))


# --- DCLM: scores centred at chance


def test_all_610_recorded_aggregates_of_dclm_come_out() -> None:
    core = json.loads(oracle("dclm", "task_groups.json").read_text())["low_variance_datasets"]
    assert len(core) == 22
    reproduced, without = 0, 0
    models = table("dclm", "eval_results.csv")
    for version in ("v1", "v2"):
        chances = {
            row["task"]: float(row["random_baseline_percent"]) / 100
            for row in table("dclm", f"task_baselines_{version}.csv")
        }
        for model in models:
            scores = {name[4:]: float(value) for name, value in model.items() if name.startswith("icl:") and value}
            for name, tasks in (("Core", core), ("Extended", list(chances))):
                recorded, ours = model[f"{name}_{version}"], centered_mean(scores, chances, tasks)
                if not is_number(recorded):
                    assert ours is None, "recorded as missing when a task is"
                    without += 1
                    continue
                assert ours == pytest.approx(float(recorded), abs=1e-12), (model["file"], name, version)
                reproduced += 1
    assert (len(models), reproduced, without) == (156, 610, 14)


def is_number(text: str) -> bool:
    return text.replace(".", "", 1).replace("e-", "", 1).lstrip("-").isdigit()


def test_centring_puts_chance_at_0_and_certainty_at_1() -> None:
    assert (centered(0.25, 0.25), centered(1.0, 0.25), centered(0.4, 0.0)) == (0.0, 1.0, 0.4)
    assert centered(0.1, 0.25) == pytest.approx(-0.2)
    with pytest.raises(ValueError, match="leaves no room"):
        centered(0.5, 1.0)
    assert centered_mean({"a": 1.0}, {"a": 0.5, "b": 0.5}, ["a", "b"]) is None
    assert centered_mean({}, {}, []) is None


# --- Alexandria: intervals over documents

ARMS = {"no_context": "no_context", "original": "original", "knowledge_units": "knowledge_units"}
TOLERANCE = 0.4
"""Percentage points: theirs come from a random stream of their own."""


def within(ours: Interval, published: tuple[float, float, float], point: float = 6e-4) -> None:
    """In percent: the points agree as they are printed, the bounds to the tolerance."""
    assert 100 * ours.value == pytest.approx(published[0], abs=point)
    assert 100 * ours.lo == pytest.approx(published[1], abs=TOLERANCE)
    assert 100 * ours.hi == pytest.approx(published[2], abs=TOLERANCE)


def test_cluster_bootstrap_gives_alexandrias_intervals() -> None:
    rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in table("alexandria", "judge_rows.csv"):
        rows[row["extractor"], row["domain"]].append(row)
    published = [("27B", row) for row in table("alexandria", "summary_27B.csv")]
    published += [(row["model"], row) for row in table("alexandria", "summary_size_comparison.csv")]
    compared = 0
    for extractor, summary in published:
        if "-minus-" in extractor:
            ours = between_extractors(rows, extractor, summary["domain"])
            within(ours, printed(summary, "knowledge_units"), point=0.05)  # theirs is the mean of the resamples
            compared += 1
            continue
        asked = rows[extractor, summary["domain"]]
        documents = [row["doc"] for row in asked]
        right = {arm: [row[arm] == row["gold"] for row in asked] for arm in ARMS}
        for arm in ARMS:
            within(cluster_bootstrap(right[arm], documents), printed(summary, arm))
            compared += 1
        if "ku_minus_original_pp" in summary:
            difference = paired_bootstrap(right["knowledge_units"], right["original"], documents)
            names = ("ku_minus_original_pp", "ku_minus_original_ci_low", "ku_minus_original_ci_high")
            within(difference, tuple(float(summary[name]) for name in names))
            compared += 1
    assert compared == 28, "24 shares, two differences of arms, two of extractors"


def printed(summary: Row, arm: str) -> tuple[float, float, float]:
    value, low, high = (float(summary[f"{arm}_{part}"]) for part in ("percent", "ci_low", "ci_high"))
    return value, low, high


def between_extractors(rows: dict[tuple[str, str], list[Row]], name: str, domain: str) -> Interval:
    """`9B-minus-4B-KU`: what is answered from one extractor's units less what is from another's, by question."""
    first, second = (rows[extractor, domain] for extractor in name.removesuffix("-KU").split("-minus-"))
    asked = [[(row["doc"], row["question_index"]) for row in some] for some in (first, second)]
    assert asked[0] == asked[1]
    right = [[row["knowledge_units"] == row["gold"] for row in some] for some in (first, second)]
    return paired_bootstrap(*right, [row["doc"] for row in first])


# --- AIW: the same problem under variations


@dataclass(frozen=True)
class Asked:
    """A model's cells, and our statistics of them."""

    cells: list[Row]
    hits: list[int]
    asked: list[int]
    found: Variations


@pytest.fixture(scope="module")
def models() -> dict[tuple[str, str], Asked]:
    made = {}
    for key, cells in by_model().items():
        hits, asked = ([int(cell[name]) for cell in cells] for name in ("k", "n"))
        made[key] = Asked(cells, hits, asked, variations(hits, asked))
    return made


def by_model() -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in table("aiw", "aiw_cells.csv"):
        found[row["group"], row["model"]].append(row)
    return found


def test_statistics_of_variations_run_on_aiws_375_cells(models: dict[tuple[str, str], Asked]) -> None:
    trials: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row in table("aiw", "aiw_trials.csv"):
        trials[row["group"], row["model"], row["prompt_id"]].append(int(row["correct"]))
    assert sum(len(model.cells) for model in models.values()) == 375
    for (group, name), model in models.items():
        for cell, k, n in zip(model.cells, model.hits, model.asked, strict=True):
            own = trials[group, name, cell["prompt_id"]]
            assert (sum(own), len(own)) == (k, n)
        check(model.found, model.hits, model.asked, [float(cell["p"]) for cell in model.cells])


def check(found: Variations, hits: list[int], asked: list[int], published: list[float]) -> None:
    np.testing.assert_allclose([rate.value for rate in found.rates], published, atol=1e-6)
    assert all(rate.lo - 1e-12 <= rate.value <= rate.hi + 1e-12 for rate in found.rates)
    assert found.worst == pytest.approx(min(published), abs=1e-6)
    assert found.spread == pytest.approx(max(published) - min(published), abs=1e-6)
    assert 0 <= found.homogeneity_p <= 1
    if len(hits) == 1 or sum(hits) in {0, sum(asked)}:
        assert (found.homogeneity_p, np.isnan(found.overdispersion)) == (1.0, True)
    elif found.homogeneity_p < 1e-6:
        assert found.overdispersion > 0.01


def test_the_published_collapse_of_rates_between_variations_is_found(models: dict[tuple[str, str], Asked]) -> None:
    """The headline of AIW: the very same problem with other numbers swings between failure and success."""
    swinging, alike = 0, 0
    for model in models.values():
        found = model.found
        if len(model.cells) >= 4 and 0 < sum(model.hits) < sum(model.asked):
            swinging += found.homogeneity_p < 1e-6 and found.spread > 0.5 and found.overdispersion > 0.1
            alike += found.homogeneity_p > 0.2 and found.overdispersion < 0.05
    assert swinging >= 3
    assert alike >= 1


def test_chi_square_and_the_exact_test_agree_where_both_may_be_used() -> None:
    """scipy's chi-square; and beyond the least expected count the two come near each other."""
    from scipy.stats import chi2_contingency

    for hits, asked in (([20, 31, 25, 28], [60] * 4), ([40, 12, 31], [80, 30, 70])):
        p, exact = homogeneity(hits, asked)
        other = chi2_contingency(np.stack([hits, np.subtract(asked, hits)]), correction=False).pvalue
        assert not exact
        assert p == pytest.approx(other, abs=1e-12)
