"""Datasets of several sources: tars by address, images by address, samples of the pool, each drawn by its weight."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from gallery import SVG, bomb, gallery, picture
from small_pool import SmallPool
from stage_job import dataset_context, stage_context

from datacomp.byod import rows_of, shape_of
from datacomp.messages import DATASET_FILE, SUBSET_FILE, Stage, SubmissionKind
from datacomp.pool import ingest
from datacomp.uids import read_subset
from datacomp_worker.shards import Mixture
from datacomp_worker.stages import fetch, subset
from datacomp_worker.subsets import Mixed
from datacomp_worker.training.draws import Draws

GOOD = 4
CLIMB = "../../../../../tmp/climbed"


def archive() -> bytes:
    """Four good samples, one with its caption in json, and much that is none."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i in range(GOOD):
            add(tar, f"{CLIMB}/{i}.jpg", picture(20 + i, 64))
            about = json.dumps({"caption": f"in\x00side {i}"}).encode()
            add(tar, f"{CLIMB}/{i}.{'json' if i == 3 else 'txt'}", about if i == 3 else f"inside {i}".encode())
        add(tar, "no-caption.png", picture(30, form="PNG"))
        add(tar, "no-image.txt", b"words")
        add(tar, "drawing.jpg", SVG)
        add(tar, "drawing.txt", b"words")
        add(tar, "bomb.png", bomb())
        add(tar, "bomb.txt", b"words")
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("odd.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
    return out.getvalue()


def add(tar, name, data):
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources")
    uids = SmallPool(rows=8, shards=1, without_image=0).write(folder / "pool")
    ingest(folder / "pool", processes=1)
    patch = pytest.MonkeyPatch()
    with gallery() as made, patch.context() as settings:
        for name, value in {"ALLOW": '["127.0.0.1/32"]', "SPARE_BYTES": "0", "IMAGE_PIXELS": "1000000",
                            "TAR_BYTES": str(1 << 20), "IMAGE_SECONDS": "2"}.items():  # fmt: skip
            settings.setenv(f"DATACOMP_FETCH_{name}", value)
        made.bodies |= {"0.jpg": picture(0, 64), "a.tar": archive(), "cut.tar": archive()[:3000]}
        rows = [
            {"tar": made.at("a.tar"), "source": "tars", "weight": 2.5, "license": "CC0"},
            *({"tar": made.at(name), "source": "tars", "weight": 2.5} for name in ("none.tar", "huge", "cut.tar")),
            {"url": made.at("0.jpg"), "caption": "single", "source": "single"},
            {"url": made.at("0.jpg"), "caption": "other weight", "source": "single", "weight": 3},
            *({"uid": uid, "source": "pool", "weight": 0.5} for uid in uids[:3]),
        ]
        upload = folder / "data.jsonl"
        upload.write_text("\n".join(map(json.dumps, rows)))
        output = fetch.run(dataset_context(Stage.FETCH, folder / "fetch", upload, pool_dir=folder / "pool"))
    return output, upload


def test_tars_are_read_member_by_member(fetched):
    output, _ = fetched
    result = output.result
    assert result.samples == GOOD + 1 + 3
    expected = {"caption-missing": 1, "image-missing": 1, "not-an-image": 1, "too-many-pixels": 1, "http-404": 1,
                "too-large": 1, "tar-damaged": 1, "source-weight": 1}  # fmt: skip
    assert {cause: result.causes[cause] for cause in expected} == expected
    assert result.rows == sum(result.causes.values()) + result.samples
    assert result.licenses["CC0"] == GOOD
    shares = {one.name: (one.weight, one.samples) for one in result.sources}
    assert shares == {"tars": (2.5, GOOD), "single": (1.0, 1), "pool": (0.5, 3)}
    assert not Path("/tmp/climbed").exists()


def test_each_source_is_drawn_by_its_weight(fetched, tmp_path):
    output, _ = fetched
    inputs = {name: output.files[name] for name in (DATASET_FILE, SUBSET_FILE)}
    context = mixed(tmp_path / "one", inputs, output.result)
    settled = subset.run(context).result
    assert settled.samples == settled.unique == GOOD + 4, "weights are no repeats"
    assert [(one.name, one.weight, one.samples) for one in settled.sources] == [
        ("pool", 0.5, 3), ("single", 1.0, 1), ("tars", 2.5, GOOD),
    ]  # fmt: skip
    with subset.shards_of(context, read_subset(inputs[SUBSET_FILE])) as (selection, shards):
        assert isinstance(selection, Mixed)
        assert isinstance(shards, Mixture)
        assert selection.digest == settled.subset_digest
        draws = Draws.of(0, [(source.shards.samples, source.weight) for source in shards.sources])
        counts = np.bincount(draws.rows(np.arange(200_000, dtype=np.uint64)), minlength=GOOD + 4)
    expected = np.array([0.5] * 3 + [1.0] + [2.5] * GOOD)
    assert np.allclose(counts / counts.sum(), expected / expected.sum(), rtol=0.05)
    heavier = output.result.model_copy(deep=True)
    heavier.sources[0].weight = 4.0
    assert subset.run(mixed(tmp_path / "two", inputs, heavier)).result.subset_digest != settled.subset_digest


def mixed(directory, inputs, result):
    context = stage_context(Stage.SUBSET, directory, inputs, before=[result])
    return replace(context, job=context.job.model_copy(update={"kind": SubmissionKind.DATASET}))


def test_a_file_may_name_tars_alone(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text(
        "tar,source,weight\nhttps://example.org/a.tar,a,2\nhttps://example.org/b.tar,a,1\nftp://x/c.tar,b,1\n"
    )
    assert [row.cause for row in rows_of(path)] == [None, "source-weight", "url-invalid"]
    assert shape_of(path).distinct == 1
