"""Zero-shot classification: the class whose text embedding is nearest to the image's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from datacomp.suite import Task
from datacomp_worker.evaluation.data import Picture, Sample, TaskFolder
from datacomp_worker.evaluation.model import Embedder
from datacomp_worker.evaluation.ranking import ranks
from datacomp_worker.evaluation.records import Block


@dataclass(frozen=True)
class Question:
    """An image with its class and group."""

    picture: Picture
    label: int
    group: str

    @classmethod
    def of(cls, sample: Sample, task: Task, classes: int) -> Question:
        """Read a sample; `PlatformFault` when anything is missing or out of range."""
        label = sample.number("cls")
        if not 0 <= label < classes:
            raise sample.fault("task-label-range", f"class {label} is not one of 0 to {classes - 1}")
        return cls(sample.picture(), label, group_of(sample, task))


def group_of(sample: Sample, task: Task) -> str:
    """The name of a sample's group; empty for tasks without groups."""
    if task.group_column is None:
        return ""
    number = sample.metadata(task.group_column)
    if task.group_names is None:
        return str(number)
    if not 0 <= number < len(task.group_names):
        raise sample.fault("task-group-range", f"group {number} is not one of 0 to {len(task.group_names) - 1}")
    return task.group_names[number]


def records(folder: TaskFolder, embedder: Embedder, limit: int | None) -> Iterator[Block]:
    """One record an image: class, predicted class, rank of the right class."""
    names = folder.class_names()
    templates = folder.templates()[: 1 if limit else None]
    classifier = embedder.classifier(names, templates)
    questions = (Question.of(sample, folder.task, len(names)) for sample in folder.samples(limit))
    start = 0
    for batch, images in embedder.images(questions, lambda question: question.picture):
        label = torch.tensor([question.label for question in batch], device=images.device)
        scores = images @ classifier.T
        yield Block(
            item=np.arange(start, start + len(batch)),
            label=label.cpu().numpy(),
            prediction=scores.argmax(dim=1).cpu().numpy(),
            rank=ranks(scores, label).cpu().numpy(),
            group=[question.group for question in batch],
        )
        start += len(batch)
