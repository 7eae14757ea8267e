"""Subset operations against counting in plain Python; lookups in mapped files."""

from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from datacomp import subsets
from datacomp import uids as u
from datacomp.cli import build_light

FEW = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12)


def array(pairs) -> np.ndarray:
    return u.sort(np.array(pairs, u.UID_DTYPE))


def counts(array) -> Counter:
    return Counter(array.tolist())


@given(FEW, FEW)
@settings(max_examples=200, deadline=None)
def test_operations_follow_the_rules_of_multisets(one, other) -> None:
    a, b = array(one), array(other)
    made = {name: operation(a, b) for name, operation in subsets.OPERATIONS.items()}
    assert counts(made["union"]) == counts(a) | counts(b)
    assert counts(made["intersect"]) == counts(a) & counts(b)
    assert counts(made["difference"]) == Counter({k: n for k, n in counts(a).items() if k not in counts(b)})
    for result in made.values():
        assert result.dtype == u.UID_DTYPE
        assert not u.descents(result).size
    found = subsets.overlap(a, b)
    assert (found.rows_both, found.unique_both) == ((counts(a) & counts(b)).total(), len(set(one) & set(other)))
    assert (found.unique_a, found.unique_b) == (len(set(one)), len(set(other)))
    either = len(set(one) | set(other))
    assert found.jaccard == (found.unique_both / either if either else 0)


@given(FEW, FEW, st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_windows_change_nothing(one, other, window) -> None:
    a, b = array(one), array(other)
    whole = {name: operation(a, b).tolist() for name, operation in subsets.OPERATIONS.items()}
    figures = subsets.overlap(a, b)
    with mock.patch.object(subsets, "WINDOW", window):
        for name, expected in whole.items():
            pieces = list(subsets.stream(name, a, b))
            assert [uid for piece in pieces for uid in piece.tolist()] == expected
        assert subsets.overlap(a, b) == figures


def test_a_saved_stream_is_what_numpy_saves(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    uids = u.sort(rng.integers(0, 1 << 63, (12_345, 2), np.uint64).view(u.UID_DTYPE).reshape(-1))
    assert subsets.save(tmp_path / "a.npy", np.array_split(uids, 7)) == uids.size
    u.write_subset(tmp_path / "b.npy", uids)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


@given(FEW, FEW)
@settings(max_examples=100, deadline=None)
def test_merge_and_place_are_numpys(one, other) -> None:
    a, b = array(one), array(other)
    assert subsets.merge(a, b).tolist() == sorted(one + other)
    assert u.place(b, a).tolist() == [sum(x < y for x in one) for y in b.tolist()]
    assert u.bisect(b, a, "right").tolist() == [sum(x <= y for x in one) for y in b.tolist()]


@pytest.mark.parametrize("high", [1 << 62, 7])
@pytest.mark.parametrize("share", [0.5, 0.001])
def test_large_lookups_agree_with_a_dictionary(high: int, share: float) -> None:
    rng = np.random.default_rng(0)
    pairs = np.stack([rng.integers(0, high, 60_000), rng.integers(0, 50_000, 60_000)], 1).astype(np.uint64)
    haystack = u.sort(pairs.view(u.UID_DTYPE).reshape(-1))
    chosen = rng.integers(0, haystack.size, int(haystack.size * share))
    needles = np.concatenate([haystack[chosen], u.from_hex(["0" * 32, "f" * 32])])
    first: dict = {}
    for place, uid in enumerate(haystack.tolist()):
        first.setdefault(uid, place)
    for ordered in (needles, u.sort(needles)):
        assert u.find(ordered, haystack).tolist() == [first.get(uid, -1) for uid in ordered.tolist()]


def test_lookups_in_a_mapped_file_can_let_go_of_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    uids = u.sort(rng.integers(0, 1 << 63, (200_000, 2), np.uint64).view(u.UID_DTYPE).reshape(-1))
    u.write_subset(tmp_path / "a.npy", uids)
    mapped = u.open_subset(tmp_path / "a.npy")

    def resident() -> int:
        text = Path("/proc/self/smaps").read_text()
        part = text.partition(str(tmp_path / "a.npy"))[2]
        return int(part.partition("Rss:")[2].split()[0]) * 1024

    assert (u.find(uids, mapped) == np.arange(uids.size)).all()
    assert resident() > uids.nbytes // 2
    u.release(mapped[10:20])
    assert resident() < uids.nbytes // 10
    assert (mapped == uids).all()
    u.release(uids)  # not mapped: nothing happens


def test_the_commands(tmp_path: Path) -> None:
    a, b, out = (tmp_path / name for name in ("a.npy", "b.npy", "out.npy"))
    u.write_subset(a, array([(1, 1), (1, 1), (2, 0)]))
    u.write_subset(b, array([(1, 1), (3, 0)]))
    runner = CliRunner()
    for name, rows in (("union", 4), ("intersect", 1), ("difference", 1)):
        result = runner.invoke(build_light(), ["subset", name, str(a), str(b), "--out", str(out)])
        assert result.exit_code == 0, result.output
        assert f"{name}: {rows} rows" in result.output
        assert np.load(out).size == rows
    text = " ".join(runner.invoke(build_light(), ["subset", "overlap", str(a), str(b)]).output.split())
    assert "in both 1 different uids, 1 rows" in text
    assert "of A in B 50.00%" in text
    assert "Jaccard 0.3333" in text
