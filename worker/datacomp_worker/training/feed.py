"""The seeded feed that stands in for the trainer's own data pipeline.

Decoding, transform, tokenizer and sampling with replacement are the trainer's. What differs is that nothing depends on
the clock or on the number of processes: sample number n of a run is always the same row, cropped the same way.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from datacomp.lifeline import die_with_parent
from datacomp.problems import DatacompError, PlatformFault, Problem
from datacomp_worker.shards import Shards
from datacomp_worker.training.draws import Draws
from datacomp_worker.training.reader import Reader, Undecodable
from datacomp_worker.training.transform import SplitTransform

MEMORY = 128 << 20
"""Bytes of decoded images that a loader in the trainer's own process keeps: small subsets are decoded once."""
ATTEMPTS = 100
"""Undecodable samples in a row after which the shards are taken to be damaged."""
AHEAD = 64
"""Samples that the system is asked to fetch before the first of them is read."""

Batch = tuple[torch.Tensor, torch.Tensor]


class Batches(Dataset[Batch]):
    """Batch number s of this process: samples s * global batch + rank * batch onwards, of the whole run."""

    def __init__(
        self,
        reader: Reader,
        draws: Draws,
        *,
        transform: Any,
        tokenizer: Callable[[str], torch.Tensor],
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        memory: int = 0,
    ) -> None:
        self._reader, self._draws = reader, draws
        self._transform, self._tokenizer = SplitTransform.of(transform), tokenizer
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self._memory = memory
        self._kept: dict[int, tuple[Image.Image, torch.Tensor]] = {}

    def __getitem__(self, step: int) -> Batch:
        """Images, shape (batch, 3, side, side), and tokens, shape (batch, context length)."""
        first = (step * self._world_size + self._rank) * self._batch_size
        numbers = np.arange(first, first + self._batch_size, dtype=np.uint64)
        before = torch.get_rng_state(), random.getstate()
        try:
            rows, seeds = self._draws.rows(numbers), self._draws.transform_seeds(numbers)
            samples = []
            for place, drawn in enumerate(zip(numbers, rows, seeds, strict=True)):
                if place % AHEAD == 0:
                    self._reader.expect(row for row in rows[place : place + AHEAD].tolist() if row not in self._kept)
                samples.append(self._sample(*drawn))
        finally:  # the model may draw from the same generator
            torch.set_rng_state(before[0])
            random.setstate(before[1])
        images, tokens = zip(*samples, strict=True)
        return self._transform.join(images), torch.stack(tokens)

    def _sample(self, number: np.uint64, row: np.int64, seed: np.int64) -> tuple[Any, torch.Tensor]:
        image, tokens = self._decoded(number, int(row))
        torch.default_generator.manual_seed(int(seed))
        random.seed(int(seed))
        return self._transform.each(image), tokens

    def _decoded(self, number: np.uint64, row: int) -> tuple[Image.Image, torch.Tensor]:
        """The row, or where it cannot be decoded, the next row that this sample number draws."""
        for attempt in range(1, ATTEMPTS + 1):
            if row in self._kept:
                return self._kept[row]
            try:
                image, caption = self._reader.read(row)
            except Undecodable as error:
                logging.warning("row %d of the subset cannot be decoded (%s): another is drawn", row, error)
                row = int(self._draws.rows(np.array([number], np.uint64), attempt)[0])
                continue
            return self._keep(row, image, self._tokenizer(caption))
        message = f"{ATTEMPTS} samples in a row cannot be decoded"
        raise PlatformFault.of("subset-undecodable", message, where=str(self._reader.shards.directory))

    def _keep(self, row: int, image: Image.Image, tokens: torch.Tensor) -> tuple[Image.Image, torch.Tensor]:
        size = 4 * image.width * image.height + 8 * tokens.numel()
        if size <= self._memory:
            self._memory -= size
            self._kept[row] = image, tokens
        return image, tokens


@dataclass(frozen=True)
class Failure:
    """What a loader's process hands over in place of a batch: an exception would be made again from its text alone."""

    problems: tuple[Problem, ...]


class Guarded(Dataset["Batch | Failure"]):
    """Batches, or why there are none."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def __getitem__(self, step: int) -> Batch | Failure:
        """The batch of that number."""
        try:
            return self._batches[step]
        except DatacompError as error:
            return Failure(error.problems)


class Loader(DataLoader["Batch | Failure"]):
    """A data loader out of which typed faults come as they were raised."""

    num_batches: int
    num_samples: int

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """The batches of the epoch. `PlatformFault` as `Reader.read`, and `subset-undecodable`."""
        for batch in super().__iter__():
            if isinstance(batch, Failure):
                raise PlatformFault(*batch.problems)
            yield batch


class EpochSteps(Sampler[int], Sized):
    """The batch numbers of the current epoch."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.epoch * self._steps, (self.epoch + 1) * self._steps))

    def __len__(self) -> int:
        return self._steps


@dataclass(frozen=True)
class Feed:
    """What the trainer expects under `data["train"]`: a data loader that knows its length, and `set_epoch`."""

    dataloader: Loader
    steps: EpochSteps

    def set_epoch(self, epoch: int) -> None:
        """The next pass over the loader gives this epoch's batches."""
        self.steps.epoch = epoch


def get_data(
    shards: Shards, args: Any, preprocess: tuple[Any, Any], epoch: int = 0, tokenizer: Any = None
) -> dict[str, Feed]:
    """In place of `open_clip_train.data.get_data`; `args` are the trainer's parsed arguments."""
    sources = [(source.shards.samples, source.weight) for source in shards.sources]
    batches = Batches(
        Reader(shards),
        Draws.of(args.seed, sources),
        transform=preprocess[0],
        tokenizer=lambda caption: tokenizer(caption)[0],
        batch_size=args.batch_size,
        rank=args.rank,
        world_size=args.world_size,
        memory=0 if args.workers else MEMORY,
    )
    steps = EpochSteps(-(-args.train_num_samples // (args.batch_size * args.world_size)))
    loader = Loader(
        Guarded(batches),
        batch_size=None,
        sampler=steps,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        worker_init_fn=die_with_parent if args.workers else None,
        pin_memory=str(args.device).startswith("cuda"),
    )
    loader.num_batches = len(steps)
    loader.num_samples = len(steps) * args.batch_size * args.world_size
    feed = Feed(loader, steps)
    feed.set_epoch(epoch)
    return {"train": feed}
