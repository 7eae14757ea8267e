"""A board of three seeds, from the upload to scores, and its results done again from their manifests.

Server, protocol, worker and its stages are the real ones; trainings take a moment (`quick_child`: a chain of hashes by
seed and data) and evaluations read their weights (`quick_evaluate`).
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from gallery import gallery, picture
from mini_suite import SUITE
from server_site import ONLY_SQLITE, ORGANISER_TOKEN, WORKER_TOKEN, Site, running, serving, write_boards
from small_pool import SmallPool
from small_suite import write_task

from datacomp.client import Client
from datacomp.messages import DATASET_FILE, SUBSET_FILE, Disclosure, RunState, Stage, SubmissionOut
from datacomp.messages.manifest import Manifest
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput
from datacomp.reproduction.compare import Comparison, Line, Made, compare
from datacomp.reproduction.source import Source, open_source
from datacomp.reproduction.tolerance import tolerance_of
from datacomp.scales import get_scale
from datacomp.suite import Suite
from datacomp_server.settings import Settings
from datacomp_worker import pipeline
from datacomp_worker.api import WorkerApi
from datacomp_worker.pipeline import Worker
from datacomp_worker.reproduction.carry_out import Wish, carry_out
from datacomp_worker.settings import WorkerSettings
from datacomp_worker.training import supervise

BOARD = """
[[boards]]
name = "three-seeds"
title = "Three seeds"
scale = "tiny"
suite = "mini.json"
pool = "small"
seeds = [0, 5, 7]
disclosure = "scored"
"""
BROUGHT = """
[[boards]]
name = "brought"
title = "Brought"
track = "byod"
scale = "tiny"
suite = "mini.json"
pool = "small"
disclosure = "scored"
"""
RULE = "clip_l14_similarity_score >= 0.1"


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    directory = tmp_path_factory.mktemp("pools") / "small"
    SmallPool(rows=60, shards=3, features=False).write(directory)
    return ingest(directory, processes=1)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    folder = tmp_path / "suites" / "mini"
    folder.mkdir(parents=True)
    (folder / "suite.json").write_text(json.dumps(SUITE))
    return folder


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    support = str(Path(__file__).parents[1] / "support")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([support, *filter(None, [os.environ.get("PYTHONPATH")])]))
    monkeypatch.setenv("QUICK_SECONDS", "0.01")
    monkeypatch.setattr(supervise, "CHILD", "quick_child")
    monkeypatch.setitem(pipeline.STAGES, Stage.EVALUATE, "quick_evaluate")


@pytest.fixture
def scored(
    make_settings: Callable[..., Settings], pool: Pool, suite: Path, quick: None, tmp_path: Path
) -> Iterator[tuple[Site, str, SubmissionOut]]:
    settings = make_settings()
    write_boards(tmp_path, BOARD)
    with running(settings) as site, serving(site.app) as url:
        what = {"board": "three-seeds", "kind": "expression", "filename": "rule.expr", "expression": RULE}
        opened = site.submit("ada", RULE.encode(), **what)
        here = WorkerSettings(
            server_url=url, worker_token=WORKER_TOKEN, data_dir=tmp_path, pools_dir=pool.directory.parent
        )
        assert Worker(WorkerApi(url, WORKER_TOKEN), here, ("cpu",)).serve() == 9
        yield site, url, site.receipt(opened.id)


def reproduce(source: Source, pool: Pool, suite: Path, work: Path, **changes: object) -> Comparison:
    return carry_out(Wish(source=source, pool=pool.directory, suite=suite, work=work, **changes), lambda *_: None)


def of(comparison: Comparison) -> dict[tuple[str, int | None], Line]:
    return {(line.what, line.seed): line for line in comparison.lines}


def altered(source: Source, change: Callable[[dict], object]) -> Source:
    body = source.manifest.model_dump(mode="json")
    change(body)
    return replace(source, manifest=Manifest.model_validate(body), digest=source.digest[::-1])


@ONLY_SQLITE
def test_three_seeds_are_trained_evaluated_averaged_and_reproduced(
    scored: tuple[Site, str, SubmissionOut], pool: Pool, suite: Path, tmp_path: Path
) -> None:
    site, url, receipt = scored
    assert receipt.state == "scored", receipt.failure
    seeds = [(run.stage, run.seed) for run in receipt.runs if run.stage in {Stage.TRAIN, Stage.EVALUATE}]
    assert seeds == [(stage, seed) for seed in (0, 5, 7) for stage in (Stage.TRAIN, Stage.EVALUATE)]
    assert receipt.score is not None
    assert receipt.score.seeds == 3
    source = Source(*_manifest(url, receipt.id), Client(url))
    manifest = source.manifest
    averages = [row.average for row in manifest.scores.seeds]
    assert [row.seed for row in manifest.scores.seeds] == [0, 5, 7]
    assert len(set(manifest.digests.weights.values())) == 3
    assert len({*averages}) > 1, "seeds that all score the same show nothing"
    assert manifest.scores.average == receipt.score.average == pytest.approx(fmean(averages))
    assert site.board("three-seeds").rows[0].score == receipt.score.average
    assert manifest.digests.pool == pool.manifest.digest

    comparison = reproduce(source, pool, suite, tmp_path / "again")
    lines = of(comparison)
    assert comparison.reproduced
    assert comparison.differences == ()
    for seed in (0, 5, 7):
        assert lines["weights", seed].ours == manifest.digests.weights[str(seed)]
        assert lines["records", seed].agrees is True
        assert lines["average", seed].difference == 0
    assert lines["average", None].ours == pytest.approx(receipt.score.average)

    one = reproduce(source, pool, suite, tmp_path / "one", seeds=(5,))
    assert {seed for what, seed in of(one) if what == "weights"} == {5}
    assert ("average", None) not in of(one)
    assert one.reproduced
    with pytest.raises(BadInput, match="seed-unknown"):
        reproduce(source, pool, suite, tmp_path / "two", seeds=(1,))
    _judged(source, pool, suite, tmp_path)
    _gone_on_with(source, pool, suite, tmp_path)


def _manifest(url: str, submission: str) -> tuple[Manifest, str]:
    made = Client(url, ORGANISER_TOKEN).manifest(submission)
    return Manifest.model_validate(made.body), made.digest


def _judged(source: Source, pool: Pool, suite: Path, tmp_path: Path) -> None:
    """What disagrees is found: a score beyond the tolerance, weights without a reason, another subset."""
    allowed = tolerance_of(get_scale("tiny"))
    assert allowed is not None

    def shift(by: float) -> Comparison:
        def change(body: dict) -> None:
            body["scores"]["seeds"][0]["average"] += by

        return reproduce(altered(source, change), pool, suite, tmp_path / f"by-{by}", seeds=(0,))

    assert shift(allowed.average * 0.9).reproduced
    beyond = shift(allowed.average * 1.1)
    assert not beyond.reproduced
    assert of(beyond)["average", 0].agrees is False

    def other_weights(body: dict) -> None:
        next(run for run in body["runs"] if run["stage"] == "train")["result"]["weights_digest"] = "0" * 64

    unexplained = reproduce(altered(source, other_weights), pool, suite, tmp_path / "weights", seeds=(0,))
    assert of(unexplained)["weights", 0].agrees is False

    def other_torch(body: dict) -> None:
        other_weights(body)
        for run in body["runs"]:
            run["environment"]["torch"] = "1.0"

    explained = reproduce(altered(source, other_torch), pool, suite, tmp_path / "torch", seeds=(0,))
    assert explained.reproduced
    assert of(explained)["weights", 0].agrees is None
    assert "torch: 1.0 there" in of(explained)["weights", 0].note
    assert explained.differences[0].name == "torch"
    assert explained.differences[0].stages == ("validate", "filter", "subset", "train", "evaluate")

    def other_subset(body: dict) -> None:
        next(run for run in body["runs"] if run["stage"] == "subset")["result"]["subset_digest"] = "1" * 64

    def other_recipe(body: dict) -> None:
        body["board"]["scale"]["digest"] = "2" * 64

    with pytest.raises(BadInput, match="reproduce-recipe"):
        reproduce(altered(source, other_recipe), pool, suite, tmp_path / "recipe")
    stopped = reproduce(altered(source, other_subset), pool, suite, tmp_path / "subset")
    assert not stopped.reproduced
    assert [line.what for line in stopped.lines] == ["subset"], "nothing is trained on another subset"


def _gone_on_with(source: Source, pool: Pool, suite: Path, tmp_path: Path) -> None:
    """What is finished is not done again; from the uids alone nothing is selected; another's directory is refused."""
    work = tmp_path / "again"
    before = {path: path.stat().st_mtime_ns for path in work.rglob("done.json")}
    assert len(before) == 9
    (work / "evaluate-7" / "done.json").unlink()
    assert reproduce(source, pool, suite, work).reproduced
    after = {path: path.stat().st_mtime_ns for path in work.rglob("done.json")}
    assert {path for path in after if after[path] != before[path]} == {work / "evaluate-7" / "done.json"}
    uids = work / "subset" / "files" / "subset.npy"
    alone = replace(source, client=None)
    assert reproduce(alone, pool, suite, tmp_path / "uids", subset=uids, until=Stage.TRAIN, seeds=(7,)).reproduced
    assert sorted(path.parent.name for path in (tmp_path / "uids").rglob("done.json")) == ["subset", "train-7"]
    with pytest.raises(BadInput, match="file-missing"):
        reproduce(alone, pool, suite, tmp_path / "none")
    with pytest.raises(BadInput, match="reproduction-other"):
        reproduce(replace(source, digest="f" * 64), pool, suite, work)
    with pytest.raises(BadInput, match="reproduction-other"):
        reproduce(source, pool, suite, suite)


@ONLY_SQLITE
def test_a_manifest_in_a_file_is_checked_and_an_undisclosed_file_is_named(
    scored: tuple[Site, str, SubmissionOut], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, url, receipt = scored
    monkeypatch.setenv("DATACOMP_CONFIG", str(tmp_path / "no-login.json"))
    assert all(run.state is RunState.DONE for run in receipt.runs)
    path = tmp_path / "manifest.json"
    told = Client(url, ORGANISER_TOKEN).manifest(receipt.id).model_dump(mode="json")
    path.write_text(json.dumps(told))
    assert open_source(str(path), None).digest == told["digest"]
    assert open_source(receipt.id, url).digest == told["digest"]
    folder = tmp_path / "fetched"
    folder.mkdir()
    assert open_source(str(path), url).upload(folder, None).read_text() == RULE
    with site.database.write() as session:
        from datacomp_server.boards.models import Board

        found = session.get(Board, "three-seeds")
        assert found is not None
        found.disclosure = Disclosure.NEVER
    (folder / "upload").unlink()
    with pytest.raises(BadInput, match="file-undisclosed"):
        open_source(str(path), url).upload(folder, None)
    (folder / "mine.expr").write_text(RULE + " ")
    with pytest.raises(BadInput, match="file-other"):
        open_source(str(path), url).upload(folder, folder / "mine.expr")
    for content, code in (
        ({**told, "body": {**told["body"], "runs": []}}, "manifest-digest"),
        ({"format": "datacomp-manifest@99"}, "manifest-format"),
        ({"format": told["body"]["format"]}, "manifest-invalid"),
        ([], "manifest-format"),
    ):
        path.write_text(json.dumps(content))
        with pytest.raises(BadInput, match=code):
            open_source(str(path), None)
    path.write_text("{")
    with pytest.raises(BadInput, match="manifest-invalid"):
        open_source(str(path), None)


@ONLY_SQLITE
def test_a_dataset_is_fetched_again_or_taken_as_it_was_fetched(
    make_settings: Callable[..., Settings],
    pool: Pool,
    suite: Path,
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATACOMP_FETCH_ALLOW", '["127.0.0.1/32"]')
    monkeypatch.setenv("DATACOMP_FETCH_SPARE_BYTES", "0")
    for number, one in enumerate(SUITE["tasks"]):
        shown = [{"png": picture(100 + 8 * number + item, form="PNG"), "cls": b"0"} for item in range(8)]
        write_task(suite / f"wds_{one['key'].replace('/', '-')}_test", shown, shards=1)
    settings = make_settings()
    write_boards(tmp_path, BROUGHT)
    with running(settings) as site, serving(site.app) as url, gallery() as made:
        made.bodies |= {f"{number}.jpg": picture(number, 64) for number in range(6)}
        rows = [{"url": made.at(f"{number}.jpg"), "caption": f"picture {number}"} for number in range(6)]
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        opened = site.submit("ada", content, board="brought", kind="dataset", filename="data.jsonl")
        here = WorkerSettings(
            server_url=url, worker_token=WORKER_TOKEN, data_dir=tmp_path, pools_dir=pool.directory.parent
        )
        assert Worker(WorkerApi(url, WORKER_TOKEN), here, ("cpu",)).serve() == 6
        receipt = site.receipt(opened.id)
        assert receipt.state == "scored", receipt.failure
        source = Source(*_manifest(url, receipt.id), Client(url))
        wish = Wish(source=source, pool=tmp_path / "none", suite=suite, work=tmp_path / "again")
        again = carry_out(wish, lambda *_: None)
        assert again.reproduced
        lines = of(again)
        assert lines["dataset", None].agrees is True
        for what in (("subset", None), ("weights", 0), ("records", 0)):
            assert lines[what].agrees is True, lines[what]
    fetched, trained_on = (tmp_path / "again" / name for name in ("fetch", "subset"))
    given = replace(
        wish,
        dataset=fetched / "files" / DATASET_FILE,
        subset=trained_on / "files" / SUBSET_FILE,
        work=tmp_path / "given",
        until=Stage.SUBSET,
    )
    assert carry_out(given, lambda *_: None).reproduced
    for change in ({"dataset": None}, {"subset": None}):
        with pytest.raises(BadInput, match="option-alone"):
            carry_out(replace(given, **change), lambda *_: None)
    run = next(run for run in source.manifest.runs if run.stage is Stage.FETCH)
    lost = {**(run.result or {}), "samples": 5, "causes": {"http-404": 1}, "dataset_digest": "0" * 64}
    (line,) = compare(
        source.manifest, source.digest, [Made(Stage.FETCH, 0, lost, {}, {})], {}, Suite.model_validate(SUITE)
    ).lines
    assert (line.what, line.agrees, line.note) == ("dataset", None, "5 of 6 rows, 6 there; here: http-404 1")
