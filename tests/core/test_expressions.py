"""Functions, named filters and the parser of selection rules."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_pool import SmallPool

from datacomp.checks import parse_choice
from datacomp.commands.filter import preview_filter, run_filter
from datacomp.filtering import select
from datacomp.filtering.expression import parse, walk
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput
from datacomp.uids import halves, sort, write_subset


def kept(pool: Pool, rule: str) -> np.ndarray:
    return select(pool, None, rule).counts


def column(pool: Pool, name: str) -> np.ndarray:
    return np.asarray(pool.column(name))


def language(pool: Pool) -> np.ndarray:
    return np.array((*pool.vocabulary("lang"), ""))[column(pool, "lang")]


def test_membership(pool: Pool) -> None:
    lang, words = language(pool), column(pool, "words")
    assert np.array_equal(kept(pool, "lang in ('en', 'fr')"), np.isin(lang, ["en", "fr"]))
    assert np.array_equal(
        kept(pool, "lang not in ('en') and words in (2, 9, -1)"), (lang != "en") & np.isin(words, [2, 9])
    )
    assert np.array_equal(kept(pool, "not words + 1 in (3)"), words != 2)


def test_a_cap_keeps_the_best_of_every_value(pool: Pool) -> None:
    lang, score = language(pool), column(pool, "clip_l14_similarity_score")
    chosen = kept(pool, "cap(lang, 3, rank=clip_l14_similarity_score)")
    for code in set(lang):
        rows = np.flatnonzero(lang == code)
        assert set(rows[chosen[rows]]) == set(rows[np.argsort(-score[rows])[:3]])
    by_uid = kept(pool, "cap(words, n=1, where=lang == 'en')")
    order = [tuple(pair) for pair in halves(pool.uids).tolist()]
    for value in set(column(pool, "words")):
        rows = np.flatnonzero((column(pool, "words") == value) & (lang == "en"))
        assert [row for row in rows if by_uid[row]] == sorted(rows, key=order.__getitem__)[:1]
    assert not by_uid[lang != "en"].any()


def test_named_filters_inside_expressions(pool: Pool) -> None:
    both = kept(pool, "basic_filter and top_fraction(clip_l14_similarity_score, fraction=0.3)")
    assert np.array_equal(both, kept(pool, "basic_filter") & kept(pool, "top_fraction(clip_l14_similarity_score, 0.3)"))
    assert np.array_equal(
        kept(pool, "not clip_score(arch='l14', fraction=0.3)"),
        ~kept(pool, "top_fraction(clip_l14_similarity_score, 0.3)"),
    )
    assert kept(pool, "random_subset(fraction=0.5, seed=3)").sum() < pool.rows


def test_sampling_is_exact_proportional_and_of_no_order(pool: Pool, tmp_path: Path) -> None:
    counts = kept(pool, "sample(words, 240, seed=1)")
    words = column(pool, "words").astype(float)
    assert counts.sum() == 240
    assert (np.abs(counts - 240 * words / words.sum()) < 1).all()
    assert (counts != kept(pool, "sample(words, 240, seed=2)")).any()
    assert not kept(pool, "sample(words, 30, where=lang == 'en')")[language(pool) != "en"].any()
    with pytest.raises(BadInput, match="no row has a weight"):
        kept(pool, "sample(words * 0, 5)")
    with pytest.raises(BadInput, match="more than 10 times"):
        kept(pool, f"sample(words, {pool.rows * 10 + 1})")
    made = []
    for shards in (1, 4):
        SmallPool(rows=40, shards=shards, features=False).write(tmp_path / str(shards))
        made.append(ingest(tmp_path / str(shards), processes=1))
    one, other = (select(p, None, "sample(clip_b32_similarity_score, 77, 5)").uids(p) for p in made)
    assert np.array_equal(one, other)


def test_every_seed_draws_a_row_as_often_as_its_weight_says(pool: Pool) -> None:
    words = column(pool, "words").astype(float)
    total = np.sum([kept(pool, f"sample(words, 30, {seed})") for seed in range(400)], axis=0)
    expected = 400 * 30 * words / words.sum()
    assert (np.abs(total - expected) < 5 * np.sqrt(expected + 1)).all()


def test_near_evaluation_images_needs_its_column(pool: Pool) -> None:
    with pytest.raises(BadInput, match=r"no column 'eval_similarity'.*datacomp pool near"):
        kept(pool, "not near(eval)")


# --- the parser


GRAMMAR = st.lists(
    st.sampled_from(
        ["words", "lang", "score", "and", "or", "not", "in", "(", ")", ",", "=", "==", "<", "-", "+", "/", "3", "0.5",
         "'en'", "cap", "near", "sample", "top_fraction", "dedup", "clip_score", "eval", "fraction", "no_filter"]
    ),
    max_size=24,
).map(" ".join)  # fmt: skip


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.one_of(st.text(max_size=80), GRAMMAR))
def test_any_text_parses_or_is_refused_at_a_column(text: str) -> None:
    try:
        tree = parse(text)
    except BadInput as error:
        where = error.problems[0].where or ""
        assert 1 <= int(where.split()[1]) <= len(text) + 1
    else:
        assert all(0 <= node.at < len(text) for node in walk(tree))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(GRAMMAR)
def test_what_parses_is_evaluated_or_refused(small: Pool, text: str) -> None:
    try:
        counts = select(small, None, text).counts
    except BadInput:
        return
    assert counts.shape == (small.rows,)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("small")
    SmallPool(rows=12, shards=1, features=False).write(directory)
    return ingest(directory, processes=1)


def test_what_can_never_be_a_choice_is_known_without_a_pool() -> None:
    for text in ("1 + 1", "'en'", "3", "1 < 2"):
        with pytest.raises(BadInput, match="rule-not-a-choice"):
            parse_choice(text)
    for text in ("words > 1", "basic_filter", "cap(lang, 3)", "not x", "lang in ('en')", "words - 1"):
        parse_choice(text)


# --- dry run


def test_a_dry_run_tells_size_languages_scores_and_overlap(pool: Pool, tmp_path: Path) -> None:
    out, other = tmp_path / "uids.npy", tmp_path / "other.npy"
    rule = "words > 3 and lang == 'en'"
    run = run_filter(rule, pool.directory, out, {})
    chosen = kept(pool, rule)
    half = np.arange(pool.rows) % 2 == 0
    write_subset(other, sort(np.asarray(pool.uids)[half]))
    seen = preview_filter(rule, pool.directory, {}, other)
    assert (seen.rows_kept, seen.unique, seen.rows_in) == (run.rows_kept, run.rows_kept, pool.rows)
    assert {code: n for code, n, _ in seen.languages if n} == {"en": run.rows_kept}
    assert seen.overlap == (half.sum(), (half & chosen).sum())
    score = column(pool, "clip_l14_similarity_score")
    histogram = next(h for h in seen.histograms if "l14" in h.column)
    assert (sum(histogram.kept), sum(histogram.pool)) == (run.rows_kept, pool.rows)
    assert (histogram.low, histogram.high) == (score.min(), score.max())
    assert any("would keep" in line for line in seen.lines())
    twice = preview_filter("sample(words, 90)", pool.directory, {})
    assert (twice.rows_kept, sum(twice.histograms[0].kept)) == (90, 90)
