"""Faces are blurred on the way, as the original blurs them."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from reshard_site import Site

from datacomp.reshard.blur import blur_faces
from datacomp.uids import to_hex


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


BOXES = [[0.1, 0.1, 0.4, 0.5], [0.6, 0.5, 0.8, 0.9]]


def test_only_samples_with_faces_are_changed(tmp_path: Path) -> None:
    boxes = pa.array([BOXES if row in (2, 25) else [] for row in range(40)], pa.list_(pa.list_(pa.float64())))
    site = Site(tmp_path, face_bboxes=boxes)
    made = site.reshard(site.subset(2, 2, 3, 25), metadata=site.metadata)
    assert (made.blur_count, made.output_count, made.without_metadata_count, made.dropped_count) == (2, 4, 0, 0)
    files, names = site.files(), to_hex(site.uids)
    for row, copies in ((2, 2), (25, 1)):
        source = site.source(row)
        for copy in range(copies):
            assert files[f"{names[row]}-{copy}.webp"] == blur_faces(source["jpg"], BOXES)
            assert files[f"{names[row]}-{copy}.txt"] == source["txt"]
            assert f"{names[row]}-{copy}.jpg" not in files
    assert files[f"{names[3]}-0.jpg"] == site.source(3)["jpg"]


def test_blur_reaches_the_enlarged_boxes_and_nothing_far_from_them() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (200, 200, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    with Image.open(io.BytesIO(blur_faces(out.getvalue(), [[0.2, 0.2, 0.4, 0.4]]))) as blurred:
        assert blurred.format == "WEBP"
        after = np.asarray(blurred.convert("RGB"), np.float64)
    kept = np.asarray(pixels, np.float64)

    def contrast(picture: np.ndarray, rows: slice) -> float:
        return float(picture[rows, rows].std())

    assert contrast(after, slice(45, 75)) < 0.2 * contrast(kept, slice(45, 75))  # the box itself
    assert contrast(after, slice(37, 41)) < 0.6 * contrast(kept, slice(37, 41))  # enlarged by a tenth: from 36 on
    far = slice(120, 200)
    assert contrast(after, far) > 0.6 * contrast(kept, far)  # WebP loses some of pure noise


def test_an_image_with_faces_that_cannot_be_blurred_is_left_out(tmp_path: Path) -> None:
    boxes = pa.array([BOXES if row == 0 else [] for row in range(40)], pa.list_(pa.list_(pa.float64())))
    site = Site(tmp_path, face_bboxes=boxes)
    path = site.shards / "00000000.tar"
    data = path.read_bytes()
    path.write_bytes(data.replace(data[512:700], bytes(188), 1))  # the first image's header
    made = site.reshard(site.subset(0, 1), metadata=site.metadata)
    assert (made.output_count, made.dropped_count) == (1, 1)
    assert json.loads((site.place / "out/00000000_stats.json").read_text()) == {"successes": 1}
