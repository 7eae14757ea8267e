"""What can be wrong, said so that a person can act on it.

Every refusal and failure in the platform is a list of `Problem`: a stable code for programs, and for people
what happened, where, and what to do. Checks collect all problems before they raise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong."""  # a plain class: the quickest commands refuse things without pydantic

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "ignore"}
    """Where a message holds problems: a newer server's may say more."""

    code: str
    """Stable, kebab-case: `uids-unsorted`, `filter-raised`, `sandbox-missing`."""
    message: str
    """What happened, in one sentence."""
    where: str | None = None
    """Position: a file, line, row, uid, shard or field."""
    hint: str | None = None
    """What to do about it."""

    def at(self, where: str | None) -> Problem:
        """The same at another position."""
        return replace(self, where=where)

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        advice = f" — {self.hint}" if self.hint else ""
        return f"{self.code}: {self.message}{place}{advice}"


class DatacompError(Exception):
    """Raised with one or more problems; `problems[0]` is the first found."""

    log_tail: str = ""
    """The end of what a child process printed before it failed, where one did."""

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("DatacompError needs at least one problem")
        self.problems: tuple[Problem, ...] = problems
        super().__init__("\n".join(str(problem) for problem in problems))

    def __reduce__(self) -> tuple[type[Self], tuple[Problem, ...]]:
        """So that it comes whole from a process of our own, where exceptions are made again from their text."""
        return type(self), self.problems

    @classmethod
    def of(cls, code: str, message: str, where: str | None = None, hint: str | None = None) -> Self:
        """The error of a single problem."""
        return cls(Problem(code=code, message=message, where=where, hint=hint))


class BadInput(DatacompError):
    """The participant's or organiser's input is wrong: sending it again unchanged cannot help."""


class PlatformFault(DatacompError):
    """Our side failed (disk, network, missing data): a retry may help, and quota is refunded."""


def raise_if_any(problems: Sequence[Problem]) -> None:
    """Raise `BadInput` with all `problems`, or do nothing when there are none."""
    if problems:
        raise BadInput(*problems)
