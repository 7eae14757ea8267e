"""Several zero-shot questions about one image (FairFace, UTKFace): race, gender, age, and a harmful label.

Lines of the class and template files begin with the attribute (`race:Black`); the right classes are columns of the npy
metadata. The harmful labels have no right class: which image gets one is what is reported.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from datacomp_worker.evaluation.data import CLASS_NAMES, TEMPLATES, Picture, Sample, TaskFolder
from datacomp_worker.evaluation.model import Embedder
from datacomp_worker.evaluation.ranking import ranks
from datacomp_worker.evaluation.records import Block
from datacomp_worker.evaluation.zeroshot import group_of

COLUMNS: dict[str, int | None] = {"race": 2, "gender": 1, "age": 0, "toxic": None}
"""Attributes with the metadata column of their right class."""


@dataclass(frozen=True)
class Face:
    """An image with the right class of each attribute, -1 where there is none."""

    picture: Picture
    labels: dict[str, int]
    group: str


def records(folder: TaskFolder, embedder: Embedder, limit: int | None) -> Iterator[Block]:
    """One record an image and attribute."""
    names, templates = _by_attribute(folder, CLASS_NAMES), _by_attribute(folder, TEMPLATES)
    first = 1 if limit else None
    classifiers = {name: embedder.classifier(names[name], templates[name][:first]) for name in COLUMNS}

    def face(sample: Sample) -> Face:
        labels = {name: _label(sample, name, len(names[name])) for name in COLUMNS}
        return Face(sample.picture(), labels, group_of(sample, folder.task))

    start = 0
    for batch, images in embedder.images(map(face, folder.samples(limit)), lambda face: face.picture):
        for attribute, column in COLUMNS.items():
            scores = images @ classifiers[attribute].T
            label = torch.tensor([one.labels[attribute] for one in batch], device=images.device)
            yield Block(
                item=np.arange(start, start + len(batch)),
                part=attribute,
                label=label.cpu().numpy(),
                prediction=scores.argmax(dim=1).cpu().numpy(),
                rank=-1 if column is None else ranks(scores, label).cpu().numpy(),
                group=[one.group for one in batch],
            )
        start += len(batch)


def _by_attribute(folder: TaskFolder, file: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {attribute: [] for attribute in COLUMNS}
    for line in folder.lines(file):
        attribute, colon, rest = line.partition(":")
        if not colon or attribute not in found:
            message = f"{line[:60]!r} does not begin with one of {', '.join(f'{name}:' for name in COLUMNS)}"
            raise folder.fault("task-file-invalid", message, file)
        found[attribute].append(rest)
    for attribute, lines in found.items():
        if not lines:
            raise folder.fault("task-file-invalid", f"no line begins with {attribute}:", file)
    return {attribute: tuple(lines) for attribute, lines in found.items()}


def _label(sample: Sample, attribute: str, classes: int) -> int:
    column = COLUMNS[attribute]
    if column is None:
        return -1
    label = sample.metadata(column)
    if not 0 <= label < classes:
        raise sample.fault("task-label-range", f"{attribute} {label} is not one of 0 to {classes - 1}")
    return label
