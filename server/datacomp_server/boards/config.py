"""The TOML description of boards: read, checked with all problems at once, applied idempotently.

[[boards]]
name = "filtering-tiny"
title = "Filtering, tiny"
scale = "tiny"
suite = "tiny@2"            # a packaged suite, or a JSON file beside this one
pool = "tiny"
seeds = 1                   # how many, or a list: [0, 7]
submissions_per_day = 20    # of one participant or team, as the two below
submissions_total = 200
submissions_concurrent = 4
dedup = { mode = "report", threshold = 0.95 }
opens_at = 2026-09-01T00:00:00Z
closes_at = 2026-12-01T00:00:00Z
private_tasks = ["tiny/shift"]   # their scores appear at closing, or at reveals_at
disclosure = "closing"           # when code and uids of entries become public: never, scored, closing
seed_deviation = { average = 0.004, main = 0.003 }   # between seeds; without it: these, or what was measured
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, Field, ValidationError

from datacomp.messages import ByodSetting, DedupSetting, Digest, Disclosure, Message, Track
from datacomp.problems import BadInput, DatacompError, Problem, raise_if_any
from datacomp.scales import get_scale
from datacomp.statistics.errors import DEFAULT_AVERAGE, DEFAULT_MAIN
from datacomp.suite import Suite, load_suite

QueueName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
MOST_SEEDS = 32


class DeviationConfig(Message):
    """Standard deviations between seeds of the same submission."""

    average: float = Field(default=DEFAULT_AVERAGE, gt=0, lt=1)
    main: float = Field(default=DEFAULT_MAIN, gt=0, lt=1)


class BoardConfig(Message):
    """One board as an organiser describes it."""

    name: Slug
    title: str = Field(min_length=1, max_length=120)
    description: str = Field(default="", max_length=8000)
    track: Track = Track.FILTERING
    scale: str
    suite: str
    pool: Slug
    pool_digest: Digest | None = None
    pool_rows: int | None = Field(default=None, ge=1, lt=2**63)
    train_queue: QueueName | None = None
    """Default: `cpu` for tiny, `gpu` for every other scale."""
    data_queue: QueueName = "cpu"
    """Queue of the stages before training, and of rehearsals."""
    seeds: Annotated[int, Field(ge=1, le=MOST_SEEDS)] | list[Annotated[int, Field(ge=0, lt=2**31)]] = 1
    dedup: DedupSetting = DedupSetting()
    byod: ByodSetting | None = None
    """For the track byod: what datasets must keep to; default: the defaults."""
    submissions_per_day: int = Field(default=10, ge=1, lt=2**31)
    submissions_total: int | None = Field(default=None, ge=1, lt=2**31)
    """Over the board's life; default: no limit."""
    submissions_concurrent: int | None = Field(default=None, ge=1, lt=2**31)
    """Under way at once; default: no limit."""
    max_upload_bytes: int = Field(default=2 << 30, ge=1, lt=2**63)
    order: int | None = Field(default=None, gt=-(2**31), lt=2**31)
    """Place on pages; default: place in the file."""
    baseline_accounts: list[str] = Field(default_factory=list)
    """Accounts whose entries are flagged as baselines, beside those of organisers."""
    baseline_submissions: list[str] = Field(default_factory=list)
    """Ids of single entries that are flagged as baselines."""
    opens_at: AwareDatetime | None = None
    """No submissions before; default: open from the start."""
    closes_at: AwareDatetime | None = None
    """No submissions from then on; what was handed in before is still carried out."""
    private_tasks: list[str] = Field(default_factory=list)
    """Keys of tasks whose scores are withheld until `reveals_at`, and are then part of all means."""
    reveals_at: AwareDatetime | None = None
    """Default: `closes_at`."""
    disclosure: Disclosure = Disclosure.NEVER
    """When the code and the uids of entries become public."""
    show_images: bool = False
    """Whether pages may show images of the pool, with faces blurred; off because crawled images are other people's."""
    seed_deviation: DeviationConfig | None = None
    """How far seeds of one submission lie apart; default: as it was measured or set at the console."""

    @property
    def seed_list(self) -> list[int]:
        """The seeds, in order."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def revealing(self) -> datetime | None:
        """When private scores appear."""
        return self.reveals_at or self.closes_at


@dataclass(frozen=True)
class BoardPlan:
    """A checked board with its suite."""

    config: BoardConfig
    suite: Suite
    position: int

    @property
    def train_queue(self) -> str:
        """Where training and evaluation run."""
        return self.config.train_queue or ("cpu" if self.config.scale == "tiny" else "gpu")


def read_boards(path: Path) -> list[BoardPlan]:
    """All boards of a file; `BadInput` lists everything that is wrong with it."""
    try:
        document = tomllib.loads(path.read_text())
    except OSError as error:
        raise BadInput.of("boards-unreadable", f"the boards file cannot be read: {error}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput.of("boards-not-toml", f"the boards file is not TOML: {error}", where=str(path)) from error
    problems = [
        Problem(code="boards-unknown-key", message=f"unknown key {key!r}", where=path.name, hint="write [[boards]]")
        for key in document
        if key != "boards"
    ]
    entries = document.get("boards", [])
    if not isinstance(entries, list):
        raise BadInput.of("boards-not-a-list", "`boards` must be a list of tables", path.name, "write [[boards]]")
    plans = [
        plan
        for position, entry in enumerate(entries)
        if (plan := _check(entry, position, path.parent, problems)) is not None
    ]
    problems += _shared_names(plan.config.name for plan in plans)
    raise_if_any(problems)
    return plans


def _check(entry: Any, position: int, folder: Path, problems: list[Problem]) -> BoardPlan | None:
    name = entry.get("name", f"#{position + 1}") if isinstance(entry, dict) else f"#{position + 1}"
    try:
        config = BoardConfig.model_validate(entry)
    except ValidationError as error:
        problems += [
            Problem(
                code="board-invalid", message=item["msg"], where=f"boards[{name}].{'.'.join(map(str, item['loc']))}"
            )
            for item in error.errors()
        ]
        return None
    found = len(problems)
    problems += _rules(config)
    suite = _load(config, folder, problems)
    if suite is not None:
        problems += _private_problems(config, suite)
    if suite is None or len(problems) > found:
        return None
    return BoardPlan(config, suite, position if config.order is None else config.order)


def _rules(config: BoardConfig) -> list[Problem]:
    where = f"boards[{config.name}]"
    problems = []
    try:
        get_scale(config.scale)
    except BadInput as error:
        problems += [problem.at(f"{where}.scale") for problem in error.problems]
    if config.byod is not None and config.track is not Track.BYOD:
        hint = 'write track = "byod", or leave byod away'
        message = "only boards of the track byod take datasets"
        problems.append(Problem(code="byod-misplaced", message=message, where=f"{where}.byod", hint=hint))
    if not config.seed_list or len(set(config.seed_list)) < len(config.seed_list):
        problems.append(
            Problem(code="seeds-invalid", message="seeds must be different, at least one", where=f"{where}.seeds")
        )
    return problems + _window_problems(config)


def _window_problems(config: BoardConfig) -> list[Problem]:
    """What does not fit together about opening, closing and revealing."""
    where = f"boards[{config.name}]"
    problems = []
    if config.opens_at and config.closes_at and config.opens_at >= config.closes_at:
        problems.append(
            Problem(code="board-window", message="the board closes before it opens", where=f"{where}.closes_at")
        )
    if config.private_tasks and config.revealing is None:
        problems.append(
            Problem(
                code="board-never-reveals",
                message="private tasks need a time at which they are revealed",
                where=f"{where}.private_tasks",
                hint="give closes_at or reveals_at",
            )
        )
    if config.disclosure is Disclosure.CLOSING and config.closes_at is None:
        problems.append(
            Problem(
                code="board-never-closes",
                message='disclosure = "closing" on a board that never closes',
                where=f"{where}.disclosure",
                hint="give closes_at, or another disclosure",
            )
        )
    return problems


def _private_problems(config: BoardConfig, suite: Suite) -> list[Problem]:
    """Private tasks must be the suite's, and leave something to rank by."""
    where = f"boards[{config.name}].private_tasks"
    known = {task.key for task in suite.tasks}
    problems = [
        Problem(code="task-unknown", message=f"the suite {suite.id} has no task {key!r}", where=where)
        for key in config.private_tasks
        if key not in known
    ]
    if config.private_tasks and all(task.key in config.private_tasks for task in suite.counted):
        message = "every counted task is private: until they are revealed there is nothing to rank by"
        problems.append(Problem(code="tasks-all-private", message=message, where=where))
    return problems


def _load(config: BoardConfig, folder: Path, problems: list[Problem]) -> Suite | None:
    where = f"boards[{config.name}].suite"
    try:
        return load_suite(folder / config.suite if config.suite.endswith(".json") else config.suite)
    except DatacompError as error:
        problems += [problem.at(f"{where}: {problem.where}") for problem in error.problems]
    except (OSError, ValueError) as error:
        problems.append(Problem(code="suite-unreadable", message=str(error), where=where))
    return None


def _shared_names(names: Iterable[str]) -> list[Problem]:
    seen: set[str] = set()
    problems = []
    for name in names:
        if name in seen:
            problems.append(Problem(code="board-twice", message=f"two boards are called {name!r}", where="boards"))
        seen.add(name)
    return problems
