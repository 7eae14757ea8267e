"""Thresholds from histograms; the same filter on Ray, the same bytes."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pool import SmallPool

from datacomp.commands.filter import run_filter
from datacomp.engines import radix
from datacomp.engines.rules import NeedsWholePool, with_thresholds
from datacomp.filtering.expression import parse
from datacomp.filtering.threshold import kth_largest
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput


def by_histograms(parts: list[np.ndarray], place: int):
    def count(prefix: int, known: int) -> np.ndarray:
        return sum(radix.histogram(part, prefix, known) for part in parts)

    return radix.kth_largest(count, parts[0].dtype, place)


ODD = [0.0, -0.0, 1e-40, -1e-40, np.inf, -np.inf, np.nan, 1.5, -1.5, 3e38]


@given(
    st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8]),
    st.lists(st.integers(-300, 300), min_size=1, max_size=40),
    st.data(),
)
@settings(max_examples=150, deadline=None)
def test_histograms_find_the_kth_largest(kind, numbers, data) -> None:
    values = np.array(numbers).astype(kind)
    if values.dtype.kind == "f":
        values = np.concatenate([values / 7, np.array(data.draw(st.lists(st.sampled_from(ODD))), kind)]).astype(kind)
    place = data.draw(st.integers(0, values.size - 1))
    found = by_histograms(np.array_split(values, 3), place)
    expected = kth_largest(values, place)
    assert np.isnan(expected) if found is None else found == expected


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_histograms_find_every_quantile_of_many_scores(kind) -> None:
    scores = np.random.default_rng(0).normal(0, 1, 20_000).astype(kind)
    for place in (0, 1, 7_777, 19_999):
        assert by_histograms(np.array_split(scores, 5), place) == kth_largest(scores, place)


def test_rules_become_comparisons() -> None:
    asked = []

    def threshold(column: str, fraction: float) -> float | None:
        asked.append((column, fraction))
        return {0.3: -2.5, 0.1: np.inf}.get(fraction)

    text = with_thresholds(
        parse("top_fraction(a + b, 0.3) and not (lang == 'en' or top_fraction(a, 0.1)) and top_fraction(-a, 1)"),
        {"a", "b", "lang"},
        threshold,
    )
    assert asked == [("(a + b)", 0.3), ("a", 0.1), ("(- a)", 1.0)]
    expected = "(((a + b) >= (-2.5)) and (not ((lang == 'en') or (a >= 1e999)))) and ((- a) == (- a))"
    assert parse_free(text) == parse_free(expected)
    for rule in ("percentile(a) > 0.5", "other > 3", "top_fraction(a, b)"):
        with pytest.raises(NeedsWholePool):
            with_thresholds(parse(rule), {"a", "b"}, threshold)


def parse_free(text: str) -> str:
    """The tree of a rule, without places."""
    import re

    return re.sub(r"at=\d+, ", "", repr(parse(text)))


# --- Ray

FILTER = '''
"""Long captions score high."""
import numpy as np
from datacomp.filtering import Filter

class Long(Filter):
    columns = ("words", "characters", "original_width")
    rule = "top_fraction(score, 0.4) and original_height > 300"

    def prepare(self, stats):
        self.mean = np.float32(stats["original_width"].mean)

    def score(self, batch):
        score = (batch["words"] + np.where(batch["original_width"] > self.mean, 0.5, 0)).astype(np.float32)
        return np.where(batch["characters"] == 0, np.float32(np.nan), score)
'''
BROKEN = FILTER.replace('batch["words"] +', 'batch["words"] / nothing +')


@pytest.fixture(scope="module")
def cluster():
    """A Ray of several processes on this machine."""
    try:
        import ray
    except ModuleNotFoundError:
        if os.environ.get("CI") == "true":
            pytest.fail("Ray is not installed: in continuous integration it must be")
        pytest.skip("Ray is not installed: pip install 'datacomp[ray]'")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options = {"include_dashboard": False, "log_to_driver": False, "object_store_memory": 100 << 20}
    ray.init(num_cpus=2, logging_level="ERROR", **options)
    yield ray
    ray.shutdown()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("ray") / "pool"
    scores = np.random.default_rng(5).uniform(-0.1, 0.4, 400).astype(np.float16).astype(np.float32)
    scores[[3, 77, 200]] = np.nan
    overrides = {"clip_l14_similarity_score": scores}
    SmallPool(rows=400, shards=7, features=False, without_image=400, overrides=overrides).write(directory)
    return ingest(directory, processes=1)


def both(pool: Pool, tmp_path: Path, what: str, parameters: dict[str, str]):
    """The runs of the local engine and of Ray, whose bytes are equal."""
    one = run_filter(what, pool.directory, tmp_path / "local.npy", parameters)
    other = run_filter(what, pool.directory, tmp_path / "ray.npy", parameters, engine="ray")
    assert (tmp_path / "local.npy").read_bytes() == (tmp_path / "ray.npy").read_bytes()
    assert (one.rows_kept, one.nan_scores, one.rule) == (other.rows_kept, other.nan_scores, other.rule)
    return one


def test_ray_gives_the_bytes_of_the_local_engine(cluster, pool: Pool, tmp_path: Path) -> None:
    code = tmp_path / "long.py"
    code.write_text(FILTER)
    l14 = "clip_l14_similarity_score"
    cases = [
        ("clip_score", {"arch": "l14", "fraction": "0.3"}),
        ("clip_score", {"arch": "l14", "fraction": "1.0"}),
        ("basic_filter", {}),
        (str(code), {}),
        (f"top_fraction({l14} * 2, 0.25) and not lang == 'en'", {}),
        (f"top_fraction({l14}, 0.999) or words > 5", {}),
        (f"percentile({l14}) > 0.5", {}),
        ("top_fraction(original_width, 0.5)", {}),
    ]
    kept = [both(pool, tmp_path, what, parameters).rows_kept for what, parameters in cases]
    assert all(0 < rows <= 400 for rows in kept)
    assert len(set(kept)) > 4


def refusal(call) -> tuple[str, str | None]:
    with pytest.raises(BadInput) as caught:
        call()
    return caught.value.problems[0].code, caught.value.problems[0].where


def test_ray_refuses_what_the_local_engine_refuses(cluster, pool: Pool, tmp_path: Path) -> None:
    code = tmp_path / "broken.py"
    code.write_text(BROKEN)
    for what in (str(code), "top_fraction(lang, 0.3)", "words + 1", "nothing > 3", "top_fraction(words, 2)", "words >"):
        first, second = (
            refusal(
                lambda what=what, engine=engine: run_filter(what, pool.directory, tmp_path / "x", {}, engine=engine)
            )
            for engine in ("local", "ray")
        )
        assert first == second
    assert (
        refusal(lambda: run_filter("no_filter", pool.directory, tmp_path / "x", {}, engine="z"))[0] == "engine-unknown"
    )


def test_tasks_run_in_several_processes(cluster, pool: Pool) -> None:
    import time

    @cluster.remote
    def process() -> int:
        time.sleep(0.3)
        return os.getpid()

    found = set(cluster.get([process.remote() for _ in range(6)]))
    assert len(found) > 1
    assert os.getpid() not in found
