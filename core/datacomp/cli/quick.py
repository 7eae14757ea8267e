"""Commands that do their work in less time than Typer takes to be imported: plain command lines are read here.

What may be said, and how, stands in one place: the command's signature, in Typer's own words. A line is plain when it
holds words, flags, `--option value` and `--option=value`. Everything else is Typer's, which also has the help, the
completion and the words for what is wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple, get_args, get_type_hints

COMMANDS = {"filter": ("datacomp.cli.filter", "filter")}
"""Modules that import Typer only when it reads their annotations."""
COMPLETION = "_DATACOMP_COMPLETE"
_OTHERS = re.compile("--(?!help$)[a-z][a-z0-9_-]*")
"""Options that a command may leave to what it runs."""


class _Context(NamedTuple):
    """Stands for Typer's context: what is left over for the command itself to read."""

    args: list[str]


class _Said(NamedTuple):
    """Stands for `typer.Option` and `typer.Argument`: their words are Typer's to print."""

    names: tuple[str, ...]
    argument: bool = False


class _Typer:
    """Stands for the module `typer` in annotations."""

    Context = _Context

    @staticmethod
    def Option(*names: str, **_: Any) -> _Said:  # noqa: N802 - Typer's name
        return _Said(names)

    @staticmethod
    def Argument(**_: Any) -> _Said:  # noqa: N802
        return _Said((), argument=True)


def read(words: Sequence[str]) -> Callable[[], None] | None:
    """The call that a plain command line asks for, None where Typer is to read it."""
    if not words or words[0] not in COMMANDS or COMPLETION in os.environ:
        return None
    module, name = COMMANDS[words[0]]
    command = getattr(import_module(module), name)
    values = _values(command, words[1:])
    return partial(command, **values) if values is not None else None


def lazily(module: str) -> Any:
    """Stands for a module until something of it is used."""
    return _Later(module)


class _Later(NamedTuple):
    module: str

    def __getattr__(self, name: str) -> Any:
        return getattr(import_module(self.module), name)


@dataclass
class _Form:
    """What a command's signature allows."""

    arguments: list[str] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    """Parameters by the option's name, `--out`; flags are among them."""
    types: dict[str, type] = field(default_factory=dict)
    rest: str | None = None
    """The parameter that gets what is left over."""

    @classmethod
    def of(cls, command: Callable[..., None]) -> _Form:
        form = cls()
        for name, hint in get_type_hints(command, localns={"typer": _Typer}, include_extras=True).items():
            if hint is _Context:
                form.rest = name
            elif name != "return":
                kind, said = get_args(hint)
                form.types[name] = (get_args(kind) or (kind,))[0]
                if said.argument:
                    form.arguments.append(name)
                else:
                    form.options[(said.names or (f"--{name.replace('_', '-')}",))[0]] = name
        return form


def _values(command: Callable[..., None], words: Sequence[str]) -> dict[str, Any] | None:
    """The command's parameters as the words give them; None where they are not plain."""
    form = _Form.of(command)
    said: dict[str, Any] = {}
    left: list[str] = []
    coming = iter(words)
    for word in coming:
        option, equals, value = word.partition("=")
        if option in form.options:
            name = form.options[option]
            if name in said:
                return None
            said[name] = True if form.types[name] is bool else value if equals else next(coming, "-")
            if (form.types[name] is bool and equals) or str(said[name]).startswith("-"):
                return None
        elif word.startswith("-") and not (left and form.rest and _OTHERS.fullmatch(option)):
            return None  # help, a slip, or an option that stands before the argument
        else:
            left.append(word)
    given = dict(zip(form.arguments, left, strict=False))
    left = left[len(form.arguments) :]
    if len(given) < len(form.arguments) or (left and form.rest is None):
        return None
    values = {name: form.types[name](value) for name, value in (said | given).items()}
    return values | ({form.rest: _Context(left)} if form.rest else {})
