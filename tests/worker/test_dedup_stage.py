"""The stage dedup over a small pool with planted near-duplicates: decisions by brute force, repeats, report, faults."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_pool import SmallPool
from stage_job import Notes, stage_context

from datacomp.messages import SUBSET_FILE, DedupMode, DedupResult, DedupSetting, Stage, SubmissionKind
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput, PlatformFault
from datacomp.uids import UID_DTYPE, read_subset, sort, to_hex, write_subset
from datacomp_filters.neardup import cells, over_pool
from datacomp_worker.stages import dedup, validate
from datacomp_worker.stages import filter as filter_stage
from datacomp_worker.stages.base import Cancelled, StageContext

ROWS = 3000
THRESHOLD = 0.95


class PoolWithDuplicates(SmallPool):
    """A third of the rows are near one of a few hundred sources; some are byte for byte equal, two have no feature."""

    def _write_features(self, path: Path, n: int, rng: np.random.Generator) -> None:
        rows = rng.standard_normal((n, 768))
        sources = np.random.default_rng(7).standard_normal((300, 768))  # the same in every shard
        near = rng.choice(n, n // 3, replace=False)
        picked = rng.integers(0, len(sources), len(near))
        rows[near] = sources[picked] + rng.uniform(0, 0.4, len(near))[:, None] * rng.standard_normal((len(near), 768))
        rows[near[:40]] = sources[picked[:40]]
        rows[:2] = 0
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        np.savez(path, l14_img=(rows / np.where(lengths, lengths, 1)).astype(np.float16))


@pytest.fixture(scope="module")
def crawl(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("crawl")
    scores = np.round(np.random.default_rng(1).uniform(0, 0.4, ROWS), 2).astype(np.float32)  # many ties
    scores[::97] = np.nan
    PoolWithDuplicates(rows=ROWS, shards=3, overrides={"clip_l14_similarity_score": scores}).write(directory)
    return ingest(directory, processes=1)


def context(
    pool: Pool, tmp_path: Path, uids: np.ndarray, notes: Notes | None = None, **setting: object
) -> StageContext:
    subset = tmp_path / SUBSET_FILE
    write_subset(subset, sort(uids))
    wanted = DedupSetting(**{"mode": DedupMode.APPLY, "threshold": THRESHOLD, **setting})
    inputs = {SUBSET_FILE: subset}
    return stage_context(Stage.DEDUP, tmp_path, inputs, pool_dir=pool.directory, notes=notes, dedup=wanted)


def expected(pool: Pool, rows: np.ndarray) -> np.ndarray:
    """The rows that stay, by plain loops over all pairs of float64 features."""
    features = pool.gather("l14_img", rows).astype(np.float64)
    lengths = np.linalg.norm(features, axis=1)
    scores, uids = np.asarray(pool.column("clip_l14_similarity_score"))[rows], np.asarray(pool.uids)[rows]
    rank = [(bool(np.isnan(s)), -float(np.nan_to_num(s)), tuple(u.item())) for s, u in zip(scores, uids, strict=True)]
    near = (features @ features.T >= THRESHOLD * lengths[:, None] * lengths[None, :]) & (lengths > 0)
    kept: list[int] = []
    for i in sorted(range(len(rows)), key=rank.__getitem__):
        if lengths[i] == 0 or not near[i, kept].any():
            kept.append(i)
    return np.sort(rows[kept])


def outcome(made) -> DedupResult:
    assert isinstance(made.result, DedupResult)
    return made.result


def test_apply_removes_what_brute_force_removes_with_all_its_repeats(crawl: Pool, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = np.sort(rng.choice(ROWS, 1500, replace=False))
    repeated = np.repeat(rows, rng.integers(1, 4, rows.size))
    notes = Notes()
    made = dedup.run(context(crawl, tmp_path, np.asarray(crawl.uids)[repeated], notes))
    stays = expected(crawl, rows)
    left = read_subset(made.files[SUBSET_FILE])
    want = sort(np.asarray(crawl.uids)[repeated[np.isin(repeated, stays)]])
    result = outcome(made)
    assert 100 < rows.size - stays.size < 700, "the planted duplicates are there"
    assert left.dtype == UID_DTYPE
    assert left.tobytes() == want.tobytes()
    assert (result.rows_in, result.rows_kept) == (repeated.size, want.size)
    assert result.removable == repeated.size - want.size
    assert result.without_features == int(np.isin(rows, [0, 1, 1000, 1001, 2000, 2001]).sum())
    assert result.recall == 1.0
    assert result.recall_low > 0.95
    kinds = ["reading features", "measuring rows", "sketching", "comparing", "measuring recall"]
    assert list(dict.fromkeys(progress.note for progress in notes.seen)) == kinds
    assert all(progress.done <= progress.total for progress in notes.seen)
    assert f"{result.removable:,} of {repeated.size:,} rows" in notes.text


def test_report_changes_nothing_and_says_the_same(crawl: Pool, tmp_path: Path) -> None:
    (tmp_path / "apply").mkdir()
    (tmp_path / "report").mkdir()
    uids = np.asarray(crawl.uids)
    applied = dedup.run(context(crawl, tmp_path / "apply", uids))
    reported = dedup.run(context(crawl, tmp_path / "report", uids, mode=DedupMode.REPORT))
    assert set(reported.files) == {"report.json"}, "the subset that counts stays the earlier one"
    one, other = outcome(applied), outcome(reported)
    assert other.rows_kept == other.rows_in == ROWS
    assert one.rows_kept == ROWS - one.removable
    assert (one.removable, one.cells_digest, one.recall) == (other.removable, other.cells_digest, other.recall)


def test_the_report_gives_figures_and_examples_that_hold(
    crawl: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cells, "ROWS_PER_CELL", 500)
    made = dedup.run(context(crawl, tmp_path, np.asarray(crawl.uids)))
    report = json.loads(made.files["report.json"].read_text())
    left = set(to_hex(read_subset(made.files[SUBSET_FILE])))
    assert report["samples"] == ROWS
    assert report["samples_removable"] == report["removable"] == ROWS - len(left)
    assert 0 < report["samples_identical"] < report["removable"]
    assert report["cells"] == 6, "FAISS has trained them"
    assert (report["feature"], report["rank"]) == ("l14_img", "clip_l14_similarity_score")
    hexes = to_hex(np.asarray(crawl.uids))
    features = crawl.gather("l14_img", np.arange(ROWS)).astype(np.float64)
    assert len(report["examples"]) == dedup.EXAMPLES
    for example in report["examples"]:
        assert example["removed"] not in left
        assert example["nearest_kept"] in left
        a, b = features[hexes.index(example["removed"])], features[hexes.index(example["nearest_kept"])]
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        assert example["cosine"] == pytest.approx(cosine, abs=2e-6)
        assert example["cosine"] >= THRESHOLD - 1e-6


@pytest.mark.parametrize(
    ("setting", "code", "hint"),
    [
        ({"feature": "b32_img"}, "feature-unknown", "choose from l14_img"),
        ({"rank": "beauty"}, "column-unknown", "clip_l14_similarity_score"),
        ({"rank": "url"}, "column-", ""),
    ],
)
def test_a_pool_that_lacks_what_the_board_names_is_the_organisers_fault(
    crawl: Pool, tmp_path: Path, setting: dict, code: str, hint: str
) -> None:
    with pytest.raises(PlatformFault) as fault:
        dedup.run(context(crawl, tmp_path, np.asarray(crawl.uids), **setting))
    assert fault.value.problems[0].code.startswith(code)
    assert hint in (fault.value.problems[0].hint or "")


def test_uids_of_another_pool_are_a_platform_fault(crawl: Pool, tmp_path: Path) -> None:
    foreign = np.array([(1, 2)], UID_DTYPE)
    with pytest.raises(PlatformFault, match="pool-changed"):
        dedup.run(context(crawl, tmp_path, foreign))


@pytest.mark.parametrize("note", ["reading features", "comparing"])
def test_a_cancelled_run_stops_at_once(crawl: Pool, tmp_path: Path, note: str) -> None:
    with pytest.raises(Cancelled):
        dedup.run(context(crawl, tmp_path, np.asarray(crawl.uids), Notes(cancel_at=note)))
    assert not (tmp_path / "output" / SUBSET_FILE).exists()


def test_an_expression_is_checked_first_and_evaluated_once(
    crawl: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = []
    decide = over_pool.decide
    monkeypatch.setattr(over_pool, "decide", lambda *a, **k: evaluated.append(1) or decide(*a, **k))
    rule = f"words >= 0 and dedup({THRESHOLD}, rank=clip_l14_similarity_score)"
    for number, (stage, text) in enumerate([(validate, rule), (validate, "dedup(1.5)"), (filter_stage, rule)]):
        notes, directory = Notes(), tmp_path / str(number)
        directory.mkdir()
        (directory / "rule.txt").write_text(text)
        given = stage_context(
            Stage.FILTER, directory, {"upload": directory / "rule.txt"}, pool_dir=crawl.directory, notes=notes
        )
        given = replace(given, job=given.job.model_copy(update={"kind": SubmissionKind.EXPRESSION}))
        if text != rule:
            with pytest.raises(BadInput, match="a threshold lies above 0"):
                stage.run(given)
            continue
        made = stage.run(given)
        assert len(evaluated) == (stage is filter_stage)
    assert made.result.rows_kept == expected(crawl, np.arange(ROWS)).size
    assert {"reading features", "comparing"} < {progress.note for progress in notes.seen}


def test_one_sample_alone_is_kept(crawl: Pool, tmp_path: Path) -> None:
    made = dedup.run(context(crawl, tmp_path, np.asarray(crawl.uids)[5:6]))
    assert outcome(made).rows_kept == 1
    assert (outcome(made).recall_low, outcome(made).recall_high) == (0.0, 1.0)
