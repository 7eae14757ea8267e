"""The kind `probe`: what a linear classifier learns from the frozen image features of few training items.

The training items lie beside the test's (`train/nshards.txt`, `train/0.tar`, ...), in the same format. Which of them
are learnt from is the suite's decision, see `datacomp.probing`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from datacomp.probing import ProbeDesign, training_items
from datacomp_worker.evaluation.data import TEST, TRAIN, TaskFolder
from datacomp_worker.evaluation.linear import Floats, fit
from datacomp_worker.evaluation.model import Embedder
from datacomp_worker.evaluation.ranking import ranks
from datacomp_worker.evaluation.records import Block
from datacomp_worker.evaluation.zeroshot import Question

Labels = npt.NDArray[np.int64]


def records(folder: TaskFolder, embedder: Embedder, limit: int | None) -> Iterator[Block]:
    """One record an item, number of shots and draw. A rehearsal learns from the first training items."""
    design, classes = folder.task.probe or ProbeDesign(), folder.task.classes or 0
    learnt, labels, _ = _features(folder, embedder, TRAIN, limit)
    _check_classes(folder, labels, 0 if limit else classes)
    tested, right, groups = _features(folder, embedder, TEST, limit)
    own = torch.from_numpy(right)
    for condition in design.conditions():
        chosen = training_items(labels, condition, folder.task.data or folder.task.key, design.seed)
        scores = torch.from_numpy(fit(learnt[chosen], labels[chosen], classes, design.strength).scores(tested))
        yield Block(
            item=np.arange(right.size),
            label=right,
            prediction=scores.argmax(dim=1).numpy(),
            rank=ranks(scores, own).numpy(),
            group=groups,
            shots=condition.shots,
            draw=condition.draw,
        )


def _features(
    folder: TaskFolder, embedder: Embedder, split: str, limit: int | None
) -> tuple[Floats, Labels, list[str]]:
    """Embeddings of a split in float64, labels and groups. Training items are never varied, nor in groups."""
    source = folder if split == TEST else folder.plain()
    classes = folder.task.classes or 0
    questions = (Question.of(sample, source.task, classes) for sample in source.samples(limit, split=split))
    rows: list[torch.Tensor] = []
    asked: list[Question] = []
    for batch, images in embedder.images(questions, lambda question: question.picture):
        rows.append(images.cpu())
        asked += batch
    if not rows:
        raise folder.fault("task-count", "the split holds no sample", split)
    labels = np.array([question.label for question in asked], np.int64)
    return torch.cat(rows).double().numpy(), labels, [question.group for question in asked]


def _check_classes(folder: TaskFolder, labels: Labels, classes: int) -> None:
    """Every class needs a training item, else the probe could not know it."""
    if missing := sorted(set(range(classes)) - set(labels.tolist())):
        message = f"no sample of {len(missing)} of {classes} classes, the first is class {missing[0]}"
        raise folder.fault("task-class-untrained", message, TRAIN)
