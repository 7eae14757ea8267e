"""Near-duplicate decisions against an exact brute force, and their independence of order and threads."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from datacomp.uids import UID_DTYPE
from datacomp_filters.neardup import cells, compare, deduplicate, sketch, wilson
from datacomp_filters.neardup import keep as keep_rules
from datacomp_filters.neardup.rows import Rows, identical_groups
from datacomp_filters.neardup.sketch import Sketches

N, D = 5000, 64
THRESHOLD = 0.95


def planted(seed: int, n: int = N, d: int = D) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Clustered unit rows with planted near-duplicates, chains, exact copies and a dense clump; uids and scores."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + 1.5 * rng.standard_normal((20, d))[rng.integers(0, 20, n)]
    order = rng.permutation(n)
    copies, near, chain, clump = np.split(order[: n // 5], [50, n // 8, n // 8 + 100])
    x[near] = wobble(x[rng.integers(0, n, len(near))], rng.uniform(0.05, 0.5, len(near)), rng)
    for before, after in itertools.pairwise(chain):
        x[after] = wobble(x[before : before + 1], np.array([0.25]), rng)[0]
    x[clump] = wobble(np.repeat(x[clump[:1]], len(clump), axis=0), np.full(len(clump), 0.2), rng)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    x = x.astype(np.float16)
    x[copies] = x[rng.integers(0, n, len(copies))]
    uids = np.empty(n, UID_DTYPE)
    uids["f0"], uids["f1"] = rng.integers(0, 1 << 40, n), rng.integers(0, 1 << 63, n)
    scores = np.round(rng.random(n), 2).astype(np.float32)  # many ties
    scores[rng.choice(n, 20, replace=False)] = np.nan
    return x, uids, scores


def wobble(rows: np.ndarray, share: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows + share[:, None] * lengths / np.sqrt(rows.shape[1]) * rng.standard_normal(rows.shape)


def exact(x: np.ndarray, uids: np.ndarray, scores: np.ndarray, keep: str) -> np.ndarray:
    """The keep rule by brute force over all pairs, in plain loops."""
    wide = x.astype(np.float64)
    squares = (wide * wide).sum(axis=1)
    near = wide @ wide.T >= THRESHOLD * np.sqrt(squares)[:, None] * np.sqrt(squares)[None, :]
    key = [(bool(np.isnan(s)), -float(np.nan_to_num(s)), tuple(u.item())) for s, u in zip(scores, uids, strict=True)]
    order = sorted(range(len(x)), key=key.__getitem__)
    removed = np.zeros(len(x), bool)
    if keep == "greedy":
        for place, row in enumerate(order):
            if not removed[row]:
                later = np.array(order[place + 1 :], int)
                removed[later[near[row, later]]] = True
    elif keep == "semdedup":
        for place, row in enumerate(order):
            removed[row] = near[row, order[:place]].any()
    else:
        seen = np.zeros(len(x), bool)
        for row in order:
            if seen[row]:
                removed[row] = True
                continue
            stack = [row]
            while stack:
                at = stack.pop()
                if not seen[at]:
                    seen[at] = True
                    stack += np.flatnonzero(near[at] & ~seen).tolist()
    return removed


@pytest.fixture(scope="module", autouse=True)
def small_cells() -> Iterator[None]:
    """Ten cells of five thousand rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cells, "ROWS_PER_CELL", 500)
        yield


@pytest.fixture(scope="module", params=[2])
def pool(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return planted(request.param)


@pytest.mark.parametrize("keep", ["greedy", "components", "semdedup"])
def test_agrees_with_brute_force(pool: tuple[np.ndarray, np.ndarray, np.ndarray], keep: str) -> None:
    decision = deduplicate(*pool, threshold=THRESHOLD, keep=keep)
    wanted = exact(*pool, keep)
    assert decision.cells.count == 10
    assert wanted.sum() > 600
    agreed = (decision.removed & wanted).sum()
    assert agreed >= 0.995 * wanted.sum()
    assert (decision.removed & ~wanted).sum() <= 0.005 * wanted.sum()  # a missed pair can shift its neighbours
    assert decision.recall.removed > 100
    assert decision.recall.rate >= 0.99
    assert decision.recall.interval()[0] <= decision.recall.rate <= decision.recall.interval()[1]


@pytest.mark.parametrize("keep", ["greedy", "components", "semdedup"])
def test_one_cell_is_exact(keep: str) -> None:
    small = tuple(part[:700] for part in planted(5))
    decision = deduplicate(*small, threshold=THRESHOLD, keep=keep)
    assert decision.cells.count == 1
    assert (decision.removed == exact(*small, keep)).all()
    assert decision.recall.missed == 0


def test_chains_cost_other_rules_more(pool: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    removed = {keep: deduplicate(*pool, threshold=THRESHOLD, keep=keep).removed.sum() for keep in keep_rules.RULES}
    assert removed["greedy"] < removed["semdedup"] < removed["components"]


def test_order_of_rows_does_not_matter(pool: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    first = deduplicate(*pool, threshold=THRESHOLD)
    for seed in range(3):
        shuffled = np.random.default_rng(seed).permutation(N)
        again = deduplicate(*(part[shuffled] for part in pool), threshold=THRESHOLD)
        assert (again.removed == first.removed[shuffled]).all()
        assert again.cells_digest == first.cells_digest
        assert again.recall == first.recall


def test_small_blocks_give_the_same_answer(
    pool: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = deduplicate(*pool, threshold=THRESHOLD)
    monkeypatch.setattr(compare, "SIDE", 97)
    monkeypatch.setattr(keep_rules, "SMALLEST", 97)
    monkeypatch.setattr(keep_rules, "ROWS_PER_CELL_AND_BLOCK", 40)
    monkeypatch.setattr(keep_rules, "MOST_PAIRS", 300)
    assert (deduplicate(*pool, threshold=THRESHOLD).removed == first.removed).all()


def test_whole_products_of_dense_tiles_give_the_same_answer(
    pool: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = deduplicate(*pool, threshold=THRESHOLD)
    monkeypatch.setattr(compare, "DENSE", -1)
    again = deduplicate(*pool, threshold=THRESHOLD, scratch=tmp_path)
    assert (again.removed == first.removed).all()
    assert [path.name for path in tmp_path.iterdir()] == ["sketches.npy"]


def sketched(x: np.ndarray) -> Sketches:
    return Sketches.of(Rows.of(x))


def test_distances_of_sketches_are_exact(pool: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    some = sketched(pool[0][:300])
    points = some.points.astype(np.int64)
    distances = ((points[:, None] - points[None]) ** 2).sum(axis=2)
    every = np.arange(300)
    assert (sketch.nearness(some.left(every), some.right(every)) == -distances).all()


def test_no_near_pair_is_dismissed_by_its_sketches(pool: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    x = pool[0]
    wide = x.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    near = wide @ wide.T >= THRESHOLD
    some, every = sketched(x), np.arange(len(x))
    kept = sketch.nearness(some.left(every), some.right(every)) >= -sketch.reach(THRESHOLD)
    assert near[kept].sum() == near.sum() > 2 * len(x) // 5 + len(x)
    assert kept.sum() < 0.01 * kept.size


def test_rows_that_differ_in_few_directions_share_cells() -> None:
    """As a CLIP's do: all rows, and near ones too, differ mostly along the first directions."""
    rng = np.random.default_rng(4)
    widths = np.arange(1, 129) ** -0.6
    x = rng.standard_normal((4000, 128)) * widths + 2 * np.eye(128)[7]
    source = rng.integers(0, 2000, 2000)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    apart = rng.standard_normal((2000, 128)) * widths
    apart -= (apart * x[source]).sum(axis=1, keepdims=True) * x[source]
    x[2000:] = 0.955 * x[source] + np.sqrt(1 - 0.955**2) * apart / np.linalg.norm(apart, axis=1, keepdims=True)
    rows = Rows.of(x.astype(np.float16))
    made = cells.build(Sketches.of(rows), np.arange(4000), THRESHOLD)
    shared = [
        (made.nearest[one] == made.nearest[other, :1]).any(axis=1)
        for one, other in ((source, np.arange(2000, 4000)), (np.arange(2000, 4000), source))
    ]
    assert made.count == 8
    assert (shared[0] | shared[1]).mean() > 0.999


def test_rows_made_to_have_long_sketches_are_shortened() -> None:
    worst = np.linalg.svd(sketch._signs(768), full_matrices=False)[0][:, 0]
    assert 2000**2 < sketched(worst.astype(np.float16)[None]).squares[0] < 2048**2


THREADS = """
import sys; sys.path.insert(0, {here!r})
from test_neardup import planted, THRESHOLD
from datacomp_filters.neardup import cells, deduplicate
cells.ROWS_PER_CELL = 500
import faiss, hashlib
faiss.omp_set_num_threads({threads})
d = deduplicate(*planted(1), threshold=THRESHOLD)
print(hashlib.sha256(d.removed.tobytes()).hexdigest(), d.cells_digest)
"""


def test_threads_do_not_matter() -> None:
    answers = set()
    for threads in ("1", "3"):
        code = THREADS.format(here=os.path.dirname(__file__), threads=threads)
        environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        answers.add(done.stdout)
    assert len(answers) == 1


def test_rows_without_features_stay_and_are_counted() -> None:
    x, uids, scores = (part[:300] for part in planted(3))
    x[10], x[11], x[12, 5], x[13, 0] = 0, 0, np.nan, np.inf
    decision = deduplicate(x, uids, scores, threshold=THRESHOLD)
    assert decision.without_features == 4
    assert not decision.removed[10:14].any()


def test_long_rows_are_compared_by_angle() -> None:
    x, uids, scores = (part[:400] for part in planted(4))
    stretched = x.copy()
    stretched[::2] *= np.float16(2048)  # a power of two: the angles stay exactly the same
    first, again = (deduplicate(rows, uids, scores, threshold=THRESHOLD) for rows in (x, stretched))
    assert (Rows.of(stretched).squares <= 16).all()
    assert ((first.removed != again.removed).sum()) <= first.identical


def test_threshold_is_met_inclusively_and_exactly() -> None:
    x = np.zeros((3, 4), np.float16)
    x[0, 0] = 1
    x[1, :2] = 0.6, 0.8  # in float16 neither is exact: the cosine is what float16 made of it
    x[2, 2] = 1
    wide = x.astype(np.float64)
    cosine = wide[0] @ wide[1] / np.sqrt(wide[1] @ wide[1])
    uids = np.zeros(3, UID_DTYPE)
    uids["f1"] = [1, 2, 3]
    scores = np.zeros(3)
    lengths = np.sqrt(wide[1] @ wide[1])
    assert deduplicate(x, uids, scores, threshold=float(cosine)).removed.sum() == (
        wide[0] @ wide[1] >= cosine * lengths
    )
    assert deduplicate(x, uids, scores, threshold=float(np.nextafter(cosine, 1)) + 1e-15).removed.sum() == 0
    assert deduplicate(x, uids, scores, threshold=float(cosine) - 1e-15).removed.tolist() == [False, True, False]


def test_identical_rows_of_equal_hash_are_told_apart() -> None:
    x = np.array([[1, 2], [1, 2], [3, 4], [1, 2], [0, 0], [0, 0]], np.float16)
    rank = np.array([3, 1, 0, 2, 4, 5])
    groups = identical_groups(x, rank, np.array([1, 1, 1, 1, 0, 0], bool))
    assert groups.tolist() == [1, 1, 2, 1, 4, 5]


def test_wrong_arguments() -> None:
    x, uids, scores = (part[:10] for part in planted(3))
    with pytest.raises(ValueError, match="no keep rule"):
        deduplicate(x, uids, scores, threshold=0.9, keep="best")
    with pytest.raises(ValueError, match="float16"):
        deduplicate(x.astype(np.float32), uids, scores, threshold=0.9)


def test_wilson() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(95, 100)
    assert (round(low, 4), round(high, 4)) == (0.8882, 0.9785)
    assert wilson(10, 10)[1] == 1.0
    assert wilson(0, 10)[0] == 0.0


def test_nothing_to_compare() -> None:
    decision = deduplicate(np.zeros((2, 4), np.float16), np.zeros(2, UID_DTYPE), np.zeros(2), threshold=0.9)
    assert not decision.removed.any()
    assert decision.recall.interval() == (0.0, 1.0)


@pytest.mark.gpu
def test_a_gpu_decides_the_same(
    pool: tuple[np.ndarray, np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sketch._gpu() is not None, "FAISS sees no GPU: install datacomp[gpu] on a machine with one"
    on_gpu = deduplicate(*pool, threshold=THRESHOLD)
    monkeypatch.setattr(sketch, "_gpu", lambda: None)
    on_cpu = deduplicate(*pool, threshold=THRESHOLD)
    assert (on_gpu.removed == on_cpu.removed).all()
    assert on_gpu.cells_digest == on_cpu.cells_digest
