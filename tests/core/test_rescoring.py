"""Scores of records at hand are those of the server's functions; files are named when they do not fit."""

import json
from pathlib import Path

import pytest
from mini_suite import SUITE, records
from typer.testing import CliRunner

from datacomp.cli import build
from datacomp.problems import BadInput
from datacomp.rescoring import rescore
from datacomp.suite import Suite

MINI = Suite.model_validate(SUITE)


def test_one_file_a_seed_and_means_over_them(tmp_path: Path) -> None:
    for seed, right in enumerate((2, 6)):
        (tmp_path / f"seed-{seed}").mkdir()
        (tmp_path / f"seed-{seed}" / "records.parquet").write_bytes(records(right, shift=8))
    found = rescore(tmp_path, MINI)
    assert [one.average for one in found.files] == [0.625, 0.875]
    assert (found.average, found.main, found.groups) == (0.75, 0.5, {"main": 0.5, "shift": 1.0})
    assert found.tasks == {"mini/colours": 0.5, "mini/shift": 1.0, "mini/uncounted": 0.5}
    assert found.suite_digest == MINI.digest


def test_everything_that_does_not_fit_is_named(tmp_path: Path) -> None:
    (tmp_path / "good.parquet").write_bytes(records(2))
    (tmp_path / "short.parquet").write_bytes(records(2, items=4))
    (tmp_path / "torn.parquet").write_bytes(records(2)[:-5])
    with pytest.raises(BadInput) as wrong:
        rescore(tmp_path, MINI)
    named = {(problem.where or "").partition(":")[0] for problem in wrong.value.problems}
    assert named == {"short.parquet", "torn.parquet"}
    for nowhere in (tmp_path / "none.parquet", tmp_path / "none"):
        with pytest.raises(BadInput, match="records-missing"):
            rescore(nowhere, MINI)


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "mini.json").write_text(json.dumps(SUITE))
    (tmp_path / "records.parquet").write_bytes(records(6, shift=2))
    arguments = ["rescore", str(tmp_path / "records.parquet"), "--suite", str(tmp_path / "mini.json")]
    told = CliRunner().invoke(build(), [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(told.stdout)["average"] == 0.5
    shown = CliRunner().invoke(build(), arguments, catch_exceptions=False)
    assert "average 0.50000" in shown.output
