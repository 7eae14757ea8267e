"""Packing, ordering, looking up and reading sample ids."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacomp import uids as u
from datacomp.problems import BadInput

hex_uid = st.text("0123456789abcdef", min_size=32, max_size=32)


def reference(strings: list[str]) -> np.ndarray:
    return np.array([(int(s[:16], 16), int(s[16:], 16)) for s in strings], u.UID_DTYPE)


@given(st.lists(hex_uid, max_size=20))
def test_packing_agrees_with_the_original_formula_and_round_trips(strings: list[str]) -> None:
    packed = u.from_hex(strings)
    assert packed.dtype == u.UID_DTYPE
    assert packed.tolist() == reference(strings).tolist()
    assert u.to_hex(packed) == strings


@given(st.lists(hex_uid, max_size=30))
def test_sort_is_numpys_sort(strings: list[str]) -> None:
    packed = u.from_hex(strings)
    assert u.sort(packed).tolist() == np.sort(packed).tolist()


@given(st.lists(st.tuples(st.integers(2**63, 2**63 + 40), st.integers(0, 3)), max_size=60))
def test_order_is_stable_whichever_bits_decide(pairs: list[tuple[int, int]]) -> None:
    expected = sorted(range(len(pairs)), key=lambda row: (pairs[row], row))
    assert u.order(np.array(pairs, u.UID_DTYPE)).tolist() == expected


@given(st.lists(st.sampled_from([f"{h:016x}{low:016x}" for h in (0, 1, 2**64 - 1) for low in (0, 1, 5)]), max_size=12))
def test_find_locates_present_and_absent_uids_even_where_high_halves_collide(strings: list[str]) -> None:
    hay = u.sort(u.from_hex(strings))
    needles = u.from_hex([f"{h:016x}{low:016x}" for h in (0, 1, 2, 2**64 - 1) for low in (0, 1, 4, 5)])
    for needle, at in zip(needles.tolist(), u.find(needles, hay).tolist(), strict=True):
        rows = [i for i, row in enumerate(hay.tolist()) if row == needle]
        assert at == (rows[0] if rows else -1)


def test_sliced_and_chunked_arrow_strings_pack_like_lists() -> None:
    strings = [f"{i:032x}" for i in range(9)]
    chunked = pa.chunked_array([pa.array(strings).slice(2, 3), pa.array(strings).slice(5, 2)])
    assert u.to_hex(u.from_hex(chunked)) == strings[2:7]


@pytest.mark.parametrize(("strings", "row"), [(["0" * 32, "0" * 31], 1), (["g" + "0" * 31], 0), (["é" + "0" * 31], 0)])
def test_malformed_uids_are_refused_with_their_row(strings: list[str], row: int) -> None:
    with pytest.raises(BadInput) as error:
        u.from_hex(strings)
    assert error.value.problems[0].where == f"row {row}"


def code_of(path: Path) -> str:
    with pytest.raises(BadInput) as error:
        u.read_subset(path)
    return error.value.problems[0].code


def test_each_bad_subset_file_has_its_own_code(tmp_path: Path) -> None:
    good = u.sort(u.from_hex([f"{i:032x}" for i in range(100)]))
    path = tmp_path / "s.npy"

    np.save(path, good)
    assert u.read_subset(path).tolist() == good.tolist()
    np.save(path, good[::-1])
    assert code_of(path) == "uids-unsorted"
    np.save(path, good[:0])
    assert code_of(path) == "uids-empty"
    np.save(path, np.arange(5))
    assert code_of(path) == "uids-dtype"
    np.save(path, good.reshape(10, 10))
    assert code_of(path) == "uids-shape"
    np.save(path, np.array(["a", None], object), allow_pickle=True)
    assert code_of(path) == "uids-object"
    np.save(path, good)
    path.write_bytes(path.read_bytes()[:-7])
    assert code_of(path) == "uids-truncated"
    path.write_bytes(b"\x93NUMPY\x01\x00garbage")
    assert code_of(path) == "uids-format"
    path.write_bytes(b"hello, world, this is text")
    assert code_of(path) == "uids-format"
    assert code_of(tmp_path / "absent.npy") == "uids-missing"


def test_raw_memmap_of_uids_is_accepted(tmp_path: Path) -> None:
    good = u.sort(u.from_hex([f"{i:032x}" for i in range(10)]))
    (tmp_path / "s.npy").write_bytes(good.tobytes())
    assert u.read_subset(tmp_path / "s.npy").tolist() == good.tolist()


def test_unsorted_positions_are_found_across_chunk_borders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(u, "CHUNK", 4)
    rows = u.from_hex([f"{i:032x}" for i in (0, 1, 2, 9, 3, 4, 5, 5, 1)])
    (problem,) = u.check_subset(rows)
    assert (problem.code, problem.where) == ("uids-unsorted", "row 4")
    assert problem.message.startswith("2 rows")


def test_repeats_are_counted() -> None:
    assert u.repeats(u.from_hex([f"{i:032x}" for i in (0, 0, 0, 1, 2, 2)])) == 3
    assert u.repeats(u.from_hex([])) == 0
