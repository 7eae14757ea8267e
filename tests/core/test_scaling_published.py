"""DataComp's published tables: read, aggregated, and used as back-tests of trends and rankings."""

import csv
import json
from pathlib import Path

import pytest
from oracles import oracle
from typer.testing import CliRunner

from datacomp.cli.trends import commands
from datacomp.messages import Series, TrendsOut
from datacomp.problems import BadInput
from datacomp.published.tables import TABLE_3, read_published
from datacomp.scaling.agreement import agreements
from datacomp.scaling.backtest import back_tests, coverage, left_out_coverage, measure, other_step_coverage, ranking
from datacomp.scaling.evidence import MEASURED
from datacomp.scaling.metrics import Metric
from datacomp.scaling.sources import paper_and_table, published_series, table_series
from datacomp.scaling.trends import Question
from datacomp.suite import load_suite

SUITE = load_suite("datacomp-38")
METRICS = ("average", "main", "group:shift", "group:vtab", "group:retrieval")
TABLE_22 = {"imagenet": "main", "average_38": "average"}
TABLE_22_TOLERANCE = 0.07
"""The paper does not list the rows that its correlations are of, so that they cannot come out exactly."""


def filtering_tables() -> Path:
    return oracle("datacomp", "datacomp_tables25_28_filtering_all.csv")


def all_series(metric: str) -> tuple[list[Series], Question]:
    asked = Metric.parse(metric, SUITE)
    return published_series(read_published(filtering_tables()), asked), Question(asked, chance=asked.chance(SUITE))


# --- back-tests ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("metric", "miss"), [("main", 0.028), ("average", 0.032)])
def test_one_scale_up_from_three_is_off_by_three_points(metric: str, miss: float) -> None:
    tests = [test for test in back_tests(*all_series(metric)) if test.points == 3]
    assert len(tests) == 6
    assert coverage(tests).mean_miss == pytest.approx(miss, abs=0.002)


def test_imagenet_at_large_from_two_scales_is_off_by_nine_points() -> None:
    tests = [test for test in back_tests(*all_series("main")) if test.scale == "large"]
    assert len(tests) == 32
    assert coverage(tests).mean_miss == pytest.approx(0.092, abs=0.002)


def test_forecasts_hardly_rank_better_than_the_largest_scale_seen() -> None:
    tests = [test for test in back_tests(*all_series("main")) if test.scale == "large"]
    by_forecast, by_last, pairs = ranking(tests)
    assert pairs == 492
    assert by_forecast == pytest.approx(0.925, abs=0.001)
    assert by_last == pytest.approx(0.913, abs=0.001)


@pytest.mark.parametrize("metric", METRICS)
def test_the_misses_that_intervals_reckon_with_are_those_of_the_tables(metric: str) -> None:
    series, question = all_series(metric)
    tests = [*back_tests(series, question, most=2), *(t for t in back_tests(series, question) if t.points > 2)]
    found = measure(tests)
    for points in (2, 3):
        assert MEASURED[metric, points].tests == found[points].tests
        assert MEASURED[metric, points].rms == pytest.approx(found[points].rms, abs=0.001)


def test_intervals_hold_what_they_have_not_seen() -> None:
    held = {name: [0, 0] for name in ("left out", "other step")}
    for metric in METRICS:
        series, question = all_series(metric)
        for name, found in (
            ("left out", left_out_coverage(series, question)),
            ("other step", other_step_coverage(series, question)),
        ):
            held[name][0] += found.inside
            held[name][1] += found.forecasts
    assert held["left out"][1] == held["other step"][1] == 190
    assert held["left out"][0] / 190 >= 0.95
    # Steps are few and unlike: misses measured at one step alone must still be of some use at the other.
    assert held["other step"][0] / 190 >= 0.9


def test_table_22_comes_out_of_the_tables_within_its_tolerance() -> None:
    with oracle("datacomp", "datacomp_table22_rank_correlation.csv").open() as file:
        published = list(csv.DictReader(file))
    assert len(published) == 6
    for row in published:
        found = {(each.small, each.large): each for each in agreements(*all_series(TABLE_22[row["metric"]]))}
        spearman = found[row["scale_a"], row["scale_b"]].spearman
        value = float(row["rank_correlation"])
        assert spearman.value == pytest.approx(value, abs=TABLE_22_TOLERANCE), row
        assert spearman.lo <= value <= spearman.hi, row


# --- reading ---------------------------------------------------------------------------------------------------------


def test_table_3_ships_as_it_was_printed() -> None:
    rows = read_published(TABLE_3)
    assert len(rows) == 25
    assert all("Table 3" in row.source and "arXiv:2304.14108" in row.citation and row.same_recipe for row in rows)
    printed = read_published(oracle("datacomp", "datacomp_table3_filtering_baselines.csv"))
    assert [row.model_copy(update={"note": ""}) for row in rows] == printed
    assert sum(bool(row.note) for row in rows) == 4


@pytest.mark.parametrize(
    ("name", "rows", "same"),
    [
        ("datacomp_tables25_28_filtering_all.csv", 165, 165),
        ("datacomp_table12_10x_steps.csv", 46, 0),
        ("datacomp_table18_byod.csv", 54, 54),
        ("openclip_released_baselines_per_task.csv", 26, 24),
    ],
)
def test_every_table_is_read(name: str, rows: int, same: int) -> None:
    found = read_published(oracle("datacomp", name), source="a source")
    assert len(found) == rows
    assert sum(row.same_recipe for row in found) == same
    assert all(row.average is not None and row.main is not None and row.method for row in found)


def test_aggregation_gives_the_published_averages_of_released_models() -> None:
    path = oracle("datacomp", "openclip_released_baselines_per_task.csv")
    with path.open() as file:
        lines = [line for line in csv.DictReader(file) if not line["pretrained"].startswith("commonpool_s_image")]
    rows = read_published(path, source="OpenCLIP")
    for row, line in zip(rows, lines, strict=True):
        assert len(row.tasks) == 38
        assert row.average == pytest.approx(float(line["average_38"]), abs=6e-5)
        assert row.main == row.tasks["imagenet1k"] == float(line["ImageNet 1k"])
        assert row.groups.keys() == SUITE.groups().keys()


def test_released_models_agree_with_table_3_beside_the_known_errata() -> None:
    released = {
        (row.scale, row.method): row
        for row in read_published(oracle("datacomp", "openclip_released_baselines_per_task.csv"), source="OpenCLIP")
        if row.same_recipe
    }
    odd = {("large", "Text-based"), ("large", "Image-based"), ("small", "No filtering")}
    compared = 0
    for row in read_published(TABLE_3):
        found = released.get((row.scale, row.method))
        if found is None or (row.scale, row.method) in odd:
            continue
        compared += 1
        assert found.average == pytest.approx(row.average, abs=0.001), row
        assert found.main == pytest.approx(row.main, abs=0.001), row
    assert compared == 21


def write(folder: Path, text: str) -> Path:
    path = folder / "table.csv"
    path.write_text(text)
    return path


def test_everything_that_is_wrong_with_a_table_is_told_at_once(tmp_path: Path) -> None:
    text = "scale,method,average\nsmall,a,0.1\nsmall,a,0.2\nhuge,b,0.3\nmedium,,0.3\nmedium,c,33\nmedium,d,much\n"
    with pytest.raises(BadInput) as refused:
        read_published(write(tmp_path, text))
    found = {(problem.code, problem.where) for problem in refused.value.problems}
    assert found == {
        ("row-twice", "table.csv"),
        ("scale-unknown", "table.csv, line 4"),
        ("method-missing", "table.csv, line 5"),
        ("score-range", "table.csv, line 6"),
        ("number-malformed", "table.csv, line 7"),
    }


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "table-column-missing"),
        ("scale,method,average\n", "table-empty"),
        ("scale,method\nsmall,a\n", "table-column-missing"),
        ("method,average\na,0.1\n", "table-column-missing"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, text: str, code: str) -> None:
    with pytest.raises(BadInput) as refused:
        read_published(write(tmp_path, text))
    assert code in {problem.code for problem in refused.value.problems}
    with pytest.raises(BadInput, match="table-unreadable"):
        read_published(tmp_path / "none.csv")


def test_a_table_of_ones_own_may_name_scales_groups_and_tasks_of_its_own(tmp_path: Path) -> None:
    head = "scale,method,samples_seen,train_macs,average,group:vtab,task:cifar10\n"
    path = write(tmp_path, head + "s1,a,1000,1e9,0.1,0.2,0.3\ns2,a,10000,1e10,0.2,,0.4\n")
    rows = read_published(path)
    assert rows[0].groups == {"vtab": 0.2}
    assert rows[1].groups == {}
    assert rows[1].tasks == {"cifar10": 0.4}
    (series,) = table_series(rows, Metric("task", "cifar10"))
    assert [(point.scale, point.score, point.macs) for point in series.points] == [("s1", 0.3, 1e9), ("s2", 0.4, 1e10)]


def test_of_several_tables_the_first_counts() -> None:
    first, second = (row for row in read_published(TABLE_3)[:2])
    later = first.model_copy(update={"source": "DataComp arXiv:2304.14108 Table 25", "average": 0.133})
    (series,) = published_series([later, first], Metric())
    assert [point.score for point in series.points] == [first.average]
    assert paper_and_table(second.source) == ("DataComp arXiv:2304.14108", 3)
    assert paper_and_table("somewhere") == ("somewhere", 0)


# --- the command line ------------------------------------------------------------------------------------------------


def run(*words: str) -> str:
    result = CliRunner().invoke(commands, list(words), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def table_3(tmp_path: Path) -> str:
    head = "scale,filtering,dataset_size,imagenet,average_38"
    rows = [f"{row.scale},{row.method},{row.dataset_size},{row.main},{row.average}" for row in read_published(TABLE_3)]
    return str(write(tmp_path, "\n".join([head, *rows]) + "\n"))


def test_the_trend_command_tells_what_the_json_says(table_3: str) -> None:
    said = " ".join(run("trend", "Text-based", "--file", table_3, "--metric", "main").split())
    found = TrendsOut.model_validate_json(run("trend", "Text-based", "--file", table_3, "--metric", "main", "--json"))
    (trend,) = found.trends
    assert trend.forecast is not None
    expected = trend.forecast
    assert f"extrapolated to xlarge: {expected.score:.3f} [{expected.lo:.3f}, {expected.hi:.3f}]" in said
    assert said.index("Does the order at a small scale hold") < said.index("extrapolated")
    for caution in trend.cautions:
        assert " ".join(caution.text.split()) in said
    assert (found.metric, found.x, len(found.published_agreements)) == ("main", "macs", 6)
    assert "11 of 11 scores fell into their 95% interval" in said


def test_rank_agreement_and_back_test_commands(table_3: str) -> None:
    found = json.loads(run("rank-agreement", "--file", table_3, "--metric", "main", "--json"))
    order = {(each["small"], each["large"]): each for each in found["published_agreements"]}
    assert order["medium", "large"]["spearman"]["value"] == pytest.approx(1)
    assert "small to medium" in run("rank-agreement", "--file", table_3)
    tests = json.loads(run("back-test", "--file", table_3, "--json"))
    assert {(step["points"], step["scale"], step["methods"]) for step in tests["steps"]} == {
        (2, "large", 7),
        (2, "xlarge", 4),
        (3, "xlarge", 4),
    }
    assert tests["coverage"]["left_out"]["forecasts"] == 11
    assert "other methods" in " ".join(run("back-test", "--file", table_3).split())


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--metric", "none"], "metric-unknown"),
        (["--metric", "cifar10"], "metric-absent"),
        (["--x", "hours"], "axis-unknown"),
    ],
)
def test_wrong_wishes_are_refused(table_3: str, words: list[str], code: str) -> None:
    with pytest.raises(BadInput, match=code):
        run("trend", "--file", table_3, *words)


def test_a_table_of_two_scales_has_no_back_tests(tmp_path: Path) -> None:
    path = write(tmp_path, "scale,method,average\nsmall,a,0.1\nmedium,a,0.2\n")
    with pytest.raises(BadInput, match="too-few-scales"):
        run("back-test", "--file", str(path))
