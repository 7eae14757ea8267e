"""Small evaluation tasks in CLIP_benchmark's on-disk format, and a model whose embeddings are known in closed form.

An image of one colour embeds as that colour; a text as the colour whose name it holds. So right answers, ranks and
metrics can be worked out by hand.
"""

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (250, 10, 20),
    "green": (30, 240, 15),
    "blue": (12, 25, 245),
    "yellow": (230, 245, 22),
    "cyan": (28, 235, 250),
    "purple": (225, 18, 240),
}
TEMPLATES = ("a photo of a {c} thing", "{c}")


def png(colour: Sequence[float]) -> bytes:
    """A small image of one colour."""
    file = io.BytesIO()
    Image.fromarray(np.full((4, 5, 3), np.asarray(colour).round(), np.uint8)).save(file, "PNG")
    return file.getvalue()


def npy(row: Sequence[float]) -> bytes:
    """Metadata as WILDS' tasks carry it."""
    file = io.BytesIO()
    np.save(file, np.asarray(row))
    return file.getvalue()


def write_tar(path: Path, samples: Sequence[tuple[str, Mapping[str, bytes]]]) -> None:
    """A webdataset shard of (key, files by type)."""
    with tarfile.open(path, "w") as tar:
        for key, files in samples:
            for kind, data in files.items():
                member = tarfile.TarInfo(f"{key}.{kind}")
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def write_task(
    folder: Path,
    samples: Sequence[Mapping[str, bytes]],
    *,
    names: Sequence[str] | None = tuple(COLOURS),
    templates: Sequence[str] = TEMPLATES,
    shards: int = 2,
) -> None:
    """One `wds_*` folder; retrieval has no class names (`names=None`)."""
    (folder / "test").mkdir(parents=True)
    if names is not None:
        (folder / "classnames.txt").write_text("\n".join(names) + "\n")
        (folder / "zeroshot_classification_templates.txt").write_text("\n".join(templates) + "\n")
    (folder / "test" / "nshards.txt").write_text(f"{shards}\n")
    keyed = [(f"s{number:07d}", files) for number, files in enumerate(samples)]
    for shard, part in enumerate(np.array_split(np.arange(len(keyed)), shards)):
        write_tar(folder / "test" / f"{shard}.tar", [keyed[i] for i in part])


def riddle(cue: str, candidates: Sequence[Sequence[float]], associations: Sequence[int]) -> dict[str, bytes]:
    """A WinoGAViL-like sample."""
    told = json.dumps({"cue": cue, "associations": list(associations)}).encode()
    return {"json": told, **{f"{number}.png": png(colour) for number, colour in enumerate(candidates)}}


@dataclass
class ColourModel:
    """See the module's docstring. Notes the sizes of the batches it is asked for (threads may ask)."""

    images: list[int] = field(default_factory=list)
    texts: list[int] = field(default_factory=list)
    broken: bool = False

    def transform(self, image: Image.Image) -> torch.Tensor:
        return torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1)

    def tokenizer(self, texts: list[str]) -> torch.Tensor:
        found = [[place for place, name in enumerate(COLOURS) if name in text.split()] for text in texts]
        return torch.tensor([places[0] if places else -1 for places in found])

    def embed_image(self, images: torch.Tensor) -> torch.Tensor:
        self.images.append(len(images))
        means = images.mean(dim=(2, 3))
        return torch.nn.functional.normalize(means * (float("nan") if self.broken else 1.0), dim=-1)

    def embed_text(self, tokens: torch.Tensor) -> torch.Tensor:
        self.texts.append(len(tokens))
        table = torch.tensor([*COLOURS.values(), (100, 100, 100)], dtype=torch.float32)
        return torch.nn.functional.normalize(table[tokens], dim=-1)
