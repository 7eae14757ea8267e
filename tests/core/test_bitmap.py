"""Bitmaps of subsets: they stand for exactly one npy file, and nothing else passes for one."""

import hashlib
import io
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_pool import SmallPool

from datacomp import bitmap
from datacomp import uids as u
from datacomp.checks import check_file
from datacomp.client import sendable
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput

ROWS = 60
REUSED = settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
"""The folder may be the same for all examples: each writes its files anew."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("pool") / "small"
    SmallPool(rows=ROWS).write(directory)
    return ingest(directory, processes=1)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 16 positions: the small pool has four, the last one not full."""
    monkeypatch.setattr(bitmap, "WINDOW", 16)


def npy(uids: u.Uids) -> bytes:
    out = io.BytesIO()
    np.save(out, uids, allow_pickle=False)
    return out.getvalue()


def there_and_back(uids: u.Uids, pool: Pool, folder: Path) -> bytes:
    path, back = folder / "s.bitmap", folder / "back.npy"
    assert bitmap.write(path, uids, pool)
    bitmap.expand(path, pool, back)
    return back.read_bytes()


def refusal(path: Path, content: bytes, pool: Pool) -> str:
    """The code with which a file is refused."""
    path.write_bytes(content)
    with pytest.raises(BadInput) as error:
        bitmap.expand(path, pool, path.with_suffix(".out"))
    assert len(error.value.problems) == 1
    assert error.value.problems[0].hint
    return error.value.problems[0].code


def signed(content: bytes) -> bytes:
    """The same with a checksum that fits: what is wrong with the rest must be seen without it."""
    return content[:-32] + hashlib.sha256(content[:-32]).digest()


@REUSED
@given(rows=st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=150))
def test_any_subset_comes_back_as_its_own_npy(pool: Pool, small_windows: None, tmp_path: Path, rows: list[int]) -> None:
    subset = u.sort(np.asarray(pool.sorted_uids)[rows])
    assert there_and_back(subset, pool, tmp_path) == npy(subset)
    header = bitmap.verify(tmp_path / "s.bitmap")
    counts = Counter(rows)
    assert (header.rows, header.unique, header.counted) == (len(rows), len(counts), max(counts.values()) > 1)


def test_windows_do_not_change_a_byte(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    subset = u.sort(np.repeat(np.asarray(pool.sorted_uids)[::3], 2))
    assert bitmap.write(tmp_path / "one", subset, pool)
    monkeypatch.setattr(bitmap, "WINDOW", 8)
    assert bitmap.write(tmp_path / "many", subset, pool)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "many").read_bytes()


def test_the_layout_is_as_documented(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "s.bitmap"
    ordered = np.asarray(pool.sorted_uids)
    assert bitmap.write(path, u.sort(ordered[[0, 9, 9]]), pool)
    content = path.read_bytes()
    assert len(content) == 80 + 8 + 2 + 32
    assert content[:16] == b"\x93DCBITS\n" + b"\x01\x00" + b"\x01\x00" + bytes(4)
    assert content[16:48] == hashlib.sha256(npy(ordered)).digest()
    assert [int.from_bytes(content[at : at + 8], "little") for at in (48, 56, 64, 72)] == [60, 3, 2, 10]
    assert content[80:90] == bytes([1, 2, 0, 0, 0, 0, 0, 0]) + bytes([1, 2])
    assert content[90:] == hashlib.sha256(content[:90]).digest()


def test_pools_with_the_same_uids_are_the_same(pool: Pool, tmp_path: Path) -> None:
    SmallPool(rows=ROWS, shards=1, features=False).write(tmp_path / "other")
    other = ingest(tmp_path / "other", processes=1)
    assert other.manifest.digest != pool.manifest.digest
    assert bitmap.uids_digest(other) == bitmap.uids_digest(pool)
    # As a pack of before there was a column of uids in order tells it.
    columns = tuple(column for column in pool.manifest.columns if column.name != "uid_sorted")
    old = Pool(pool.directory, replace(pool.manifest, columns=columns))
    assert bitmap.uids_digest(old) == bitmap.uids_digest(pool)


def test_another_pool_is_refused(pool: Pool, tmp_path: Path) -> None:
    SmallPool(rows=ROWS, seed=1).write(tmp_path / "other")
    other = ingest(tmp_path / "other", processes=1)
    path = tmp_path / "s.bitmap"
    assert bitmap.write(path, np.asarray(other.sorted_uids)[:5], other)
    assert refusal(path, path.read_bytes(), pool) == "bitmap-pool"


def test_what_cannot_be_a_bitmap(pool: Pool, small_windows: None, tmp_path: Path) -> None:
    ordered = np.asarray(pool.sorted_uids)
    path = tmp_path / "s.bitmap"
    assert not bitmap.write(path, np.repeat(ordered[:2], [1, 256]), pool)
    assert not path.exists()
    assert bitmap.write(path, np.repeat(ordered[:2], [1, 255]), pool)
    with pytest.raises(BadInput, match="uids-empty"):
        bitmap.write(path, ordered[:0], pool)
    foreign = u.sort(np.concatenate([ordered[:3], u.from_hex(["0" * 32, "8" * 32, "f" * 32])]))
    with pytest.raises(BadInput, match="3 uids are not in the pool") as error:
        bitmap.write(path, foreign, pool)
    assert error.value.problems[0].where == "row 0"


def test_each_kind_of_damage_is_named(pool: Pool, tmp_path: Path) -> None:
    path = tmp_path / "s.bitmap"
    assert bitmap.write(path, np.asarray(pool.sorted_uids)[::2], pool)
    good = path.read_bytes()

    def changed(at: int, value: int) -> bytes:
        return good[:at] + bytes([value]) + good[at + 1 :]

    for content, code in (
        (b"", "header"),
        (good[:79], "header"),
        (b"\x93NUMPY" + good[6:], "header"),
        (changed(8, 2), "header"),  # version
        (changed(10, 2), "header"),  # form
        (changed(12, 1), "header"),  # reserved
        (good[:-1], "length"),
        (good + b"\0", "length"),
        (changed(72, 9), "length"),  # length of the payload
        (changed(48, 200), "length"),  # uids of the pool
        (changed(80, 0), "checksum"),
        (signed(changed(80, 0)), "counts"),  # other bits than rows
        (signed(changed(87, 0xF5)), "trailing"),  # bits 60 to 63
        (signed(changed(56, 31)), "header"),  # more rows than bits, without counts
        (signed(changed(64, 29)), "header"),
        (signed(changed(16, good[16] ^ 1)), "pool"),
    ):
        assert refusal(path, content, pool) == f"bitmap-{code}"
    none = good[:56] + bytes(16) + good[72:80] + bytes(8) + good[-32:]
    assert refusal(path, signed(none), pool) == "uids-empty"
    assert bitmap.write(path, u.sort(np.asarray(pool.sorted_uids)[[1, 2, 2, 2]]), pool)
    good = path.read_bytes()
    assert refusal(path, signed(changed(88, 0)), pool) == "bitmap-counts"
    assert refusal(path, signed(changed(89, 2)), pool) == "bitmap-counts"


@REUSED
@given(data=st.data())
def test_fuzzed_bitmaps_are_refused_or_stand_for_what_they_say(
    pool: Pool, small_windows: None, tmp_path: Path, data: st.DataObject
) -> None:
    path, out = tmp_path / "s.bitmap", tmp_path / "out.npy"
    rows = data.draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=80))
    assert bitmap.write(path, u.sort(np.asarray(pool.sorted_uids)[rows]), pool)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.one_of(st.none(), st.integers(0, len(content))))]
    content += data.draw(st.binary(max_size=20))
    path.write_bytes(signed(bytes(content)) if data.draw(st.booleans()) else bytes(content))
    try:
        header = bitmap.expand(path, pool, out)
    except BadInput:
        return
    found = u.read_subset(out)
    assert found.size == header.rows
    assert (u.find(found, pool.sorted_uids) >= 0).all()
    assert bitmap.write(path, found, pool), "what passes is what we would have written"
    assert out.read_bytes() == there_and_back(found, pool, tmp_path)


@REUSED
@given(content=st.binary(max_size=300))
def test_random_bytes_are_refused(pool: Pool, tmp_path: Path, content: bytes) -> None:
    assert refusal(tmp_path / "s.bitmap", bitmap.MAGIC + content, pool).startswith(("bitmap-", "uids-"))


def test_checks_offline_give_the_figures_of_the_npy(pool: Pool, tmp_path: Path) -> None:
    subset = u.sort(np.asarray(pool.uids)[[5, 5, 7, ROWS - 1, 0, 1]])
    plain, path = tmp_path / "s.npy", tmp_path / "s.bitmap"
    u.write_subset(plain, subset)
    assert bitmap.write(path, subset, pool)
    assert check_file(path, pool) == check_file(plain, pool)
    assert check_file(path, None) == check_file(plain, None)
    path.write_bytes(path.read_bytes()[:-1])
    assert [problem.code for problem in check_file(path, pool).problems] == ["bitmap-length"]


def test_the_client_sends_what_is_smaller_and_right(pool: Pool, tmp_path: Path) -> None:
    ordered = np.asarray(pool.sorted_uids)
    plain = tmp_path / "mine.npy"
    u.write_subset(plain, ordered[::2])
    with sendable(plain, pool.directory) as file:
        assert file.name == "mine.bitmap"
        bitmap.expand(file, pool, tmp_path / "back.npy")
    assert (tmp_path / "back.npy").read_bytes() == plain.read_bytes()
    code = tmp_path / "filter.py"
    code.write_text("pass")
    u.write_subset(tmp_path / "often.npy", np.repeat(ordered[:1], 300))
    u.write_subset(tmp_path / "foreign.npy", u.from_hex(["f" * 32]))
    for path, where, insist in (
        (plain, None, True),
        (code, pool.directory, True),
        (tmp_path / "often.npy", pool.directory, True),
        (tmp_path / "foreign.npy", pool.directory, False),
        (plain, tmp_path / "no-pool", False),
    ):
        with sendable(path, where, insist=insist) as file:
            assert file == path
    with pytest.raises(BadInput, match="uids-unknown"), sendable(tmp_path / "foreign.npy", pool.directory):
        pass
