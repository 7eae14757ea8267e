"""Image-text retrieval, asked both ways: which caption goes with an image, which image with a caption."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from datacomp.scoring import IMAGE_TO_TEXT, TEXT_TO_IMAGE
from datacomp_worker.evaluation.data import Picture, Sample, TaskFolder
from datacomp_worker.evaluation.model import Embedder
from datacomp_worker.evaluation.ranking import best_of, ranks
from datacomp_worker.evaluation.records import Block

ROWS = 512
"""Queries compared with all candidates at a time."""


@dataclass(frozen=True)
class Captioned:
    """An image with its captions."""

    picture: Picture
    captions: tuple[str, ...]

    @classmethod
    def of(cls, sample: Sample) -> Captioned:
        """Read a sample: one caption a line; `PlatformFault` when it has none."""
        captions = tuple(map(sample.worded, sample.text("txt").splitlines()))
        if not captions:
            raise sample.fault("task-sample-incomplete", "the sample has no caption")
        return cls(sample.picture(), captions)


def records(folder: TaskFolder, embedder: Embedder, limit: int | None) -> Iterator[Block]:
    """One record an image and one a caption: how many wrong answers precede the first right one."""
    embedded: list[torch.Tensor] = []
    captions: list[str] = []
    owner: list[int] = []
    images = 0
    for batch, rows in embedder.images(map(Captioned.of, folder.samples(limit)), lambda one: one.picture):
        embedded.append(rows)
        for one in batch:
            captions += one.captions
            owner += [images] * len(one.captions)
            images += 1
    if not images:
        return
    pictures, texts = torch.cat(embedded), embedder.texts(captions)
    owners = torch.tensor(owner, device=pictures.device)
    for start in range(0, images, ROWS):
        rank = _caption_ranks(pictures[start : start + ROWS], texts, owners, start)
        yield Block(item=np.arange(start, start + len(rank)), part=IMAGE_TO_TEXT, rank=rank.cpu().numpy())
    for start in range(0, len(captions), ROWS):
        rank = ranks(texts[start : start + ROWS] @ pictures.T, owners[start : start + ROWS])
        yield Block(item=np.arange(start, start + len(rank)), part=TEXT_TO_IMAGE, rank=rank.cpu().numpy())


def _caption_ranks(pictures: torch.Tensor, texts: torch.Tensor, owners: torch.Tensor, start: int) -> torch.Tensor:
    """Rank of the best of each image's own captions; the images are those from `start` on."""
    scores = pictures @ texts.T
    own = owners[None, :] == torch.arange(start, start + len(pictures), device=owners.device)[:, None]
    return ranks(scores, best_of(scores, own))
