"""Arguments of calls in selection rules: bound to a function's parameters, or written out for a named filter."""

from __future__ import annotations

import re
from typing import Any, Protocol

import numpy as np

from datacomp.filtering.expression import Call, Name, Node, Number, Text, Unary, error_at, names, walk
from datacomp.filtering.functions import Function, function_of
from datacomp.filtering.load import is_filter

PLAIN = re.compile(r"[A-Za-z0-9_+-]*")
"""Texts that a rule may hand to a named filter: a rule may come from anybody, so it names no file of this machine."""


class Values(Protocol):
    """What evaluates the parts of a rule."""

    def number(self, node: Node) -> Any:
        """A number or a column of numbers."""

    def key(self, node: Node) -> Any:
        """What rows are grouped by."""

    def choice(self, node: Node) -> Any:
        """A condition."""


def bind(text: str, call: Call, function: Function, values: Values) -> dict[str, Any]:
    """The call's arguments by name. `BadInput` points at the first that does not fit."""
    usage = f"write {function.usage(call.function)}"
    given: dict[str, Node] = {}
    for place, node in enumerate(call.arguments):
        if place >= len(function.parameters):
            raise error_at(text, node.at, "that is one argument too many", usage)
        given[function.parameters[place].name] = node
    for keyword in call.keywords:
        if keyword.name in given or keyword.name not in {p.name for p in function.parameters}:
            twice = keyword.name in given
            message = f"{keyword.name!r} is given twice" if twice else f"there is no argument {keyword.name!r}"
            raise error_at(text, keyword.at, message, usage)
        given[keyword.name] = keyword.value
    missing = [p.name for p in function.parameters if p.needed and p.name not in given]
    if missing:
        raise error_at(text, call.at, f"{call.function} needs {' and '.join(missing)}", usage)
    kinds = {p.name: p.kind for p in function.parameters}
    return {name: _value(text, node, kinds[name], values) for name, node in given.items()}


def _value(text: str, node: Node, kind: str, values: Values) -> Any:
    if kind == "condition":
        return values.choice(node)
    if kind == "word":
        if isinstance(node, Name | Text):
            return node.name if isinstance(node, Name) else node.value
        raise error_at(text, node.at, "a word is needed here")
    value = values.key(node) if kind == "key" else values.number(node)
    is_column = isinstance(value, np.ndarray) and value.ndim == 1
    if is_column != (kind in {"column", "key"}):
        raise error_at(text, node.at, f"a {'column' if not is_column else 'plain number'} is needed here")
    if kind == "whole":
        if not 0 <= value < 2**53 or value != int(value):
            raise error_at(text, node.at, f"a whole number, 0 or more, is needed here, not {value:g}")
        return int(value)
    return value


def filter_parameters(text: str, call: Call) -> dict[str, str]:
    """A named filter's parameters as text, as a command line gives them."""
    for node in call.arguments:
        raise error_at(text, node.at, "a filter's parameters are given by name", f"{call.function}(name=...)")
    return {keyword.name: _written(text, keyword.value) for keyword in call.keywords}


def _written(text: str, node: Node) -> str:
    match node:
        case Text() if PLAIN.fullmatch(node.value):
            return node.value
        case Name() if node.name.lower() in {"true", "false"}:
            return node.name
        case Number():
            return _number(node.value)
        case Unary(sign="-", operand=Number() as operand):
            return _number(-operand.value)
        case Text():
            hint = "run this filter by `datacomp filter`, and combine: datacomp subset intersect A.npy B.npy"
            raise error_at(text, node.at, "a rule hands words to a filter, not files", hint)
    raise error_at(text, node.at, "a number or a quoted word is needed here")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 2**53 else repr(value)


def column_names(tree: Node) -> list[str]:
    """The columns that a rule reads, as far as its text says: names that are neither filters nor words of a call."""
    return [node.name for node in plain_names(tree) if not is_filter(node.name)]


def plain_names(tree: Node) -> list[Name]:
    """The names of a rule that are no words of a call: columns, `score` and filters."""
    words = set()
    for call in (node for node in walk(tree) if isinstance(node, Call)):
        function = function_of(call.function)
        own = function.parameters if function else ()
        kinds = {p.name: p.kind for p in own}
        placed = [node for node, p in zip(call.arguments, own, strict=False) if p.kind == "word"]
        named = [k.value for k in call.keywords if kinds.get(k.name, "word") == "word"]
        words |= {id(node) for node in (*placed, *named)}
    return [node for node in names(tree) if id(node) not in words]
