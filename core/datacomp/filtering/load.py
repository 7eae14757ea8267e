"""Finding filters: by name among the installed ones, or in a participant's Python file."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datacomp import plugins
from datacomp.filtering.contract import Filter
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.text import printable

GROUP = "datacomp.filters"
"""Entry-point group of named filters."""
LARGEST_SOURCE = 1 << 20


def named_filters() -> dict[str, type[Filter]]:
    """The installed filters by name."""
    return {name: plugins.load(GROUP, name) for name in filter_names()}


def filter_names() -> tuple[str, ...]:
    """Names of the installed filters; none is loaded."""
    return plugins.names(GROUP)


def is_filter(name: str) -> bool:
    """Whether a filter of that name is installed."""
    return plugins.is_known(GROUP, name)


def load_filter(what: str, parameters: Mapping[str, str]) -> Filter:
    """A named filter, or the one in a `.py` file, made with these parameters. Runs the file's code."""
    if what.endswith(".py"):
        return make(load_file(Path(what)), parameters)
    kind = plugins.load(GROUP, what)
    if kind is None:
        hint = f"filters: {', '.join(filter_names())}; or give a Python file or an expression"
        raise BadInput.of("filter-unknown", f"there is no filter {what!r}", hint=hint)
    return make(kind, parameters)


def make(kind: type[Filter], parameters: Mapping[str, str]) -> Filter:
    """An instance, each parameter converted to its annotated type. `BadInput` lists all that do not fit."""
    signature = inspect.signature(kind, eval_str=True)
    known = ", ".join(str(parameter) for parameter in signature.parameters.values()) or "none"
    problems = [
        Problem(code="filter-parameter-unknown", message=f"no parameter {name!r}", where=name, hint=f"it has: {known}")
        for name in parameters
        if name not in signature.parameters
    ]
    values: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if name in parameters:
            try:
                values[name] = _convert(parameters[name], parameter.annotation)
            except ValueError:
                message = f"{parameters[name]!r} is not a {parameter.annotation}"
                problems.append(Problem(code="filter-parameter-type", message=message, where=name))
        elif parameter.default is inspect.Parameter.empty:
            message = f"the parameter {name!r} is needed"
            problems.append(Problem(code="filter-parameter-missing", message=message, where=name, hint=f"--{name} ..."))
    raise_if_any(problems)
    return kind(**values)


def _convert(text: str, annotation: Any) -> Any:
    kinds = annotation.__args__ if isinstance(annotation, types.UnionType) else (annotation,)
    if bool in kinds:
        if text.lower() not in {"true", "false"}:
            raise ValueError(text)
        return text.lower() == "true"
    for kind in (int, float):
        if kind in kinds:
            return kind(text)
    return text


def load_file(path: Path) -> type[Filter]:
    """The one filter class of a Python file. Runs the file: in the sandbox, or on its author's own machine."""
    from hashlib import sha256

    source = path.read_bytes() if path.is_file() else None
    if source is None:
        raise BadInput.of("filter-missing", "there is no such file", where=str(path))
    parse_filter_source(source, path.name)
    name = f"_filter_{sha256(source).hexdigest()[:16]}"
    module = types.ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module
    exec(compile(source, str(path), "exec"), module.__dict__)  # noqa: S102 - this is what running a filter means
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Filter) and value.__module__ == name
    ]
    leaves = [kind for kind in found if not any(kind is not other and issubclass(other, kind) for other in found)]
    if len(leaves) != 1:
        message = f"the file defines {len(leaves)} filters" + "".join(f" {kind.__name__}" for kind in leaves)
        hint = "define exactly one class that derives from datacomp.filtering.Filter"
        raise BadInput.of("filter-class", message, where=path.name, hint=hint)
    return leaves[0]


@dataclass(frozen=True)
class Source:
    """What can be known of a filter's file without running it."""

    description: str
    """The module's docstring: the public description of the method."""
    classes: tuple[str, ...]


def parse_filter_source(source: bytes, name: str) -> Source:
    """Parse a filter's file, never running it. `BadInput` gives line and column of what is wrong."""
    import ast

    if len(source) > LARGEST_SOURCE:
        message = f"the file has {len(source):,} bytes, at most {LARGEST_SOURCE:,} are taken"
        raise BadInput.of("filter-too-large", message, where=name)
    try:
        tree = ast.parse(source, name)
    except SyntaxError as error:
        where = f"{name}:{error.lineno or 1}:{error.offset or 1}"
        raise BadInput.of("filter-syntax", f"the file does not parse: {error.msg}", where, "run it first") from error
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadInput.of("filter-syntax", f"the file does not parse: {error}", where=name) from error
    classes = tuple(node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.bases)
    if not classes:
        hint = "derive a class from datacomp.filtering.Filter; datacomp_filters/template.py is a blank to copy"
        raise BadInput.of("filter-class", "the file defines no filter class", where=name, hint=hint)
    return Source(printable(ast.get_docstring(tree) or ""), classes)


def describe_source(source: bytes, name: str) -> str:
    """The description alone."""
    return parse_filter_source(source, name).description
