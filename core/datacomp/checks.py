"""What makes a submission fit to be taken: the same checks offline, at upload and on the worker."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from datacomp import bitmap
from datacomp import uids as u
from datacomp.byod.reading import SUFFIXES, check_dataset
from datacomp.filtering.expression import LONGEST, Node, is_choice, parse
from datacomp.filtering.load import parse_filter_source
from datacomp.filtering.parameters import column_names
from datacomp.filtering.selection import select
from datacomp.filtering.work import Work, working
from datacomp.messages import SubmissionKind, ValidateResult
from datacomp.pool import Pool
from datacomp.problems import BadInput, Problem

CHUNK = 1 << 20
EXPRESSION_HINT = "write a condition, for instance: clip_l14_similarity_score >= 0.28"
KINDS = {".py": SubmissionKind.CODE, ".expr": SubmissionKind.EXPRESSION} | dict.fromkeys(
    SUFFIXES, SubmissionKind.DATASET
)
"""What files are handed in as, by suffix."""
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """A report to nobody."""


@dataclass(frozen=True)
class Report:
    """All problems at once; without any, the figures."""

    problems: tuple[Problem, ...]
    result: ValidateResult | None = None

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.result is None:
            return "rejected"
        if not self.result.rows:
            return "the file parses; it has not been run"
        r = self.result
        parts = [f"{r.rows:,} rows", f"{r.unique:,} different"]
        parts += [f"{r.repeats:,} repeats"] if r.repeats else []
        parts += [f"{r.unavailable:,} without an image on this site (trained without)"] if r.unavailable else []
        parts += [f"{count:,} {cause}" for cause, count in r.left_out.items()]
        return ", ".join(parts)


def kind_of_file(path: Path) -> SubmissionKind:
    """What a file is handed in as: `.py` is code, `.expr` an expression, everything else uids."""
    return KINDS.get(path.suffix, SubmissionKind.UIDS)


def check_file(
    path: Path, pool: Pool | None, kind: SubmissionKind | None = None, *, report: Progress = silent
) -> Report:
    """Check a submission's file; without a pool, whether its uids or columns belong to it stays open. Code is only
    parsed. `report` gets (rows checked, rows in all)."""
    try:
        match kind or kind_of_file(path):
            case SubmissionKind.CODE:
                return Report((), _check_code(path))
            case SubmissionKind.EXPRESSION:
                return Report((), _check_expression(path, pool))
            case SubmissionKind.DATASET:
                return Report((), _check_dataset(path))
        return _check_uids(path, pool, report)
    except BadInput as error:
        return Report(error.problems)


def read_expression(path: Path) -> str:
    """The expression that a text file holds. `BadInput` when it holds none."""
    if not path.is_file():
        raise BadInput.of("filter-missing", "there is no such file", where=str(path))
    with path.open("rb") as file:
        data = file.read(4 * LONGEST)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        hint = "write the expression as plain text (UTF-8)"
        raise BadInput.of("rule-encoding", "the file is not UTF-8", f"{path.name}: byte {error.start}", hint) from error
    if not text.strip():
        raise BadInput.of("rule-empty", "the file holds no expression", where=path.name, hint=EXPRESSION_HINT)
    return text.strip()


def parse_choice(text: str) -> Node:
    """The tree of an expression that says which rows are kept, as far as its text tells: columns, functions and
    filters are looked up where the pool is. `BadInput` points at what is wrong."""
    if not text.strip():
        raise BadInput.of("rule-empty", "there is no expression", hint=EXPRESSION_HINT)
    tree = parse(text.strip())
    if not is_choice(tree):
        message = f"the expression {text.strip()[:200]!r} does not say which rows are kept"
        raise BadInput.of("rule-not-a-choice", message, hint=EXPRESSION_HINT)
    return tree


def _check_expression(path: Path, pool: Pool | None) -> ValidateResult:
    text = read_expression(path)
    tree = parse_choice(text)
    if pool is not None:
        pool.require_columns(column_names(tree))
        with working(Work(only_check=True)):
            select(pool, None, text)
    return ValidateResult(rows=0, unique=0, repeats=0, unavailable=0, description=text[:4000])


def _check_dataset(path: Path) -> ValidateResult:
    shape = check_dataset(path)
    causes = ", ".join(f"{cause} {count:,}" for cause, count in shape.causes.items())
    left_out = f"rows that cannot be used: {causes}" if causes else ""
    figures = {"rows": shape.rows, "unique": shape.distinct, "repeats": shape.good - shape.distinct}
    return ValidateResult(**figures, unavailable=0, left_out=shape.causes, description=left_out)


def _check_code(path: Path) -> ValidateResult:
    if not path.is_file():
        raise BadInput.of("filter-missing", "there is no such file", where=str(path))
    source = parse_filter_source(path.read_bytes(), path.name)
    return ValidateResult(rows=0, unique=0, repeats=0, unavailable=0, description=source.description[:4000])


def _check_uids(path: Path, pool: Pool | None, report: Progress) -> Report:
    if bitmap.is_bitmap(path):
        return _check_bitmap(path, pool, report)
    uids = u.open_subset(path)
    problems = u.check_subset(uids)
    unknown: list[npt.NDArray[np.int64]] = []
    unavailable = repeats = 0
    for start in range(0, uids.size, CHUNK):
        chunk = np.asarray(uids[start : start + CHUNK])
        # One row back, so that a repeat across two chunks counts too.
        repeats += u.repeats(np.asarray(uids[max(start - 1, 0) : start + CHUNK]))
        if pool is not None:
            rows = pool.rows_of(chunk)
            unknown.append(np.flatnonzero(rows < 0) + start)
            unavailable += int((~pool.available[rows[rows >= 0]]).sum())
            pool.release()
        u.release(uids)
        report(min(start + CHUNK, int(uids.size)), int(uids.size))
    if any(part.size for part in unknown):
        problems.append(u.unknown_problem(np.concatenate(unknown), uids))
    if problems:
        return Report(tuple(p.at(_place(path, p)) for p in problems))
    size = int(uids.size)
    return Report((), ValidateResult(rows=size, unique=size - repeats, repeats=repeats, unavailable=unavailable))


def _check_bitmap(path: Path, pool: Pool | None, report: Progress) -> Report:
    if pool is None:
        header = bitmap.verify(path)
        figures = {"rows": header.rows, "unique": header.unique, "repeats": header.rows - header.unique}
        return Report((), ValidateResult(**figures, unavailable=0))
    with TemporaryDirectory(prefix="datacomp-check-") as folder:
        expanded = Path(folder) / f"{path.stem}.npy"
        bitmap.expand(path, pool, expanded)
        return _check_uids(expanded, pool, report)


def _place(path: Path, problem: Problem) -> str:
    return f"{path.name}: {problem.where}" if problem.where else path.name
