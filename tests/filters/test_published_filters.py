"""The published filters: against plain loops, for any order of rows, and on a tiny world whose true pairs are known."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_pool import CAPTIONS, SmallPool
from tiny_world import ingested, tiny_world

from datacomp.commands.filter import run_filter
from datacomp.filtering import load_filter, select
from datacomp.pool import Extras, Pool, ingest
from datacomp.problems import BadInput
from datacomp.uids import from_hex, open_subset, to_hex
from datacomp_filters import negclip_loss, normsim
from datacomp_filters.cluster_balanced import ClusterBalanced
from datacomp_filters.density_based import DensityBased, shares
from datacomp_filters.drawing import uniforms
from datacomp_filters.negclip_loss import NegClipLoss
from datacomp_filters.normsim import NormSim
from datacomp_filters.soft_cap import SoftCap, parse_mix

ROWS = 60
GOLDEN = json.loads((Path(__file__).parent / "published.json").read_text())
"""What the authors' own code makes of the same arrays."""
MIX = "clip_l14_similarity_score:1,clip_b32_similarity_score:0.5"


def features(pool: Pool, name: str) -> np.ndarray:
    return np.concatenate([pool.features(name, part.shard) for part in pool.shard_rows()]).astype(np.float64)


def reorder(pool: Pool, directory: Path, order: np.ndarray) -> None:
    """The same samples in another order, in two shards instead of three."""
    table = pa.concat_tables([pq.read_table(pool.metadata_file(part.shard)) for part in pool.shard_rows()])
    (directory / "metadata").mkdir(parents=True)
    (directory / "shards").mkdir()
    names = [feature.name for feature in pool.manifest.features]
    arrays = {name: features(pool, name).astype(np.float16) for name in names}
    for number, part in enumerate(np.array_split(order, 2)):
        stem = directory / "metadata" / f"{number:08d}"
        pq.write_table(table.take(pa.array(part)), stem.with_suffix(".parquet"))
        np.savez(stem.with_suffix(".npz"), **{name: array[part] for name, array in arrays.items()})


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(5)
    np.save(directory / "targets.npy", rng.standard_normal((9, 768)).astype(np.float32))
    np.save(directory / "centroids.npy", rng.standard_normal((4, 768)).astype(np.float32))
    (directory / "entries.txt").write_text("circle\nblue square\nEnglish caption\nred circle\nsquar\nenglish\n")
    return directory


@pytest.fixture(scope="module")
def pools(files: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Pool, Pool]:
    first, second = tmp_path_factory.mktemp("first"), tmp_path_factory.mktemp("second")
    extras = Extras(centroids=files / "centroids.npy")
    SmallPool(rows=ROWS).write(first)
    pool = ingest(first, processes=1, extras=extras)
    reorder(pool, second, np.random.default_rng(1).permutation(ROWS))
    return pool, ingest(second, processes=1, extras=extras)


def every(files: Path) -> dict[str, dict[str, str]]:
    targets, centroids = str(files / "targets.npy"), str(files / "centroids.npy")
    return {
        "negclip_loss": {"fraction": "0.3", "batch": "16", "draws": "3"},
        "normsim": {"fraction": "0.3", "targets": targets},
        "negclip_normsim": {"targets": targets, "batch": "16", "draws": "3", "p": "2"},
        "cluster_balanced": {"entries": str(files / "entries.txt"), "cap": "5"},
        "density_based": {"centroids": centroids, "fraction": "0.4"},
        "soft_cap": {"mix": MIX, "rounds": "7"},
    }


@pytest.mark.parametrize(
    "name", ["negclip_loss", "normsim", "negclip_normsim", "cluster_balanced", "density_based", "soft_cap"]
)
def test_order_of_rows_and_blocks_do_not_show(
    name: str, pools: tuple[Pool, Pool], files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = every(files)[name]
    run_filter(name, pools[0].directory, tmp_path / "a.npy", parameters)
    monkeypatch.setattr(negclip_loss, "CELLS", 50)
    monkeypatch.setattr(normsim, "CELLS", 768 * 3)
    run_filter(name, pools[1].directory, tmp_path / "b.npy", parameters)
    kept = open_subset(tmp_path / "a.npy")
    assert 0 < len(set(to_hex(kept))) < ROWS
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_negclip_loss_is_the_loop(pools: tuple[Pool, Pool]) -> None:
    pool, temperature = pools[0], 0.05
    filter_ = NegClipLoss(0.3, batch=16, draws=2, temperature=temperature)
    images, texts = features(pool, "l14_img"), features(pool, "l14_txt")
    expected = np.zeros(ROWS)
    for draw in (1, 2):
        batch = np.argsort(uniforms(np.asarray(pool.uids), 0, draw))[:16]
        for row in range(ROWS):
            others = sorted({*batch.tolist(), row})
            own = images[row] @ texts[row]
            to_texts = math.log(sum(math.exp(images[row] @ texts[j] / temperature) for j in others))
            to_images = math.log(sum(math.exp(texts[row] @ images[j] / temperature) for j in others))
            expected[row] += (own - temperature / 2 * (to_texts + to_images)) / 2
    np.testing.assert_allclose(filter_.select(pool), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_pytorch_gives_the_same_scores(device: str, pools: tuple[Pool, Pool], monkeypatch: pytest.MonkeyPatch) -> None:
    numpys = NegClipLoss(0.3, batch=16, draws=2).select(pools[0])
    monkeypatch.setattr(negclip_loss, "gpu", lambda: device)
    monkeypatch.setattr(negclip_loss, "CELLS", 7)
    np.testing.assert_allclose(NegClipLoss(0.3, batch=16, draws=2).select(pools[0]), numpys, rtol=2e-7)


@pytest.mark.parametrize("norm", ["2", "inf"])
def test_normsim_is_the_loop(norm: str, pools: tuple[Pool, Pool], files: Path) -> None:
    images, targets = features(pools[0], "l14_img"), np.load(files / "targets.npy").astype(np.float64)
    got = NormSim(str(files / "targets.npy"), norm, threshold=0).measure(images)
    for row in range(ROWS):
        products = [image @ images[row] for image in targets]
        expected = max(map(abs, products)) if norm == "inf" else math.sqrt(sum(p * p for p in products))
        assert got[row] == pytest.approx(expected, rel=1e-6)


def test_cluster_balanced_draws_with_the_chance_of_its_entries(pools: tuple[Pool, Pool], files: Path) -> None:
    pool, cap = pools[0], 5
    texts = [CAPTIONS[i % len(CAPTIONS)] for i in range(ROWS)]
    # the last two match no whole word and no word in that case
    entries = ["circle", "blue square", "English caption", "red circle", "squar", "english"]
    found = [[e for e in entries if f" {e} " in f" {text} ".replace("\n", " ")] for text in texts]
    counts = {e: sum(e in f for f in found) for e in entries}
    drawn = uniforms(np.asarray(pool.uids), 0)
    expected = [
        drawn[i] < 1 - math.prod(1 - min(1, cap / counts[e]) for e in found[i]) if found[i] else False
        for i in range(ROWS)
    ]
    assert 0 < sum(expected) < sum(map(bool, found))
    assert ClusterBalanced(str(files / "entries.txt"), cap).select(pool).tolist() == expected


def test_shares_are_the_least_squares() -> None:
    sizes, wanted = np.array([3, 40, 10, 7]), np.array([0.5, 0.3, 0.19, 0.01])
    got = shares(wanted, sizes, 20)
    best = min(
        (
            (a, b, c, 20 - a - b - c)
            for a in range(1, 4)
            for b in range(1, 20)
            for c in range(1, 11)
            if 1 <= 20 - a - b - c <= 7
        ),
        key=lambda s: sum((n - p * 20) ** 2 for n, p in zip(s, wanted, strict=True)),
    )
    assert got.sum() == 20
    cost = ((got - wanted * 20) ** 2).sum()
    assert cost == pytest.approx(((np.array(best) - wanted * 20) ** 2).sum())
    assert shares(wanted, sizes, 1000).tolist() == sizes.tolist()
    assert shares(wanted, sizes, 0).tolist() == [0, 0, 0, 0]


def test_density_based_keeps_the_farthest_of_each_cluster(pools: tuple[Pool, Pool], files: Path) -> None:
    pool = pools[0]
    kept = DensityBased(str(files / "centroids.npy"), 0.4).select(pool)
    images, centroids = features(pool, "l14_img"), np.load(files / "centroids.npy").astype(np.float64)
    cluster = np.asarray(pool.column("cluster"))
    near = [images[i] @ centroids[c] / np.linalg.norm(images[i]) for i, c in enumerate(cluster)]
    assert kept.sum() == int(ROWS * 0.4)
    for number in np.unique(cluster):
        inside = [near[i] for i in range(ROWS) if cluster[i] == number and kept[i]]
        outside = [near[i] for i in range(ROWS) if cluster[i] == number and not kept[i]]
        assert inside
        assert not outside or max(inside) <= min(outside)


def test_soft_cap_is_the_loop(pools: tuple[Pool, Pool]) -> None:
    pool = pools[0]
    counts = SoftCap(MIX, samples=2.0, penalty=0.5, rounds=6).select(pool)
    score = np.zeros(ROWS)
    for name, weight in parse_mix(MIX).items():
        values = np.asarray(pool.column(name), np.float64)
        score += weight * (values - values.mean()) / values.std()
    expected = np.zeros(ROWS, int)
    for turn in range(1, 7):
        key = [s - math.log(-math.log(u)) for s, u in zip(score, uniforms(pool.uids, 0, turn), strict=True)]
        for row in sorted(range(ROWS), key=lambda i: -key[i])[:20]:
            expected[row] += 1
            score[row] -= 0.5
    assert counts.tolist() == expected.tolist()
    assert counts.sum() == 120
    assert counts.max() > 1


# --- the authors' code


def test_negclip_loss_and_normsim_are_the_authors(pools: tuple[Pool, Pool], files: Path) -> None:
    whole = NegClipLoss(0.3, batch=ROWS, draws=1)  # the pool is one batch there, too
    np.testing.assert_allclose(whole.select(pools[0]), GOLDEN["negclip_loss"], atol=1e-6)
    for norm in ("2", "inf"):
        got = NormSim(str(files / "targets.npy"), norm, threshold=0).select(pools[0])
        np.testing.assert_allclose(got, GOLDEN[f"normsim_{norm}"], rtol=1e-5)


def test_entries_match_as_the_authors(tmp_path: Path) -> None:
    (tmp_path / "entries.json").write_text(json.dumps(GOLDEN["entries"]))
    exact = ClusterBalanced(str(tmp_path / "entries.json"))
    for text, expected in GOLDEN["matches"]:
        assert sorted(exact.matches(text)) == expected, text
    folded = ClusterBalanced(str(tmp_path / "entries.json"), ignore_case=True)
    assert folded.matches("ENGLISH caption, BLUE square") == {1, 2, 5}


@pytest.mark.parametrize("case", GOLDEN["shares"])
def test_shares_are_the_authors_but_for_rounding(case: dict) -> None:
    wanted = np.exp(np.array(case["complexity"]) / case["temperature"])
    got = shares(wanted / wanted.sum(), np.array(case["sizes"]), case["total"], case["balance"])
    assert got.sum() == case["total"]  # theirs may miss it, as each is rounded by itself
    assert np.abs(got - case["shares"]).max() <= 1


def test_soft_cap_draws_as_often_as_the_authors(pools: tuple[Pool, Pool]) -> None:
    theirs, runs = GOLDEN["soft_cap"], 100
    drawn = [
        SoftCap("clip_l14_similarity_score", samples=1.5, penalty=0.3, rounds=6, seed=seed).select(pools[0])
        for seed in range(runs)
    ]
    error = np.array(theirs["sd"]) * math.sqrt(1 / runs + 1 / theirs["runs"])
    assert np.abs((np.mean(drawn, axis=0) - theirs["mean"]) / error).max() < 4


def test_density_based_among_the_rows_of_an_expression(pools: tuple[Pool, Pool], files: Path) -> None:
    pool, rule = pools[0], "top_exact(clip_l14_similarity_score, 0.5)"
    among = select(pool, None, rule).counts
    kept = DensityBased(str(files / "centroids.npy"), 0.4, among=rule).select(pool)
    assert kept.sum() == int(ROWS * 0.4)
    assert not (kept & ~among).any()
    everyone = DensityBased(str(files / "centroids.npy"), 0.9, among=rule).select(pool)
    assert np.array_equal(everyone, among)


@pytest.mark.parametrize(
    ("name", "wrong", "code"),
    [
        ("negclip_loss", {"temperature": "0"}, "filter-parameter"),
        ("normsim", {"p": "3"}, "filter-parameter"),
        ("normsim", {"targets": "none.npz"}, "targets-format"),
        ("negclip_normsim", {"first": "0.1"}, "filter-parameter"),
        ("cluster_balanced", {"cap": "0"}, "filter-parameter"),
        ("cluster_balanced", {"entries": "none.txt"}, "entries-unreadable"),
        ("density_based", {"fraction": "2"}, "filter-parameter"),
        ("density_based", {"balance": "-1"}, "filter-parameter"),
        ("soft_cap", {"mix": "a:x"}, "filter-parameter"),
        ("soft_cap", {"samples": "0"}, "filter-parameter"),
    ],
)
def test_what_is_wrong_is_said(name: str, wrong: dict[str, str], code: str, files: Path) -> None:
    with pytest.raises(BadInput, match=code):
        load_filter(name, every(files)[name] | wrong)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pool, np.ndarray]:
    world, _ = tiny_world(tmp_path_factory)
    pool = ingested(world, tmp_path_factory.mktemp("published"))
    truth = pq.read_table(world.directory / "truth.parquet")
    good = np.zeros(pool.rows, np.bool_)
    good[pool.rows_of(from_hex(truth["uid"].to_pylist()))] = truth["good"].to_numpy()
    return pool, good


@pytest.mark.timeout(600)
def test_more_true_pairs_than_chance(tiny: tuple[Pool, np.ndarray], tmp_path: Path) -> None:
    pool, good = tiny
    np.save(tmp_path / "targets.npy", features(pool, "l14_img")[good][:50].astype(np.float32))
    (tmp_path / "entries.json").write_text(json.dumps(["photo", "circle", "square", "triangle", "digit"]))
    targets = {"targets": str(tmp_path / "targets.npy")}
    rates = {}
    for name, parameters in {
        "negclip_loss": {"fraction": "0.3", "batch": "256", "draws": "2"},
        "negclip_normsim": targets | {"batch": "256", "draws": "2"},
        "soft_cap": {"mix": MIX},
        "cluster_balanced": {"entries": str(tmp_path / "entries.json"), "cap": "50"},
    }.items():
        run_filter(name, pool.directory, tmp_path / "out.npy", parameters)
        rates[name] = good[pool.rows_of(np.asarray(open_subset(tmp_path / "out.npy")))].mean()
    assert all(rate > good.mean() * 1.1 for rate in rates.values()), (good.mean(), rates)
