"""Rules applied in the order of uids, window by window: the same subsets as in shard order and at once."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from odd_pool import OddPool
from small_pool import SmallPool

from datacomp.commands.filter import preview_filter, run_filter
from datacomp.filtering import selection, threshold
from datacomp.filtering.functions import AtLeast
from datacomp.filtering.order import best_order
from datacomp.filtering.threshold import kth_largest
from datacomp.pool import Extras, Pool, add_column, ingest, steps
from datacomp.pool.byuid import BY_UID, INDEX, copy_by_uid
from datacomp.pool.manifest import PACK
from datacomp.pool.steps import Counter, beside
from datacomp.problems import BadInput, PlatformFault
from datacomp.uids import halves, open_subset, order

SCORE = "clip_l14_similarity_score"
PLAIN = Extras(language=False)
RULES = (
    *(f"top_fraction({SCORE}, {f})" for f in ("0.0", "0.000001", "0.3", "0.999", "1.0")),
    f"top_fraction({SCORE}, 0.3) and clip_b32_similarity_score >= 0.2 or {SCORE} < 0",
    f"not top_fraction({SCORE}, 0.5)",
    f"{SCORE} >= 0",
    f"{SCORE} == {SCORE}",
    f"top_exact({SCORE}, 0.4)",
    f"percentile({SCORE}) > 0.5",
    f"top_fraction(percentile({SCORE}) + clip_b32_similarity_score, 0.3)",
    f"cap({SCORE}, 1, rank=clip_b32_similarity_score)",
    f"sample(abs_score, 700, 3, where={SCORE} >= 0.1)",
)


@pytest.fixture(scope="module", params=[False, True], ids=["float32", "float64"])
def pool(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """Ties, NaN, -0.0 beside 0.0, and a column that was added."""
    directory = tmp_path_factory.mktemp("pool")
    OddPool(rows=900, shards=3, wide=request.param).write(directory)
    made = ingest(directory, processes=1, extras=PLAIN)
    _add(made, "abs_score", np.abs(np.nan_to_num(np.asarray(made.column(SCORE)))))
    return Pool.open(directory)


def _add(pool: Pool, name: str, values: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from datacomp.uids import to_hex

    file = pool.directory / f"{name}.parquet"
    pq.write_table(pa.table({"uid": to_hex(np.asarray(pool.uids)), name: values}), file)
    add_column(pool.directory, file)


def _whole(pool: Pool, rule: str) -> np.ndarray:
    """The subset of a rule in shard order, by gathering and sorting."""
    counts = selection.select(pool, None, rule).counts
    uids = np.repeat(np.asarray(pool.uids), counts.astype(np.int64))
    return uids[order(uids)]


@pytest.mark.parametrize("rule", RULES)
def test_rules_keep_the_same_in_the_order_of_uids(
    pool: Pool, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _whole(pool, rule)
    assert best_order(pool, rule).in_uid_order
    monkeypatch.setattr(selection, "WINDOW", 37)
    done = run_filter(rule, pool.directory, tmp_path / "u.npy", {})
    assert done.rows_kept == expected.size
    assert np.array_equal(halves(open_subset(tmp_path / "u.npy")), halves(expected))
    np.save(tmp_path / "plain.npy", expected)
    assert (tmp_path / "u.npy").read_bytes() == (tmp_path / "plain.npy").read_bytes()


def test_named_filters_write_the_same_with_and_without_copies(tmp_path: Path) -> None:
    OddPool(rows=400, shards=2).write(tmp_path / "pool")
    pool = ingest(tmp_path / "pool", processes=1, extras=PLAIN)
    cases = [("no_filter", {})]
    cases += [("clip_score", {"arch": a, "fraction": f}) for a in ("b32", "l14") for f in ("0", "1e-9", "0.3", "1")]
    cases += [("clip_score", {"threshold": t}) for t in ("0.28", "0", "-1")]
    results = []
    for _ in range(2):
        results.append([])
        for what, parameters in cases:
            done = run_filter(what, pool.directory, tmp_path / "u.npy", parameters)
            results[-1].append((done.rows_kept, done.nan_scores, (tmp_path / "u.npy").read_bytes()))
        (pool.directory / PACK / BY_UID / INDEX).unlink(missing_ok=True)
    assert results[0] == results[1]
    assert any(nan for _, nan, _ in results[0])


@pytest.mark.parametrize(
    "rule", ["words > 3", f"{SCORE} > 0.1 and words > 3", "near(eval)", "clip_score(fraction=0.3)", "uid == 1"]
)
def test_whatever_has_no_copy_is_read_in_shard_order(pool: Pool, rule: str) -> None:
    assert best_order(pool, rule) is pool


def test_a_filter_may_say_that_any_order_will_do(pool: Pool, tmp_path: Path) -> None:
    source = """
from datacomp.filtering import Filter
class Mine(Filter):
    columns = ("clip_b32_similarity_score",)
    any_order = True
    rule = "top_fraction(score, 0.2) and clip_l14_similarity_score > 0.1"
    def select(self, pool):
        assert pool.in_uid_order is (not self.features)
        return pool.column("clip_b32_similarity_score") * 2
"""
    (tmp_path / "mine.py").write_text(source)
    run_filter(str(tmp_path / "mine.py"), pool.directory, tmp_path / "u.npy", {})
    rule = f"top_fraction(clip_b32_similarity_score * 2, 0.2) and {SCORE} > 0.1"
    assert np.array_equal(halves(open_subset(tmp_path / "u.npy")), halves(_whole(pool, rule)))
    for old, new, code in (
        ("""pool.column("clip_b32""", """pool.column("words") + pool.column("clip_b32""", "column-without-copy"),
        ("any_order = True", "any_order = False", "filter-raised"),
    ):
        (tmp_path / "mine.py").write_text(source.replace(old, new))
        with pytest.raises(BadInput, match=code):
            run_filter(str(tmp_path / "mine.py"), pool.directory, tmp_path / "u.npy", {})


def test_copies_of_replaced_columns_do_not_count(tmp_path: Path) -> None:
    SmallPool(rows=50).write(tmp_path)
    pool = ingest(tmp_path, processes=1, extras=PLAIN)
    index = tmp_path / PACK / BY_UID / INDEX
    rng = np.random.default_rng(0)
    stale = ""
    for values in (rng.random(50), rng.random(50)):
        _add(pool, "mine", values)
        now = Pool.open(tmp_path)
        assert best_order(now, "mine > 0.5").in_uid_order
        run_filter("mine > 0.5", tmp_path, tmp_path / "u.npy", {})
        assert len(open_subset(tmp_path / "u.npy")) == int((values > 0.5).sum())
        stale = stale or index.read_text()
    index.write_text(stale)
    assert best_order(now, "mine > 0.5") is now
    assert best_order(now, f"{SCORE} > 0.5").in_uid_order
    for text in ("{", "[1]", ""):
        index.write_text(text)
        assert best_order(now, f"{SCORE} > 0.5") is now
    copy_by_uid(now)
    assert best_order(now, "mine > 0.5").in_uid_order


def test_a_damaged_copy_is_refused_and_made_again(tmp_path: Path) -> None:
    SmallPool(rows=50).write(tmp_path)
    pool = ingest(tmp_path, processes=1, extras=PLAIN)
    copy = tmp_path / PACK / BY_UID / f"{SCORE}.npy"
    good = copy.read_bytes()
    copy.write_bytes(good[:-4])
    with pytest.raises(PlatformFault, match="pool-pack-damaged"):
        run_filter(f"{SCORE} > 0.1", tmp_path, tmp_path / "u.npy", {})
    assert not (tmp_path / "u.npy").exists()
    ingest(tmp_path, processes=1, extras=PLAIN)
    assert copy.read_bytes() == good
    assert np.array_equal(np.load(copy), np.asarray(pool.column(SCORE))[pool.uid_order])


def test_the_table_of_values_is_checked(tmp_path: Path) -> None:
    scores = np.arange(50).astype(np.float16).astype(np.float32) / 64
    SmallPool(rows=50, overrides={SCORE: scores}).write(tmp_path)
    ingest(tmp_path, processes=1, extras=PLAIN)
    table = beside(tmp_path / PACK / BY_UID / f"{SCORE}.npy")
    rule = f"top_fraction({SCORE}, 0.3)"
    assert run_filter(rule, tmp_path, tmp_path / "u.npy", {}).rows_kept == 16
    good = table.read_bytes()
    for bad in (good[:-1], good + good[-12:], good[:4] + b"\xff" * 8 + good[12:]):
        table.write_bytes(bad)
        with pytest.raises(PlatformFault, match="pool-pack-damaged"):
            run_filter(rule, tmp_path, tmp_path / "v.npy", {})
    table.unlink()
    run_filter(rule, tmp_path, tmp_path / "v.npy", {})
    assert (tmp_path / "u.npy").read_bytes() == (tmp_path / "v.npy").read_bytes()
    assert not beside(tmp_path / PACK / BY_UID / "clip_b32_similarity_score.npy").exists()  # random float32


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(width=16), min_size=1, max_size=60), st.integers(0, 59))
def test_a_table_tells_what_sorting_tells(values: list[float], place: int) -> None:
    column = np.array(values, np.float32)
    counter = Counter(column.dtype)
    for start in range(0, column.size, 7):
        counter.add(column[start : start + 7])
    with TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", column)
        table = counter.table()
        assert table is not None
        table.tofile(beside(Path(folder, "x.npy")))
        mapped = np.load(f"{folder}/x.npy", mmap_mode="r")
        found = steps.kth_largest(np.asarray(mapped), min(place, column.size - 1))
        assert steps.kth_largest(column, 0) is None
        assert steps.kth_largest(mapped[::-1], 0) is None or column.size == 1
    expected = -np.sort(-column)[min(place, column.size - 1)]
    assert found == expected or (np.isnan(found) and np.isnan(expected))


def test_errors_of_late_windows_leave_no_file(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "MOST_COPIES", 0)
    with pytest.raises(BadInput, match="subset-too-large"):
        run_filter(f"{SCORE} >= 0", pool.directory, tmp_path / "u.npy", {})
    assert not list(tmp_path.iterdir())
    with pytest.raises(BadInput, match="subset-too-large"):
        selection.select(pool, np.full(pool.rows, 2**31 - 1, np.int32), "score").uids(pool)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 0.25, 0.5, -1.0]), min_size=1, max_size=300),
    st.floats(0, 1),
)
def test_thresholds_found_by_samples_and_windows(values: list[float], fraction: float) -> None:
    column = np.array(values, np.float32)
    place = min(int(column.size * fraction), column.size - 1)
    descending = np.sort(-column)  # NaN last
    expected = -descending[place]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("SAMPLE", 16), ("MARGIN", 2), ("WINDOW", 7)):
            patch.setattr(threshold, name, value)
        found = kth_largest(column, place)
    assert found == expected or (np.isnan(found) and np.isnan(expected))
    told = AtLeast(column, found)
    assert np.array_equal(np.concatenate([told[slice(0, 5)], told[slice(5, column.size)]]), told[slice(0, column.size)])


def test_a_dry_run_honours_the_engine_and_compares(pool: Pool, tmp_path: Path) -> None:
    run_filter(f"{SCORE} >= 0.1", pool.directory, tmp_path / "u.npy", {})
    seen = preview_filter(f"{SCORE} >= 0", pool.directory, {}, tmp_path / "u.npy")
    assert seen.overlap == (len(open_subset(tmp_path / "u.npy")),) * 2
    with pytest.raises(BadInput, match="engine-unknown"):
        preview_filter(f"{SCORE} >= 0", pool.directory, {}, engine="spark")
