"""The published scaling-law recipes against the numbers of their papers."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from oracles import oracle
from typer.testing import CliRunner

from datacomp.cli.scaling import TABLES, run_recipe, scaling_commands
from datacomp.problems import BadInput
from datacomp.scaling.recipes import cherti, gadre, porian
from datacomp.scaling.recipes.report import RecipeReport

NUMBERS = {"acc1", "gmacs_total", "N", "M", "cc_mult", "loss_c4_val", "flops", "n", "loss"}
BROKEN = ("", "nan", "inf", "-1", "0", "much")


def published(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_cherti_gives_the_exponents_and_the_miss_of_the_paper() -> None:
    report = cherti.run(oracle("cherti2022", "cherti_zeroshot_results.csv"))
    found = report.quantities
    for row in published(oracle("cherti2022", "cherti_published.csv")):
        name = "openclip.in_sample_MAE" if "MAE" in row["quantity"] else f"{row['family']}.{row['quantity']}"
        assert found[name].value == pytest.approx(float(row["published"]), abs=float(row["tolerance"])), name
    alpha = found["openclip.exponent_alpha"]
    assert (alpha.lo, alpha.hi) == (pytest.approx(-0.138, abs=0.003), pytest.approx(-0.088, abs=0.003))
    for row in published(oracle("cherti2022", "cherti_out_of_sample_truth.csv")):
        if row["cherti_published_prediction_pct"]:
            prediction = found[f"openclip.pred_{row['model']}_34B"]
            assert prediction.value == pytest.approx(float(row["cherti_published_prediction_pct"]), abs=0.05)
            assert prediction.lo is not None
            assert prediction.hi is not None
            assert prediction.lo < float(row["measured_imagenet_acc1_pct"]) < prediction.hi
    assert not report.warnings


def test_cherti_works_for_every_benchmark_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cherti, "BOOTSTRAPS", 20)
    path = oracle("cherti2022", "cherti_zeroshot_results.csv")
    names = {row["downstream_dataset"] for row in published(path)}
    for name in sorted(names):
        report = cherti.run(path, name)
        assert np.isfinite([quantity.value for quantity in report.quantities.values()]).all()
        assert "openclip.exponent_alpha" in report.quantities or report.warnings
    assert cherti.run(path, "mscoco_captions").quantities["openclip.in_sample_MAE"].value == pytest.approx(
        0.5884, abs=1e-4
    )


def test_gadre_gives_the_coefficients_and_misses_of_the_paper() -> None:
    report = gadre.run(oracle("gadre2024", "gadre_testbed_104.csv"), "rpj")
    for row in published(oracle("gadre2024", "gadre_published.csv")):
        value = report.quantities[row["quantity"]].value
        assert value == pytest.approx(float(row["published"]), abs=float(row["tolerance"])), row["quantity"]


@pytest.mark.parametrize(("dataset", "benchmark"), [("c4_original", "avg46"), ("rw_original", "hellaswag")])
def test_gadre_works_for_other_datasets_and_benchmarks(dataset: str, benchmark: str) -> None:
    report = gadre.run(oracle("gadre2024", "gadre_testbed_104.csv"), dataset, benchmark)
    assert 0 < report.quantities[f"rel_err_pct_{benchmark}_6.9B_M20"].value < 100
    assert bool(report.warnings) == (benchmark == "hellaswag")


@pytest.mark.parametrize("dataset", ["rw", "owt2"])
def test_porian_gives_the_exponents_of_every_correction(dataset: str) -> None:
    report = porian.run(oracle("porian2024", "porian_isoflop_points.csv"), dataset)
    assert not report.warnings
    checked = 0
    for row in published(oracle("porian2024", "porian_published_fits.csv")):
        if row["dataset"] != dataset:
            continue
        found = report.quantities[".".join(row[name] for name in porian.SETTING) + ".exponent_a"]
        assert found.value == pytest.approx(float(row["exponent_a"]), abs=0.004)
        assert (found.lo, found.hi) == (
            pytest.approx(float(row["ci_lo"]), abs=0.006),
            pytest.approx(float(row["ci_hi"]), abs=0.006),
        )
        checked += 1
    assert (checked, len(report.quantities)) == ((5, 10) if dataset == "rw" else (0, 5))


def test_porian_finds_the_published_optima() -> None:
    rows = published(oracle("porian2024", "porian_isoflop_points.csv"))
    truth = published(oracle("porian2024", "porian_optimal_points.csv"))
    setting = ("tuned", "short", "const", "standard", "val")

    def of(table: list[dict[str, str]]) -> list[dict[str, str]]:
        return [
            row for row in table if row["dataset"] == "rw" and tuple(row[name] for name in porian.SETTING) == setting
        ]

    exponents = porian.run(oracle("porian2024", "porian_optimal_points.csv")).quantities
    for row in published(oracle("porian2024", "porian_published_fits.csv")):
        found = exponents[".".join(row[name] for name in porian.SETTING) + ".exponent_a"]
        assert found.value == pytest.approx(float(row["exponent_a"]), abs=1e-5)
    optima = porian.optima_of(of(rows), porian.NOISE["rw"], np.random.default_rng(0))
    known = of(truth)
    assert [optimum.flops for optimum in optima] == [float(row["flops"]) for row in known]
    for optimum, row in zip(optima, known, strict=True):
        assert optimum.size == pytest.approx(float(row["n_star"]), rel=0.05)
        assert optimum.sd == pytest.approx(float(row["ln_n_star_sd"]), rel=0.1)


# --- without the published tables


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_known_power_law_is_found_again(tmp_path: Path) -> None:
    lines = [",".join(cherti.COLUMNS)]
    for number in range(12):
        compute = 10 ** (9 + number / 3)
        error = 2.5 * compute**-0.07
        lines.append(f"ViT-B-32,{compute},CLIP-WIT,made,{1 - error},3B")
    report = cherti.run(write(tmp_path / "made.csv", "\n".join(lines)), "made")
    assert report.quantities["clip.exponent_alpha"].value == pytest.approx(-0.07)
    assert report.quantities["clip.beta"].value == pytest.approx(2.5)
    assert report.warnings == ["openclip: 0 models have this benchmark, at least 2 are needed"]


def test_known_laws_of_loss_and_error_are_found_again() -> None:
    law, decay = (1.8, 200.0, 350.0, 0.13), (0.86, 2.2, 0.7)
    n = np.array([1e7, 8e7, 1.5e8, 4e8, 1e7])
    m = np.array([20.0, 20.0, 20.0, 20.0, 320.0])
    losses = gadre.loss(law, n, m)
    assert gadre.fit_loss(n, m, losses) == pytest.approx(law, rel=1e-4)
    assert gadre.fit_error(losses, gadre.error(decay, losses)) == pytest.approx(decay, rel=1e-4)


def test_what_is_wrong_with_a_table_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="table-unreadable"):
        cherti.run(tmp_path / "none.csv")
    with pytest.raises(BadInput) as caught:
        gadre.run(write(tmp_path / "a.csv", "train_dataset,model,N\n"))
    missing = {problem.message for problem in caught.value.problems}
    assert missing == {f"there is no column {name!r}" for name in ("M", "cc_mult", "loss_c4_val", "err_avg17")}
    with pytest.raises(BadInput, match="table-empty"):
        porian.run(write(tmp_path / "b.csv", ",".join(porian.COLUMNS)))
    row = "rw,base,long,kaplan,kaplan,train,1e16,1e6,4.5"
    one = write(tmp_path / "c.csv", f"{','.join(porian.COLUMNS)}\n{row}")
    with pytest.raises(BadInput, match=r"no row has dataset 'mars'.*there are: rw"):
        porian.run(one, "mars")
    assert porian.run(one).warnings == ["base.long.kaplan.kaplan.train: 0 budgets have an optimum inside their sizes"]


@pytest.mark.parametrize("name", ["cherti", "gadre", "porian"])
def test_order_extra_columns_and_broken_rows_of_a_table_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(cherti, "BOOTSTRAPS", 5)
    monkeypatch.setattr(porian, "BOOTSTRAPS", 100)
    path = oracle(*TABLES[name].parts)
    rows = published(path)
    broken = [row | dict.fromkeys(NUMBERS & row.keys(), value) for row, value in zip(rows, BROKEN, strict=False)]
    changed = tmp_path / "changed.csv"
    with changed.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["more", *reversed(rows[0])], restval="x")
        writer.writeheader()
        writer.writerows([*rows[::-1], *broken])
    benchmark = rows[0].get("downstream_dataset")
    expected, found = (run_recipe(name, table, None, benchmark) for table in (path, changed))
    assert found.quantities.keys() == expected.quantities.keys()
    for quantity, each in found.quantities.items():
        assert each.value == pytest.approx(expected.quantities[quantity].value, rel=1e-6), quantity
    assert "rows without usable numbers are left out" in " ".join(found.warnings) or name == "gadre"
    half = write(tmp_path / "half.csv", "\n".join(line[: len(line) // 2] for line in path.read_text().splitlines()))
    with pytest.raises(BadInput, match="table-column-missing"):
        run_recipe(name, half, None, None)


def test_a_figure_that_is_not_finite_is_a_warning() -> None:
    report = RecipeReport("made", {})
    report.add("good", 1.5, (1.0, 2.0))
    report.add("bad", float("nan"))
    assert report.to_json() == {
        "recipe": "made",
        "inputs": {},
        "quantities": {"good": {"value": 1.5, "lo": 1.0, "hi": 2.0}},
        "warnings": ["bad is not finite"],
    }


def test_the_command_prints_json_and_says_what_is_wrong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = str(oracle("cherti2022", "cherti_zeroshot_results.csv").resolve())
    monkeypatch.delenv("DATACOMP_ORACLES", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(cherti, "BOOTSTRAPS", 20)

    def scaling(*arguments: str) -> Result:
        return CliRunner().invoke(scaling_commands, ["recipe", *arguments])

    done = scaling("cherti", "--data", table, "--benchmark", "vtab", "--json")
    body = json.loads(done.stdout)
    assert list(body) == ["recipe", "inputs", "quantities", "warnings"]
    assert set(body["quantities"]["openclip.exponent_alpha"]) == {"value", "lo", "hi"}
    assert "openclip.in_sample_MAE  0.87" in scaling("cherti", "--data", table).stdout
    for arguments, code in (
        (("porian",), "table-not-named"),
        (("porian", "--benchmark", "avg17"), "option-unused"),
        (("cherti", "--data", table, "--dataset", "rpj"), "value-unknown"),
        (("gadre", "--data", table), "table-column-missing"),
        (("cherti", "--data", table, "--benchmark", "nope"), "value-unknown"),
    ):
        error = scaling(*arguments).exception
        assert isinstance(error, BadInput)
        assert error.problems[0].code == code
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "oracles").symlink_to(Path(table).parents[1])
    only = json.loads(scaling("cherti", "--dataset", "LAION-2B", "--json").stdout)
    assert only["inputs"]["dataset"] == "LAION-2B"
    assert "clip.exponent_alpha" not in only["quantities"]
