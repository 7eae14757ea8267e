"""The seeded feed that stands in for the trainer's own data pipeline.

Decoding, transform, tokenizer and sampling with replacement are the trainer's. What differs is that nothing depends on
the clock or on the number of processes: sample number n of a run is always the same row, cropped the same way.
"""

from __future__ import annotations

import io
import logging
import os
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from open_clip.transform import MaybeToTensor
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import Compose, Normalize

from datacomp.lifeline import die_with_parent
from datacomp.problems import PlatformFault
from datacomp_worker.subsets import SubsetShards
from datacomp_worker.training.draws import Draws

OPEN_TARS = 256
MEMORY = 128 << 20
"""Bytes of decoded images that a loader in the trainer's own process keeps: small subsets are decoded once."""
ATTEMPTS = 100
"""Undecodable samples in a row after which the shards are taken to be damaged."""

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Reader:
    """Random access to the images and captions of subset shards."""

    shards: SubsetShards
    _open: OrderedDict[int, int] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._index = self.shards.index

    def __len__(self) -> int:
        return self.shards.samples

    def read(self, row: int) -> tuple[Image.Image, str]:
        """Decode a sample as the trainer does: an RGB image and a caption. Raises what PIL or UTF-8 raise."""
        shard, image_offset, image_size, text_offset, text_size = self._index[row].item()
        file = self._file(shard)
        with io.BytesIO(os.pread(file, image_size, image_offset)) as stream, Image.open(stream) as image:
            decoded = image.convert("RGB")
        return decoded, os.pread(file, text_size, text_offset).decode()

    def _file(self, shard: int) -> int:
        if shard not in self._open:
            while len(self._open) >= OPEN_TARS:
                os.close(self._open.popitem(last=False)[1])
            self._open[shard] = os.open(self.shards.tar(shard), os.O_RDONLY)
        self._open.move_to_end(shard)
        return self._open[shard]


@dataclass(frozen=True)
class SplitTransform:
    """A training transform whose last part, to tensor and normalise, is applied to whole batches.

    Both are elementwise, so the values are those of the transform applied image by image.
    """

    each: Callable[[Image.Image], Any]
    normalise: Normalize | None

    @classmethod
    def of(cls, transform: Any) -> SplitTransform:
        """Split open_clip's transform; one that ends otherwise stays whole."""
        parts = list(getattr(transform, "transforms", ()))
        if [type(part) for part in parts[-2:]] == [MaybeToTensor, Normalize]:
            return cls(Compose(parts[:-2]), parts[-1])
        return cls(transform, None)

    def join(self, images: Sequence[Any]) -> torch.Tensor:
        """What `each` gave for every image of a batch, as one tensor, shape (batch, 3, side, side)."""
        if self.normalise is None:
            return torch.stack(tuple(images))
        pixels = torch.from_numpy(np.stack([np.asarray(image) for image in images]))
        batch = pixels.permute(0, 3, 1, 2).contiguous().to(torch.get_default_dtype()).div(255)
        normalised: torch.Tensor = self.normalise(batch)
        return normalised


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
            samples = [self._sample(*drawn) for drawn in zip(numbers, rows, seeds, strict=True)]
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
            except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
                logging.warning("row %d of the subset cannot be decoded (%r): another is drawn", row, error)
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

    dataloader: DataLoader[Batch]
    steps: EpochSteps

    def set_epoch(self, epoch: int) -> None:
        """The next pass over the loader gives this epoch's batches."""
        self.steps.epoch = epoch


def get_data(
    shards: SubsetShards, args: Any, preprocess: tuple[Any, Any], epoch: int = 0, tokenizer: Any = None
) -> dict[str, Feed]:
    """In place of `open_clip_train.data.get_data`; `args` are the trainer's parsed arguments."""
    batches = Batches(
        Reader(shards),
        Draws(args.seed, shards.samples),
        transform=preprocess[0],
        tokenizer=lambda caption: tokenizer(caption)[0],
        batch_size=args.batch_size,
        rank=args.rank,
        world_size=args.world_size,
        memory=0 if args.workers else MEMORY,
    )
    steps = EpochSteps(-(-args.train_num_samples // (args.batch_size * args.world_size)))
    loader = DataLoader(
        batches,
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
