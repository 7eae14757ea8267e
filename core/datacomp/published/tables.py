"""Reads a paper's table (CSV) into rows. Two forms are known:

- one column a mean, as DataComp's tables have them: `imagenet`, `imagenet_dist_shifts`, `vtab`, `retrieval`,
  `average_38`, beside `scale`, `filtering` (or `data_source`), `dataset_size`, `samples_seen`, `train_macs`, `source`;
  our own names `method`, `average`, `main`, `group:NAME` and `task:KEY` are understood as well
- one column a task by its written name, as OpenCLIP lists released models
"""

from __future__ import annotations

import csv
import io
import math
from importlib.resources import files
from pathlib import Path

from datacomp.messages import PublishedRow, Track
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.scales import SCALES
from datacomp.scoring import aggregate
from datacomp.suite import Suite, load_suite

TABLE_3 = "table3"
"""The one table that comes with this package: Table 3 of DataComp's paper."""
DEFAULT_SUITE = "datacomp-38"
CITATION = (
    "Samir Yitzhak Gadre et al.: DataComp: In search of the next generation of multimodal datasets. 2023, "
    "arXiv:2304.14108"
)
CITATIONS = {"arXiv:2304.14108": CITATION}
MEANS = {
    "average": ("average", ""),
    "average_38": ("average", ""),
    "main": ("main", ""),
    "imagenet": ("main", ""),
    "imagenet_dist_shifts": ("group", "shift"),
    "vtab": ("group", "vtab"),
    "retrieval": ("group", "retrieval"),
}
METHOD_COLUMNS = ("method", "filtering", "data_source")
DUPLICATES = {
    "commonpool_s_image": "left out: the released row repeats datacomp_s, Tables 3 and 25 print other figures",
}
"""Rows of released results that are known to be another row's, by the model's name."""


def read_published(path: Path | str, *, track: Track = Track.FILTERING, source: str = "") -> list[PublishedRow]:
    """Rows of a table, or of the packaged one by its name `table3`. `source` is for tables without such a column.

    `BadInput` lists everything that is wrong, by row and column.
    """
    if str(path) == TABLE_3:
        return _Table((files("datacomp.published") / "table3.csv").read_text("utf-8"), "table3.csv", track, "").rows()
    file = Path(path)
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        hint = "name a CSV file with a head row"
        raise BadInput.of("table-unreadable", f"the table cannot be read: {error}", str(file), hint) from error
    return _Table(text, file.name, track, source).rows()


class _Table:
    """One table while it is read."""

    def __init__(self, text: str, name: str, track: Track, source: str) -> None:
        reader = csv.DictReader(io.StringIO(text), restval="")
        try:
            self.lines = list(reader)
        except csv.Error as error:
            raise BadInput.of("table-unreadable", f"the table cannot be read: {error}", name) from error
        self.columns = list(reader.fieldnames or [])
        self.name, self.track, self.source = name, track, source
        self.suite = load_suite(DEFAULT_SUITE)
        self.tasks = {task.name: task.key for task in self.suite.tasks if task.name in self.columns}
        self.problems: list[Problem] = []

    def rows(self) -> list[PublishedRow]:
        """All rows; `BadInput` lists what is wrong."""
        self._check_columns()
        if not self.lines:
            self._wrong("table-empty", "the table has no rows")
        found = [self._row(line, number) for number, line in enumerate(self.lines, 2) if not _repeated(line)]
        rows = [row for row in found if row is not None]
        seen: set[tuple[str, str, str, int]] = set()
        for row in rows:
            key = (row.scale, row.method, row.source, row.samples_seen)
            if key in seen:
                self._wrong("row-twice", f"{row.method!r} stands twice at {row.scale}")
            seen.add(key)
        raise_if_any(self.problems)
        return rows

    def _check_columns(self) -> None:
        if "scale" not in self.columns:
            self._wrong("table-column-missing", "there is no column 'scale'")
        if not any(name in self.columns for name in METHOD_COLUMNS):
            self._wrong("table-column-missing", f"there is no column of methods: {', '.join(METHOD_COLUMNS)}")
        scores = [name for name in self.columns if name in MEANS or name.startswith(("group:", "task:"))]
        if not scores and not self.tasks:
            self._wrong(
                "table-column-missing", f"there is no column of scores: {', '.join(MEANS)}, group:NAME, task:KEY"
            )
        raise_if_any(self.problems)

    def _row(self, line: dict[str, str], number: int) -> PublishedRow | None:
        scale = line["scale"].strip()
        known = SCALES.get(scale)
        samples = self._number(line, "samples_seen", number) or (known.samples_seen if known else None)
        native = _native(line)
        macs = self._number(line, "train_macs", number) or (known.train_macs if known and native else None)
        method = _method(line)
        if not method:
            self._wrong("method-missing", "the row names no method", number)
        if samples is None or (macs is None and native):
            hint = f"give samples_seen and train_macs, or one of the scales {', '.join(SCALES)}"
            self._wrong("scale-unknown", f"{scale!r} is no scale known here", number, hint)
            return None
        size = self._number(line, "dataset_size", number)
        source = (line.get("source") or "").strip() or self.source
        return PublishedRow(
            track=self.track,
            scale=scale,
            method=method,
            suite=self.suite.name,
            dataset_size=None if size is None else round(size),
            samples_seen=round(samples),
            train_macs=macs,
            **self._scores(line, number),
            source=source,
            citation=next((text for mark, text in CITATIONS.items() if mark in source), source),
            note=(line.get("note") or "").strip(),
            same_recipe=known is not None and round(samples) == known.samples_seen and native,
        )

    def _scores(self, line: dict[str, str], number: int) -> dict[str, object]:
        means: dict[str, float | None] = {"average": None, "main": None}
        groups: dict[str, float] = {}
        tasks = {
            key: value for name, key in self.tasks.items() if (value := self._score(line, name, number)) is not None
        }
        if tasks:
            summary = aggregate(tasks, self.suite)
            means |= {"average": summary.average, "main": summary.main}
            groups |= summary.groups
        for name in self.columns:
            kind, _, key = name.partition(":") if name not in MEANS else (MEANS[name][0], "", MEANS[name][1])
            value = self._score(line, name, number) if kind in {*means, "group", "task"} else None
            if value is None:
                continue
            if kind in means:
                means[kind] = value if means[kind] is None else means[kind]
            else:
                (groups if kind == "group" else tasks).setdefault(key, value)
        return {**means, "groups": groups, "tasks": tasks}

    def _score(self, line: dict[str, str], name: str, number: int) -> float | None:
        value = self._number(line, name, number)
        if value is not None and not 0 <= value <= 1:
            self._wrong("score-range", f"{name} is {value:g}, no fraction", number, "scores are from 0 to 1")
            return None
        return value

    def _number(self, line: dict[str, str], name: str, number: int) -> float | None:
        """A field as a number; None where it is absent or empty."""
        text = (line.get(name) or "").strip()
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self._wrong("number-malformed", f"{name} is {text!r}, no number", number)
            return None
        return value

    def _wrong(self, code: str, message: str, number: int | None = None, hint: str | None = None) -> None:
        where = self.name if number is None else f"{self.name}, line {number}"
        self.problems.append(Problem(code=code, message=message, where=where, hint=hint))


def _method(line: dict[str, str]) -> str:
    name = next((text for column in METHOD_COLUMNS if (text := (line.get(column) or "").strip())), "")
    beside = line.get("row") if "data_source" in line else "" if _native(line) else line.get("model")
    return f"{name} ({beside.strip()})" if name and beside else name


def _native(line: dict[str, str]) -> bool:
    """Whether the scale's own architecture was trained, where a table tells."""
    return line.get("native_scale_architecture", "True") == "True"


def _repeated(line: dict[str, str]) -> bool:
    return any((line.get("pretrained") or "").startswith(name) for name in DUPLICATES)


def suite_of(rows: list[PublishedRow]) -> Suite | None:
    """The suite that all rows were evaluated by, for its chance levels."""
    names = {row.suite for row in rows}
    return load_suite(names.pop()) if names == {DEFAULT_SUITE} else None
