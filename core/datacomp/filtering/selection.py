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

from datacomp.filtering.engine import score_pool
from datacomp.filtering.expression import Among, Binary, Call, Name, Node, Number, Text, Unary, error_at, parse
from datacomp.filtering.functions import MOST_COPIES, functions
from datacomp.filtering.load import filter_names, load_filter
from datacomp.filtering.parameters import bind, filter_parameters
from datacomp.pool import Pool
from datacomp.pool.pool import HOW_TO_GET
from datacomp.problems import BadInput
from datacomp.uids import UID_DTYPE, Uids, halves

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
            case Among():
                return self.among(node)
            case Call():
                return self.call(node)
        raise error_at(self.text, node.at, "this cannot be evaluated")

    def name(self, node: Name) -> npt.NDArray[Any]:
        if node.name == "score" and self.scores is not None:
            return self.scores
        column = self.pool.manifest.column(node.name)
        if (column is None or node.name not in self.pool.names) and node.name in filter_names():
            return self.named_filter(node, {})
        if column is None or node.name not in self.pool.names:
            known = sorted(c.name for c in self.pool.manifest.columns if c.name in self.pool.names)
            here = (["score"] if self.scores is not None else []) + known
            hint = HOW_TO_GET.get(node.name, f"names here: {', '.join(here)}; filters: {', '.join(filter_names())}")
            raise error_at(self.text, node.at, f"there is no column {node.name!r}", hint)
        values = np.asarray(self.pool.column(node.name))
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
        return np.asarray(self.pool.column(column)) if column is not None else np.asarray(self.number(node))

    def among(self, node: Among) -> npt.NDArray[np.bool_]:
        kinds = {isinstance(option, Text) for option in node.options}
        column = self.words(node.value)
        value = self.value(node.value) if column is None else None
        texts = column is not None or (value is not None and _is_text(value))
        if kinds != {texts}:
            raise error_at(self.text, node.at, "these cannot be compared by in")
        found = np.zeros(self.pool.rows, np.bool_)
        for option in node.options:
            found |= self.pool.is_text(column, str(option.value)) if column is not None else value == option.value
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
                    same = self.pool.is_text(column, node.right.value)  # by codes: no texts are made
                    return same if node.sign == "==" else ~same
                left, right = self.value(node.left), self.value(node.right)
                if _is_text(left) != _is_text(right) or (_is_text(left) and node.sign not in {"==", "!="}):
                    raise error_at(self.text, node.at, f"these cannot be compared by {node.sign}")
                result = _COMPARE[node.sign](left, right)
        return np.asarray(result) if isinstance(result, np.ndarray | np.generic) else result

    def call(self, node: Call) -> npt.NDArray[Any]:
        known = functions()
        if node.function in filter_names() and node.function not in known:
            return self.named_filter(node, filter_parameters(self.text, node))
        if node.function not in known:
            hint = f"functions: {', '.join(sorted(known))}; filters: {', '.join(filter_names())}"
            raise error_at(self.text, node.at, f"there is no function {node.function!r}", hint)
        function = known[node.function]
        arguments = bind(self.text, node, function, self)
        try:
            return function.load()(self.pool, **arguments)
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
