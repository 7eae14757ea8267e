"""`datacomp pool download` against a gallery on loopback, as a user runs it: downloaded, checked, ingested."""

import hashlib
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gallery import gallery, picture

from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp_worker.download.metadata import fetch_metadata

ROWS = 6


def write_metadata(folder, made):
    """Two files of three rows: one image is gone, one is another one now."""
    folder.mkdir(parents=True)
    for number in range(2):
        rows = range(3 * number, 3 * number + 3)
        table = {
            "uid": [hashlib.md5(str(i).encode()).hexdigest() for i in rows],
            "url": [made.at(f"{i}.jpg") for i in rows],
            "text": [f"picture {i} of this gallery" for i in rows],
            "original_width": pa.array([48] * 3, pa.int32()),
            "original_height": pa.array([48] * 3, pa.int32()),
            "clip_l14_similarity_score": pa.array([0.3] * 3, pa.float32()),
            "face_bboxes": pa.array([[]] * 3, pa.list_(pa.list_(pa.float64()))),
            "sha256": [hashlib.sha256(picture(i)).hexdigest() for i in rows],
        }
        pq.write_table(pa.table(table), folder / f"{number:08d}.parquet")


def run(directory, source, *options):
    command = [
        sys.executable, "-m", "datacomp", "pool", "download", "--data-dir", str(directory), "--metadata", str(source),
        "--processes", "1", "--threads", "4", "--rows-per-shard", "3", "--keep-free", "0", "--timeout", "3",
        "--allow-network", "127.0.0.1/32", *options,
    ]  # fmt: skip
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=200, env=os.environ | {"COLUMNS": "200"}
    )


def test_a_pool_is_downloaded_and_ingested(tmp_path):
    directory = tmp_path / "pool"
    with gallery() as made:
        made.bodies |= {f"{i}.jpg": picture(i) for i in range(ROWS) if i != 1} | {"4.jpg": picture(99)}
        write_metadata(tmp_path / "source" / "part", made)
        done = run(directory, f"file://{tmp_path / 'source'}")
        assert done.returncode == 0, done.stderr
        asked = [path for _, path in made.asked]
    assert len(asked) == ROWS, "every image is asked for once"
    assert "4 of 6 images are here" in done.stdout
    assert "http-404" in done.stdout
    assert "replaced" in done.stdout
    pool = Pool.open(directory)
    assert pool.available.tolist() == [True, False, True, True, False, True]
    assert pool.column("available").tolist() == [1, 0, 1, 1, 0, 1]
    assert pool.column("replaced").tolist() == [0, 0, 0, 0, 1, 0]
    assert {"available", "replaced"} <= {column.name for column in pool.manifest.columns}


def test_metadata_sources_that_do_not_do(tmp_path):
    silent = lambda *_: None  # noqa: E731
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="metadata-missing"):
        fetch_metadata(str(tmp_path / "empty"), "small", tmp_path / "out", features=False, report=silent)
    for part in "ab":
        (tmp_path / "twice" / part).mkdir(parents=True)
        (tmp_path / "twice" / part / "0.parquet").write_bytes(b"x")
    with pytest.raises(BadInput, match="metadata-twice"):
        fetch_metadata(str(tmp_path / "twice"), "small", tmp_path / "out", features=False, report=silent)
    with pytest.raises(PlatformFault, match="metadata-unreachable"):
        fetch_metadata("nosuch://x", "small", tmp_path / "out", features=False, report=silent)


def test_features_come_when_they_are_wanted(tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("0.parquet", "0.npz", "readme.md"):
        (tmp_path / "in" / name).write_bytes(b"x")
    silent = lambda *_: None  # noqa: E731
    assert fetch_metadata(str(tmp_path / "in"), "small", tmp_path / "a", features=False, report=silent) == 1
    assert [p.name for p in sorted((tmp_path / "a").iterdir())] == ["0.parquet"]
    fetch_metadata(str(tmp_path / "in"), "small", tmp_path / "b", features=True, report=silent)
    assert [p.name for p in sorted((tmp_path / "b").iterdir())] == ["0.npz", "0.parquet"]
