"""img2dataset with the guards in it: one download of everything that can go wrong, for real."""

import hashlib
import json
import tarfile
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gallery import SVG, animation, bomb, deep_png, gallery, picture
from PIL import Image

from datacomp.problems import PlatformFault
from datacomp_worker.download import Limits, Options, Space, outcomes, run_download
from datacomp_worker.download.driver import rows_done

LOOPBACK = Limits(
    seconds=2.0, connect_seconds=0.6, bytes=1 << 20, pixels=1_000_000, retries=1, allowed=("127.0.0.1/32",)
)
SMALL = Options(image_size=64, processes=1, threads=8, rows_per_shard=10, boxes="face_bboxes", check_hash="sha256")
GOOD = {
    "plain.jpg": picture(1), "large.png": picture(2, 400, "PNG"), "flaky": picture(3), "moving.gif": animation(),
    "cmyk.jpg": picture(4, mode="CMYK"), "deep.png": deep_png(), "grey.webp": picture(5, form="WEBP"),
}  # fmt: skip
BAD = {"drawing.svg": SVG, "bomb.png": bomb(), "cut.jpg": picture(6)[:700], "text.jpg": b"<html>no</html>"}
CAUSES = {
    "none": "http-404", "silent": "timeout", "slow": "timeout", "reset": "reset", "huge": "too-large",
    "endless": "too-large", "cut": "truncated", "drawing.svg": "not-an-image", "bomb.png": "too-many-pixels",
    "cut.jpg": "truncated", "text.jpg": "not-an-image", "noai.jpg": "robots", "changed.jpg": "replaced",
    "to/http://127.0.0.2:9/x": "address-private",
}  # fmt: skip


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory):
    """A gallery, downloaded: everything that is good and everything that is not."""
    folder = tmp_path_factory.mktemp("download")
    with gallery() as made:
        made.bodies |= GOOD | BAD | {"noai.jpg": picture(7), "changed.jpg": picture(8)}
        made.headers["noai.jpg"] = ("X-Robots-Tag", "other: all, noai")
        made.headers["noai.jpg"] = ("X-Robots-Tag", "noai")
        made.flaky["flaky"] = 1
        paths = [*GOOD, *CAUSES]
        write_urls(folder / "urls", made, paths)
        told: list[int] = []
        download(folder, told.append)
        asked = len(made.asked)
        download(folder, told.append)
        assert len(made.asked) == asked, "a second call must find everything done"
    return folder, paths, told


def write_urls(folder, made, paths):
    folder.mkdir(exist_ok=True)
    hashes = {path: hashlib.sha256(made.bodies.get(path, b"")).hexdigest() for path in paths}
    hashes["changed.jpg"] = hashlib.sha256(b"as it was").hexdigest()
    table = {
        "uid": [f"{i:032x}" for i in range(len(paths))],
        "url": [made.at(path) for path in paths],
        "text": [f"caption {path}" for path in paths],
        "face_bboxes": pa.array([[[0.0, 0.0, 0.5, 0.5]] if p == "large.png" else [] for p in paths],
                                pa.list_(pa.list_(pa.float64()))),
        "sha256": [hashes[path] for path in paths],
    }  # fmt: skip
    pq.write_table(pa.table(table), folder / "00000000.parquet")


def download(folder, report, **changes):
    how = {"space": Space(spare=0), "workdir": folder / "work", "report": report} | changes
    run_download(folder / "urls", folder / "shards", SMALL, LOOPBACK, **how)


def test_every_row_is_an_image_or_has_its_cause(downloaded):
    folder, paths, told = downloaded
    found = outcomes(folder / "shards")
    wanted = [CAUSES[path] for path in CAUSES]
    assert found.causes == {cause: wanted.count(cause) for cause in wanted}
    assert (found.rows, found.successes) == (len(paths), len(GOOD))
    assert told[-1] == rows_done(folder / "shards") == len(paths)


def test_images_are_there_resized_with_caption_and_uid(downloaded):
    folder, paths, _ = downloaded
    samples = {}
    for path in sorted((folder / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                data = tar.extractfile(member).read()
                samples.setdefault(member.name.partition(".")[0], {})[member.name.partition(".")[2]] = data
    by_path = {paths[int(json.loads(s["json"])["uid"], 16)]: s for s in samples.values()}
    assert set(by_path) == set(GOOD)
    for path, sample in by_path.items():
        about = json.loads(sample["json"])
        assert sample["txt"].decode() == f"caption {path}"
        assert about["sha256"] == hashlib.sha256(GOOD[path]).hexdigest()
    import io

    large = Image.open(io.BytesIO(by_path["large.png"]["jpg"]))
    assert large.size == (64, 64)
    deep = Image.open(io.BytesIO(by_path["deep.png"]["jpg"]))
    assert abs(deep.convert("L").getpixel((5, 5)) - 64) < 4


def test_faces_are_blurred(downloaded):
    import io

    import numpy as np

    folder, _, _ = downloaded
    for path in sorted((folder / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            names = [m.name for m in tar if m.name.endswith(".json")]
            for name in names:
                if json.loads(tar.extractfile(name).read())["caption"] == "caption large.png":
                    shown = np.asarray(Image.open(io.BytesIO(tar.extractfile(name[:-5] + ".jpg").read())), float)
                    plain = np.asarray(Image.open(io.BytesIO(GOOD["large.png"])).resize((64, 64)), float)
                    face, rest = np.abs(shown - plain)[:24, :24].mean(), np.abs(shown - plain)[44:, 44:].mean()
                    assert face > 2 * rest
                    return
    raise AssertionError("the image is missing")


def test_a_full_disk_ends_the_download(downloaded, tmp_path):
    folder, _, _ = downloaded
    (tmp_path / "urls").symlink_to(folder / "urls")
    with pytest.raises(PlatformFault, match="download-disk"):
        download(tmp_path, lambda done: None, space=Space(spare=1 << 60))
    (tmp_path / "shards" / "old.tar").write_bytes(b"x")
    with pytest.raises(PlatformFault, match="download-space"):
        download(tmp_path, lambda done: None, space=Space(most=0, spare=0))


def test_a_download_that_crashes_says_so(tmp_path):
    (tmp_path / "urls").mkdir()
    with pytest.raises(PlatformFault, match=r"download-failed.*No file found"):
        run_download(
            tmp_path / "urls", tmp_path / "shards", SMALL, replace(LOOPBACK),
            space=Space(spare=0), workdir=tmp_path / "work", report=lambda done: None,
        )  # fmt: skip
