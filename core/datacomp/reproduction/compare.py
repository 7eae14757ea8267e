"""What was made again against what a manifest says: pure comparisons, for the command and whoever else asks.

Subsets must be equal bit for bit. Weights must be where processor, threads and versions are the same; elsewhere the
reasons are told. Scores must lie within the tolerance that is published for the scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

from datacomp.messages import EvaluateResult, FetchResult, Stage, SubsetResult, TrainResult
from datacomp.messages.manifest import Manifest, ManifestRun, ManifestTolerance
from datacomp.reproduction.tolerance import tolerance_of
from datacomp.rescoring import FileScores
from datacomp.scales import Scale, get_scale, rehearsal_of
from datacomp.scoring import aggregate
from datacomp.suite import Suite

HARDWARE = frozenset(
    {"system", "cpu", "cpus", "cpus_usable", "simd", "memory_gib", "device", "gpu_count", "gpus", "omp_num_threads"}
)
"""Entries of an environment that are no versions."""
WEIGHTS_DEPEND_ON = ("datacomp", "torch", "torchvision", "open_clip", "numpy", "pillow", "cpu", "simd")
"""Entries of an environment in which two trainings on a CPU must agree to give the same bits."""
EXACT = 1e-12
"""Differences of scores that are none: means of equal values in another order."""


@dataclass(frozen=True)
class Made:
    """What a stage left here."""

    stage: Stage
    seed: int
    result: Mapping[str, Any]
    environment: Mapping[str, str]
    files: Mapping[str, str]
    """Digests by name."""


@dataclass(frozen=True)
class Difference:
    """A version or piece of hardware that is another here."""

    name: str
    theirs: str
    ours: str
    stages: tuple[str, ...]
    hardware: bool


@dataclass(frozen=True)
class Line:
    """One thing compared. `agrees` is None for what is told and not judged."""

    what: str
    seed: int | None
    theirs: str | float | None
    ours: str | float | None
    agrees: bool | None
    difference: float | None = None
    allowed: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Comparison:
    """All of it. Reproduced is what disagrees in nothing that is judged."""

    manifest_digest: str
    submission: str
    differences: tuple[Difference, ...]
    lines: tuple[Line, ...]
    tolerance: ManifestTolerance | None

    @property
    def reproduced(self) -> bool:
        """Whether everything that was done again agrees."""
        return bool(self.lines) and all(line.agrees is not False for line in self.lines)

    def to_json(self) -> dict[str, Any]:
        """As `--json` prints it."""
        tolerance = self.tolerance.model_dump(mode="json") if self.tolerance else None
        return {**asdict(self), "tolerance": tolerance, "reproduced": self.reproduced}


def scale_here(manifest: Manifest) -> Scale:
    """The manifest's scale as this version has it."""
    scale = get_scale(str(manifest.board.scale["name"]))
    return rehearsal_of(scale) if manifest.submission.rehearsal else scale


def compare(
    manifest: Manifest, digest: str, made: Sequence[Made], scores: Mapping[int, FileScores], suite: Suite
) -> Comparison:
    """Everything that was `made`, in order; `scores` of the evaluations by seed."""
    tolerance = manifest.board.tolerance or tolerance_of(scale_here(manifest))
    lines = [line for one in made for line in _of_stage(manifest, one, made)]
    for seed in scores:
        lines += _of_seed(manifest, seed, scores[seed], tolerance)
    if scores and set(scores) == {row.seed for row in manifest.scores.seeds}:
        lines += _of_means(manifest, list(scores.values()), suite, tolerance)
    return Comparison(digest, manifest.submission.id, environment_differences(manifest, made), tuple(lines), tolerance)


def run_of(manifest: Manifest, stage: Stage, seed: int) -> ManifestRun | None:
    """The manifest's run of a stage and seed."""
    return next((run for run in manifest.runs if (run.stage, run.seed) == (stage, seed)), None)


def environment_differences(manifest: Manifest, made: Sequence[Made]) -> tuple[Difference, ...]:
    """Versions, then hardware, in which what was made here differs from what the manifest names."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for one in made:
        run = run_of(manifest, one.stage, one.seed)
        theirs = (run.environment or {}) if run else {}
        for name in sorted(theirs.keys() | one.environment.keys() if theirs else ()):
            pair = theirs.get(name, "none"), one.environment.get(name, "none")
            if pair[0] != pair[1]:
                stages = found.setdefault((name, *pair), [])
                stages += [one.stage.value] if one.stage.value not in stages else []
    differences = [Difference(*key, tuple(stages), key[0] in HARDWARE) for key, stages in found.items()]
    return tuple(sorted(differences, key=lambda difference: (difference.hardware, difference.name)))


def _of_stage(manifest: Manifest, one: Made, made: Sequence[Made]) -> list[Line]:
    run = run_of(manifest, one.stage, one.seed)
    if run is None or run.result is None:
        return []
    match one.stage:
        case Stage.FETCH:
            return _of_dataset(FetchResult.model_validate(run.result), FetchResult.model_validate(one.result))
        case Stage.SUBSET:
            return _of_subset(
                manifest, SubsetResult.model_validate(run.result), SubsetResult.model_validate(one.result)
            )
        case Stage.TRAIN:
            return _of_weights(manifest, run, one, made)
        case Stage.EVALUATE:
            ours = EvaluateResult.model_validate(one.result).suite_digest
            row = next((row for row in manifest.scores.seeds if row.seed == one.seed), None)
            if row is not None and row.suite_digest != ours:
                return [Line("suite", one.seed, row.suite_digest, ours, False)]
    return []


def _of_dataset(theirs: FetchResult, ours: FetchResult) -> list[Line]:
    """What could be fetched this time. It is told: the subset, whose uids are of images and captions, is judged."""
    same = theirs.dataset_digest == ours.dataset_digest
    note = f"{ours.samples:,} of {ours.rows:,} rows"
    if not same:
        lost = ", ".join(f"{cause} {count:,}" for cause, count in ours.causes.items()) or "nothing was lost"
        note += f", {theirs.samples:,} there; here: {lost}"
    return [Line("dataset", None, theirs.dataset_digest, ours.dataset_digest, same or None, note=note)]


def _of_subset(manifest: Manifest, theirs: SubsetResult, ours: SubsetResult) -> list[Line]:
    same = theirs.subset_digest == ours.subset_digest
    note = f"{ours.samples:,} samples" if same else f"{ours.samples:,} samples, not {theirs.samples:,}"
    if not same and ours.unavailable != theirs.unavailable:
        note += f"; {ours.unavailable:,} have no image here, {theirs.unavailable:,} had none there"
    if not same and len(theirs.removed_uids) == 0 < theirs.removed:
        note += f"; {theirs.removed:,} were removed on request, and the manifest does not say which"
    lines = [Line("subset", None, theirs.subset_digest, ours.subset_digest, same, note=note)]
    pool = manifest.digests.pool
    if pool is not None and ours.pool_digest != pool:
        told = "another pool, or other columns: only the subset is judged"
        lines.insert(0, Line("pool", None, pool, ours.pool_digest, None, note=told))
    return lines


def _of_weights(manifest: Manifest, run: ManifestRun, one: Made, made: Sequence[Made]) -> list[Line]:
    theirs, ours = (TrainResult.model_validate(found) for found in (run.result, one.result))
    same = theirs.weights_digest == ours.weights_digest
    reasons = weight_reasons(manifest, theirs, run.environment or {}, ours, one.environment, made)
    if same:
        agrees, note = True, "bit for bit"
    elif reasons:
        agrees, note = None, "; ".join(reasons)
    else:
        agrees, note = False, "must be the same: processor, threads and versions are"
    return [Line("weights", one.seed, theirs.weights_digest, ours.weights_digest, agrees, note=note)]


def weight_reasons(
    manifest: Manifest,
    theirs: TrainResult,
    their_environment: Mapping[str, str],
    ours: TrainResult,
    environment: Mapping[str, str],
    made: Sequence[Made],
) -> list[str]:
    """Why two trainings of one seed on one subset need not give the same bits; empty where they must."""
    reasons = []
    if "cuda" in {theirs.device, ours.device}:
        reasons.append("sums on a GPU have no fixed order")
    for name in ("device", "threads", "precision", "processes", "accumulation", "recipe_digest"):
        told, here = getattr(theirs, name), getattr(ours, name)
        if told != here:
            reasons.append(f"{name.replace('_', ' ')}: {_short(told)} there, {_short(here)} here")
    if ours.threads is None and their_environment.get("cpus_usable") != environment.get("cpus_usable"):
        reasons.append("as many threads as processors, of which there is another number")
    reasons += [
        f"{name}: {their_environment.get(name, 'unknown')} there, {environment.get(name, 'unknown')} here"
        for name in WEIGHTS_DEPEND_ON
        if their_environment.get(name) != environment.get(name)
    ]
    pools = {one.result.get("pool_digest") for one in made if one.stage is Stage.SUBSET}
    if manifest.digests.pool is not None and pools - {None, manifest.digests.pool}:
        reasons.append("another pool, whose images may be others")
    return reasons


def _short(value: object) -> str:
    return value[:12] if isinstance(value, str) else str(value)


def _of_seed(manifest: Manifest, seed: int, ours: FileScores, tolerance: ManifestTolerance | None) -> list[Line]:
    theirs = next((row for row in manifest.scores.seeds if row.seed == seed), None)
    if theirs is None:
        return []
    same = theirs.records_digest == ours.records_digest
    lines = [Line("records", seed, theirs.records_digest, ours.records_digest, same or None)]
    if not manifest.scores.withheld:
        lines += _means(seed, (theirs.average, ours.average), (theirs.main, ours.main), tolerance)
    for key, value in theirs.tasks.items():
        here = ours.tasks.get(key)
        apart = None if value is None or here is None else here - value
        lines.append(Line(f"task {key}", seed, value, here, None, apart))
    return lines


def _of_means(
    manifest: Manifest, ours: Sequence[FileScores], suite: Suite, tolerance: ManifestTolerance | None
) -> list[Line]:
    """Means over all seeds, without tasks that are withheld."""
    scores = manifest.scores
    if len(ours) == 1 and not scores.withheld:
        return []  # the one seed's
    shown = suite.model_copy(update={"tasks": tuple(t for t in suite.tasks if t.key not in scores.withheld)})
    means = [aggregate({k: v for k, v in one.tasks.items() if v is not None}, shown) for one in ours]
    average, main = (_mean([getattr(one, name) for one in means]) for name in ("average", "main"))
    return _means(None, (scores.average, average), (scores.main, main), tolerance)


def _mean(values: Sequence[float | None]) -> float | None:
    present = [value for value in values if value is not None]
    return fmean(present) if present and len(present) == len(values) else None


Pair = tuple[float | None, float | None]


def _means(seed: int | None, average: Pair, main: Pair, tolerance: ManifestTolerance | None) -> list[Line]:
    return [
        _judged("average", seed, average, tolerance.average if tolerance else None),
        _judged("main", seed, main, tolerance.main if tolerance else None),
    ]


def _judged(what: str, seed: int | None, pair: Pair, allowed: float | None) -> Line:
    """Within the tolerance; without one, equal."""
    theirs, ours = pair
    if theirs is None or ours is None:
        return Line(what, seed, theirs, ours, theirs is ours, note="" if theirs is ours else "one is missing")
    apart = ours - theirs
    note = "" if allowed is not None else "no tolerance is published: must be equal"
    return Line(what, seed, theirs, ours, abs(apart) <= (allowed or 0.0) + EXACT, apart, allowed, note)
