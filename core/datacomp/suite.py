"""Evaluation suites: versioned lists of tasks, read from JSON.

A suite file is data, so that adding a task is a new version of a file and every score names the digest of the
suite it was computed under. `datacomp-38` lists DataComp's 40 task keys (38 counted); `tiny` is the same in miniature,
with two probes and a varied task beside the average. Fields that later versions added are left out of the digest while
they are not used, so that suites of before keep theirs.
"""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_serializer, model_validator
from pydantic import SerializerFunctionWrapHandler as Handler

from datacomp.digests import digest_json
from datacomp.probing import ALL, ProbeDesign
from datacomp.problems import BadInput, Problem
from datacomp.variation import Variation

REHEARSAL_ITEMS = 4
"""Items of each task that a rehearsal evaluates."""


class Kind(StrEnum):
    """How a task is evaluated. Each kind needs named capabilities of the model and gives records."""

    ZEROSHOT = "zeroshot"
    RETRIEVAL = "retrieval"
    WINOGAVIL = "winogavil"
    ATTRIBUTES = "attributes"
    """Several zero-shot questions about one image (FairFace, UTKFace)."""
    PROBE = "probe"
    """A linear probe on frozen image features, trained from few items of the task's training split."""


class Metric(StrEnum):
    """Main metrics, computed from records alone (see `datacomp.scoring`)."""

    ACC1 = "acc1"
    ACC5 = "acc5"
    MEAN_PER_CLASS_RECALL = "mean_per_class_recall"
    MEAN_RECALL_AT_1 = "mean_recall@1"
    JACCARD = "jaccard_score"
    JACCARD_LARGE = "jaccard_score_10-12"
    F1_MACRO = "F1-macro_all"
    WORST_REGION = "acc_worst_region"
    WORST_GROUP_ACC5 = "acc_top5_wg"
    WORST_GROUP_ACC1 = "acc_wg"


class Task(BaseModel):
    """One evaluation task. `chance` is the main metric's expectation for a model that knows nothing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str
    """As in the original's task list, for instance `vtab/caltech101`; the folder is `wds_<key with / as ->_test`."""
    name: str
    kind: Kind
    metric: Metric | None
    """None for tasks that are reported but have no summary metric."""
    group: str
    """`main`, `shift`, `vtab`, `retrieval` or `other`."""
    chance: float | None = None
    classes: int | None = None
    size: int | None = None
    counted: bool = True
    """Whether the task takes part in the average."""
    group_column: int | None = None
    """Column of each sample's npy metadata that says which group it belongs to; None for tasks without groups."""
    group_names: tuple[str, ...] | None = None
    """What the numbers in that column stand for; None leaves the number as the group's name."""
    data: str | None = None
    """Key of the task whose folder holds the data, when it is not this one's."""
    probe: ProbeDesign | None = None
    """How the probe is trained, for tasks of that kind."""
    vary: tuple[Variation, ...] = ()
    """Variations under which all items are asked, see `datacomp.variation`; the task's value is the mean over them."""

    @property
    def folder(self) -> str:
        """Name of the task's data folder."""
        return f"wds_{(self.data or self.key).replace('/', '-')}_test"

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if (self.kind is Kind.PROBE) != (self.probe is not None):
            raise ValueError("`probe` belongs to tasks of the kind probe, which need it")
        if self.kind is Kind.PROBE and not self.classes:
            raise ValueError("a probe needs the number of `classes`")
        names = [variation.name for variation in self.vary]
        if len(names) == 1 or len(set(names)) != len(names):
            raise ValueError("`vary` names two or more variations, each once")
        if self.kind in {Kind.PROBE, Kind.ATTRIBUTES} and any(variation.templates for variation in self.vary):
            raise ValueError(f"tasks of the kind {self.kind.value} cannot be varied by templates")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: Handler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        return {name: value for name, value in found.items() if name not in ADDED or getattr(self, name)}


ADDED = frozenset({"data", "probe", "vary"})
"""Fields of tasks that suites of before did not know."""


class Suite(BaseModel):
    """A versioned list of tasks. The first task with group `main` is the board's headline task."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    description: str = ""
    tasks: tuple[Task, ...]
    rehearsal: bool = False
    """Whether only each task's first items are evaluated, see `rehearsal_of`."""
    side_groups: tuple[str, ...] = ()
    """Groups that stand beside the average: no task of theirs is counted in it, and their own means are shown."""

    @model_validator(mode="after")
    def _sides_are_not_counted(self) -> Self:
        for task in self.tasks:
            if task.group in self.side_groups and task.counted:
                raise ValueError(f"{task.key} is counted, and its group {task.group} stands beside the average")
        return self

    @model_serializer(mode="wrap")
    def _without_unused(self, handler: Handler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        return {name: value for name, value in found.items() if name != "side_groups" or value}

    @property
    def id(self) -> str:
        """`name@version`, as boards refer to it."""
        return f"{self.name}@{self.version}"

    @property
    def digest(self) -> str:
        """Digest of every field of every task, in order."""
        return digest_json(self.model_dump(mode="json"))

    @property
    def counted(self) -> tuple[Task, ...]:
        """Tasks that take part in the average."""
        return tuple(task for task in self.tasks if task.counted and task.metric is not None)

    def groups(self) -> dict[str, tuple[Task, ...]]:
        """Tasks by group, in order of first appearance: the counted ones, and those of groups beside the average."""
        found: dict[str, list[Task]] = {}
        for task in self.tasks:
            if task.metric is not None and (task.counted or task.group in self.side_groups):
                found.setdefault(task.group, []).append(task)
        return {group: tuple(tasks) for group, tasks in found.items()}


def rehearsal_of(suite: Suite) -> Suite:
    """The same tasks, of each the first few items: proves that a submission's evaluation runs, never ranked.

    Classifiers are built from the first template alone, because texts cost a large model on a CPU as much as images;
    probes learn once, from the first items.
    """
    return suite.model_copy(update={"tasks": tuple(map(_rehearsed, suite.tasks)), "rehearsal": True})


def _rehearsed(task: Task) -> Task:
    changes: dict[str, Any] = {"size": None if task.size is None else min(task.size, REHEARSAL_ITEMS)}
    if task.probe is not None:
        changes["probe"] = task.probe.model_copy(update={"shots": (ALL,), "draws": 1, "train_size": REHEARSAL_ITEMS})
    return task.model_copy(update=changes)


def load_suite(name_or_path: str | Path) -> Suite:
    """A packaged suite by name (`tiny`, `datacomp-38`, also as `name@version`), or one from a JSON file."""
    path = Path(name_or_path)
    if path.suffix == ".json":
        text, where = path.read_text(), str(path)
    else:
        stem, _, version = str(name_or_path).partition("@")
        resource = files("datacomp") / "suites" / f"{stem}.json"
        if not resource.is_file():
            known = sorted(p.name[:-5] for p in (files("datacomp") / "suites").iterdir() if p.name.endswith(".json"))
            known = [name for name in known if "@" not in name]
            raise BadInput.of("suite-unknown", f"there is no suite {stem!r}", hint=f"choose one of {', '.join(known)}")
        text, where = resource.read_text(), f"{stem}.json"
        if version and (newest := json.loads(text)["version"]) != version:
            former = files("datacomp") / "suites" / f"{stem}@{version}.json"
            if not former.is_file():
                raise BadInput.of("suite-version", f"suite {stem} has version {newest}, not {version}")
            text, where = former.read_text(), former.name
    return _parse(text, where)


def _parse(text: str, where: str) -> Suite:
    try:
        suite = Suite.model_validate_json(text)
    except ValidationError as error:
        raise BadInput(
            *(
                Problem(code="suite-invalid", message=e["msg"], where=f"{where}: {'.'.join(map(str, e['loc']))}")
                for e in error.errors()
            )
        ) from error
    keys = [task.key for task in suite.tasks]
    if len(set(keys)) != len(keys):
        raise BadInput.of("suite-invalid", "two tasks share a key", where=where)
    return suite
