"""WinoGAViL: which of the candidate images does a cue evoke? As many are chosen as are right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch

from datacomp_worker.evaluation.data import Picture, Sample, TaskFolder
from datacomp_worker.evaluation.model import Embedder
from datacomp_worker.evaluation.records import Block

RIDDLES = 128
"""Held at a time."""


@dataclass(frozen=True)
class Riddle:
    """A cue, its candidates and which of them are right."""

    prompt: str
    candidates: tuple[Picture, ...]
    right: frozenset[int]

    @classmethod
    def of(cls, sample: Sample) -> Riddle:
        """Read a sample: `.json` has the cue and the right candidates' numbers; `.0.jpg`, `.1.jpg`, ... the images."""
        told = sample.json()
        cue = told.get("cue") if isinstance(told, dict) else None
        right = told.get("associations") if isinstance(told, dict) else None
        if not isinstance(cue, str) or not cue or not isinstance(right, list):
            raise sample.fault("task-sample-invalid", ".json lacks a cue or the associations")
        numbers = {kind.partition(".")[0] for kind in sample.files if kind != "json"}
        candidates = tuple(sample.picture(f"{number}.") for number in range(len(numbers)))
        if not right or not set(right) <= set(range(len(candidates))):
            message = f"associations {right} do not name some of candidates 0 to {len(candidates) - 1}"
            raise sample.fault("task-sample-invalid", message)
        return cls(sample.worded(prompt(cue)), candidates, frozenset(right))

    def jaccard(self, scores: torch.Tensor) -> float:
        """Jaccard index between the right candidates and as many of the best scored."""
        chosen = set(scores.argsort(descending=True, stable=True)[: len(self.right)].tolist())
        return len(chosen & self.right) / len(chosen | self.right)


def prompt(cue: str) -> str:
    """The cue with its article, as DataComp asks it."""
    lower = cue.lower()
    return f"{'An' if lower[0] in 'aeiou' else 'A'} {lower}"


def records(folder: TaskFolder, embedder: Embedder, limit: int | None) -> Iterator[Block]:
    """One record a riddle: its Jaccard index; the number of candidates is its group."""
    riddles = map(Riddle.of, folder.samples(limit))
    start = 0
    while some := list(islice(riddles, RIDDLES)):
        pictures = [picture for riddle in some for picture in riddle.candidates]
        images = torch.cat([rows for _, rows in embedder.images(pictures, lambda picture: picture)])
        texts = embedder.texts([riddle.prompt for riddle in some])
        counts = [len(riddle.candidates) for riddle in some]
        values = [
            riddle.jaccard(candidates @ text)
            for riddle, candidates, text in zip(some, torch.split(images, counts), texts, strict=True)
        ]
        item = np.arange(start, start + len(some))
        yield Block(item=item, value=np.array(values, np.float64), group=[str(count) for count in counts])
        start += len(some)
