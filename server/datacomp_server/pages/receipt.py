"""A submission's receipt as a page shows it: the timeline, the queue and failure cards, scores by group."""

from __future__ import annotations

from datetime import datetime, timedelta

from datacomp.messages import (
    DecontaminateResult,
    DedupResult,
    Disclosure,
    EvaluateResult,
    FetchResult,
    FilterResult,
    Kept,
    Progress,
    RunOut,
    RunState,
    ScoreOut,
    SourceShare,
    Stage,
    StageResult,
    SubmissionOut,
    SubsetResult,
    TrainResult,
    ValidateResult,
)
from datacomp.problems import Problem
from datacomp_server.pages.contexts import Fact, ReceiptPage, ScoreGroup, Site, Step
from datacomp_server.pages.filters import duration, figure, number, short
from datacomp_server.pages.kept import KeptView, kept_of_receipt, kept_view
from datacomp_server.pages.results import result_of
from datacomp_server.pages.table import group_label
from datacomp_server.pools.service import BoardPool

LABELS = {
    Stage.VALIDATE: "Validate",
    Stage.FETCH: "Fetch",
    Stage.DECONTAMINATE: "Decontaminate",
    Stage.FILTER: "Filter",
    Stage.DEDUP: "Near-duplicates",
    Stage.SUBSET: "Subset",
    Stage.TRAIN: "Train",
    Stage.EVALUATE: "Evaluate",
}
MARKS = {
    RunState.WAITING: "next",
    RunState.QUEUED: "now",
    RunState.RUNNING: "now",
    RunState.DONE: "done",
    RunState.FAILED: "bad",
    RunState.CANCELLED: "off",
}

UNTOLD = {
    Disclosure.NEVER: "Which samples were kept is for the participant and the organisers, by the board's rules.",
    Disclosure.SCORED: "Which samples were kept is told to everybody once it is scored.",
    Disclosure.CLOSING: "Which samples were kept is told to everybody once the board closes.",
}


def build_receipt(
    site: Site,
    receipt: SubmissionOut,
    *,
    may_change: bool,
    is_own: bool = False,
    board_title: str = "",
    problems: list[Problem] | None = None,
    pool: BoardPool | None = None,
) -> ReceiptPage:
    """The context of a receipt as seen at `site.now`; `may_change`: by its owner or an organiser. Examples of what was
    kept are shown from the `pool`."""
    kept = kept_of_receipt(receipt)
    seeds = len({run.seed for run in receipt.runs if run.stage is Stage.TRAIN})
    steps = [_step(run, site.now, seeds) for run in receipt.runs]
    failed = next((step for step, run in zip(steps, receipt.runs, strict=True) if run.failure), None)
    return ReceiptPage(
        site=site,
        receipt=receipt,
        steps=steps,
        waiting=next((step for step in steps if step.state == RunState.QUEUED), None),
        failure=receipt.failure,
        failed_step=failed if receipt.failure else None,
        groups=score_groups(receipt.score),
        curves=_curves([result_of(run.result) for run in receipt.runs]),
        kept=_kept(receipt, kept, may_change, pool) if kept is not None else None,
        commands=commands_of(receipt, site.public_url),
        can_cancel=may_change and not receipt.final,
        can_withdraw=may_change and receipt.state == "scored",
        is_own=is_own,
        board_title=board_title,
        has_manifest=has_manifest(receipt),
        problems=problems or [],
    )


def _kept(receipt: SubmissionOut, kept: Kept, may_change: bool, pool: BoardPool | None) -> KeptView:
    told = may_change or kept.kept_uids or kept.dropped_uids
    withheld = "" if told or pool is None else UNTOLD[pool.board.disclosure]
    return kept_view(kept, f"/submissions/{receipt.id}/charts/kept/", "", pool, withheld)


def commands_of(receipt: SubmissionOut, public_url: str) -> list[str]:
    """What to type in a terminal to follow it, read it and check it."""
    watch = [f"datacomp login {public_url}", f"datacomp status {receipt.id} --watch"]
    if not has_manifest(receipt):
        return watch
    return [*watch, f"datacomp manifest {receipt.id}", f"datacomp reproduce {receipt.id} --pool DIR"]


def has_manifest(receipt: SubmissionOut) -> bool:
    """Whether there is a result that a manifest accounts for; a withdrawn one keeps its own."""
    return receipt.score is not None and receipt.state in {"scored", "withdrawn"}


def score_groups(score: ScoreOut | None) -> list[ScoreGroup]:
    """Tasks by group, in the suite's order."""
    if score is None:
        return []
    found: dict[str, ScoreGroup] = {}
    for task in score.tasks:
        group = found.setdefault(task.group, ScoreGroup(group_label(task.group), score.groups.get(task.group), []))
        group.tasks.append(task)
    return list(found.values())


def _step(run: RunOut, now: datetime, seeds: int) -> Step:
    label = LABELS[run.stage]
    if seeds > 1 and run.stage in {Stage.TRAIN, Stage.EVALUATE}:
        label += f", seed {run.seed}"
    running = run.state is RunState.RUNNING
    ended = run.finished_at or (now if running else None)
    left = run.started_at or (now if run.state is RunState.QUEUED else None)
    result = result_of(run.result)
    return Step(
        label=label,
        state=run.state.value,
        mark=MARKS[run.state],
        run=run.id,
        queue=run.queue,
        worker=run.worker,
        attempts=run.attempts,
        started_at=run.started_at,
        finished_at=run.finished_at,
        took=ended - run.started_at if ended and run.started_at else None,
        waited=left - run.queued_at if left and run.queued_at else None,
        deadline=run.deadline if running else None,
        reused_from=run.reused_from,
        waiting_note=run.waiting_note,
        progress=run.progress if running else None,
        fraction=_fraction(run.progress),
        remaining=_remaining(run.progress),
        facts=_facts(result),
        log_tail=run.log_tail,
    )


def _fraction(progress: Progress | None) -> float | None:
    if progress is None or not progress.total:
        return None
    return min(max(progress.done / progress.total, 0.0), 1.0)


def _remaining(progress: Progress | None) -> timedelta | None:
    if progress is None or not progress.total or not progress.rate or progress.rate <= 0:
        return None
    seconds = max(progress.total - progress.done, 0.0) / progress.rate
    return timedelta(seconds=min(seconds, 10 * 365 * 86_400.0))


def _facts(result: StageResult | None) -> list[Fact]:
    facts: list[Fact] = []
    match result:
        case ValidateResult():
            facts = _validate_facts(result)
        case FetchResult():
            facts = _fetch_facts(result)
        case DecontaminateResult():
            facts = _decontaminate_facts(result)
        case FilterResult():
            facts = _filter_facts(result)
        case DedupResult():
            facts = _dedup_facts(result)
        case SubsetResult():
            facts = _subset_facts(result)
        case TrainResult():
            facts = _train_facts(result)
        case EvaluateResult():
            facts = [
                Fact("tasks", number(result.tasks)),
                Fact("records", number(result.records)),
                Fact("suite", short(result.suite_digest), code=True, title=result.suite_digest),
            ]
    return facts


def _fetch_facts(result: FetchResult) -> list[Fact]:
    causes = ", ".join(f"{cause} {number(count)}" for cause, count in result.causes.items())
    licenses = ", ".join(f"{name or 'none named'} {number(count)}" for name, count in result.licenses.items())
    return [
        Fact("rows", number(result.rows)),
        Fact("samples", number(result.samples)),
        *([Fact("from the pool", number(result.from_pool))] if result.from_pool else []),
        *([Fact("rows without a sample", causes)] if causes else []),
        *_source_facts(result.sources),
        *([Fact("unsafe pictures looked for by", result.detector)] if result.detector else []),
        Fact("licences", licenses or "none named"),
        Fact("dataset", short(result.dataset_digest), code=True, title=result.dataset_digest),
    ]


def _source_facts(sources: list[SourceShare]) -> list[Fact]:
    told = [f"{one.name or 'unnamed'} {number(one.samples)}, weight {figure(one.weight)}" for one in sources]
    return [Fact("sources", "; ".join(told))] if told else []


def _decontaminate_facts(result: DecontaminateResult) -> list[Fact]:
    return [
        Fact("copies of evaluation images", f"{number(result.near_images)} of {number(result.samples)}"),
        Fact("evaluation texts", number(result.same_texts)),
        Fact("removed", number(result.removed)),
        Fact("threshold", f"{figure(result.threshold)}, {result.method}"),
        Fact("share allowed", figure(result.limit)),
    ]


def _filter_facts(result: FilterResult) -> list[Fact]:
    return [
        Fact("rows read", number(result.rows_in)),
        Fact("rows kept", number(result.rows_kept)),
        Fact("scores that are NaN", number(result.nan_scores)),
        Fact("rule", result.rule, code=True),
        Fact("time in the filter", duration(result.seconds)),
    ]


def _subset_facts(result: SubsetResult) -> list[Fact]:
    return [
        Fact("samples", number(result.samples)),
        Fact("unique", number(result.unique)),
        Fact("without an image here", number(result.unavailable)),
        *([Fact("removed on request", number(result.removed))] if result.removed else []),
        *_near_facts(result),
        *_source_facts(result.sources),
        Fact("shards", number(result.shards)),
        Fact("subset", short(result.subset_digest), code=True, title=result.subset_digest),
    ]


def _near_facts(result: SubsetResult) -> list[Fact]:
    if result.near_evaluation is None or not result.unique:
        return []
    share = result.near_evaluation / result.unique
    told = f"{number(result.near_evaluation)} ({share:.2%}) at a cosine of {figure(result.near_threshold)} or more"
    return [Fact("near an evaluation image", told)]


def _validate_facts(result: ValidateResult) -> list[Fact]:
    if not result.rows:
        return [Fact("form", "parses and fits the filter contract")]
    return [
        Fact("rows", number(result.rows)),
        Fact("unique", number(result.unique)),
        Fact("repeats", number(result.repeats)),
        Fact("without an image here", number(result.unavailable)),
    ]


def _dedup_facts(result: DedupResult) -> list[Fact]:
    verb = {"off": "not looked for", "report": "reported, nothing removed", "apply": "removed"}[result.mode.value]
    return [
        Fact("setting", verb),
        Fact("cosine threshold", figure(result.threshold)),
        Fact("near-duplicates", f"{number(result.removable)} of {number(result.rows_in)}"),
        Fact("rows kept", number(result.rows_kept)),
        Fact("measured recall", f"{result.recall:.4f} ({result.recall_low:.4f} to {result.recall_high:.4f})"),
    ]


def _train_facts(result: TrainResult) -> list[Fact]:
    threads = f", {result.threads} threads" if result.threads else ""
    resumed = [Fact("resumed from", f"checkpoint {result.resumed_from}")] if result.resumed_from else []
    crew = [
        Fact(label, number(count))
        for label, count in (("processes", result.processes), ("parts of a batch", result.accumulation))
        if count > 1
    ]
    return [
        Fact("samples seen", number(result.samples_seen)),
        Fact("samples/s", figure(result.samples_per_second)),
        Fact("final loss", figure(result.final_loss)),
        Fact("device", f"{result.device}{threads}, {result.precision}"),
        *crew,
        *resumed,
        Fact("recipe", short(result.recipe_digest), code=True, title=result.recipe_digest),
        Fact("weights", short(result.weights_digest), code=True, title=result.weights_digest),
    ]


def _curves(results: list[StageResult | None]) -> str:
    """The loss curves in words; empty where nothing has been trained."""
    words = []
    for result in results:
        if isinstance(result, TrainResult) and len(result.loss_curve) > 1:
            (first, high), (last, low) = result.loss_curve[0], result.loss_curve[-1]
            words.append(f"from {figure(high)} at {number(first)} samples to {figure(low)} at {number(last)}")
    return "; ".join(words)
