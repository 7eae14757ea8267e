"""A filter over a Ray cluster: shards are scored where there is room, and only figures come together.

Every machine sees the pool (and a filter's file) under the same path. Scores stay in Ray's object store, shard by
shard; the threshold of a `top_fraction` comes from histograms that add up (`radix`); what comes back is how often each
row is taken. A filter or a rule that needs the whole pool at once is applied by the driver, over the scores of all
shards.

The result is that of the local engine, row for row, so the subset is the same, byte for byte.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.engines import radix
from datacomp.engines.rules import NeedsWholePool, with_thresholds
from datacomp.filtering.contract import Filter, as_scores, is_whole_pool
from datacomp.filtering.engine import column_stats, require, score_rows
from datacomp.filtering.expression import parse
from datacomp.filtering.inner import raised
from datacomp.filtering.load import load_filter
from datacomp.filtering.selection import Selection, evaluate, select
from datacomp.pool import Pool
from datacomp.pool.pool import Rows
from datacomp.problems import BadInput, DatacompError

Report = Callable[[str, float, float], None]
Scores = npt.NDArray[Any]
EXACT = 1 << 53
"""Integers beyond it are not all numbers of the rule's language."""


@dataclass(frozen=True)
class Part(Pool):
    """The rows of one shard, as a pool of its own: all that a rule without whole-pool functions reads."""

    shard: Rows

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return self.shard.stop - self.shard.start

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column's values of these rows."""
        path = self.directory
        return Pool(path, self.manifest).column(name)[self.shard.start : self.shard.stop]


@dataclass(frozen=True)
class Task:
    """What every task is told."""

    pool: str
    what: str | None
    """Filter's name or file; None when there is only a rule."""
    parameters: Mapping[str, str]

    def part(self, shard: Rows) -> Part:
        """The shard that a task works on."""
        return Part(Path(self.pool), Pool.open(Path(self.pool)).manifest, shard)


def select_on_ray(
    what: str, pool: Pool, parameters: Mapping[str, str], *, address: str | None, report: Report
) -> Selection:
    """The rows that a filter keeps. `address` is a cluster's; None starts Ray on this machine.

    `BadInput` as from the local engine, and `ray-missing` when Ray is not installed.
    """
    expression = not what.endswith(".py") and not what.isidentifier()
    if expression and parameters:
        raise BadInput.of("option-unknown", "an expression takes no parameters", where=next(iter(parameters)))
    name = str(Path(what).resolve()) if what.endswith(".py") else what
    task = Task(str(pool.directory.resolve()), None if expression else name, dict(parameters))
    with _connected(address) as ray:
        run = _Run(ray, pool, task, report)
        if expression:
            return run.select(what, None)
        filter_ = load_filter(what, parameters)
        return run.select(filter_.rule, run.score(filter_))


@contextmanager
def _connected(address: str | None) -> Iterator[Any]:
    try:
        import ray
    except ModuleNotFoundError as error:
        hint = "pip install 'datacomp[ray]', or leave --engine away"
        raise BadInput.of("ray-missing", "Ray is not installed", hint=hint) from error
    started = not ray.is_initialized()
    if started:
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        if started:
            ray.shutdown()


@dataclass(frozen=True)
class _Run:
    ray: Any
    pool: Pool
    task: Task
    report: Report

    @cached_property
    def shards(self) -> list[Rows]:
        return [shard for shard in self.pool.shard_rows() if shard.stop > shard.start]

    def score(self, filter_: Filter) -> Sequence[Any]:
        """One reference per shard to its scores in the object store; `BadInput` when types differ."""
        require(filter_, self.pool)
        if is_whole_pool(filter_):
            scores = as_scores(filter_.select(self.pool), self.pool.rows, "select")
            return [self.ray.put(np.asarray(scores[shard.start : shard.stop])) for shard in self.shards]
        stats = column_stats(filter_, self.pool)
        twice = self.shards[int(np.random.default_rng().integers(len(self.shards)))] if self.shards else None
        remote = self.ray.remote(num_returns=2)(_score)
        made = [remote.remote(self.task, shard, stats, shard == twice) for shard in self.shards]
        kinds = {kind for kind in self._gather("scoring", [kind for _, kind in made]) if kind is not None}
        if len(kinds) > 1:
            message = f"some batches gave {' and others '.join(sorted(kinds))}"
            raise BadInput.of("filter-score-mixed", message, hint="return the same type for every batch")
        return [scores for scores, _ in made]

    def select(self, rule: str, scores: Sequence[Any] | None) -> Selection:
        """Apply a rule to all shards."""
        own = scores if scores is not None else [None] * len(self.shards)
        try:
            self._require_parts(rule, scores)
            alone = with_thresholds(parse(rule), self._names, lambda c, f: self._threshold(c, f, own))
        except NeedsWholePool:
            return select(self.pool, self._together(scores), rule)
        remote = self.ray.remote(_select)
        made = [remote.remote(self.task, shard, part, alone) for shard, part in zip(self.shards, own, strict=True)]
        pieces = self._gather("selecting", made)
        counts = np.concatenate([counts for counts, _ in pieces])
        return Selection(counts, sum(nan for _, nan in pieces), rule)

    @cached_property
    def _names(self) -> frozenset[str]:
        """What a rule may name and every part has."""
        return frozenset({c.name for c in self.pool.manifest.columns if c.name in self.pool.names} | {"score"})

    def _require_parts(self, rule: str, scores: Sequence[Any] | None) -> None:
        """`NeedsWholePool` where parts cannot decide; `BadInput` for what is wrong with the rule, told by one part."""
        if not self.shards:
            raise NeedsWholePool
        with_thresholds(parse(rule), self._names, lambda column, fraction: None)
        select(self.task.part(self.shards[0]), self.ray.get(scores[0]) if scores else None, rule)

    def _threshold(self, column: str, fraction: float, scores: Sequence[Any]) -> float | None:
        """The original's threshold: the value at place int(N f) of the descending order."""
        if not 0 <= fraction <= 1:
            raise NeedsWholePool  # refused there, with its place in the text
        place = int(self.pool.rows * fraction)
        if place >= self.pool.rows:
            return None
        kinds = self._all(_kind, scores, column)
        kind = np.result_type(*kinds)
        if kind.kind not in "fiu" or any(own != kind for own in kinds):
            raise NeedsWholePool

        def count(prefix: int, known: int) -> radix.Histogram:
            total = np.zeros(1 << radix.BITS, np.int64)
            for part in self._all(_histogram, scores, column, prefix, known):
                total += part
            return total

        found = radix.kth_largest(count, kind, place)
        if isinstance(found, int) and abs(found) > EXACT:
            raise NeedsWholePool
        return found

    def _all(self, function: Callable[..., Any], scores: Sequence[Any], *arguments: Any) -> list[Any]:
        remote = self.ray.remote(function)
        made = [remote.remote(self.task, s, own, *arguments) for s, own in zip(self.shards, scores, strict=True)]
        return self._gather("counting", made)

    def _gather(self, what: str, references: list[Any]) -> list[Any]:
        """The results in order; the first error is raised as the local engine raises it."""
        waiting, done = list(references), 0
        while waiting:
            ready, waiting = self.ray.wait(waiting, num_returns=1)
            done += len(ready)
            self.report(what, done, len(references))
        outcomes = self.ray.get(references)
        for outcome in outcomes:
            if isinstance(outcome, _Refused):
                raise BadInput(*outcome.problems)
        return list(outcomes)

    def _together(self, scores: Sequence[Any] | None) -> Scores | None:
        return None if scores is None else np.concatenate(self.ray.get(list(scores)))


# --- tasks


@dataclass(frozen=True)
class _Refused:
    """Problems as a value: errors raised in a task come back wrapped in Ray's own."""

    problems: tuple[Any, ...]


def _score(task: Task, shard: Rows, stats: Any, twice: bool) -> tuple[Any, Any]:
    """A shard's scores and their type; in its place what is wrong."""
    try:
        filter_ = load_filter(str(task.what), task.parameters)
        filter_.prepare(stats)
        scores = score_rows(filter_, Pool.open(Path(task.pool)), shard, check=twice)
    except DatacompError as error:
        return None, _Refused(error.problems)
    except Exception as error:  # the author's own code
        return None, _Refused((raised(error, Path(str(task.what))),))
    return scores, str(scores.dtype) if scores.size else None


def _kind(task: Task, shard: Rows, scores: Scores | None, column: str) -> np.dtype[Any]:
    return np.asarray(evaluate(task.part(shard), scores, column)).dtype


def _histogram(task: Task, shard: Rows, scores: Scores | None, column: str, prefix: int, known: int) -> Any:
    return radix.histogram(np.asarray(evaluate(task.part(shard), scores, column)), prefix, known)


def _select(task: Task, shard: Rows, scores: Scores | None, rule: str) -> Any:
    try:
        chosen = select(task.part(shard), scores, rule)
    except BadInput as error:
        return _Refused(error.problems)
    return chosen.counts, chosen.nan_scores
