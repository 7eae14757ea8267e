"""Plain command lines are read without Typer, as Typer reads them; nothing heavy is imported for them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from small_pool import SmallPool
from typer.testing import CliRunner

from datacomp.cli import build_light, quick
from datacomp.cli import filter as command
from datacomp.pool import Extras, ingest
from datacomp.problems import BadInput

POOL = ["--pool", "p", "--out", "u.npy"]
PLAIN = [
    ["clip_score", "--arch", "l14", "--fraction", "0.3", *POOL],
    ["--pool=p", "clip_score", "--fraction=0.3", "--out=u.npy", "--target-features", "x.npy"],
    ["a > 1 and b == 'en'", "--dry-run", "--compare", "c.npy", "--pool", "p", "--engine", "ray", "--ray-address", "r"],
    ["my.py", "--pool", "p", "--out", "u.npy", "--size", "64", "extra", "--scale", "small"],
    ["no_filter"],
]
OTHERS = [
    [], ["--help"], ["no_filter", "-h"], ["no_filter", "--help"], ["--arch", "l14", "clip_score"],
    ["no_filter", "--out"], ["no_filter", "--out", "-x"], ["no_filter", "--threshold", "-1"],
    ["no_filter", "--dry-run=yes"], ["--", "no_filter"],
    ["no_filter", "--scale", "a", "--scale", "b"],
]  # fmt: skip


def _seen(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What the command gets, from whomever."""
    calls: list[dict] = []

    def run(what, pool_dir, *rest, **named):
        calls.append(
            {"what": what, "pool": pool_dir, "rest": rest, **{k: v for k, v in named.items() if k != "report"}}
        )
        raise KeyboardInterrupt

    monkeypatch.setattr("datacomp.commands.filter.run_filter", run)
    monkeypatch.setattr("datacomp.commands.filter.preview_filter", run)
    return calls


@pytest.mark.parametrize("words", PLAIN, ids=lambda words: words[0])
def test_plain_lines_are_read_as_typer_reads_them(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATACOMP_DATA_DIR", str(tmp_path))
    (tmp_path / "pools" / "tiny").mkdir(parents=True)
    calls = _seen(monkeypatch)
    by_typer = CliRunner().invoke(build_light(), ["filter", *words])
    call = quick.read(["filter", *words])
    assert call is not None
    with pytest.raises((KeyboardInterrupt, BadInput)) as caught:
        call()
    if isinstance(caught.value, BadInput):  # the same refusal
        assert str(caught.value) == str(by_typer.exception)
        return
    assert len(calls) == 2
    assert calls[0] == calls[1]


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_all_other_lines_are_left_to_typer(words: list[str]) -> None:
    assert quick.read(["filter", *words]) is None


def test_completion_is_left_to_typer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quick.read(["pool", "info", "p"]) is None
    monkeypatch.setenv(quick.COMPLETION, "complete_bash")
    assert quick.read(["filter", "no_filter"]) is None


def test_help_still_tells_every_option() -> None:
    shown = CliRunner().invoke(build_light(), ["filter", "--help"], env={"COLUMNS": "200"}).output
    assert all(option in shown for option in quick._Form.of(command.filter).options)


HEAVY = {"typer", "click", "rich", "pydantic", "pyarrow", "httpx", "fsspec", "importlib.metadata", "hashlib", "torch"}


@pytest.mark.parametrize(
    "what", [["clip_score", "--fraction", "0.3"], ["top_fraction(clip_b32_similarity_score, 0.3)"]]
)
def test_filtering_imports_nothing_heavy(what: list[str], tmp_path: Path) -> None:
    SmallPool(rows=30).write(tmp_path)
    ingest(tmp_path, processes=1, extras=Extras(language=False))
    told = "atexit.register(lambda: print(json.dumps(sorted(sys.modules))))"
    program = f"import atexit, json, sys, datacomp.cli as c; {told}; c.main()"
    words = ["filter", *what, "--pool", str(tmp_path), "--out", str(tmp_path / "u.npy")]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    said, modules = done.stdout.splitlines()
    assert said.startswith("kept 10 of 30 rows in ")
    assert not HEAVY & set(json.loads(modules))
    assert not done.stderr


def test_what_is_refused_is_shown_as_ever(tmp_path: Path) -> None:
    words = ["filter", "no_such", "--pool", str(tmp_path / "none"), "--out", "u.npy"]
    done = subprocess.run([sys.executable, "-m", "datacomp", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("pool-missing")
