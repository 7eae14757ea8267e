"""What a recipe gives: named quantities with intervals, where there are any, and warnings."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput, Problem, raise_if_any

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Quantity:
    """A value; `lo` and `hi` bound its 95% interval, None where there is none."""

    value: float
    lo: float | None = None
    hi: float | None = None


@dataclass
class RecipeReport:
    """The result of one recipe on one table."""

    recipe: str
    inputs: dict[str, Any]
    quantities: dict[str, Quantity] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add(self, name: str, value: float, interval: tuple[float, float] | None = None) -> None:
        """Note a quantity; one that is not finite becomes a warning instead of a number that nobody can use."""
        if not math.isfinite(value):
            self.warnings.append(f"{name} is not finite")
            return
        lo, hi = interval if interval is not None else (None, None)
        self.quantities[name] = Quantity(float(value), lo, hi)

    def to_json(self) -> dict[str, Any]:
        """As `datacomp scaling recipe --json` prints it."""
        return {
            "recipe": self.recipe,
            "inputs": self.inputs,
            "quantities": {name: {"value": q.value, "lo": q.lo, "hi": q.hi} for name, q in self.quantities.items()},
            "warnings": self.warnings,
        }


Row = dict[str, str]


def read_table(path: Path, columns: Iterable[str]) -> list[Row]:
    """Rows of a CSV file. `BadInput` names every column that it lacks, and a file that is missing or empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            rows = list(reader)
            found = reader.fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        hint = "name a published table with --data, or a folder of them by DATACOMP_ORACLES"
        raise BadInput.of("table-unreadable", f"the table cannot be read: {error}", str(path), hint) from error
    raise_if_any(
        [
            Problem(code="table-column-missing", message=f"there is no column {name!r}", where=path.name)
            for name in columns
            if name not in found
        ]
    )
    if not rows:
        raise BadInput.of("table-empty", "the table has no rows", where=path.name)
    return rows


def floats(rows: Iterable[Row], column: str) -> Floats:
    """A column as numbers: shape (rows,); NaN where a field is empty or no number."""
    return np.array([_float(row[column]) for row in rows])


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def with_numbers(rows: list[Row], columns: Iterable[str], report: RecipeReport) -> list[Row]:
    """The rows whose columns all are positive finite numbers; a warning counts the others."""
    good = np.ones(len(rows), np.bool_)
    for column in columns:
        values = floats(rows, column)
        good &= np.isfinite(values) & (values > 0)
    if not good.all():
        report.warnings.append(f"{int((~good).sum())} rows without usable numbers are left out")
    return [row for row, kept in zip(rows, good, strict=True) if kept]


def choose(rows: list[Row], column: str, wanted: str, path: Path) -> list[Row]:
    """The rows of one value of a column; `BadInput` names the values there are."""
    chosen = [row for row in rows if row[column] == wanted]
    if not chosen:
        known = ", ".join(sorted({row[column] for row in rows}))
        raise BadInput.of("value-unknown", f"no row has {column} {wanted!r}", path.name, f"there are: {known}")
    return chosen
