"""What training reads: shards of one subset, or several sources of samples with a weight each.

Both are folders that `open_shards` opens. Shards of a subset lie in tars of their own or, virtually, in the pool's.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_json
from datacomp.problems import BadInput, PlatformFault
from datacomp.reshard.index import Stamp
from datacomp.reshard.run import INDEX, META
from datacomp.reshard.space import writing
from datacomp.reshard.virtual import VirtualTar, read_tars
from datacomp.reshard.write import SHARD


@dataclass(frozen=True)
class SubsetShards:
    """A complete folder of subset shards."""

    directory: Path
    samples: int
    shards: int
    tars: tuple[VirtualTar, ...] | None = None
    """Tars elsewhere that hold the samples; None when the folder itself holds tars."""

    @property
    def index(self) -> npt.NDArray[np.void]:
        """Where every sample lies: shape (samples,), dtype `PLACE`, mapped. `PlatformFault` when damaged."""
        path = self.directory / INDEX
        try:
            index: npt.NDArray[np.void] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path, str(error)) from error
        if index.shape != (self.samples,):
            raise _damaged(path, f"it holds {index.shape}, not {self.samples:,} samples")
        return index

    def tar(self, number: int) -> Path:
        """The tar of that number."""
        return self.tars[number].path if self.tars is not None else self.directory / SHARD.format(number)

    def stamp(self, number: int) -> Stamp | None:
        """What that tar was when it was indexed; None for our own, which nobody else writes."""
        return self.tars[number].stamp if self.tars is not None else None

    @property
    def sources(self) -> tuple[Source, ...]:
        """Itself alone."""
        return (Source(self),)


@dataclass(frozen=True)
class Source:
    """Shards that samples are drawn from."""

    shards: SubsetShards
    weight: float = 1.0
    """How often a sample of it is drawn, against a sample of a source of weight 1."""


@dataclass(frozen=True)
class Mixture:
    """Several sources. Their rows are numbered one after another.

    A weight means what a factor of open_clip's `--train-data-upsampling-factors` means: with two and one, a sample of
    the first source comes twice as often as a sample of the second, however large they are.
    """

    directory: Path
    sources: tuple[Source, ...]

    @property
    def samples(self) -> int:
        """Samples of all sources, repeats counted."""
        return sum(source.shards.samples for source in self.sources)

    @property
    def shards(self) -> int:
        """Tars of all sources."""
        return sum(source.shards.shards for source in self.sources)


Shards = SubsetShards | Mixture


def write_mixture(directory: Path, sources: Sequence[tuple[Path, float]]) -> Mixture:
    """Make a folder that names folders of shards and their weights.

    `BadInput` when there are none, or a weight is not a positive number. `PlatformFault` when one is no folder of
    shards.
    """
    if not sources:
        raise BadInput.of("sources-empty", "a mixture needs at least one source")
    for folder, weight in sources:
        if not (math.isfinite(weight) and weight > 0):
            hint = "give a positive number; leave away a source that is not to be drawn from"
            raise BadInput.of("source-weight", f"{weight!r} is no weight for a source", str(folder), hint)
    named = [(folder.absolute(), float(weight)) for folder, weight in sources]
    mixture = Mixture(directory, tuple(Source(subset_shards(folder), weight) for folder, weight in named))
    with writing(directory):
        directory.mkdir(parents=True, exist_ok=True)
        (directory / META).write_text(json.dumps({"sources": [[str(folder), weight] for folder, weight in named]}))
    return mixture


def mixture_digest(sources: Sequence[tuple[str, float]]) -> str:
    """Names what is trained on: each source's own digest and weight, in order. One source alone keeps its digest."""
    if len(sources) == 1:
        return sources[0][0]
    return digest_json([[digest, float(weight)] for digest, weight in sources])


def open_shards(directory: Path) -> Shards:
    """A complete folder of subset shards, or of a mixture; `PlatformFault` when it is neither."""
    meta = _meta(directory)
    if "sources" not in meta:
        return subset_shards(directory)
    try:
        named = [(Path(folder), float(weight)) for folder, weight in meta["sources"]]
    except (TypeError, ValueError) as error:
        raise _damaged(directory / META, str(error)) from error
    return Mixture(directory, tuple(Source(subset_shards(folder), weight) for folder, weight in named))


def subset_shards(directory: Path) -> SubsetShards:
    """A complete folder of subset shards; `PlatformFault` when it is none."""
    meta = _meta(directory)
    try:
        samples, shards = int(meta["output_count"]), int(meta["output_shard_count"])
        return SubsetShards(directory, samples, shards, read_tars(meta))
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(directory / META, repr(error)) from error


def _meta(directory: Path) -> dict[str, Any]:
    path = directory / META
    try:
        meta = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    if not isinstance(meta, dict):
        raise _damaged(path, "it is no object")
    return meta


def _damaged(path: Path, why: str) -> PlatformFault:
    hint = "remove the folder; it is made again"
    return PlatformFault.of("subset-shards-damaged", f"unreadable {path.name}: {why}", str(path.parent), hint)
