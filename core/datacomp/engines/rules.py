"""Rules cut into what parts of a pool can decide alone and the few figures that they share."""

from __future__ import annotations

from collections.abc import Callable, Container

from datacomp.filtering.expression import Binary, Call, Name, Node, Number, Text, Unary

SHARED = "top_fraction"
"""The function whose threshold is found over all parts; a rule with another function needs the whole pool at once."""
Threshold = Callable[[str, float], float | None]
"""Given a column's expression and a fraction, the threshold; None where every row with a value is kept."""


class NeedsWholePool(Exception):
    """The rule cannot be evaluated part by part."""


def with_thresholds(node: Node, names: Container[str], threshold: Threshold) -> str:
    """The rule's text with every `top_fraction` put as a comparison, so that it holds for each row by itself.

    `NeedsWholePool` for other functions, and for names that are none of `names`: what they stand for is not known here.
    """
    match node:
        case Number():
            return number(node.value)
        case Text():
            quote = '"' if "'" in node.value else "'"
            return f"{quote}{node.value}{quote}"
        case Name() if node.name in names:
            return node.name
        case Unary():
            return f"({node.sign} {with_thresholds(node.operand, names, threshold)})"
        case Binary():
            left, right = with_thresholds(node.left, names, threshold), with_thresholds(node.right, names, threshold)
            return f"({left} {node.sign} {right})"
        case Call(function=function, arguments=(column, Number(value=fraction)), keywords=()) if function == SHARED:
            own = with_thresholds(column, names, threshold)
            found = threshold(own, fraction)
            return f"({own} == {own})" if found is None else f"({own} >= {number(found)})"
    raise NeedsWholePool


def number(value: float) -> str:
    """A number as a rule writes it; infinity is what no finite number reaches."""
    text = repr(abs(float(value)))
    text = "1e999" if text == "inf" else text
    return f"(-{text})" if value < 0 else text
