"""A participant's filter file over a pool, in the sandbox: scores come back, or a typed error says why not."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from datacomp.filtering.contract import ScoreArray
from datacomp.filtering.wire import Receiver
from datacomp.pool import Pool
from datacomp.pool.manifest import MANIFEST, PACK
from datacomp.pool.pool import METADATA
from datacomp.problems import BadInput, DatacompError, PlatformFault, Problem
from datacomp.text import printable
from datacomp_worker.sandbox.cgroup import Cgroup
from datacomp_worker.sandbox.command import Box
from datacomp_worker.sandbox.layers import ALL, Layers
from datacomp_worker.sandbox.limits import MIB, Limits
from datacomp_worker.sandbox.mounts import Mount, require_readable
from datacomp_worker.sandbox.process import RESULT_FD, End, Outcome, nothing, run

CODE = PurePosixPath("/submission")
POOL = PurePosixPath("/pool")
COLUMNS = "columns"
PYTHON = (sys.executable, "-I", "-B", "-u", "-X", "utf8")
"""Isolated from the environment and the current directory; what is printed is passed on at once."""


@dataclass(frozen=True)
class Scored:
    """What a filter's code answered."""

    scores: ScoreArray
    """One per row of the pool, in pool order: bool, int32, float32 or float64."""
    rule: str
    """The selection rule that the filter names: text from the sandbox, to be parsed like any participant's."""
    outcome: Outcome


def score_in_sandbox(
    code: Path,
    pool: Pool,
    limits: Limits,
    *,
    tick: Callable[[int], None] = lambda rows: None,
    check: Callable[[], None] = nothing,
    cgroup: Cgroup | None = None,
    layers: Layers = ALL,
    folder: Path | None = None,
) -> Scored:
    """Run the filter file `code` over `pool`. The scores lie in a nameless file in `folder`, and are mapped.

    `tick` gets the rows scored so far; `check` is called ten times a second and may raise to end everything. `BadInput`
    for all that is the filter's doing: `filter-timeout`, `filter-output-flood`, `filter-memory`, `filter-files`,
    `filter-ended`, `filter-result-malformed`, `filter-raised` and what else the contract refuses; its `log_tail` is
    what was printed. `PlatformFault` when the sandbox does not come up or the pool cannot be read.
    """
    mounts = [Mount(code, Path(CODE / code.name)), *pool_mounts(pool)]
    require_readable(mounts)
    inner = ["-m", "datacomp.filtering.inner", str(CODE / code.name), str(POOL), RESULT_FD]
    progress = _Progress(tick)
    receiver = Receiver(pool.rows, progress, folder)
    box = Box([*PYTHON, *inner], mounts)
    with closing(receiver):
        outcome = _run_placed(
            lambda: run(box, limits, feed=receiver.feed, layers=layers, cgroup=cgroup, check=check), code.name
        )
        try:
            scores = _scores(receiver, outcome, limits, f"{code.name}, after {progress.rows:,} of {pool.rows:,} rows")
        except DatacompError as error:
            error.log_tail = outcome.log
            _require_sound(pool, error)
            raise
    return Scored(scores, receiver.header.rule if receiver.header else "", outcome)


def _run_placed(start: Callable[[], Outcome], where: str) -> Outcome:
    """Run; what the result's parser refuses is told with the filter's name."""
    try:
        return start()
    except BadInput as error:
        placed = BadInput(*(problem.at(where) for problem in error.problems))
        placed.log_tail = error.log_tail
        raise placed from error


class _Progress:
    def __init__(self, tick: Callable[[int], None]) -> None:
        self.rows, self._tick = 0, tick

    def __call__(self, rows: int) -> None:
        self.rows = rows
        self._tick(rows)


# --- what is seen


def pool_mounts(pool: Pool) -> list[Mount]:
    """Of a pool's directory just what filters read: metadata, features, the pack. Not the images, nor what else lies
    there. `PlatformFault` when those folders hold anything that the manifest does not name."""
    pack = pool.directory / PACK
    shards = [shard.name for shard in pool.manifest.shards]
    files = {f"{name}{suffix}" for name in shards for suffix in (".parquet", ".npz")}
    _require_only(pool.directory / METADATA, files)
    _require_only(pack / COLUMNS, {f"{column.name}.npy" for column in pool.manifest.columns})
    return [
        Mount(pool.directory / METADATA, Path(POOL / METADATA)),
        Mount(pack / MANIFEST, Path(POOL / PACK / MANIFEST)),
        Mount(pack / COLUMNS, Path(POOL / PACK / COLUMNS)),
    ]


def _require_only(directory: Path, names: set[str]) -> None:
    """Whole directories are mounted: a stray file would be read, a link that leads out could not be."""
    for path in sorted(directory.iterdir()):
        if path.name not in names:
            hint = "move it out of that folder, or ingest the pool again if it belongs to it"
            message = "filters would see this, and the pool's manifest does not name it"
            raise PlatformFault.of("pool-stray-file", message, where=str(path), hint=hint)
        if path.is_symlink() and not path.resolve().is_relative_to(directory.resolve()):
            hint = "put the file itself there"
            raise PlatformFault.of("pool-link", "the sandbox cannot follow this link", where=str(path), hint=hint)


# --- how it ended


def _scores(receiver: Receiver, outcome: Outcome, limits: Limits, where: str) -> ScoreArray:
    if not receiver.begun:
        raise not_started(outcome)
    if outcome.end is not End.EXITED:
        raise _ended_by_us(outcome.end, limits, where)
    if receiver.failure:
        raise BadInput(*(_clean(problem) for problem in receiver.failure))
    if not receiver.ended:
        raise _ended_early(outcome.code, limits, where)
    return receiver.scores()


def _clean(problem: Problem) -> Problem:
    """A problem that the sandbox wrote, fit for terminals and pages."""
    texts = {key: printable(value) for key, value in asdict(problem).items() if value is not None}
    return Problem(**{"hint": "run it on your own machine: datacomp filter FILE --pool DIR --out uids.npy", **texts})


def _ended_by_us(end: End, limits: Limits, where: str) -> BadInput:
    gib = limits.memory / (1024 * MIB)
    code, message, hint = {
        End.TIMEOUT: (
            "filter-timeout",
            f"the filter was still running after {limits.seconds:g} seconds",
            "work on whole batches with NumPy or Arrow instead of row by row, and look for loops that never end",
        ),
        End.LOG_FLOOD: (
            "filter-output-flood",
            f"the filter printed more than {limits.log_bytes // MIB} MiB",
            "print less: a few lines a batch at most",
        ),
        End.MEMORY: (
            "filter-memory",
            f"the filter and its processes took more than {gib:g} GiB of memory",
            "work batch by batch, keep nothing between batches, name fewer columns and features",
        ),
        End.FILES: (
            "filter-files",
            f"the filter made more than {limits.tmp_files:,} files",
            "keep intermediate results in memory, or remove files that are no longer needed",
        ),
    }[end]
    return BadInput.of(code, message, where=where, hint=hint)


def _ended_early(code: int, limits: Limits, where: str) -> BadInput:
    """The process is gone and left neither all scores nor a failure."""
    number = code - 128
    if number == signal.SIGXCPU:
        return _ended_by_us(End.TIMEOUT, limits, where)
    name = f"exit status {code}"
    with suppress(ValueError):
        name = f"signal {signal.Signals(number).name}" if number > 0 else name
    hint = "a filter must not end the interpreter; SIGKILL and SIGSEGV also come from running out of memory"
    return BadInput.of("filter-ended", f"the filter's process ended before all rows were scored: {name}", where, hint)


def not_started(outcome: Outcome) -> PlatformFault:
    """The sandbox ended before anything inside it ran."""
    if outcome.end is End.TIMEOUT:
        hint = "the worker's machine is overloaded: run fewer things on it; the run is tried again"
        message = f"the sandbox did not come up within {outcome.seconds:.0f} seconds"
        return PlatformFault.of("sandbox-slow", message, where=os.uname().nodename, hint=hint)
    said = outcome.log.strip().splitlines()
    message = f"the sandbox does not come up ({outcome.end}, status {outcome.code})"
    hint = (
        "install bubblewrap and util-linux and permit user namespaces: kernel.unprivileged_userns_clone=1, "
        "kernel.apparmor_restrict_unprivileged_userns=0; in a container the security options of docker-compose.yml"
    )
    return PlatformFault.of("sandbox-missing", message, where=said[-1][:500] if said else None, hint=hint)


def _require_sound(pool: Pool, error: DatacompError) -> None:
    """A filter that could not read the pool is not to blame for it; but only if we cannot read it either."""
    if not any(problem.code.startswith("pool-") for problem in error.problems):
        return
    for column in pool.manifest.columns:
        pool.column(column.name)
    for shard in pool.shard_rows():
        pool.metadata_column("uid", shard.shard)
        for feature in pool.manifest.features:
            pool.features(feature.name, shard.shard)
