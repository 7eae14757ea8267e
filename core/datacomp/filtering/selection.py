"""From scores to a subset: selection rules evaluated over whole columns, outside any sandbox.

Comparisons of float32 columns are made in float32. `top_fraction` is the original's rule: with n = int(N f) the
threshold is the score at place n of the descending order, so n + 1 rows and all that tie with it are kept.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering.expression import Binary, Call, Name, Node, Number, Text, Unary, error_at, parse
from datacomp.filtering.threshold import kth_largest
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.uids import UID_DTYPE, Uids, halves

MOST_COPIES = 10
"""Rows of a subset per row of the pool: repeat counts may not ask for more memory than there is."""
Value = npt.NDArray[Any] | float | str
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

    @property
    def kept(self) -> int:
        """Rows taken, repeats counted."""
        bools = self.counts.dtype == np.bool_
        return int(np.count_nonzero(self.counts) if bools else self.counts.sum(dtype=np.int64))

    def uids(self, pool: Pool) -> Uids:
        """The subset: sorted uids, each as often as its row is taken. `BadInput` beyond `MOST_COPIES`."""
        if self.kept > MOST_COPIES * pool.rows:
            message = f"the subset has {self.kept:,} rows, more than {MOST_COPIES} times the pool's {pool.rows:,}"
            raise BadInput.of("subset-too-large", message, where=self.rule, hint="repeat rows less often")
        order = np.asarray(pool.uid_order)
        taken = self.counts.take(order)
        rows = order.compress(taken) if taken.dtype == np.bool_ else np.repeat(order, taken)
        # As pairs of integers: half the time of gathering records.
        subset: Uids = halves(pool.uids).take(rows, axis=0).view(UID_DTYPE).reshape(-1)
        return subset


def select(pool: Pool, scores: npt.NDArray[Any] | None, rule: str) -> Selection:
    """Apply a rule. `scores` has shape (rows,), None where there are none. `BadInput` when the rule makes no choice."""
    evaluator = _Evaluator(pool, scores, rule)
    value = evaluator.value(parse(rule))
    if not isinstance(value, np.ndarray) or value.dtype not in (np.bool_, np.int32):
        hint = "compare the score with a threshold, or write top_fraction(score, 0.3)"
        raise BadInput.of("rule-not-a-choice", f"the rule {rule!r} does not say which rows are kept", hint=hint)
    if value.dtype == np.int32 and value.size and value.min() < 0:
        hint = "a rule of integers says how often each row is taken: 0 or more"
        raise BadInput.of("rule-count-negative", "the rule takes rows less than no times", where=rule, hint=hint)
    nan = np.isnan(scores) if scores is not None and np.issubdtype(scores.dtype, np.floating) else None
    if nan is not None and nan.any():
        value = np.where(nan, value.dtype.type(0), value)
    return Selection(value, int(nan.sum()) if nan is not None else 0, rule)


def evaluate(pool: Pool, scores: npt.NDArray[Any] | None, rule: str) -> Value:
    """What a rule or a part of one gives for every row: a column of shape (rows,), or one number or text."""
    return _Evaluator(pool, scores, rule).value(parse(rule))


class _Evaluator:
    def __init__(self, pool: Pool, scores: npt.NDArray[Any] | None, text: str) -> None:
        self.pool, self.scores, self.text = pool, scores, text

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
            case Call():
                return self.call(node)
        raise error_at(self.text, node.at, "this cannot be evaluated")

    def name(self, node: Name) -> npt.NDArray[Any]:
        if node.name == "score" and self.scores is not None:
            return self.scores
        column = self.pool.manifest.column(node.name)
        if column is None or node.name not in self.pool.names:
            known = sorted(c.name for c in self.pool.manifest.columns if c.name in self.pool.names)
            hint = f"names here: {', '.join((['score'] if self.scores is not None else []) + known)}"
            raise error_at(self.text, node.at, f"there is no column {node.name!r}", hint)
        values = np.asarray(self.pool.column(node.name))
        if values.dtype.kind == "V":
            raise error_at(self.text, node.at, f"{node.name!r} is an identifier: rules do not compute with it")
        return np.array((*column.vocabulary, ""))[values] if column.vocabulary is not None else values

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
                left, right = self.value(node.left), self.value(node.right)
                if _is_text(left) != _is_text(right) or (_is_text(left) and node.sign not in {"==", "!="}):
                    raise error_at(self.text, node.at, f"these cannot be compared by {node.sign}")
                result = _COMPARE[node.sign](left, right)
        return np.asarray(result) if isinstance(result, np.ndarray | np.generic) else result

    def call(self, node: Call) -> npt.NDArray[Any]:
        if node.function not in FUNCTIONS:
            hint = f"functions: {', '.join(sorted(FUNCTIONS))}"
            raise error_at(self.text, node.at, f"there is no function {node.function!r}", hint)
        arguments = [self.number(argument) for argument in node.arguments]
        function, shapes = FUNCTIONS[node.function]
        if [isinstance(argument, np.ndarray) for argument in arguments] != [shape == "column" for shape in shapes]:
            raise error_at(self.text, node.at, f"write {node.function}({', '.join(shapes)})")
        try:
            return function(self.pool, *arguments)
        except BadInput as error:
            raise error_at(self.text, node.at, error.problems[0].message) from error


def _is_text(value: Value) -> bool:
    return isinstance(value, str) or (isinstance(value, np.ndarray) and value.dtype.kind == "U")


def top_fraction(pool: Pool, column: npt.NDArray[Any], fraction: float) -> npt.NDArray[np.bool_]:
    """The original's top fraction: n + 1 rows and all ties; NaN counts among all rows but is never kept."""
    _require_fraction(fraction)
    n = int(column.size * fraction)
    threshold = kth_largest(column, n) if n < column.size else np.nan
    return np.asarray(~np.isnan(column) if np.isnan(threshold) else column >= threshold)


def top_exact(pool: Pool, column: npt.NDArray[Any], fraction: float) -> npt.NDArray[np.bool_]:
    """Exactly int(N f) rows, the highest; ties are broken by the smaller uid. NaN is never kept."""
    _require_fraction(fraction)
    by_uid = np.asarray(pool.uid_order)
    ranked = by_uid[np.argsort(-column[by_uid], kind="stable")]
    kept = np.zeros(column.size, np.bool_)
    kept[ranked[: int(column.size * fraction)]] = True
    return np.asarray(kept & ~np.isnan(column))


def percentile(pool: Pool, column: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Share of all rows whose value is at most this row's, 0 to 1; NaN stays NaN."""
    ordered = np.sort(column)
    rank = np.searchsorted(ordered, column, "right") / max(column.size, 1)
    return np.where(np.isnan(column), np.nan, rank)


def _require_fraction(fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise BadInput.of("fraction-range", f"a fraction lies between 0 and 1, not at {fraction:g}")


FUNCTIONS: dict[str, tuple[Callable[..., npt.NDArray[Any]], tuple[str, ...]]] = {
    "top_fraction": (top_fraction, ("column", "fraction")),
    "top_exact": (top_exact, ("column", "fraction")),
    "percentile": (percentile, ("column",)),
}
