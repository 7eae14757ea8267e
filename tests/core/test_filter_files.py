"""Filters by file and by name: parsed unrun, loaded when asked, and the commands over them."""

from pathlib import Path

import numpy as np
import pytest
from refusals import code_of

from datacomp.checks import check_file
from datacomp.commands.filter import run_filter
from datacomp.filtering import parse_filter_source
from datacomp.filtering.load import load_file, load_filter, make
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.uids import from_hex, open_subset, sort, write_subset

FILE = '''"""What it does."""
from datacomp.filtering import Filter

class Mine(Filter):
    columns = ("words",)
    rule = "score > 3"

    def __init__(self, least: int = 3, exact: bool = False, factor: float | None = None, word: str = "x"):
        self.values = (least, exact, factor, word)

    def score(self, batch):
        return batch["words"].astype("float32")
'''


def test_a_file_is_parsed_without_being_run_and_loaded_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    source = parse_filter_source(path.read_bytes(), path.name)
    assert (source.description, source.classes) == ("What it does.", ("Mine",))
    kind = load_file(path)
    assert make(kind, {"least": "5", "exact": "true", "factor": "0.5", "word": "y"}).values == (5, True, 0.5, "y")
    with pytest.raises(BadInput) as error:
        make(kind, {"least": "many", "more": "1"})
    assert {p.code for p in error.value.problems} == {"filter-parameter-type", "filter-parameter-unknown"}


@pytest.mark.parametrize(
    ("source", "code", "where"),
    [
        (b"def x(:\n", "filter-syntax", "f.py:1:"),
        (b"x = 1\n", "filter-class", "f.py"),
        (b"\x00", "filter-syntax", "f.py"),
        (b"x = " + b"(" * 5000, "filter-syntax", "f.py"),
        (b"#" * (1 << 20) + b"#", "filter-too-large", "f.py"),
        (b"# -*- coding: nonsense -*-\n", "filter-syntax", "f.py"),
    ],
)
def test_sources_that_are_refused_unrun(source: bytes, code: str, where: str) -> None:
    with pytest.raises(BadInput) as error:
        parse_filter_source(source, "f.py")
    assert code_of(error) == code
    assert error.value.problems[0].where.startswith(where)


def test_named_filters_are_found_and_unknown_ones_listed() -> None:
    assert make(type(load_filter("no_filter", {})), {}).rule == "score"
    with pytest.raises(BadInput, match=r"basic_filter, clip_score, .*no_filter, .*random_subset"):
        load_filter("best_filter", {})


def test_the_command_writes_the_subset_of_a_name_a_file_and_an_expression(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    out = tmp_path / "uids.npy"
    expected = sort(np.asarray(pool.uids)[np.asarray(pool.column("words")) > 3])
    for what in (str(path), "words > 3"):
        done = run_filter(what, pool.directory, out, {})
        assert np.array_equal(open_subset(out), expected)
        assert (done.rows_in, done.rows_kept) == (60, expected.size)
    path.write_text(FILE.replace('batch["words"]', "1 / 0 + batch"))
    with pytest.raises(BadInput, match=r"filter-raised: ZeroDivisionError: .*mine.py:12, in score"):
        run_filter(str(path), pool.directory, out, {})


# --- checks


def test_all_problems_of_a_subset_at_once(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "uids.npy"
    known = np.asarray(pool.sorted_uids)
    write_subset(path, np.repeat(known[:10], 2))
    result = check_file(path, pool).result
    assert (result.rows, result.unique, result.repeats) == (20, 10, 10)
    missing = int((~pool.available[pool.rows_of(known)]).sum())
    write_subset(path, known)
    assert check_file(path, pool).result.unavailable == missing == 2
    bad = np.concatenate([known[::-1], from_hex(["f" * 32])])
    np.save(path, bad)
    assert {p.code for p in check_file(path, pool).problems} == {"uids-unsorted", "uids-unknown"}
    assert all("uids.npy" in p.where for p in check_file(path, pool).problems)
    assert {p.code for p in check_file(path, None).problems} == {"uids-unsorted"}


def test_repeats_across_chunks_are_counted(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datacomp import checks

    monkeypatch.setattr(checks, "CHUNK", 3)
    path = tmp_path / "uids.npy"
    write_subset(path, np.repeat(np.asarray(pool.sorted_uids)[:4], 4))
    assert check_file(path, pool).result.repeats == 12
