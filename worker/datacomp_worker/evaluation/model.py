"""The model as evaluation uses it: encoded images and texts in, unit embeddings out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch
from torch.nn.functional import normalize

from datacomp.problems import BadInput
from datacomp_worker.evaluation.data import Picture

if TYPE_CHECKING:
    from PIL.Image import Image

BATCH = 64
"""Images, or texts, that one thread takes at a time."""
Item = TypeVar("Item")
Result = TypeVar("Result")


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
    """Runs one model without gradients, batch by batch, a few batches ahead of need. See `embedder`.

    On a GPU both towers run under automatic mixed precision; what leaves is float32. Classifiers are kept, because
    tasks share them (five of DataComp's use ImageNet's classes).
    """

    model: Model
    device: str
    pool: ThreadPoolExecutor
    threads: int
    """How many there are in `pool`."""
    transform: Callable[[list[Image]], torch.Tensor]
    """RGB images as the model takes them, shape (n, 3, side, side)."""
    _classifiers: dict[tuple[tuple[str, ...], tuple[str, ...]], torch.Tensor] = field(default_factory=dict)
    _classifying: Lock = field(default_factory=Lock)

    def images(
        self, items: Iterable[Item], picture: Callable[[Item], Picture]
    ) -> Iterator[tuple[list[Item], torch.Tensor]]:
        """Items in order, in batches, with the embeddings of their pictures, shape (len(items), d)."""

        def embed(batch: list[Item]) -> tuple[list[Item], torch.Tensor]:
            decoded = [picture(item).decode() for item in batch]
            return batch, self._embed(self.model.embed_image, self.transform(decoded))

        return self._ahead(embed, items)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of texts, shape (n, d)."""
        return torch.cat(
            list(self._ahead(lambda part: self._embed(self.model.embed_text, self.model.tokenizer(part)), texts))
        )

    def classifier(self, names: tuple[str, ...], templates: tuple[str, ...]) -> torch.Tensor:
        """One unit row a class, shape (classes, d): the mean of its templates' unit embeddings, made unit again."""
        key = (names, templates)
        with self._classifying:  # tasks that run side by side may ask for the same one
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

    def _ahead(self, work: Callable[[list[Item]], Result], items: Iterable[Item]) -> Iterator[Result]:
        """`work` over batches of items in the pool, results in order; a bounded number of batches is held."""
        source = iter(items)
        waiting: deque[Future[Result]] = deque()
        try:
            while batch := list(islice(source, BATCH)):
                waiting.append(self.pool.submit(work, batch))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def embedder(model: Model, device: str) -> Iterator[Embedder]:
    """An embedder that uses every processor: one batch a thread, and PyTorch itself on one thread.

    So small models keep all cores busy, also where other programs run, and the embeddings do not depend on how many
    cores there are.
    """
    threads, before = len(os.sched_getaffinity(0)), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        pool = ThreadPoolExecutor(threads, "embed")
        try:
            yield Embedder(model, device, pool, threads, _whole(model.transform))
        finally:
            pool.shutdown(cancel_futures=True)  # whoever still waits for a batch is told so
    finally:
        torch.set_num_threads(before)


def _whole(transform: Callable[[Any], torch.Tensor]) -> Callable[[list[Image]], torch.Tensor]:
    """A transform of single images for whole batches; open_clip's in a third of its time, with the same values."""
    if not hasattr(transform, "transforms"):
        return lambda images: torch.stack([transform(image) for image in images])
    from datacomp_worker.training.transform import SplitTransform

    split = SplitTransform.of(transform)
    return lambda images: split.join([split.each(image) for image in images])
