"""Resharding: the original's layout, the same whatever the workers, resumed after a kill."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reshard_site import Site, code_of
from typer.testing import CliRunner

from datacomp.cli import build_light
from datacomp.pool import ingest
from datacomp.problems import BadInput
from datacomp.reshard import reshard
from datacomp.reshard.plan import ROW, SHARD_BYTES, read_plan
from datacomp.uids import UID_DTYPE, to_hex


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_layout_keys_order_and_bytes(site: Site) -> None:
    made = site.reshard(site.subset(3, 17, 17, 17, 30, 31, more=["0" * 32]), shard_size=4)
    assert (made.output_count, made.output_shard_count, made.processed_count, made.missing_count) == (6, 2, 40, 1)
    names = sorted(path.name for path in (site.place / "out").iterdir())
    shards = [f"{n:08d}{end}" for n in (0, 1) for end in (".tar", "_stats.json")]
    assert names == [*shards, "meta.json", "missing.npy", "sample_ids.npy"]
    stats = [json.loads((site.place / f"out/{n:08d}_stats.json").read_text()) for n in (0, 1)]
    assert stats == [{"successes": 4}, {"successes": 2}]
    assert (site.place / "out/sample_ids.npy").read_bytes() == (site.place / "subset.npy").read_bytes()
    assert to_hex(np.load(site.place / "out/missing.npy")) == ["0" * 32]
    meta = json.loads((site.place / "out/meta.json").read_text())
    wanted = {"output_shard_count": 2, "output_count": 6, "processed_count": 40, "output_shard_format": "{:08d}.tar"}
    assert {name: meta[name] for name in wanted} == wanted

    expected = {}
    for row, times in ((3, 1), (17, 3), (30, 1), (31, 1)):
        for j in range(times):
            key = f"{to_hex(site.uids[row : row + 1])[0]}-{j}"
            expected |= {f"{key}.{extension}": data for extension, data in sorted(site.source(row).items())}
    assert list(site.files().items()) == list(expected.items())


def test_the_number_of_workers_changes_nothing(site: Site) -> None:
    subset = site.subset(*range(0, 40, 2), 8, 8)
    for out, workers in (("one", 1), ("three", 3)):
        site.reshard(subset, out, workers=workers, shard_size=5)
    for path in (site.place / "one").glob("0*"):
        assert path.read_bytes() == (site.place / "three" / path.name).read_bytes()
    assert len(list((site.place / "three").glob("*.tar"))) == 5


def test_odd_tars_are_read_as_webdataset_reads_them(site: Site) -> None:
    long = "d" * 120
    path = site.shards / "00000001.tar"
    parts = {"json": b'{"uid":"%s"}' % (b"a" * 32), "JPG": b"image", "txt": b"text", "seg.png": b"more"}
    other = {"json": b'{"nested": {"uid": "x"}, "uid": "%s"}' % (b"b" * 32), "txt": b"two"}
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for stem, files in (("./x/" + long, parts), ("001", {"txt": b"no json"}), ("__meta__", other), ("002", other)):
            for extension, data in files.items():
                member = tarfile.TarInfo(f"{stem}.{extension}")
                member.size, member.mtime = len(data), 1.5
                tar.addfile(member, io.BytesIO(data))
        folder = tarfile.TarInfo("folder.d")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    with tarfile.open(site.shards / "00000002.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        for name, data in ((f"{long}.txt", b"gnu"), (f"{long}.json", b'{"uid": "%s"}' % (b"c" * 32))):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    made = site.reshard(site.subset(1, more=["a" * 32, "b" * 32, "c" * 32]))
    assert (made.output_count, made.missing_count) == (4, 0)
    assert (made.skipped_count, made.duplicate_count) == (1, 1)
    files = site.files()
    expected = {f"{'a' * 32}-0.{extension.lower()}": data for extension, data in parts.items()}
    expected |= {f"{'b' * 32}-0.{extension}": data for extension, data in other.items()}
    expected |= {f"{'c' * 32}-0.txt": b"gnu", f"{'c' * 32}-0.json": b'{"uid": "%s"}' % (b"c" * 32)}
    assert {name: data for name, data in files.items() if name[0] in "abc" and name[1] == name[0]} == expected


def test_a_sample_that_comes_twice_is_copied_once(site: Site) -> None:
    (site.shards / "00000009.tar").write_bytes((site.shards / "00000000.tar").read_bytes())
    made = site.reshard(site.subset(0, 1, 1))
    assert (made.output_count, made.duplicate_count) == (3, 2)
    assert len(site.files()) == 9


KILLED = """
import sys, time
from pathlib import Path
from datacomp.reshard import reshard, run
if sys.argv[1] == "slow":
    def report(what, done, total):
        print(what, flush=True)
        time.sleep(0.3 if what == "writing" else 0)
else:
    report = run.silent
if __name__ == "__main__":
    a = [Path(p) for p in sys.argv[2:6]]
    print(reshard(a[0], a[1], a[2], cache=a[3], workers=int(sys.argv[6]), shard_size=2, report=report))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_resharding_goes_on_with_the_shards_that_are_missing(site: Site, workers: int) -> None:
    subset = site.subset(*range(40))
    site.reshard(subset, "whole", shard_size=2)
    script = site.place / "killed.py"
    script.write_text(KILLED)
    out = site.place / "out"
    command = [sys.executable, script, "slow", site.shards, subset, out, site.place / "cache", str(workers)]
    child = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*_stats.json"))) < 4:
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    time.sleep(0.3)  # its own processes end with it
    finished = {path: path.stat().st_mtime_ns for path in out.glob("0*.tar") if _has_stats(path)}
    assert len(finished) >= 4
    assert not (out / "meta.json").exists()
    (out / "00000019.part").write_bytes(b"half a shard")

    made = site.reshard(subset, shard_size=2)
    assert made.output_count == 40
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    assert {p.name for p in out.iterdir()} == {p.name for p in (site.place / "whole").iterdir()}
    for path in out.glob("0*"):
        assert path.read_bytes() == (site.place / "whole" / path.name).read_bytes()


def _has_stats(path: Path) -> bool:
    return path.with_name(f"{path.stem}_stats.json").exists()


def test_a_finished_resharding_is_not_repeated(site: Site) -> None:
    subset = site.subset(1, 2)
    first = site.reshard(subset)
    stamp = (site.place / "out/00000000.tar").stat().st_mtime_ns
    assert site.reshard(subset) == first
    assert (site.place / "out/00000000.tar").stat().st_mtime_ns == stamp


def test_another_run_never_mixes_with_what_is_there(site: Site) -> None:
    site.reshard(site.subset(1, 2))
    assert code_of(lambda: site.reshard(site.subset(3, name="b.npy"))) == "out-not-empty"
    assert code_of(lambda: site.reshard(site.place / "subset.npy", shard_size=3)) == "out-not-empty"
    (site.place / "other").mkdir()
    (site.place / "other/file").write_text("mine")
    assert code_of(lambda: site.reshard(site.place / "subset.npy", "other")) == "out-not-empty"


def test_what_is_wrong_with_the_input_is_said(site: Site) -> None:
    subset = site.subset(1, 2)
    assert code_of(lambda: site.reshard(site.subset(more=["e" * 32], name="e.npy"))) == "subset-not-in-shards"
    assert code_of(lambda: reshard(site.place, subset, site.place / "o", cache=site.place)) == "shards-missing"
    path = site.shards / "00000002.tar"
    data = path.read_bytes()
    path.write_bytes(data[:3000])
    with pytest.raises(BadInput) as caught:
        site.reshard(subset, "cut")
    assert caught.value.problems[0].code == "tar-damaged"
    assert caught.value.problems[0].where == str(path)
    path.write_bytes(b"x" * 10240)
    assert code_of(lambda: site.reshard(subset, "noise")) == "tar-damaged"


def test_shards_close_at_the_byte_limit_too(tmp_path: Path) -> None:
    third = SHARD_BYTES // 3 + 1
    rows = np.zeros(4, ROW)
    rows["size"], rows["end"] = [third, third, third, 5], [1, 5, 7, 8]
    rows.tofile(tmp_path / "plan")
    plan = read_plan(tmp_path / "plan", 4)
    assert plan.begins.tolist() == [0, 3, 6, 8]  # three thirds fill a tar
    assert [plan.shard(n) for n in range(3)] == [[(0, 0, 1), (1, 0, 2)], [(1, 2, 2), (2, 0, 1)], [(2, 1, 1), (3, 0, 1)]]
    assert rows["uid"].dtype == UID_DTYPE


def test_samples_without_metadata_are_counted_and_wrong_metadata_is_refused(site: Site) -> None:
    (site.metadata / "00000003.parquet").unlink()
    made = site.reshard(site.subset(0, 39), metadata=site.metadata)
    assert (made.without_metadata_count, made.output_count) == (1, 2)
    pq.write_table(pa.table({"uid": ["a" * 32]}), site.metadata / "00000003.parquet")
    again = lambda: site.reshard(site.place / "subset.npy", "b", metadata=site.metadata)  # noqa: E731
    assert code_of(again) == "metadata-without-faces"


def test_the_command_says_what_it_did(site: Site) -> None:
    arguments = ["--shards", site.shards, "--subset", site.subset(1, 2, more=["0" * 32]), "--out", site.place / "o"]
    command = ["reshard", *map(str, arguments), "--index", str(site.place / "cache"), "--workers", "1"]
    result = CliRunner().invoke(build_light(), command)
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "wrote 2 samples in 1 shards" in text
    assert "1 uids of the subset are in no tar" in text
    refused = CliRunner().invoke(build_light(), [*command, "--blur-faces"])
    assert isinstance(refused.exception, BadInput)
    ingest(site.place / "pool", processes=1)
    pooled = ["reshard", "--pool", str(site.place / "pool"), *command[3:5], "--out", str(site.place / "p")]
    assert "wrote 2 samples" in " ".join(CliRunner().invoke(build_light(), pooled).output.split())
    neither = CliRunner().invoke(build_light(), ["reshard", *command[3:7]])
    assert neither.exception.problems[0].code == "option-missing"
