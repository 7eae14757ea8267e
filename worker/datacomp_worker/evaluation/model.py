"""The model as evaluation uses it: encoded images and texts in, unit embeddings out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol, TypeVar

import torch
from torch.nn.functional import normalize

from datacomp.problems import BadInput
from datacomp_worker.evaluation.data import Picture

CHUNK = 32
"""Images that one thread decodes at a time."""
TEXTS_CPU, TEXTS_CUDA = 64, 1024
IMAGES_CPU, IMAGES_CUDA = 64, 256
Item = TypeVar("Item")


class Model(Protocol):
    """What a track's `load` gives for the kinds of tasks of this package."""

    @property
    def transform(self) -> Callable[[Any], torch.Tensor]:
        """An RGB PIL image to a tensor (3, side, side)."""

    @property
    def tokenizer(self) -> Callable[[list[str]], torch.Tensor]:
        """Texts to tokens (n, length)."""

    def embed_image(self, images: torch.Tensor) -> torch.Tensor:
        """Shape (n, 3, side, side) to unit rows (n, d)."""

    def embed_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Shape (n, length) to unit rows (n, d)."""


@dataclass(frozen=True)
class Embedder:
    """Runs one model: images are decoded by `decoders` ahead of need, both towers run in batches without gradients.

    On a GPU both run under automatic mixed precision; what leaves is float32. Classifiers are kept, because tasks share
    them (five of DataComp's use ImageNet's classes).
    """

    model: Model
    device: str
    decoders: ThreadPoolExecutor
    threads: int
    """How many there are in `decoders`."""
    _classifiers: dict[tuple[tuple[str, ...], tuple[str, ...]], torch.Tensor] = field(default_factory=dict)

    def images(
        self, items: Iterable[Item], picture: Callable[[Item], Picture]
    ) -> Iterator[tuple[Sequence[Item], torch.Tensor]]:
        """Items in order, in batches, with the embeddings of their pictures, shape (len(items), d)."""
        size = IMAGES_CUDA if self.device == "cuda" else IMAGES_CPU
        batch: list[Item] = []
        tensors: list[torch.Tensor] = []
        for some, decoded in self._decoded(items, picture):
            batch += some
            tensors.append(decoded)
            if len(batch) >= size:
                yield batch, self._embed(self.model.embed_image, torch.cat(tensors))
                batch, tensors = [], []
        if batch:
            yield batch, self._embed(self.model.embed_image, torch.cat(tensors))

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of texts, shape (n, d)."""
        size = TEXTS_CUDA if self.device == "cuda" else TEXTS_CPU
        parts = [list(texts[start : start + size]) for start in range(0, len(texts), size)]
        return torch.cat([self._embed(self.model.embed_text, self.model.tokenizer(part)) for part in parts])

    def classifier(self, names: tuple[str, ...], templates: tuple[str, ...]) -> torch.Tensor:
        """One unit row a class, shape (classes, d): the mean of its templates' unit embeddings, made unit again."""
        key = (names, templates)
        if key not in self._classifiers:
            prompts = [template.replace("{c}", name) for name in names for template in templates]
            embedded = self.texts(prompts).reshape(len(names), len(templates), -1)
            self._classifiers[key] = normalize(embedded.mean(dim=1), dim=-1)
        return self._classifiers[key]

    def _embed(self, tower: Callable[[torch.Tensor], torch.Tensor], batch: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode(), torch.autocast(self.device, enabled=self.device == "cuda"):
            rows = tower(batch.to(self.device))
        rows = normalize(rows.float(), dim=-1)
        if not bool(torch.isfinite(rows).all()):
            # A comparison with NaN is never true: such a model would look perfect.
            message = "the trained model gives embeddings that are not numbers: its training diverged"
            raise BadInput.of(
                "model-diverged", message, hint="look at the loss of the training run; try another subset"
            )
        return rows

    def _decoded(
        self, items: Iterable[Item], picture: Callable[[Item], Picture]
    ) -> Iterator[tuple[list[Item], torch.Tensor]]:
        """Chunks of items with their transformed images, a bounded number of them ahead."""

        def decode(some: list[Item]) -> tuple[list[Item], torch.Tensor]:
            return some, torch.stack([self.model.transform(picture(item).decode()) for item in some])

        source = iter(items)
        waiting: deque[Future[tuple[list[Item], torch.Tensor]]] = deque()
        try:
            while some := list(islice(source, CHUNK)):
                waiting.append(self.decoders.submit(decode, some))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
