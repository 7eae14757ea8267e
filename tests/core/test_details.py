"""`datacomp rescore` tells what probes gave at each number of shots, and the mean of scores centred at chance."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from datacomp.cli.suite import commands
from datacomp.records import record_schema
from datacomp.suite import Suite

SUITE = {
    "name": "s", "version": "1", "side_groups": ["probes"],
    "tasks": [
        {"key": "a", "name": "A", "kind": "zeroshot", "metric": "acc1", "group": "main", "chance": 0.5, "size": 4},
        {"key": "p", "name": "P", "kind": "probe", "metric": "acc1", "group": "probes", "counted": False, "classes": 2,
         "chance": 0.5, "size": 4, "probe": {"shots": [1, 0], "draws": 2}},
    ],
}  # fmt: skip


def write(directory: Path) -> tuple[Path, Path]:
    cells = [("a", -1, -1, 3), ("p", 1, 0, 1), ("p", 1, 1, 2), ("p", 0, 0, 4)]
    rows = [
        (task, item, "", 0, 0, 0 if item < right else 1, np.nan, "", "", shots, draw)
        for task, shots, draw, right in cells
        for item in range(4)
    ]
    columns = {name: [row[i] for row in rows] for i, name in enumerate(record_schema().names)}
    pq.write_table(pa.table(columns, schema=record_schema()), directory / "records.parquet")
    (directory / "s.json").write_text(json.dumps(SUITE))
    return directory / "records.parquet", directory / "s.json"


def test_rescoring_tells_shots_and_the_centred_mean(tmp_path: Path) -> None:
    records, suite = write(tmp_path)
    printed = CliRunner().invoke(commands, [str(records), "--suite", str(suite), "--json"])
    assert printed.exit_code == 0, printed.output
    found = json.loads(printed.stdout)
    assert (found["average"], found["centered"], found["groups"]) == (0.75, 0.5, {"main": 0.75, "probes": 0.6875})
    details = found["files"][0]["details"]
    assert details == {"p": {"1-shot": 0.375, "1-shot sd": pytest.approx(np.sqrt(0.03125)), "all": 1.0}}
    shown = CliRunner().invoke(commands, [str(records), "--suite", str(suite)]).stdout
    assert "1-shot sd" in shown
    assert "centred at chance 0.50000" in " ".join(shown.split())


def test_old_records_are_read_as_neither_varied_nor_probed(tmp_path: Path) -> None:
    from datacomp.scoring import score_records

    records, _ = write(tmp_path)
    table = pq.read_table(records).filter(pa.compute.field("task") == "a")
    pq.write_table(table.drop_columns(["variation", "shots", "draw"]), records)
    suite = Suite.model_validate({**SUITE, "tasks": SUITE["tasks"][:1]})
    assert score_records(records, suite)["a"].value == 0.75
