"""What is wrong with a suite's folders, all at once: what evaluation would stop at, found in a look at the headers."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from datacomp.digests import digest_file
from datacomp.problems import Problem
from datacomp.suite import Kind, Suite, Task

CLASS_NAMES, TEMPLATES = "classnames.txt", "zeroshot_classification_templates.txt"
DOWNLOADED = "download.json"
"""What was fetched into a folder, with sizes and digests; written last."""
NAMED = frozenset({Kind.ZEROSHOT, Kind.PROBE})
"""Kinds whose folders hold class names."""
HINT = "datacomp suite download fetches it; a folder that is incomplete is gone on with"
Report = Callable[[str, float, float], None]


def check_suite(suite: Suite, directory: Path, *, digests: bool = False, report: Report) -> list[Problem]:
    """Every task's folder: class names, templates, shards, numbers of samples, labels; with `digests` also the content
    of what was fetched."""
    problems: list[Problem] = []
    for place, task in enumerate(suite.tasks):
        report(task.name, place, len(suite.tasks))
        problems += check_task(task, directory / task.folder, digests=digests)
    return problems


def check_task(task: Task, folder: Path, *, digests: bool = False) -> list[Problem]:
    """One folder."""
    if not folder.is_dir():
        return [Problem("suite-folder-missing", "the task has no folder", f"{task.key}: {folder.name}", HINT)]
    problems = _texts(task, folder)
    problems += _split(task, folder / "test", task.size)
    if task.kind is Kind.PROBE:
        problems += _split(task, folder / "train", task.probe.train_size if task.probe else None)
    return problems + (_digests(task, folder) if digests else [])


def _texts(task: Task, folder: Path) -> list[Problem]:
    if task.kind not in NAMED:
        return []
    names, problems = _lines(task, folder / CLASS_NAMES)
    if names is not None and task.classes is not None and len(names) != task.classes:
        message = f"{len(names):,} classes, the suite says {task.classes:,}"
        problems.append(Problem("suite-classes", message, f"{task.key}: {CLASS_NAMES}", HINT))
    if task.kind is Kind.PROBE:
        return problems
    templates, unreadable = _lines(task, folder / TEMPLATES)
    bad = [number for number, line in enumerate(templates or (), start=1) if "{c}" not in line]
    if bad:
        message = f"{len(bad)} templates have no {{c}} for the class, the first in line {bad[0]}"
        problems.append(Problem("suite-template", message, f"{task.key}: {TEMPLATES}", HINT))
    return problems + unreadable


def _lines(task: Task, path: Path) -> tuple[list[str] | None, list[Problem]]:
    where = f"{task.key}: {path.name}"
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return None, [Problem("suite-file-unreadable", f"{type(error).__name__}: {error}", where, HINT)]
    return (lines, []) if lines else (None, [Problem("suite-file-empty", "the file holds no line", where, HINT)])


def _split(task: Task, folder: Path, size: int | None) -> list[Problem]:
    lines, problems = _lines(task, folder / "nshards.txt")
    if lines is None:
        return problems
    if not (lines[0].strip().isascii() and lines[0].strip().isdigit()):
        where = f"{task.key}: {folder.name}/nshards.txt"
        return [Problem("suite-file-invalid", f"{lines[0][:40]!r} is not a number of shards", where, HINT)]
    count, whole = 0, True
    for shard in range(int(lines[0])):
        where = f"{task.key}: {folder.name}/{shard}.tar"
        try:
            found = list(_samples(folder / f"{shard}.tar"))
        except (OSError, tarfile.TarError) as error:
            whole = False
            problems.append(Problem("suite-shard-unreadable", f"{type(error).__name__}: {error}", where, HINT))
            continue
        count += len(found)
        problems += _labels(task, found, where)
    if whole and size is not None and count != size:
        message = f"{count:,} samples, the suite says {size:,}"
        problems.append(Problem("suite-count", message, f"{task.key}: {folder.name}", HINT))
    return problems


def _labels(task: Task, labels: Sequence[str | None], where: str) -> list[Problem]:
    """Class numbers beyond the suite's classes."""
    if task.kind not in NAMED or task.classes is None:
        return []
    bad = [label for label in labels if label is None or not label.isdigit() or int(label) >= task.classes]
    if not bad:
        return []
    message = f"{len(bad):,} samples have no class from 0 to {task.classes - 1:,}, the first {bad[0]!r}"
    return [Problem("suite-label", message, where, HINT)]


def _samples(path: Path) -> Iterator[str | None]:
    """The label of every sample, None where it has none. Only headers and labels are read."""
    key, label, begun = "", None, False
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, slash, base = member.name.rpartition("/")
            stem, _, kind = base.partition(".")
            if not member.isfile() or not stem or not kind:
                continue
            if (before := key) != (key := folder + slash + stem) and before:
                yield label
                label = None
            begun = True
            if kind.lower() == "cls" and (file := tar.extractfile(member)) is not None:
                label = file.read(16).decode("ascii", "replace").strip()
    if begun:
        yield label


def _digests(task: Task, folder: Path) -> list[Problem]:
    try:
        told = json.loads((folder / DOWNLOADED).read_text())["files"]
    except (OSError, ValueError, KeyError):
        message = "nobody wrote down what was fetched: the digests are not known"
        return [Problem("suite-digests-unknown", message, task.key, HINT)]
    return [
        Problem("suite-digest", "the file is another than was fetched", f"{task.key}: {name}", HINT)
        for name, file in told.items()
        if not (folder / name).is_file() or digest_file(folder / name) != file["sha256"]
    ]
