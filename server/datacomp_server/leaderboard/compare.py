"""Rules of the comparison: which entries may be seen side by side, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.messages import ComparedEntry, CompareOut, Comparison, Difference, GroupDifference, TaskDifference
from datacomp.problems import BadInput, Problem
from datacomp.statistics.errors import interval
from datacomp.statistics.intervals import task_bootstrap
from datacomp.statistics.sampling import Sampled
from datacomp.suite import Suite, Task
from datacomp_server.accounts.service import Viewer
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.boards.service import BoardService
from datacomp_server.errors import NotFound
from datacomp_server.leaderboard.comparing import Comparisons, Side, side_of
from datacomp_server.leaderboard.models import Ranking, Score
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.spread import Spread
from datacomp_server.leaderboard.sweeps import SweepRepository
from datacomp_server.leaderboard.visibility import ShownScore, public_part, shown, withheld
from datacomp_server.runs.repository import RunRepository
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.disclosure import is_disclosed
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.receipts import receipt_url
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.service import may_look_inside

MOST = 4
"""Entries that are compared at once."""


@dataclass(frozen=True)
class Compared:
    """An entry with everything that is compared of it."""

    submission: Submission
    score: ShownScore
    spread: Spread
    ranking: Ranking | None
    side: Side
    samples: bool
    """Whether it may be told which samples it kept."""


@dataclass(frozen=True)
class Gathered:
    """The entries of one question, read from the database: what follows needs no transaction."""

    suite: Suite
    """Without what is withheld on any of their boards."""
    whole: Suite
    withheld: list[str]
    entries: list[Compared]


class CompareService:
    """Reads the entries of a comparison."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.settings = settings
        self.scores = ScoreRepository(session)
        self.submissions = SubmissionRepository(session)
        self.runs = RunRepository(session)
        self.sweeps = SweepRepository(session)

    def gather(self, ids: Sequence[str], viewer: Viewer | None = None) -> Gathered:
        """The entries of these ids, as a viewer, or anybody, may see them. `BadInput` for too few, too many, or
        entries of different suites; `NotFound` names every id that no board lists."""
        wanted = list(dict.fromkeys(ids))
        if not 2 <= len(wanted) <= MOST:
            message = f"{len(wanted)} different entries are named; 2 to {MOST} can be compared"
            raise BadInput.of("compare-count", message, where="ids", hint="write /compare?ids=ID,ID")
        found = [(self.submissions.get(one), self.scores.score(one)) for one in wanted]
        listed = [(row, score) for row, score in found if row is not None and score is not None and score.listed]
        if len(listed) < len(wanted):
            there = {row.id for row, _ in listed}
            raise NotFound(*_unlisted([one for one in wanted if one not in there]))
        suites = {row.board.suite_digest for row, _ in listed}
        if len(suites) > 1:
            names = ", ".join(f"{row.id}: {row.board.suite.name}" for row, _ in listed)
            raise BadInput.of("compare-suites", f"the entries were evaluated under different suites ({names})", "ids")
        hidden = sorted({key for row, _ in listed for key in withheld(row.board)})
        whole = BoardService.suite_of(listed[0][0].board)
        entries = [self._entry(row, score, hidden, viewer) for row, score in listed]
        return Gathered(public_part(whole, hidden), whole, hidden, entries)

    def _entry(self, submission: Submission, score: Score, hidden: list[str], viewer: Viewer | None) -> Compared:
        runs = self.runs.of_submission(submission.id)
        place = {run.id: run.position for run in runs}
        files = self.submissions.promoted(list(place))
        files = sorted(files, key=lambda file: place[file.run_id or ""])
        sweep = self.sweeps.last(submission.board_name)
        valid = sweep is not None and sweep.public == bool(withheld(submission.board))
        return Compared(
            submission=submission,
            score=shown(score, hidden),
            spread=Spread(SeedDeviation.of(submission.board)),
            ranking=self.scores.ranking(submission.id) if valid else None,
            side=side_of(files, score.seeds, submission.subset_digest),
            samples=is_disclosed(submission) or (viewer is not None and may_look_inside(viewer, submission)),
        )


def compare(gathered: Gathered, comparisons: Comparisons, storage: Storage, settings: Settings) -> CompareOut:
    """Every other entry against the first."""
    first, *others = gathered.entries
    return CompareOut(
        suite=gathered.whole.id,
        suite_digest=gathered.whole.digest,
        withheld=gathered.withheld,
        entries=[_entry_out(entry, settings) for entry in gathered.entries],
        comparisons=[_comparison(gathered, first, other, comparisons, storage) for other in others],
    )


def _comparison(
    gathered: Gathered, first: Compared, second: Compared, comparisons: Comparisons, storage: Storage
) -> Comparison:
    suite = gathered.suite
    pairs = comparisons.differences(storage, gathered.whole, first.side, second.side)
    tasks = {task.key: _task(task, first, second, pairs.get(task.key)) for task in suite.tasks if task.metric}
    main = next((task for task in suite.counted if task.group == "main"), None)
    sampling = _sampling(suite, first, second, pairs)
    shared, note = comparisons.overlap(storage, first.side, second.side)
    if shared is not None and not (first.samples and second.samples):
        shared = shared.model_copy(update={"first_uids": [], "second_uids": []})
    return Comparison(
        first=first.submission.id,
        second=second.submission.id,
        average=_mean(first.score.average, second.score.average, suite.counted, sampling, _seeds(first, second)),
        main=_mean(
            first.score.main, second.score.main, (main,) if main else (), sampling, _seeds(first, second, main=True)
        ),
        other_tasks=_other_tasks([tasks[task.key] for task in suite.counted]),
        groups=[_group(group, members, first, second, sampling, suite) for group, members in suite.groups().items()],
        tasks=list(tasks.values()),
        overlap=shared,
        overlap_note=note,
    )


def _task(task: Task, first: Compared, second: Compared, pair: Sampled | None) -> TaskDifference:
    one, other = (entry.score.tasks.get(task.key, {}) for entry in (first, second))
    if pair is not None:
        difference = _difference(pair.value, pair.lo, pair.hi, paired=True)
    else:
        variances = [found["variance"] for found in (one, other) if found.get("variance") is not None]
        both = math.fsum(variances) if len(variances) == 2 else None
        difference = _apart(one.get("value"), other.get("value"), both)
    return TaskDifference(
        task=task.key,
        name=task.name,
        group=task.group,
        counted=task.counted,
        first=one.get("value"),
        second=other.get("value"),
        difference=difference,
    )


def _sampling(suite: Suite, first: Compared, second: Compared, pairs: Mapping[str, Sampled]) -> dict[str, float]:
    """Sampling variance of each task's difference: paired where that is possible, else the sum of both."""
    found = {}
    for task in suite.tasks:
        of_task = [entry.score.tasks.get(task.key, {}) for entry in (first, second)]
        if task.key in pairs and math.isfinite(pairs[task.key].variance):
            found[task.key] = pairs[task.key].variance
        elif all(one.get("variance") is not None for one in of_task):
            found[task.key] = math.fsum(one["variance"] for one in of_task)
    return found


def _seeds(first: Compared, second: Compared, *, main: bool = False) -> float:
    """Variance that seeds give a difference of averages, or of headline tasks."""
    found = 0.0
    for entry in (first, second):
        deviation = entry.spread.deviation.main if main else entry.spread.deviation.average
        found += deviation**2 / max(entry.score.seeds, 1)
    return found


def _mean(
    one: float | None, other: float | None, tasks: Sequence[Task], sampling: Mapping[str, float], seeds: float
) -> Difference:
    """Of a mean over tasks; what is not known of sampling counts for nothing, as in the ranks."""
    known = math.fsum(sampling.get(task.key, 0.0) for task in tasks) / max(len(tasks), 1) ** 2
    return _apart(one, other, seeds + known)


def _group(
    group: str, members: Sequence[Task], first: Compared, second: Compared, sampling: Mapping[str, float], suite: Suite
) -> GroupDifference:
    one, other = (entry.score.groups.get(group) for entry in (first, second))
    seeds = math.fsum(
        entry.spread.deviation.of_group(group, suite) ** 2 / max(entry.score.seeds, 1) for entry in (first, second)
    )
    return GroupDifference(group=group, first=one, second=other, difference=_mean(one, other, members, sampling, seeds))


def _other_tasks(tasks: Sequence[TaskDifference]) -> Difference:
    values = [task.second - task.first for task in tasks if task.first is not None and task.second is not None]
    if len(values) < max(len(tasks), 1):
        return Difference(value=None)
    drawn = task_bootstrap(values)
    return _difference(drawn.value, drawn.lo, drawn.hi)


def _apart(one: float | None, other: float | None, variance: float | None) -> Difference:
    if one is None or other is None:
        return Difference(value=None)
    found = interval(other - one, variance)
    return Difference(value=other - one) if found is None else _difference(found.value, found.lo, found.hi)


def _difference(value: float, lo: float, hi: float, *, paired: bool = False) -> Difference:
    return Difference(value=value, lo=lo, hi=hi, differs=not lo <= 0 <= hi, paired=paired)


def _entry_out(entry: Compared, settings: Settings) -> ComparedEntry:
    row, average = entry.submission, entry.spread.average(entry.score)
    placed = entry.ranking if entry.ranking is not None and entry.ranking.lo and average else None
    return ComparedEntry(
        submission=row.id,
        url=receipt_url(settings.public_url, row.id),
        method=row.method,
        participant=row.user.name,
        team=row.team.name if row.team else None,
        board=row.board_name,
        rank_lo=placed.lo if placed else None,
        rank_hi=placed.hi if placed else None,
        average=entry.score.average,
        average_lo=average.lo if average else None,
        average_hi=average.hi if average else None,
        main=entry.score.main,
        seeds=entry.score.seeds,
        subset_size=row.subset_size,
        subset_digest=row.subset_digest,
    )


def _unlisted(ids: Sequence[str]) -> list[Problem]:
    return [
        Problem(
            code="entry-unknown",
            message=f"no leaderboard lists {one!r}",
            where="ids",
            hint="ids stand in the addresses of receipts; only what is scored and on a board is compared",
        )
        for one in ids
    ]
