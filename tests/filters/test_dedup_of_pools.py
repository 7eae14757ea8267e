"""`dedup` in rules, as a command and as a filter, and the column of nearness to evaluation images."""

from pathlib import Path

import numpy as np
import pytest
from small_pool import SmallPool

from datacomp.filtering import load_filter, score_pool, select
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput
from datacomp.uids import read_subset, write_subset
from datacomp_filters.neardup import cells, over_pool
from datacomp_filters.neardup.command import run_dedup
from datacomp_filters.neardup.evaluation import Images, add_similarity
from datacomp_filters.neardup.rows import Rows

ROWS, WIDTH = 600, 768
SCORE = "clip_l14_similarity_score"


class Copies(SmallPool):
    """Every second row is near the row before it; the first row has no feature."""

    def _write_features(self, path: Path, n: int, rng: np.random.Generator) -> None:
        x = rng.standard_normal((n, WIDTH))
        x[1::2] = x[::2][: n // 2] + 0.1 * rng.standard_normal((n // 2, WIDTH))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        x[0] = 0
        np.savez(path, l14_img=x.astype(np.float16))


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("copies")
    Copies(rows=ROWS, shards=1).write(directory)
    return ingest(directory, processes=1)


def best_of_pairs(pool: Pool) -> np.ndarray:
    score = np.asarray(pool.column(SCORE))
    stays = np.ones(ROWS, bool)
    for row in range(2, ROWS, 2):
        stays[row if score[row] < score[row + 1] else row + 1] = False
    return stays


def test_rules_filter_and_command_agree(crawl: Pool, tmp_path: Path) -> None:
    expected = best_of_pairs(crawl)
    assert np.array_equal(select(crawl, None, f"dedup(0.95, rank={SCORE}, keep='greedy')").counts, expected)
    assert np.array_equal(score_pool(load_filter("semdedup", {}), crawl).values, expected)
    assert np.array_equal(select(crawl, None, "semdedup(threshold=0.95) and words >= 0").counts, expected)
    out = tmp_path / "kept.npy"
    done = run_dedup(
        crawl.directory, out, subset=None, threshold=0.95, feature="l14_img", rank=SCORE, keep="components"
    )
    assert np.array_equal(read_subset(out), np.asarray(crawl.sorted_uids)[expected[np.asarray(crawl.uid_order)]])
    assert (done.rows_in, done.rows_kept, done.decision.without_features) == (ROWS, int(expected.sum()), 1)
    assert done.decision.recall.rate == 1


def test_dedup_among_some_rows_alone(crawl: Pool, tmp_path: Path) -> None:
    even = np.arange(ROWS) % 2 == 0
    rule = f"dedup(where=original_width > 900, rank={SCORE})"
    wide = np.asarray(crawl.column("original_width")) > 900
    chosen = select(crawl, None, rule).counts
    pairs = wide[2::2] & wide[3::2]
    assert not chosen[~wide].any()
    assert (chosen[2::2] & chosen[3::2]).sum() == 0
    assert chosen.sum() == wide.sum() - pairs.sum()
    subset, out = tmp_path / "even.npy", tmp_path / "kept.npy"
    order = np.asarray(crawl.uid_order)
    write_subset(subset, np.repeat(np.asarray(crawl.sorted_uids)[even[order]], 2))
    done = run_dedup(crawl.directory, out, subset=subset, threshold=0.95, feature="l14_img", rank="", keep="greedy")
    assert done.rows_kept == done.rows_in == ROWS


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("dedup(1.5)", "a threshold lies above 0"),
        ("dedup(keep=best)", "no keep rule 'best'"),
        ("dedup(feature=b16_img)", "no feature 'b16_img'"),
        ("dedup(rank=0.5)", "a column is needed"),
    ],
)
def test_settings_that_make_no_sense_are_told_at_their_place(crawl: Pool, rule: str, code: str) -> None:
    with pytest.raises(BadInput, match=code) as error:
        select(crawl, None, f"words > 1 and {rule}")
    column = 15 if "rank" not in rule else 26
    assert error.value.problems[0].where.startswith(f"column {column} of")


def test_without_faiss_there_is_a_hint(crawl: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(over_pool, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"need FAISS.*datacomp\[cpu\]"):
        select(crawl, None, "dedup()")


def test_nearness_found_in_cells_is_that_of_brute_force(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "ROWS_PER_CELL", 100)
    rng = np.random.default_rng(3)
    images = rng.standard_normal((900, 64)) + rng.standard_normal((9, 64))[np.arange(900) % 9]
    rows = rng.standard_normal((2000, 64)) + rng.standard_normal((9, 64))[np.arange(2000) % 9]
    rows[:700] = images[rng.integers(0, 900, 700)] + 0.9 * rng.uniform(size=(700, 1)) * rng.standard_normal((700, 64))
    rows[5] = 0
    rows[6:40] = images[7] + 0.1 * rng.standard_normal((34, 64))
    rows, images = rows.astype(np.float16), images.astype(np.float16)
    made = Images.of(Rows.of(images), 0.8)
    assert made.cells.count == 9
    found = made.nearest_cosine(Rows.of(rows))
    wide, others = rows.astype(np.float64), images.astype(np.float64)
    with np.errstate(invalid="ignore"):
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    best = (wide @ others.T / np.linalg.norm(others, axis=1)).max(axis=1)
    assert np.isnan(found[5])
    assert (best >= 0.8).sum() > 350
    np.testing.assert_allclose(found, np.maximum(best, 0.8), rtol=1e-6)
    backwards = made.nearest_cosine(Rows.of(np.ascontiguousarray(rows[::-1])))[::-1]
    assert found.tobytes() == backwards.tobytes()


def test_rows_near_evaluation_images_are_told(tmp_path: Path) -> None:
    Copies(rows=100, shards=2).write(tmp_path / "pool")
    pool = ingest(tmp_path / "pool", processes=1)
    rng = np.random.default_rng(0)
    rows = pool.gather("l14_img", np.arange(100)).astype(np.float64)
    images = np.concatenate([rows[[11, 60]] + 0.004 * rng.standard_normal((2, WIDTH)), rng.standard_normal((5, WIDTH))])
    file = tmp_path / "eval_features.npz"
    np.savez(file, l14_img=images.astype(np.float32))
    before = pool.manifest.digest
    first, added = (add_similarity(pool.directory, source, "l14_img") for source in (tmp_path, file))
    pool = Pool.open(pool.directory)
    assert first.digest == added.digest == pool.manifest.digest != before
    assert (added.near, added.recall.removed, added.recall.missed) == (4, 4, 0)
    x = images.astype(np.float16).astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(x, axis=1)
    with np.errstate(invalid="ignore"):
        cosines = (rows @ x.T / lengths).max(axis=1)
    floor = np.nextafter(np.float32(0.9), np.float32(0))
    np.testing.assert_allclose(pool.column("eval_similarity"), np.maximum(cosines, floor), rtol=1e-6)
    with pytest.raises(BadInput, match=r"nearness above 0\.9 only"):
        select(pool, None, "near(eval, 0.5)")
    near = select(pool, None, "near(eval, 0.95)").counts
    assert set(np.flatnonzero(near)) == {10, 11, 60, 61}
    assert np.array_equal(select(pool, None, "not near(eval, threshold=0.95)").counts, ~near)
    add_similarity(pool.directory, file, "l14_img", floor=0)
    whole = Pool.open(pool.directory)
    np.testing.assert_allclose(whole.column("eval_similarity"), np.maximum(cosines, 0), rtol=1e-6, atol=1e-30)
    assert np.array_equal(select(whole, None, "near(eval, 0.95)").counts, near)
    for name, content in (("other", {"b32_img": images}), ("narrow", {"l14_img": images[:, :9]})):
        np.savez(tmp_path / f"{name}.npz", **content)
        with pytest.raises(BadInput, match="eval-features"):
            add_similarity(pool.directory, tmp_path / f"{name}.npz", "l14_img")
    with pytest.raises(BadInput, match="near-floor"):
        add_similarity(pool.directory, file, "l14_img", floor=1)
    (tmp_path / "text.npz").write_text("no")
    with pytest.raises(BadInput, match="eval-features-format"):
        add_similarity(pool.directory, tmp_path / "text.npz", "l14_img")
