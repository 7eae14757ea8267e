"""From scores to a subset: selection rules evaluated over whole columns, outside any sandbox.

Comparisons of float32 columns are made in float32. `top_fraction` is the original's rule: with n = int(N f) the
threshold is the score at place n of the descending order, so n + 1 rows and all that tie with it are kept.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering.engine import score_pool
from datacomp.filtering.expression import Among, Binary, Call, Name, Node, Number, Text, Unary, error_at, parse
from datacomp.filtering.functions import MOST_COPIES, Rowwise, function_names, function_of
from datacomp.filtering.load import filter_names, is_filter, load_filter
from datacomp.filtering.parameters import bind, filter_parameters
from datacomp.pool import Pool
from datacomp.pool.pool import HOW_TO_GET
from datacomp.problems import BadInput
from datacomp.uids import UID_DTYPE, Uids, halves, release

Value = npt.NDArray[Any] | float | str
WINDOW = 1 << 17
"""Rows that are decided together."""
_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Selection:
    """The rows that a rule keeps."""

    counts: npt.NDArray[Any]
    """How often each row of the pool is taken: shape (rows,), bool or int32."""
    nan_scores: int
    """Rows whose score is NaN: never kept."""
    rule: str
    in_uid_order: bool = False
    """Whether the rows are in the order of their uids, not of the pool."""

    @property
    def kept(self) -> int:
        """Rows taken, repeats counted."""
        bools = self.counts.dtype == np.bool_
        return int(np.count_nonzero(self.counts) if bools else self.counts.sum(dtype=np.int64))

    def uids(self, pool: Pool) -> Uids:
        """The subset: sorted uids, each as often as its row is taken. `BadInput` beyond `MOST_COPIES`."""
        _require_bounded(self.kept, pool, self.rule)
        subset = np.empty(self.kept, UID_DTYPE)
        done = 0
        for piece in self.pieces(pool):
            subset[done : done + piece.size] = piece
            done += piece.size
        return subset

    def pieces(self, pool: Pool) -> Iterator[Uids]:
        """As `uids`, piece by piece: a window of the pool's uids is in memory at a time."""
        _require_bounded(self.kept, pool, self.rule)
        uids, order = np.asarray(pool.sorted_uids), np.asarray(pool.uid_order)
        for start in range(0, pool.rows, WINDOW):
            rows = slice(start, start + WINDOW)
            yield _cut(uids, rows, self.counts[rows] if self.in_uid_order else self.counts.take(order[rows]))
            release(uids)


def select(pool: Pool, scores: npt.NDArray[Any] | None, rule: str) -> Selection:
    """Apply a rule. `scores` has shape (rows,), None where there are none. `BadInput` when the rule makes no choice."""
    return Choice(pool, scores, rule).selection()


def evaluate(pool: Pool, scores: npt.NDArray[Any] | None, rule: str) -> Value:
    """What a rule or a part of one gives for every row: a column of shape (rows,), or one number or text."""
    return _Evaluator(pool, scores, rule).value(parse(rule))


class Choice:
    """A rule made ready, and then applied to a window of rows at a time. `BadInput` when it makes no choice."""

    def __init__(self, pool: Pool, scores: npt.NDArray[Any] | None, rule: str) -> None:
        self.pool, self.scores, self.rule = pool, scores, rule
        self.kept = self.nan_scores = 0
        """Of the windows so far: rows taken, repeats counted, and rows whose score is NaN."""
        self._tree = parse(rule)
        self._evaluator = _Evaluator(pool, scores, rule)

    def windows(self) -> Iterator[tuple[slice, npt.NDArray[Any]]]:
        """All rows in order, with how often each is taken: bool or int32."""
        for start in range(0, max(self.pool.rows, 1), WINDOW):  # a pool without rows: the rule is looked at, too
            rows = slice(start, min(start + WINDOW, self.pool.rows))
            taken = self._window(rows)
            bools = taken.dtype == np.bool_
            self.kept += int(np.count_nonzero(taken) if bools else taken.sum(dtype=np.int64))
            yield rows, taken

    def selection(self) -> Selection:
        """All windows together."""
        counts: npt.NDArray[Any] = np.empty(0, np.bool_)
        for rows, taken in self.windows():
            if not rows.start:
                counts = np.empty(self.pool.rows, taken.dtype)
            counts[rows] = taken
        return Selection(counts, self.nan_scores, self.rule, self.pool.in_uid_order)

    def pieces(self) -> Iterator[Uids]:
        """The subset, piece by piece: sorted uids, each as often as its row is taken. `BadInput` beyond `MOST_COPIES`.
        In a pool whose rows are in the order of uids nothing is as large as the pool."""
        if not self.pool.in_uid_order:
            yield from self.selection().pieces(self.pool)
            return
        uids = np.asarray(self.pool.sorted_uids)
        for rows, taken in self.windows():
            _require_bounded(self.kept, self.pool, self.rule)
            yield _cut(uids, rows, taken)
            release(uids)

    def _window(self, rows: slice) -> npt.NDArray[Any]:
        self._evaluator.rows = rows
        value = self._evaluator.value(self._tree)
        if not isinstance(value, np.ndarray) or value.dtype not in (np.bool_, np.int32):
            hint = "compare the score with a threshold, or write top_fraction(score, 0.3)"
            message = f"the rule {self.rule!r} does not say which rows are kept"
            raise BadInput.of("rule-not-a-choice", message, hint=hint)
        if value.dtype == np.int32 and value.size and value.min() < 0:
            hint = "a rule of integers says how often each row is taken: 0 or more"
            message = "the rule takes rows less than no times"
            raise BadInput.of("rule-count-negative", message, where=self.rule, hint=hint)
        if self.scores is not None and self.scores.dtype.kind == "f":
            nan = np.isnan(self.scores[rows])
            found = int(np.count_nonzero(nan))
            self.nan_scores += found
            value = np.where(nan, value.dtype.type(0), value) if found else value
        return value


def _cut(uids: Uids, rows: slice, taken: npt.NDArray[Any]) -> Uids:
    """The uids of some rows of a pool in order, each as often as it is taken."""
    pairs = halves(uids[rows])  # of integers: half the time of copying records
    chosen = pairs.compress(taken, axis=0) if taken.dtype == np.bool_ else pairs.repeat(taken, axis=0)
    cut: Uids = chosen.view(UID_DTYPE).reshape(-1)
    return cut


def _require_bounded(kept: int, pool: Pool, rule: str) -> None:
    if kept > MOST_COPIES * pool.rows:
        message = f"the subset has {kept:,} rows, more than {MOST_COPIES} times the pool's {pool.rows:,}"
        raise BadInput.of("subset-too-large", message, where=rule, hint="repeat rows less often")


class _Evaluator:
    """The values of a rule's parts for the rows of a window, `rows`; at first for all.

    Calls and named filters may look at the whole pool: they are computed once, for all rows.
    """

    def __init__(self, pool: Pool, scores: npt.NDArray[Any] | None, text: str) -> None:
        self.pool, self.scores, self.text = pool, scores, text
        self.rows = slice(0, pool.rows)
        self._whole: dict[int, Rowwise] = {}
        self._columns: dict[str, npt.NDArray[Any]] = {}

    def whole(self, node: Node, compute: Callable[[], Rowwise]) -> npt.NDArray[Any]:
        """The window of what is computed once, over all rows."""
        if id(node) not in self._whole:
            window, self.rows = self.rows, slice(0, self.pool.rows)
            self._whole[id(node)] = compute()
            self.rows = window
        return self._whole[id(node)][self.rows]

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column's window; codes for one of few texts."""
        if name not in self._columns:
            self._columns[name] = np.asarray(self.pool.column(name))
        return self._columns[name][self.rows]

    def holds(self, name: str, text: str) -> npt.NDArray[np.bool_]:
        """Which rows of a column of few texts hold this one: by codes, no texts are made."""
        words = self.pool.vocabulary(name) or ()
        return np.asarray(self.column(name) == (words.index(text) if text in words else len(words)))

    def value(self, node: Node) -> Value:  # noqa: PLR0911 - one arm per kind of node
        match node:
            case Number() | Text():
                return node.value
            case Name():
                return self.name(node)
            case Unary(sign="-"):
                negated: Value = -self.number(node.operand)
                return negated
            case Unary():
                return ~self.choice(node.operand)
            case Binary(sign="and"):
                return self.choice(node.left) & self.choice(node.right)
            case Binary(sign="or"):
                return self.choice(node.left) | self.choice(node.right)
            case Binary():
                return self.binary(node)
            case Among():
                return self.among(node)
            case Call():
                return self.whole(node, lambda: self.call(node))
        raise error_at(self.text, node.at, "this cannot be evaluated")

    def name(self, node: Name) -> npt.NDArray[Any]:
        if node.name == "score" and self.scores is not None:
            return self.scores[self.rows]
        column = self.pool.manifest.column(node.name)
        if (column is None or node.name not in self.pool.names) and is_filter(node.name):
            return self.whole(node, lambda: self.named_filter(node, {}))
        if column is None or node.name not in self.pool.names:
            known = sorted(c.name for c in self.pool.manifest.columns if c.name in self.pool.names)
            here = (["score"] if self.scores is not None else []) + known
            hint = HOW_TO_GET.get(node.name, f"names here: {', '.join(here)}; filters: {', '.join(filter_names())}")
            raise error_at(self.text, node.at, f"there is no column {node.name!r}", hint)
        values = self.column(node.name)
        if values.dtype.kind == "V":
            raise error_at(self.text, node.at, f"{node.name!r} is an identifier: rules do not compute with it")
        return np.array((*column.vocabulary, ""))[values] if column.vocabulary is not None else values

    def words(self, node: Node) -> str | None:
        """The column of few texts that a node names, if it does."""
        plain = isinstance(node, Name) and node.name in self.pool.names
        return node.name if isinstance(node, Name) and plain and self.pool.vocabulary(node.name) is not None else None

    def key(self, node: Node) -> npt.NDArray[Any]:
        """What rows are grouped by: numbers, or the codes of few texts."""
        column = self.words(node)
        return self.column(column) if column is not None else np.asarray(self.number(node))

    def among(self, node: Among) -> npt.NDArray[np.bool_]:
        kinds = {isinstance(option, Text) for option in node.options}
        column = self.words(node.value)
        value = self.value(node.value) if column is None else None
        texts = column is not None or (value is not None and _is_text(value))
        if kinds != {texts}:
            raise error_at(self.text, node.at, "these cannot be compared by in")
        found = np.zeros(self.rows.stop - self.rows.start, np.bool_)
        for option in node.options:
            found |= self.holds(column, str(option.value)) if column is not None else value == option.value
        return found

    def number(self, node: Node) -> Any:
        value = self.value(node)
        if isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind not in "fiu"):
            raise error_at(self.text, node.at, "a number is needed here")
        return value

    def choice(self, node: Node) -> npt.NDArray[np.bool_]:
        value = self.value(node)
        if not isinstance(value, np.ndarray) or value.dtype != np.bool_:
            raise error_at(self.text, node.at, "a condition is needed here", "compare something: score >= 0.3")
        return value

    def binary(self, node: Binary) -> npt.NDArray[Any]:
        with np.errstate(all="ignore"):
            if node.sign in _ARITHMETIC:
                try:
                    result = _ARITHMETIC[node.sign](self.number(node.left), self.number(node.right))
                except ArithmeticError as error:  # of two plain numbers; columns give inf or NaN
                    raise error_at(self.text, node.at, f"this cannot be computed: {error}") from error
            else:
                column = self.words(node.left)
                if column is not None and isinstance(node.right, Text) and node.sign in {"==", "!="}:
                    same = self.holds(column, node.right.value)
                    return same if node.sign == "==" else ~same
                left, right = self.value(node.left), self.value(node.right)
                if _is_text(left) != _is_text(right) or (_is_text(left) and node.sign not in {"==", "!="}):
                    raise error_at(self.text, node.at, f"these cannot be compared by {node.sign}")
                result = _COMPARE[node.sign](left, right)
        return np.asarray(result) if isinstance(result, np.ndarray | np.generic) else result

    def call(self, node: Call) -> Rowwise:
        function = function_of(node.function)
        if function is None and is_filter(node.function):
            return self.named_filter(node, filter_parameters(self.text, node))
        if function is None:
            hint = f"functions: {', '.join(function_names())}; filters: {', '.join(filter_names())}"
            raise error_at(self.text, node.at, f"there is no function {node.function!r}", hint)
        arguments = bind(self.text, node, function, self)
        try:
            found: Rowwise = function.load()(self.pool, **arguments)
            return found
        except BadInput as error:
            raise self.at(node, error) from error

    def named_filter(self, node: Name | Call, parameters: dict[str, str]) -> npt.NDArray[Any]:
        """What an installed filter keeps. It is ours, or the machine's owner's: it runs here."""
        name = node.name if isinstance(node, Name) else node.function
        try:
            filter_ = load_filter(name, parameters)
            return select(self.pool, score_pool(filter_, self.pool).values, filter_.rule).counts
        except BadInput as error:
            raise self.at(node, error) from error

    def at(self, node: Node, error: BadInput) -> BadInput:
        """The same problems, each with its place in the text."""
        return BadInput(
            *(
                problem
                for found in error.problems
                for problem in error_at(self.text, node.at, found.message, found.hint).problems
            )
        )


def _is_text(value: Value) -> bool:
    return isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind == "U")
