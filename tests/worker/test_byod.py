"""Datasets that participants bring: read, fetched, decontaminated; called as the pipeline calls the stages."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gallery import SVG, bomb, gallery, picture
from small_pool import SmallPool
from small_suite import write_task
from stage_job import dataset_context as job

from datacomp import plugins
from datacomp.byod import check_dataset, rows_of
from datacomp.digests import digest_file
from datacomp.messages import DATASET_FILE, SUBSET_FILE, ByodSetting, Stage
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput, PlatformFault
from datacomp.suite import load_suite
from datacomp.uids import read_subset, to_hex
from datacomp_worker.byod.detecting import GROUP
from datacomp_worker.byod.store import unpacked
from datacomp_worker.stages import decontaminate, fetch
from datacomp_worker.training.models import register_models

USE = """
import sys
from pathlib import Path
from datacomp_worker.byod.store import unpacked
unpacked(*map(Path, sys.argv[1:]))
print("here", flush=True)
input()
"""
LONG = "x" * 2_000_000
GOOD, BAD_ROWS = 6, {"url-missing": 1, "url-invalid": 1, "caption-missing": 1, "caption-too-long": 1, "unsafe": 1,
                     "weight-invalid": 1, "uid-invalid": 1}  # fmt: skip
SUITE = {
    "name": "own",
    "version": "1",
    "tasks": [
        {"key": "own/shown", "name": "Shown", "kind": "zeroshot", "metric": "acc1", "group": "main", "chance": 0.5,
         "classes": 2, "size": 2},
        {"key": "own/told", "name": "Told", "kind": "retrieval", "metric": "mean_recall@1", "group": "retrieval",
         "chance": 0.5, "size": 2},
    ],
}  # fmt: skip


def dataset(made, uids):
    """Rows of every kind: good, bad by themselves, bad at the other end, and of the pool."""
    good = [{"url": made.at(f"{i}.jpg"), "caption": f"a\x00picture\u2028{i}", "license": "CC0"} for i in range(GOOD)]
    good[1]["weight"] = 3.0
    bad = [
        {"url": "", "caption": "c"}, {"url": "file:///etc/passwd", "caption": "c"}, {"url": made.at("0.jpg")},
        {"url": made.at("0.jpg"), "caption": LONG}, {"url": made.at("0.jpg"), "caption": "c", "unsafe": "true"},
        {"url": made.at("0.jpg"), "caption": "c", "weight": -1}, {"uid": "zz"},
    ]  # fmt: skip
    lost = [made.at(p) for p in ("none", "drawing.svg", "bomb.png")] + ["http://10.0.0.1/x.jpg"]
    pooled = [{"uid": uids[0]}, {"uid": "0" * 32}]
    rest = [{"url": url, "caption": "lost"} for url in lost] + [good[0], *pooled]
    return good + bad + rest


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """One fetch of all of it."""
    folder = tmp_path_factory.mktemp("byod")
    uids = SmallPool(rows=8, shards=1, without_image=0).write(folder / "pool")
    ingest(folder / "pool", processes=1)
    patch = pytest.MonkeyPatch()
    with gallery() as made, patch.context() as settings:
        settings.setenv("DATACOMP_FETCH_ALLOW", '["127.0.0.1/32"]')
        settings.setenv("DATACOMP_FETCH_SPARE_BYTES", "0")
        settings.setenv("DATACOMP_FETCH_IMAGE_SECONDS", "2")
        settings.setenv("DATACOMP_FETCH_IMAGE_PIXELS", "1000000")
        made.bodies |= {f"{i}.jpg": picture(i, 64) for i in range(GOOD)} | {"drawing.svg": SVG, "bomb.png": bomb()}
        upload = folder / "data.jsonl"
        upload.write_text("\n".join(map(json.dumps, dataset(made, uids))) + "\n{broken\n")
        context = job(Stage.FETCH, folder / "fetch", upload, pool_dir=folder / "pool")
        output = fetch.run(context)
    return context, output, uids


def test_rows_become_samples_or_are_counted_by_cause(fetched):
    _, output, uids = fetched
    result = output.result
    assert result.samples == GOOD + 1
    assert result.from_pool == 1
    assert result.causes == BAD_ROWS | {
        "http-404": 1, "not-an-image": 1, "too-many-pixels": 1, "address-private": 1, "duplicate": 1,
        "uid-unknown": 1, "row-unreadable": 1,
    }  # fmt: skip
    assert result.hosts == {"127.0.0.1": GOOD}
    assert result.licenses == {"CC0": GOOD, "": 1}
    subset = read_subset(output.files[SUBSET_FILE])
    assert subset.size == GOOD + 1 + 2  # the weight of 3
    assert uids[0] in to_hex(subset)


def test_what_was_fetched_is_a_pool_that_is_the_same_everywhere(fetched, tmp_path):
    _, output, _ = fetched
    pool = unpacked(output.files[DATASET_FILE], tmp_path)
    assert pool.manifest.digest == output.result.dataset_digest
    assert pool.available.all()
    texts = pool.metadata_column("text", 0).to_pylist()
    assert texts[:GOOD] == [f"a picture {i}" for i in range(GOOD)]


def test_copies_of_evaluation_images_and_texts_are_removed(fetched, tmp_path):
    _, output, _ = fetched
    done = decontaminate.run(contaminated(output, tmp_path, contamination=0.8))
    assert (done.result.near_images, done.result.same_texts, done.result.removed) == (2, 1, 3)
    assert (done.result.method, done.result.evaluation_images) == ("pixels@3", 4)
    report = json.loads(done.files["report.json"].read_text())
    assert sorted(one["why"].partition(" ")[0] for one in report["removed_samples"]) == ["likeness", "likeness", "the"]
    kept = read_subset(done.files[SUBSET_FILE])
    assert np.unique(kept).size == output.result.samples - 3


def test_too_many_copies_reject_with_the_list(fetched, tmp_path):
    _, output, _ = fetched
    with pytest.raises(BadInput) as caught:
        decontaminate.run(contaminated(output, tmp_path, contamination=0.1))
    codes = [p.code for p in caught.value.problems]
    assert codes == ["dataset-contaminated", *["evaluation-copy"] * 3]
    assert "127.0.0.1" in caught.value.problems[1].where


def test_a_board_names_the_model_that_copies_are_told_by(fetched, tmp_path):
    _, output, _ = fetched
    digest = write_model(tmp_path / "suite" / "decontamination")
    asked = {"contamination": 0.9, "near": 0.9999, "model": "small"}
    done = decontaminate.run(contaminated(output, tmp_path, **asked))
    assert done.result.method == f"small@{digest[:16]}"
    assert done.result.near_images >= 1, "the picture that evaluation shows as it is"
    with pytest.raises(PlatformFault, match=r"decontamination-model.*others"):
        decontaminate.run(contaminated(output, tmp_path / "other", tmp_path, **asked, model_digest="0" * 64))
    with pytest.raises(PlatformFault, match=r"decontamination-model.*not here"):
        decontaminate.run(contaminated(output, tmp_path / "none", tmp_path, **(asked | {"model": "absent"})))


def write_model(folder):
    """An open_clip model with weights that nobody trained."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    register_models()
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    module = open_clip.create_model("tiny-ViT-8-32", load_weights=False)
    save_file(module.state_dict(), folder / "small.safetensors")
    digest = digest_file(folder / "small.safetensors")
    about = {"architecture": "tiny-ViT-8-32", "weights": "small.safetensors", "sha256": digest}
    (folder / "small.json").write_text(json.dumps(about))
    return digest


def contaminated(output, directory, suite_in=None, **setting):
    """Decontamination against a suite on disk. It shows one of the pictures as it is and one of which the copy lost
    its edges, and asks for one text."""
    import io

    from PIL import Image

    def edged(seed, border):
        """A picture with a strip around it that is not in the copy."""
        inner = Image.open(io.BytesIO(picture(seed, 64))).resize((256, 256), Image.Resampling.BICUBIC)
        whole = Image.new("RGB", (256 + border, 256 + border), (128, 128, 128))
        whole.paste(inner, (border, 0))
        out = io.BytesIO()
        whole.save(out, "PNG")
        return out.getvalue()

    suite_dir = (suite_in or directory) / "suite"
    if not (suite_dir / "suite.json").is_file():
        shown = [{"png": picture(2, 64, "PNG"), "cls": b"0"}, {"png": edged(3, 7), "cls": b"1"}]
        told = [{"jpg": picture(50 + i), "txt": text} for i, text in enumerate((b"A  Picture 4\nelse", b"other"))]
        suite_dir.mkdir(parents=True, exist_ok=True)
        write_task(suite_dir / "wds_own-shown_test", shown, names=("a", "b"))
        write_task(suite_dir / "wds_own-told_test", told, names=None)
        (suite_dir / "suite.json").write_text(json.dumps(SUITE))
    board = {"byod": ByodSetting(**setting), "suite_digest": load_suite(suite_dir / "suite.json").digest}
    context = job(Stage.DECONTAMINATE, directory, directory / "u", suite_dir=suite_dir, **board)
    return replace(context, inputs={name: output.files[name] for name in (DATASET_FILE, SUBSET_FILE)})


@pytest.mark.parametrize(
    ("flag", "left_out"),
    [("true", True), (True, True), (1, True), (1.0, True), ("0.7", True), (0.3, False), ("0", False), (None, False)],
)
def test_flags_and_scores_of_unsafe_rows(tmp_path, flag, left_out):
    (tmp_path / "a.jsonl").write_text(json.dumps({"url": "http://a/b", "caption": "c", "punsafe": flag}))
    assert [row.cause for row in rows_of(tmp_path / "a.jsonl")] == ["unsafe" if left_out else None]
    assert [row.cause for row in rows_of(tmp_path / "a.jsonl", 0.2)] == ["unsafe" if left_out or flag == 0.3 else None]


def test_a_boards_detector_leaves_pictures_out(fetched, tmp_path, monkeypatch):
    """Of samples of the pool, which need no network."""
    context, _, uids = fetched
    (tmp_path / "data.jsonl").write_text("\n".join(json.dumps({"uid": uid}) for uid in uids))
    seen: list[bytes] = []

    def judge(images):
        seen.extend(images)
        return [0.9 if len(seen) == len(images) and place == 0 else 0.1 for place in range(len(images))]

    def fetch_with(name):
        given = {"pool_dir": context.pool_dir, "byod": ByodSetting(detector="d")}
        return fetch.run(job(Stage.FETCH, tmp_path / name, tmp_path / "data.jsonl", **given))

    with pytest.raises(PlatformFault, match="detector-missing"):
        fetch_with("none")
    monkeypatch.setattr(plugins, "load", lambda group, name: judge if (group, name) == (GROUP, "d") else None)
    done = fetch_with("some")
    assert seen
    assert all(image.startswith(b"\xff\xd8") for image in seen)
    assert done.result.causes["unsafe-detected"] == 1
    assert (done.result.samples, done.result.detector) == (len(seen) - 1, "d")
    monkeypatch.setattr(plugins, "load", lambda *_: lambda images: [float("nan")] * len(images))
    with pytest.raises(PlatformFault, match="detector-failed"):
        fetch_with("nonsense")


def test_nothing_fetched_rejects(tmp_path, monkeypatch):
    upload = tmp_path / "data.csv"
    upload.write_text("url,caption\nhttp://127.0.0.1:9/a.jpg,inner\nhttp://[::1]/b.jpg,inner\n")
    monkeypatch.setattr(fetch, "run_download", lambda *_, **__: None)
    with pytest.raises(BadInput, match="dataset-too-few"):
        fetch.run(job(Stage.FETCH, tmp_path, upload))


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_three_formats_say_the_same(tmp_path, kind):
    rows = [{"URL": f"https://example.org/{i}.jpg", "text": f"picture, {i}", "weight": 2.0} for i in range(3)]
    path = tmp_path / f"data.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif kind == "csv":
        path.write_text("URL,text,weight\n" + "".join(f'{r["URL"]},"{r["text"]}",2.0\n' for r in rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [(r.url, r.caption, r.weight) for r in rows_of(path)] == [(r["URL"], r["text"], 2.0) for r in rows]
    assert check_dataset(path).distinct == 3
    with pytest.raises(BadInput, match="dataset-too-many-rows"):
        check_dataset(path, 2)


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [("a.parquet", b"PAR1 no", "dataset-unreadable"), ("a.csv", b"a,b\n1,2\n", "dataset-columns"),
     ("a.csv", b"", "dataset-columns"), ("a.jsonl", b"{}\n", "dataset-columns"), ("a.txt", b"x", "dataset-format"),
     ("a.csv", b"url,caption\n,\n", "dataset-no-rows"), ("a.jsonl", b"[1]\n", "dataset-no-rows"),
     ("a.csv", b"url,caption\n\"open", "dataset-no-rows")],
)  # fmt: skip
def test_files_that_are_no_datasets(tmp_path, name, content, code):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=code):
        check_dataset(tmp_path / name)


def test_the_pool_of_a_dataset_is_read_as_any(fetched, tmp_path):
    _, output, _ = fetched
    pool = unpacked(output.files[DATASET_FILE], tmp_path)
    again = Pool.open(pool.directory)
    assert again.column("weight").tolist()[1] == 3.0


def test_old_datasets_leave_a_bounded_scratch_folder(fetched, tmp_path, monkeypatch):
    """The one in use stays, whatever the bound; those of before go when room is needed."""
    _, output, _ = fetched
    files = [output.files[DATASET_FILE], tmp_path / "other.tar"]
    files[1].write_bytes(files[0].read_bytes() + bytes(10_240))
    held = tmp_path / "scratch" / "datasets"
    monkeypatch.setenv("DATACOMP_DATASET_CACHE_BYTES", "0")
    first = unpacked(files[0], tmp_path / "scratch")
    assert unpacked(files[0], tmp_path / "scratch").manifest.digest == first.manifest.digest
    assert [path.name for path in held.iterdir() if path.is_dir()] == [digest_file(files[0])]
    using = subprocess.Popen([sys.executable, "-c", USE, str(files[0]), str(tmp_path / "scratch")], stdout=-1, stdin=-1)
    assert using.stdout.readline() == b"here\n"
    unpacked(files[1], tmp_path / "scratch")
    assert len([path for path in held.iterdir() if path.is_dir()]) == 2, "another process works on it"
    using.communicate(b"\n", timeout=30)
    unpacked(output.files[DATASET_FILE], tmp_path / "elsewhere")
    files[1].write_bytes(files[1].read_bytes() + bytes(10_240))
    second = unpacked(files[1], tmp_path / "scratch")
    assert [path.name for path in held.iterdir() if path.is_dir()] == [digest_file(files[1])]
    assert second.manifest.digest == first.manifest.digest
