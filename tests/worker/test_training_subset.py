"""Subset shards: the resharder's layout, repeats, missing images, bytes untouched, made once."""

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_pool import SmallPool

from datacomp.digests import digest_bytes
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput, PlatformFault
from datacomp.reshard.plan import SHARD_MORE
from datacomp.uids import from_hex, sort
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.subsets import Selection, SubsetShards, materialise, reshard, select


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("pool") / "small"
    SmallPool(rows=60, shards=3, features=False).write(directory)
    return ingest(directory, processes=1)


def hexes(pool: Pool) -> list[str]:
    from datacomp.uids import to_hex

    return to_hex(np.asarray(pool.uids))


def subset(pool: Pool, *rows: int):
    return sort(np.asarray(pool.uids)[list(rows)])


def read(directory: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(directory.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                found[member.name] = tar.extractfile(member).read()
    return found


def original(pool: Pool, uid: str) -> dict[str, bytes]:
    """Files of a sample in the pool's own tars, by extension."""
    for path in sorted((pool.directory / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            files = {member.name: tar.extractfile(member).read() for member in tar}
        for name, data in files.items():
            if name.endswith(".json") and json.loads(data)["uid"] == uid:
                stem = name.removesuffix(".json")
                return {key.partition(".")[2]: value for key, value in files.items() if key.startswith(f"{stem}.")}
    raise AssertionError(uid)


def test_layout_keys_repeats_and_bytes_are_the_resharders(pool: Pool, tmp_path: Path) -> None:
    uids = subset(pool, 2, 30, 30, 30, 41, 59)
    made = reshard(pool, uids, tmp_path / "out", shard_size=4)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    expected = ["00000000.tar", "00000000_stats.json", "00000001.tar", "00000001_stats.json"]
    assert names == [*expected, "index.npy", "meta.json", "sample_ids.npy"]
    stats = [json.loads((tmp_path / f"out/{n:08d}_stats.json").read_text()) for n in (0, 1)]
    assert stats == [{"successes": 4}, {"successes": 2}]
    meta = json.loads((tmp_path / "out/meta.json").read_text())
    assert (meta["output_shard_count"], meta["output_count"], meta["processed_count"]) == (2, 6, 58)
    assert meta["output_shard_format"].format(1) == "00000001.tar"
    assert (np.load(tmp_path / "out/sample_ids.npy") == uids).all()
    assert (made.samples, made.shards) == (6, 2)

    files, all_hex = read(tmp_path / "out"), hexes(pool)
    keys = [f"{all_hex[row]}-{j}" for row, times in ((2, 1), (30, 3), (41, 1), (59, 1)) for j in range(times)]
    assert list(files) == [f"{key}.{extension}" for key in keys for extension in ("jpg", "json", "txt")]
    for name, data in files.items():
        key, _, extension = name.partition(".")
        assert data == original(pool, key.partition("-")[0])[extension]


def test_the_index_points_at_image_and_caption(pool: Pool, tmp_path: Path) -> None:
    made = reshard(pool, subset(pool, 5, 6, 7, 50), tmp_path / "out", shard_size=3)
    files = iter(read(tmp_path / "out").items())
    for place in made.index:
        (_, image), _, (_, caption) = next(files), next(files), next(files)
        data = made.tar(place["shard"]).read_bytes()
        assert data[place["image_offset"] :][: place["image_size"]] == image
        assert data[place["text_offset"] :][: place["text_size"]] == caption
    assert len(made.index) == 4


def test_the_same_subset_gives_the_same_bytes(pool: Pool, tmp_path: Path) -> None:
    uids = subset(pool, *range(10, 40), 12, 12)
    for name in ("one", "two"):
        reshard(pool, uids, tmp_path / name, shard_size=10)
    names = {path.name for path in (tmp_path / "one").iterdir()} - {"meta.json"}  # it names the directory
    assert len(names) == 10
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_webp_and_png_samples_keep_every_file_whatever_its_order(tmp_path: Path) -> None:
    SmallPool(rows=6, shards=1, features=False, without_image=0).write(tmp_path / "pool")
    path = tmp_path / "pool/shards/00000000.tar"
    with tarfile.open(path) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}
    image = io.BytesIO()
    Image.new("RGB", (40, 32), "red").save(image, "PNG")
    with tarfile.open(path, "w") as tar:  # webdataset sorts by extension: json stands before png, txt after it
        for stem in sorted({name.partition(".")[0] for name in files}):
            parts = {
                "json": files[f"{stem}.json"],
                "png": image.getvalue(),
                "txt": files[f"{stem}.txt"],
                "x.y": b"more",
            }
            for extension, data in parts.items():
                member = tarfile.TarInfo(f"{stem}.{extension}")
                member.size, member.mtime = len(data), 1.5  # a fraction needs an extended header
                tar.addfile(member, io.BytesIO(data))
    pool = ingest(tmp_path / "pool", processes=1)
    reshard(pool, subset(pool, 1, 4), tmp_path / "out")
    assert {name.partition(".")[2] for name in read(tmp_path / "out")} == {"json", "png", "txt", "x.y"}
    assert read(tmp_path / "out")[f"{hexes(pool)[4]}-0.png"] == image.getvalue()


def test_samples_without_an_image_are_counted_and_left_out(pool: Pool) -> None:
    chosen = select(pool, subset(pool, 0, 0, 1, 5, 6, 6))
    assert (chosen.uids.size, chosen.unique, chosen.unavailable) == (3, 2, 3)
    assert chosen.digest == digest_bytes(subset(pool, 5, 6, 6).tobytes())


def test_a_subset_without_any_image_is_a_typed_error(pool: Pool) -> None:
    with pytest.raises(BadInput) as caught:
        select(pool, subset(pool, 0, 1))
    assert caught.value.problems[0].code == "subset-without-images"
    with pytest.raises(BadInput) as caught:
        select(pool, from_hex(["f" * 32]))
    assert caught.value.problems[0].code == "uids-unknown"


def test_a_rehearsal_takes_a_handful_evenly_spread(pool: Pool) -> None:
    whole = select(pool, pool.sorted_uids)
    few = select(pool, pool.sorted_uids, limit=8)
    assert few.uids.size == 8
    assert (few.uids[[0, -1]] == whole.uids[[0, -1]]).all()
    assert select(pool, few.uids, limit=8).digest == few.digest


def cache_of(scratch: Path, limit: int = 1 << 40) -> ShardCache:
    return ShardCache(scratch, limit)


def making(pool: Pool, selection: Selection, scratch: Path, limit: int = 1 << 40) -> SubsetShards:
    cache = cache_of(scratch, limit)
    with materialise(pool, selection, cache, report=lambda done, total: None, check=lambda: None) as shards:
        return shards


def folders(scratch: Path) -> list[str]:
    return sorted(path.name for path in (scratch / "subsets").iterdir() if path.is_dir())


def test_shards_are_made_once_and_again_after_a_killed_worker(pool: Pool, tmp_path: Path) -> None:
    selection = select(pool, subset(pool, 3, 9))
    first = making(pool, selection, tmp_path)
    stamp = (first.directory / "meta.json").stat().st_mtime_ns
    assert making(pool, selection, tmp_path) == first
    assert (first.directory / "meta.json").stat().st_mtime_ns == stamp
    first.directory.rename(first.directory.with_suffix(".part"))  # as if killed before the last step
    assert making(pool, selection, tmp_path) == first
    assert folders(tmp_path) == [first.directory.name]


def test_two_workers_that_want_the_same_shards_make_them_once(pool: Pool, tmp_path: Path) -> None:
    selection = select(pool, pool.sorted_uids)
    made, begun, go_on = [], threading.Event(), threading.Event()

    def slow(done: int, total: int) -> None:
        begun.set()
        assert go_on.wait(10)

    def first() -> None:
        with materialise(pool, selection, cache_of(tmp_path), report=slow, check=lambda: None) as shards:
            made.append(shards)

    thread = threading.Thread(target=first)
    thread.start()
    assert begun.wait(10)

    def must_not_make(done: int, total: int) -> None:
        raise AssertionError("made twice")

    with materialise(pool, selection, cache_of(tmp_path), report=must_not_make, check=go_on.set) as shards:
        made.append(shards)
    thread.join()
    assert made[0] == made[1]


def test_a_report_that_raises_stops_the_work_and_leaves_nothing(pool: Pool, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise InterruptedError

    selection = select(pool, pool.sorted_uids)
    with (
        pytest.raises(InterruptedError),
        materialise(pool, selection, cache_of(tmp_path), report=stop, check=lambda: None),
    ):
        raise AssertionError("made")
    assert not folders(tmp_path)


# --- the cache is bounded


def test_the_least_recently_used_leave_first_and_what_is_in_use_never(pool: Pool, tmp_path: Path) -> None:
    kept = [select(pool, subset(pool, row, row + 1)) for row in (2, 10, 20, 30)]
    first = making(pool, kept[0], tmp_path)
    each = sum(path.stat().st_size for path in first.directory.iterdir())
    limit = int(3.6 * each) + SHARD_MORE  # three, and what one more is expected to take
    with materialise(pool, kept[1], cache_of(tmp_path), report=lambda *_: None, check=lambda: None) as second:
        third = making(pool, kept[2], tmp_path, limit)
        for shards, hours in ((second, 3), (third, 1), (first, 2)):  # since their last use
            lock = shards.directory.with_suffix(".lock")
            os.utime(lock, (lock.stat().st_atime, time.time() - 3600 * hours))
        fourth = making(pool, kept[3], tmp_path, limit)
        assert folders(tmp_path) == sorted(s.directory.name for s in (second, third, fourth))
    making(pool, kept[0], tmp_path, limit=0)  # a limit that nothing fits keeps what is needed now, and that alone
    assert folders(tmp_path) == [first.directory.name]


def test_shards_that_do_not_fit_the_disk_are_refused_before_and_others_make_room(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = making(pool, select(pool, subset(pool, 3)), tmp_path)
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(PlatformFault) as caught:
        making(pool, select(pool, subset(pool, 4)), tmp_path)
    problem = caught.value.problems[0]
    assert (problem.code, "free" in problem.hint) == ("disk-short", True)
    assert not old.directory.exists()
    assert not folders(tmp_path)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from datacomp.pool import Pool
from datacomp.problems import PlatformFault
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.subsets import materialise, select

if __name__ == "__main__":
    pool = Pool.open(Path(sys.argv[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))  # a tar of them all takes more
    selection = select(pool, pool.sorted_uids)
    cache = ShardCache(Path(sys.argv[2]), 1 << 40)
    try:
        with materialise(pool, selection, cache, report=lambda *_: None, check=lambda: None):
            print("made")
    except PlatformFault as fault:
        print(fault.problems[0].code)
"""


def test_a_disk_that_fills_up_leaves_nothing_half_written(pool: Pool, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(pool.directory), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "disk-full"
    assert not folders(tmp_path)


# --- what the pack says is checked


@pytest.mark.parametrize("harm", ["gone", "cut", "overwritten"])
def test_a_pool_tar_that_no_longer_fits_the_pack_is_a_fault_of_ours(harm: str, tmp_path: Path) -> None:
    SmallPool(rows=12, shards=1, features=False).write(tmp_path / "pool")
    pool = ingest(tmp_path / "pool", processes=1)
    path = pool.tar_file(0)
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-512] if harm == "cut" else bytes(len(data)))
    with pytest.raises(PlatformFault) as caught:
        making(pool, select(pool, subset(pool, 4, 7)), tmp_path / "scratch")
    codes = {"gone": "tar-missing", "cut": "tar-changed", "overwritten": "tar-changed"}
    assert caught.value.problems[0].code == codes[harm]
    assert "restore the tar" in caught.value.problems[0].hint
