"""The filter contract: engine and selection rules."""

import numpy as np
import pytest
from refusals import code_of

from datacomp.filtering import Batch, Filter, score_pool, select
from datacomp.filtering.load import load_filter
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.uids import halves, sort


class Longer(Filter):
    columns = ("text", "words")

    def score(self, batch: Batch):
        return np.array([len(text) > 10 for text in batch["text"].to_pylist()]) & (batch["words"] > 2)


def test_a_filter_sees_just_what_it_names_in_row_order(pool: Pool) -> None:
    scores = score_pool(Longer(), pool).values
    texts = [text for shard in range(3) for text in pool.metadata_column("text", shard).to_pylist()]
    assert list(scores) == [len(text) > 10 and len(text.split()) > 2 for text in texts]

    class Greedy(Filter):
        columns = ("words",)

        def score(self, batch: Batch):
            return batch["text"]

    with pytest.raises(BadInput, match="filter-undeclared"):
        score_pool(Greedy(), pool)


def test_features_and_whole_pool_filters(pool: Pool) -> None:
    class Similar(Filter):
        features = ("l14_img", "l14_txt")
        rule = "top_exact(score, 0.5)"

        def score(self, batch: Batch):
            return (batch["l14_img"].astype(np.float32) * batch["l14_txt"].astype(np.float32)).sum(axis=1)

    class Whole(Filter):
        def select(self, pool: Pool):
            return np.arange(pool.rows) % 2

    scores = score_pool(Similar(), pool).values
    assert scores.dtype == np.float32
    assert select(pool, scores, Similar.rule).kept == 30
    assert select(pool, score_pool(Whole(), pool).values, "score").kept == 30


def test_what_depends_on_batches_is_found(pool: Pool) -> None:
    class Relative(Filter):
        columns = ("words",)

        def score(self, batch: Batch):
            return batch["words"] - batch["words"].mean() + np.random.default_rng().random()

    class Counting(Filter):
        seen = 0

        def score(self, batch: Batch):
            self.seen += 1
            return np.full(len(batch), float(self.seen))

    for kind in (Relative, Counting):
        with pytest.raises(BadInput, match="filter-not-pure"):
            score_pool(kind(), pool)


def test_prepare_sees_figures_of_the_whole_pool(pool: Pool) -> None:
    class Standard(Filter):
        columns = ("words", "lang")
        rule = "score > 0"

        def prepare(self, stats):
            self.mean = stats["words"].mean
            assert set(stats) == {"words"}

        def score(self, batch: Batch):
            return batch["words"] - self.mean

    words = np.asarray(pool.column("words"))
    scores = score_pool(Standard(), pool).values
    assert np.array_equal(select(pool, scores, "score > 0").counts, words > words.mean())


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (lambda batch: [True], "filter-score-shape"),
        (lambda batch: np.zeros((len(batch), 2)), "filter-score-shape"),
        (lambda batch: ["yes"] * len(batch), "filter-score-type"),
        (lambda batch: np.array([object()] * len(batch)), "filter-score-type"),
        (lambda batch: np.full(len(batch), -1), "filter-count-range"),
        (lambda batch: np.ones(len(batch), complex), "filter-score-type"),
        (lambda batch: None, "filter-score-shape"),
    ],
)
def test_answers_that_are_no_scores(pool: Pool, answer, code: str) -> None:
    class Odd(Filter):
        def score(self, batch: Batch):
            return answer(batch)

    with pytest.raises(BadInput) as error:
        score_pool(Odd(), pool)
    assert code_of(error) == code


def test_columns_and_features_that_are_missing_are_all_named(pool: Pool) -> None:
    class Lost(Filter):
        columns = ("nothing", "words", "tar")
        features = ("none",)

    with pytest.raises(BadInput) as error:
        score_pool(Lost(), pool)
    assert [p.where for p in error.value.problems] == ["nothing", "tar", "none"]


# --- rules


def original_top_fraction(scores: np.ndarray, fraction: float) -> np.ndarray:
    """DataComp's rule in its own terms: the score at place n of the descending order, everything at least that."""
    n = int(len(scores) * fraction)
    return scores >= -np.sort(-scores)[n] if n < len(scores) else np.ones(len(scores), bool)


@pytest.mark.parametrize("fraction", [0, 1e-9, 0.1, 0.3, 0.5, 0.999, 1.0])
def test_top_fraction_is_the_originals_with_ties(pool: Pool, fraction: float) -> None:
    scores = np.round(np.random.default_rng(1).random(pool.rows), 1).astype(np.float32)
    kept = select(pool, scores, f"top_fraction(score, {fraction})").counts
    assert np.array_equal(kept, original_top_fraction(scores, fraction))


def test_exact_fraction_breaks_ties_by_uid_and_nan_is_never_kept(pool: Pool) -> None:
    scores = np.zeros(pool.rows, np.float32)
    chosen = select(pool, scores, "top_exact(score, 0.25)")
    assert np.array_equal(chosen.uids(pool), pool.sorted_uids[:15])
    scores[:30] = np.nan
    for rule in ("top_exact(score, 1.0)", "top_fraction(score, 1)", "score == score or not score > 5", "not score > 5"):
        selection = select(pool, scores, rule)
        assert selection.nan_scores == 30
        assert not selection.counts[:30].any()
        assert selection.counts[30:].all()


def test_repeat_counts_repeat_uids_in_order(pool: Pool) -> None:
    counts = (np.arange(pool.rows) % 3).astype(np.int32)
    uids = select(pool, counts, "score").uids(pool)
    assert uids.size == 60
    assert np.array_equal(uids, sort(np.repeat(np.asarray(pool.uids), counts)))


def test_comparisons_are_made_in_float32(pool: Pool) -> None:
    scores = np.full(pool.rows, 0.28, np.float32)
    assert select(pool, scores, "score >= 0.28").kept == pool.rows


def test_expressions_over_columns(pool: Pool) -> None:
    lang = np.array((*pool.vocabulary("lang"), ""))[pool.column("lang")]
    words = np.asarray(pool.column("words"))
    kept = select(pool, None, "lang == 'en' and not words < 3 or -words + 2 * 3 == (1 + 1)").counts
    assert np.array_equal(kept, (lang == "en") & ~(words < 3) | (6 - words == 2))
    assert select(pool, None, "percentile(words) > 0.5").kept < pool.rows


@pytest.mark.parametrize(
    ("rule", "column"),
    [
        ("score >", 8),
        ("score > 0.3 )", 13),
        ("top_fraction(score)", 1),
        ("top_fraction(score, score)", 21),
        ("top_fraction(score, 0.3, 1)", 26),
        ("top_fraction(score, part=0.3)", 21),
        ("top_fraction(column=score, 0.3)", 28),
        ("cap(lang, 1.5)", 11),
        ("cap(lang, 2, rank=lang)", 19),
        ("words > 1 and near(eval)", 15),
        ("near(5)", 6),
        ("lang in (en)", 10),
        ("lang in (1, 2)", 6),
        ("lang in en", 9),
        ("score = 3", 7),
        ("words > 1 and clip_score(arch='nope', fraction=0.3)", 15),
        ("image_based(targets='/etc/passwd', centroids='a')", 21),
        ("basic_filter(3)", 14),
        ("sample(words - 1000, 5)", 1),
        ("best(score)", 1),
        ("nothing > 1", 1),
        ("score > 'a'", 7),
        ("lang < 'en'", 6),
        ("1 < 2 < 3", 7),
        ("score > 0.1 and words", 17),
        ("score $ 3", 7),
        ("top_fraction(score, 3)", 1),
        ("__import__('os')", 1),
        ("uid_order > 3", 1),
        ("words > 1 and uid > 1", 15),
        ("score > 1 / 0", 11),
    ],
)
def test_errors_point_at_the_column_of_the_text(pool: Pool, rule: str, column: int) -> None:
    with pytest.raises(BadInput) as error:
        select(pool, np.zeros(pool.rows, np.float32), rule)
    assert error.value.problems[0].where.startswith(f"column {column} of")


@pytest.mark.parametrize("rule", ["score", "1", "'en'", "score + 1"])
def test_a_rule_that_makes_no_choice(pool: Pool, rule: str) -> None:
    with pytest.raises(BadInput, match="rule-not-a-choice"):
        select(pool, np.zeros(pool.rows, np.float32), rule)


def test_deep_nesting_is_refused_not_recursed(pool: Pool) -> None:
    deep = ["(" * 5000 + "1" + ")" * 4000, "not " * 2400 + "score", "-" * 9000 + "score", "1" + "+1" * 4000]
    for rule in (*deep, " or ".join(["score > 0"] * 700)):
        with pytest.raises(BadInput, match="rule-invalid"):
            select(pool, np.zeros(pool.rows, np.float32), rule)
    assert select(pool, np.ones(pool.rows, np.float32), " or ".join(["score > 0"] * 190)).kept == pool.rows
    assert select(pool, np.ones(pool.rows, np.float32), "not " * 190 + "score > 0").kept == pool.rows


def test_random_subset_is_a_draw(pool: Pool) -> None:
    rng = np.random.default_rng(3)
    from datacomp.uids import UID_DTYPE

    uids = np.zeros(100_000, UID_DTYPE)
    uids["f0"], uids["f1"] = rng.integers(0, 1 << 62, uids.size), rng.integers(0, 1 << 62, uids.size)
    draw = load_filter("random_subset", {"fraction": "0.25"}).score(Batch(uids.size, {"uid": uids}))
    other = load_filter("random_subset", {"fraction": "0.25", "seed": "1"}).score(Batch(uids.size, {"uid": uids}))
    assert abs(draw.mean() - 0.25) < 0.01
    assert abs((draw & other).mean() - 0.0625) < 0.005
    assert halves(uids).shape == (100_000, 2)


def test_a_whole_pool_filter_that_leaves_the_choice_to_the_base_class_is_told_what_to_define(pool: Pool) -> None:
    class Leaves(Filter):
        def select(self, pool: Pool) -> object:
            return super().select(pool)

    with pytest.raises(BadInput, match="filter-incomplete"):
        score_pool(Leaves(), pool)
