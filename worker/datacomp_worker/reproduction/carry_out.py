"""The story of a reproduction: the manifest's runs in their order, each by the worker's own stage function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from datacomp.digests import digest_file
from datacomp.messages import (
    DATASET_FILE,
    RECORDS_FILE,
    SUBSET_FILE,
    BoardFacts,
    ByodSetting,
    FileRef,
    Job,
    Stage,
    SubsetResult,
    Track,
)
from datacomp.messages.manifest import Manifest, ManifestRun
from datacomp.problems import BadInput
from datacomp.reproduction.compare import Comparison, Made, compare, run_of, scale_here
from datacomp.reproduction.source import Source
from datacomp.rescoring import FileScores, score_file
from datacomp.suite import Suite, load_suite, rehearsal_of
from datacomp_worker.devices import accelerator
from datacomp_worker.environment import environment
from datacomp_worker.pipeline import stage_function
from datacomp_worker.reproduction.place import Place, Show, Teller, key_of
from datacomp_worker.stages.base import StageContext
from datacomp_worker.stages.evaluate import SUITE_FILE

ORDER = list(Stage)


@dataclass(frozen=True)
class Wish:
    """What is to be done again, and where things lie here."""

    source: Source
    pool: Path
    suite: Path
    """Folder of the `wds_*` folders."""
    work: Path
    file: Path | None = None
    """The participant's file, where it need not be fetched."""
    subset: Path | None = None
    """The uids that were trained on: selecting is not done again."""
    dataset: Path | None = None
    """On the track byod, with `subset`: the dataset as it was fetched, which is not fetched again."""
    until: Stage = Stage.EVALUATE
    seeds: tuple[int, ...] | None = None
    """Default: all of the manifest."""

    @property
    def manifest(self) -> Manifest:
        """The manifest."""
        return self.source.manifest


@dataclass
class _State:
    """What the stages so far have left."""

    made: list[Made] = field(default_factory=list)
    inputs: dict[str, Path] = field(default_factory=dict)
    facts: dict[Stage, dict[str, Any]] = field(default_factory=dict)
    scores: dict[int, FileScores] = field(default_factory=dict)


def carry_out(wish: Wish, show: Show) -> Comparison:
    """Do it, or go on with it, and compare. It stops at a subset that is another one: nothing after could agree.

    `BadInput` for what cannot be repeated here, and everything that the stages raise.
    """
    manifest = wish.manifest
    runs = list(_planned(wish))
    place, suite = Place.of(wish.work, wish.source.digest), _suite(wish)
    upload = wish.subset or wish.source.upload(place.directory, wish.file)
    state = _given(wish)
    for run in runs:
        made = _repeat(wish, place, run, upload, state, show)
        state.made.append(made)
        if run.stage is Stage.SUBSET and not _same_subset(manifest, made):
            break
        if run.stage is Stage.EVALUATE:
            state.scores[run.seed] = score_file(place.stage(run.stage, run.seed).file(RECORDS_FILE), suite)
    return compare(manifest, wish.source.digest, state.made, state.scores, suite)


def _planned(wish: Wish) -> Iterator[ManifestRun]:
    """The runs to repeat. `BadInput` when recipe or seeds are not those of this version and manifest."""
    manifest, here = wish.manifest, scale_here(wish.manifest)
    if (wish.dataset is None) != (wish.subset is None or manifest.board.track is Track.FILTERING):
        message = "a dataset goes with the uids that were trained on, on the track byod alone"
        raise BadInput.of("option-alone", message, manifest.submission.id, "give --dataset and --subset, or neither")
    if manifest.board.scale.get("digest") != here.digest:
        message = f"the recipe of {here.name} is another in this version of the platform"
        hint = f"install the version that the manifest names: datacomp {manifest.platform.get('datacomp')}"
        raise BadInput.of("reproduce-recipe", message, manifest.submission.id, hint)
    seeds = sorted({run.seed for run in manifest.runs if run.stage is Stage.TRAIN})
    if unknown := sorted(set(wish.seeds or ()) - set(seeds)):
        message = f"the manifest has no seed {', '.join(map(str, unknown))}"
        raise BadInput.of("seed-unknown", message, manifest.submission.id, f"seeds: {', '.join(map(str, seeds))}")
    wanted = set(wish.seeds) if wish.seeds is not None else set(seeds)
    checked = manifest.board.track is Track.FILTERING or wish.pool.is_dir()  # without its pool a dataset is not
    for run in manifest.runs:
        given = wish.subset is not None and ORDER.index(run.stage) < ORDER.index(Stage.SUBSET)
        given = given or (run.stage is Stage.VALIDATE and not checked)
        if given or ORDER.index(run.stage) > ORDER.index(wish.until):
            continue
        if run.stage not in {Stage.TRAIN, Stage.EVALUATE} or run.seed in wanted:
            yield run


def _given(wish: Wish) -> _State:
    """What need not be made: the uids, and the dataset that they are of."""
    state = _State(inputs={SUBSET_FILE: wish.subset} if wish.subset else {})
    if wish.dataset is not None:
        state.inputs[DATASET_FILE] = wish.dataset
        fetched = next((run.result for run in wish.manifest.runs if run.stage is Stage.FETCH), None)
        state.facts |= {Stage.FETCH: fetched} if fetched else {}
    return state


def _suite(wish: Wish) -> Suite:
    """The manifest's suite: the one beside the data, else the packaged one. Whether it is the same, the stage says."""
    own = wish.suite / SUITE_FILE
    try:
        suite = load_suite(own if own.is_file() else wish.manifest.board.suite.name)
    except BadInput:
        if wish.until is Stage.EVALUATE:
            raise
        suite = Suite(name="unknown", version="0", tasks=())
    return rehearsal_of(suite) if wish.manifest.submission.rehearsal else suite


def _same_subset(manifest: Manifest, made: Made) -> bool:
    run = run_of(manifest, Stage.SUBSET, made.seed)
    return run is None or run.result is None or run.result["subset_digest"] == made.result["subset_digest"]


def _repeat(wish: Wish, place: Place, run: ManifestRun, upload: Path, state: _State, show: Show) -> Made:
    """One stage, unless it is finished in the working directory; its outputs become inputs of the next."""
    own = place.stage(run.stage, run.seed)
    title = f"{run.stage.value} (seed {run.seed})" if run.stage in {Stage.TRAIN, Stage.EVALUATE} else run.stage.value
    inputs = {**state.inputs, "upload": upload}
    key = key_of(_depends_on(wish, run, state, inputs))
    made = own.finished(key)
    if made is None:
        show(title, 0.0)
        workspace = own.begin(key)
        device, gpus = accelerator()
        context = StageContext(
            job=_job(wish, run, state.facts),
            workspace=workspace,
            scratch=place.scratch,
            pool_dir=wish.pool,
            suite_dir=wish.suite,
            inputs=inputs,
            resume=own.latest if run.stage is Stage.TRAIN else None,
            report=Teller(own, title, show),
            device=device,
            gpus=gpus,
        )
        output = stage_function(run.stage)(context)
        made = own.end(key, run.seed, output, output.environment or environment())
    show(title, 1.0)
    state.inputs |= {name: own.file(name) for name in made.files}
    state.facts[run.stage] = dict(made.result)
    return made


def _depends_on(wish: Wish, run: ManifestRun, state: _State, inputs: Mapping[str, Path]) -> dict[str, Any]:
    """What a stage's outcome depends on here. Evaluations read none of what only training reads, and so on: an input
    too many costs nothing but a digest."""
    return {
        "stage": run.stage.value,
        "seed": run.seed,
        "manifest": wish.source.digest,
        "environment": environment(),
        "inputs": {name: digest_file(path) for name, path in sorted(inputs.items())},
        "pool": str(wish.pool.resolve()),
        "suite": str(wish.suite.resolve()) if run.stage is Stage.EVALUATE else None,
        "before": [made.files for made in state.made if made.stage is Stage.SUBSET],
    }


def _job(wish: Wish, run: ManifestRun, facts: Mapping[Stage, dict[str, Any]]) -> Job:
    """The run as a worker would be handed it. The pool's digest is compared afterwards, not demanded: a pool of other
    columns may give the same subset."""
    manifest = wish.manifest
    board, submission = manifest.board, manifest.submission
    upload = submission.upload
    return Job(
        attempt="reproduction",
        fence=0,
        number=1,
        lease_seconds=60,
        heartbeat_seconds=15,
        run=f"reproduction-{run.stage.value}-{run.seed}",
        submission=submission.id,
        stage=run.stage,
        seed=run.seed,
        rehearsal=submission.rehearsal,
        kind=submission.kind,
        board=BoardFacts(
            name=board.name,
            track=board.track,
            scale=str(board.scale["name"]),
            suite=board.suite.name,
            suite_digest=board.suite.digest,
            pool=board.pool.name,
            dedup=board.dedup,
            byod=board.byod or ByodSetting(),
        ),
        upload=FileRef(name=upload.filename, digest=upload.digest, size=upload.size),
        inputs=[],
        removed=_removed(manifest) if run.stage is Stage.SUBSET else [],
        facts=dict(facts),
    )


def _removed(manifest: Manifest) -> list[str]:
    """Uids that had been removed from the pool on request when the subset was settled."""
    run = next((run for run in manifest.runs if run.stage is Stage.SUBSET), None)
    return SubsetResult.model_validate(run.result).removed_uids if run and run.result else []
