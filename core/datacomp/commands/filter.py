"""`datacomp filter`: apply a filter to a pool on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datacomp.filtering import load_filter, score_pool
from datacomp.filtering.contract import is_whole_pool
from datacomp.filtering.order import best_order
from datacomp.filtering.selection import Choice, Selection
from datacomp.filtering.work import Work, working
from datacomp.pool import Pool
from datacomp.problems import BadInput, DatacompError
from datacomp.subsets import save

if TYPE_CHECKING:
    from datacomp.commands.preview import Preview

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
    chosen: Selection | Choice
    if _is_local(engine):
        with working(Work(report=report)):
            chosen = _choice(what, pool, parameters, report, any_order=True)
            save(out, chosen.pieces())
    else:
        chosen = _on_ray(what, pool, parameters, address, report)
        save(out, chosen.pieces(pool))
    return FilterRun(pool.rows, chosen.kept, chosen.nan_scores, chosen.rule, time.monotonic() - started)


def preview_filter(
    what: str,
    pool_dir: Path,
    parameters: Mapping[str, str],
    compare: Path | None = None,
    *,
    engine: str = "local",
    address: str | None = None,
    report: Report = lambda w, d, t: None,
) -> Preview:
    """What a filter would keep; nothing is written. Engines and errors as of `run_filter`."""
    from datacomp.commands.preview import preview

    pool = Pool.open(pool_dir)
    if _is_local(engine):
        with working(Work(report=report)):
            return preview(pool, _choice(what, pool, parameters, report).selection(), compare)
    return preview(pool, _on_ray(what, pool, parameters, address, report), compare)


def _is_local(engine: str) -> bool:
    if engine not in {"local", "ray"}:
        raise BadInput.of("engine-unknown", f"there is no engine {engine!r}", hint="choose local or ray")
    return engine == "local"


def _on_ray(what: str, pool: Pool, parameters: Mapping[str, str], address: str | None, report: Report) -> Selection:
    from datacomp.engines.ray import select_on_ray

    return select_on_ray(what, pool, parameters, address=address, report=report)


def _choice(what: str, pool: Pool, parameters: Mapping[str, str], report: Report, *, any_order: bool = False) -> Choice:
    """The rule and its scores, to be applied; `any_order` allows rows in the order of uids where that is quicker."""
    if not what.endswith(".py") and not what.isidentifier():
        if parameters:
            raise BadInput.of("option-unknown", "an expression takes no parameters", where=next(iter(parameters)))
        return Choice(best_order(pool, what) if any_order else pool, None, what)
    try:
        filter_ = load_filter(what, parameters)
        if any_order and filter_.any_order and is_whole_pool(filter_) and not filter_.features:
            pool = best_order(pool, filter_.rule, filter_.columns)
        scores = score_pool(filter_, pool, report=lambda done, total: report("scoring", done, total))
        return Choice(pool, scores.values, filter_.rule)
    except (DatacompError, KeyboardInterrupt, GeneratorExit):
        raise
    except Exception as error:  # the author's own code, on their own machine
        if not what.endswith(".py"):
            raise
        from datacomp.filtering.inner import raised

        raise BadInput(raised(error, Path(what))) from error
