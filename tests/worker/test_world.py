"""The tiny world: one world of 1,024 pairs, looked at from all sides."""

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score
from tiny_world import PAIRS, SEED, ingested, tiny_world
from world_made import SUITE, Made, grouped, image_of

from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.uids import from_hex, to_hex
from datacomp_worker.world import corpus, generate, handwriting, tasks
from datacomp_worker.world.pictures import decode
from datacomp_worker.world.scenes import Mix, sample

pytestmark = pytest.mark.timeout(600)  # half a minute of work in the fixture, which a busy machine stretches


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(*tiny_world(tmp_path_factory))


@pytest.fixture(scope="module")
def pool(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """The pool as ingested, beside the original."""
    return ingested(made.world, tmp_path_factory.mktemp("ingested"))


# --- the whole


def test_the_command_gives_the_same_bytes_at_another_number_of_threads(made: Made, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "datacomp", "pool", "generate", str(tmp_path / "pool")]
    command += ["--suite-dir", str(tmp_path / "suite"), "--pairs", str(PAIRS), "--seed", str(SEED)]
    one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env={**os.environ, **one}, capture_output=True, text=True, timeout=550, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{PAIRS:,} pairs" in done.stdout
    assert tree(tmp_path / "pool") == tree(made.world.directory)
    assert tree(tmp_path / "suite") == tree(made.world.suite_dir)


def tree(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_another_seed_gives_another_crawl() -> None:
    digits = handwriting.load().pool
    first, second = (
        corpus.compose(64, digits, sample(8, Mix(), digits, np.random.default_rng(0)), np.random.default_rng(seed))
        for seed in (0, 1)
    )
    assert first.pairs != second.pairs


def test_progress_rises(made: Made) -> None:
    shares = [share for _, share in made.reported]
    assert shares == sorted(shares)
    assert len(shares) >= 5
    assert 0 <= shares[0] <= shares[-1] <= 1


def test_finished_world_is_left_alone(made: Made) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.world.directory.rglob("*")}
    again = generate(
        made.world.directory,
        made.world.suite_dir,
        pairs=PAIRS,
        seed=SEED,
        report=lambda *_: pytest.fail("it works again"),
    )
    assert again == made.world
    assert {path: path.stat().st_mtime_ns for path in made.world.directory.rglob("*")} == before


def test_refuses_a_directory_with_another_pool(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "0.parquet").write_bytes(b"precious")
    with pytest.raises(BadInput) as raised:
        generate(tmp_path, tmp_path / "suite", pairs=PAIRS, seed=0, report=lambda *_: None)
    assert raised.value.problems[0].code == "world-directory-in-use"
    assert (tmp_path / "metadata" / "0.parquet").read_bytes() == b"precious"


# --- format


def test_metadata_has_the_originals_columns(made: Made) -> None:
    expected = {
        "uid": pa.string(),
        "url": pa.string(),
        "text": pa.string(),
        "original_width": pa.int32(),
        "original_height": pa.int32(),
        "clip_b32_similarity_score": pa.float32(),
        "clip_l14_similarity_score": pa.float32(),
        "face_bboxes": pa.list_(pa.list_(pa.float64())),
        "sha256": pa.string(),
    }
    assert [path.name for path in made.parquets] == [f"{number:08d}.parquet" for number in range(made.world.shards)]
    for path in made.parquets:
        assert {field.name: field.type for field in pq.read_schema(path)} == expected
    assert made.metadata.num_rows == made.world.rows == PAIRS
    uids = made.metadata.column("uid").to_pylist()
    assert to_hex(from_hex(uids)) == uids
    assert len(set(uids)) == PAIRS


def test_features_lie_beside_the_metadata(made: Made) -> None:
    widths = {"b32_img": 512, "b32_txt": 512, "l14_img": 768, "l14_txt": 768}
    for path in made.parquets:
        rows = pq.read_metadata(path).num_rows
        with np.load(path.with_suffix(".npz")) as arrays:
            assert {name: arrays[name].shape for name in arrays} == {name: (rows, w) for name, w in widths.items()}
            for name in arrays:
                assert arrays[name].dtype == np.float16
                np.testing.assert_allclose(np.linalg.norm(arrays[name].astype(float), axis=1), 1, atol=2e-3)


def test_scores_are_cosines_of_the_features(made: Made, pool: Pool) -> None:
    for model in ("b32", "l14"):
        scores = np.asarray(pool.column(f"clip_{model}_similarity_score"))
        for part in pool.shard_rows():
            image, text = (pool.features(f"{model}_{side}", part.shard).astype(np.float64) for side in ("img", "txt"))
            np.testing.assert_allclose((image * text).sum(1), scores[part.start : part.stop], atol=2e-3)


def test_tars_hold_what_the_metadata_says(made: Made) -> None:
    rows = {row["uid"]: row for row in made.metadata.to_pylist()}
    for uid, files in made.samples.items():
        assert set(files) == {"jpg", "txt", "json"}
        assert hashlib.sha256(files["jpg"]).hexdigest() == rows[uid]["sha256"]
        assert files["txt"].decode() == rows[uid]["text"]
        with Image.open(io.BytesIO(files["jpg"])) as image:
            assert image.format == "JPEG"
            assert 32 <= max(image.size) <= 64
            ratio = rows[uid]["original_width"] / rows[uid]["original_height"]
            assert (image.width > image.height) == (ratio > 1) or image.width == image.height
    shards = made.world.directory / "shards"
    stats = [json.loads(path.read_text())["successes"] for path in sorted(shards.glob("????????_stats.json"))]
    assert len(stats) == made.world.shards
    assert sum(stats) == len(made.samples)


def test_some_rows_have_no_image(made: Made, pool: Pool) -> None:
    missing = PAIRS - len(made.samples)
    assert 0.005 < missing / PAIRS < 0.03
    assert missing == (~made.truth["available"]).sum() == (~pool.available).sum()
    assert pool.manifest.orphans == 0


def test_pool_is_ingested_as_it_stands(made: Made, pool: Pool) -> None:
    assert pool.rows == PAIRS
    assert to_hex(pool.uids) == made.metadata.column("uid").to_pylist()
    assert {feature.name for feature in pool.manifest.features} == {"b32_img", "b32_txt", "l14_img", "l14_txt"}


# --- what is wrong with the crawl


def test_shares_are_as_announced(made: Made) -> None:
    kinds = Counter(made.truth["text"])
    for kind, share in corpus.TEXT_SHARES.items():
        assert kinds[kind.value] == pytest.approx(share * PAIRS, abs=1)
    frames, origins = Counter(made.truth["frame"]), Counter(made.truth["origin"])
    assert 0.10 < frames["small"] / PAIRS < 0.20
    assert 0.03 < frames["extreme"] / PAIRS < 0.11
    assert 0.07 < origins["duplicate"] / PAIRS < 0.15
    assert 3 <= origins["leaked"] < 0.04 * PAIRS
    assert 0.18 < made.truth["good"].mean() < 0.30


def test_defects_are_correlated(made: Made) -> None:
    boilerplate, small = made.truth["text"] == "boilerplate", made.truth["frame"] == "small"
    assert small[boilerplate].mean() > 1.5 * small[made.truth["text"] == "true"].mean()


def test_frames_are_the_original_sizes(made: Made) -> None:
    width, height = (made.metadata.column(f"original_{side}").to_numpy() for side in ("width", "height"))
    shorter, ratio = np.minimum(width, height), np.maximum(width, height) / np.minimum(width, height)
    frame = made.truth["frame"]
    assert (shorter[frame == "small"] < 200).all()
    assert (ratio[frame == "extreme"] > 3).all()
    good = frame == "good"
    assert (shorter[good] >= 200).all()
    assert (ratio[good] <= 3).all()
    assert (np.maximum(width, height)[good] <= 2000).all()


def test_languages_are_recognised(made: Made, pool: Pool) -> None:
    names = np.array([*pool.vocabulary("lang"), ""])[np.asarray(pool.column("lang"))]
    right = names == made.truth["language"]
    for kind in ("true", "wrong", "boilerplate"):
        assert right[made.truth["text"] == kind].mean() > 0.98, kind
    foreign = made.truth["text"] == "foreign"
    assert right[foreign].mean() > 0.95
    assert set(made.truth["language"][foreign]) == {"fr", "de", "es", "it", "ru", "zh"}


def test_short_captions_have_at_most_two_words(made: Made) -> None:
    words = np.array([len(text.split()) for text in made.metadata.column("text").to_pylist()])
    assert ((words <= 2) == (made.truth["text"] == "short")).all()


def test_wrong_captions_name_another_colour_or_digit(made: Made) -> None:
    texts = made.metadata.column("text").to_pylist()
    for kind, wanted in (("true", True), ("wrong", False)):
        for i in np.flatnonzero((made.truth["text"] == kind) & (made.truth["digit"] < 0))[:100]:
            what = f"{tasks.COLOURS[made.truth['colour'][i]]} {tasks.SHAPES[made.truth['shape'][i]]}"
            assert (what in texts[i]) == wanted, (texts[i], what)


def test_scores_tell_true_captions_from_wrong_ones(made: Made) -> None:
    own = made.truth["origin"] != "leaked"
    true, wrong = (own & (made.truth["text"] == kind) for kind in ("true", "wrong"))
    rows, labels = true | wrong, true[true | wrong]
    area = {
        model: roc_auc_score(labels, made.metadata.column(f"clip_{model}_similarity_score").to_numpy()[rows])
        for model in ("b32", "l14")
    }
    assert 0.8 < area["b32"] < area["l14"]
    assert area["l14"] > 0.93


def test_duplicates_look_alike(made: Made) -> None:
    truth, uids = made.truth, made.metadata.column("uid").to_pylist()
    sound = (truth["frame"] == "good") & truth["available"]
    fresh = {truth["picture"][i]: i for i in np.flatnonzero(sound & (truth["origin"] == "fresh"))}
    pairs = [(i, fresh.get(truth["picture"][i])) for i in np.flatnonzero(sound & (truth["origin"] == "duplicate"))]
    alike = [likeness(seen(made, uids[i]), seen(made, uids[j])) for i, j in pairs if j is not None]
    assert len(alike) > 10
    assert np.median(alike) > 0.9
    texts = made.metadata.column("text").to_pylist()
    assert any(texts[i] != texts[j] for i, j in pairs if j is not None)


def seen(made: Made, uid: str) -> np.ndarray:
    return decode(made.samples[uid]["jpg"], 16).astype(float)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def test_leaked_images_are_near_their_evaluation_image(made: Made) -> None:
    truth, uids = made.truth, made.metadata.column("uid").to_pylist()
    leaked = (truth["origin"] == "leaked") & (truth["frame"] == "good") & truth["available"]
    assert leaked.sum() >= 3
    for i in np.flatnonzero(leaked):
        key, _, item = str(truth["leaked_from"][i]).rpartition("/")
        task = next(task for task in SUITE.tasks if task.key == key)
        images = [decode(f[ext], 16).astype(float) for f in grouped(made.task(task)).values() for ext in image_of(f)]
        scores = [likeness(seen(made, uids[i]), image) for image in images]
        assert int(np.argmax(scores)) == int(item)
        assert max(scores) > 0.85


def test_truth_is_not_where_filters_read(made: Made, pool: Pool) -> None:
    directory = made.world.directory
    names = {path.name for folder in ("metadata", "pack") for path in (directory / folder).rglob("*")}
    assert not any("truth" in name or "world" in name for name in names)
    assert pool.names.isdisjoint({"good", "origin", "frame", "about_picture", "leaked_from", "picture"})
    for files in made.samples.values():
        assert set(json.loads(files["json"])) == {
            "uid", "caption", "key", "status", "original_width", "original_height",
        }  # fmt: skip
