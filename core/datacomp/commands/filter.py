"""`datacomp filter`: apply a filter to a pool on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from datacomp.commands.preview import Preview, preview
from datacomp.filtering import load_filter, score_pool, select
from datacomp.filtering.inner import raised
from datacomp.filtering.selection import Selection
from datacomp.pool import Pool
from datacomp.problems import BadInput, DatacompError
from datacomp.uids import write_subset

Report = Callable[[str, float, float], None]


@dataclass(frozen=True)
class FilterRun:
    """What a filter kept."""

    rows_in: int
    rows_kept: int
    """Rows of the subset, repeats counted."""
    nan_scores: int
    rule: str
    seconds: float


def run_filter(
    what: str,
    pool_dir: Path,
    out: Path,
    parameters: Mapping[str, str],
    *,
    engine: str = "local",
    address: str | None = None,
    report: Report = lambda w, d, t: None,
) -> FilterRun:
    """Write the subset that a filter keeps: a named filter, a Python file or an expression.

    `engine` is `local`, or `ray`, then with the address of a cluster; None starts Ray on this machine.
    `BadInput` names what is wrong with filter, parameters or pool; `out` is written complete or not at all.
    """
    started = time.monotonic()
    pool = Pool.open(pool_dir)
    if engine == "ray":
        from datacomp.engines.ray import select_on_ray

        selection = select_on_ray(what, pool, parameters, address=address, report=report)
    elif engine == "local":
        selection = _select(what, pool, parameters, report)
    else:
        raise BadInput.of("engine-unknown", f"there is no engine {engine!r}", hint="choose local or ray")
    temporary = out.with_name(f"{out.name}.tmp")
    try:
        write_subset(temporary, selection.uids(pool))
        temporary.replace(out)
    except OSError as error:
        raise BadInput.of("out-unwritable", f"cannot write the subset: {error}", where=str(out)) from error
    seconds = time.monotonic() - started
    return FilterRun(pool.rows, selection.kept, selection.nan_scores, selection.rule, seconds)


def preview_filter(
    what: str,
    pool_dir: Path,
    parameters: Mapping[str, str],
    compare: Path | None = None,
    *,
    report: Report = lambda w, d, t: None,
) -> Preview:
    """What a filter would keep, on this machine; nothing is written. Errors as from `run_filter`."""
    pool = Pool.open(pool_dir)
    return preview(pool, _select(what, pool, parameters, report), compare)


def _select(what: str, pool: Pool, parameters: Mapping[str, str], report: Report) -> Selection:
    if not what.endswith(".py") and not what.isidentifier():
        if parameters:
            raise BadInput.of("option-unknown", "an expression takes no parameters", where=next(iter(parameters)))
        return select(pool, None, what)
    try:
        filter_ = load_filter(what, parameters)
        scores = score_pool(filter_, pool, report=lambda done, total: report("scoring", done, total))
        return select(pool, scores.values, filter_.rule)
    except (DatacompError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:  # the author's own code, on their own machine
        if not what.endswith(".py"):
            raise
        raise BadInput(raised(error, Path(what))) from error
