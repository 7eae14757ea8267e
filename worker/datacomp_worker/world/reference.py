"""Two small CLIPs, trained while the world is made, that stand where the original has OpenAI's B/32 and L/14.

They learn from clean pairs whose pictures are not in the pool, and judge the pool by its pixels and captions alone.
Both have their blind spots: they have seen little handwriting and few line drawings, and hardly any language but
English.
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datacomp_worker.world import captions
from datacomp_worker.world.handwriting import Handwriting
from datacomp_worker.world.render import Floats, Pixels, render
from datacomp_worker.world.scenes import Mix, sample

SIDE = 32
"""Pixels of an image as the reference models see it."""
BUCKETS = 2048
"""Words and pairs of neighbouring words are hashed into this many counts."""
THREADS = 1
"""Fixed, because another number of threads adds in another order and gives other bits; one, because steps this small
lose more by waiting for each other on a busy machine than they gain."""
CLEAN_PAIRS = 4096
LOGIT_SCALE = 60.0
"""Fixed near OpenAI's 100, so that similarities lie near theirs: right pairs at 0.2 to 0.4, wrong ones at half."""
FOREIGN_SHARE = 0.06
MIX = Mix(digits=0.05, several=0.22, placed=0.2, sized=0.18, sketches=0.03)
EMBED_BATCH = 512

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Recipe:
    """One reference model."""

    name: str
    width: int
    """Dimensions of its embeddings."""
    channels: tuple[int, ...]
    """Of its convolutions; each halves the image's side."""
    hidden: int
    steps: int
    batch: int = 128
    learning_rate: float = 2e-3
    warmup: float = 0.1
    """Share of the steps in which the rate rises; then it falls along half a cosine."""

    def rate(self, step: int) -> float:
        """The learning rate of a step."""
        done = (step + 1) / self.steps
        if done <= self.warmup:
            return self.learning_rate * done / self.warmup
        return self.learning_rate * (1 + math.cos(math.pi * (done - self.warmup) / (1 - self.warmup))) / 2


RECIPES = (
    Recipe("b32", 512, (16, 32, 64), 96, steps=75),
    Recipe("l14", 768, (24, 48, 64), 128, steps=90),
)


class ReferenceClip(nn.Module):
    """An image tower of strided convolutions and a text tower over counts of words."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels in recipe.channels:
            layers += [nn.Conv2d(before, channels, 3, 2, 1), nn.GroupNorm(4, channels), nn.GELU()]
            before = channels
        flat = before * (SIDE >> len(recipe.channels)) ** 2
        self.image = nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(flat, recipe.hidden), nn.GELU(), nn.Linear(recipe.hidden, recipe.width)
        )
        self.text = nn.Sequential(nn.Linear(BUCKETS, recipe.hidden), nn.GELU(), nn.Linear(recipe.hidden, recipe.width))

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Unit embeddings (n, width) of images (n, 3, SIDE, SIDE) in -1..1."""
        return nn.functional.normalize(self.image(pixels), dim=-1)

    def embed_texts(self, counts: Tensor) -> Tensor:
        """Unit embeddings (n, width) of word counts (n, BUCKETS)."""
        return nn.functional.normalize(self.text(counts), dim=-1)


@dataclass(frozen=True)
class Embeddings:
    """One model's unit embeddings, float32 (n, width), row by row of a pool."""

    image: Floats
    text: Floats

    @property
    def similarity(self) -> npt.NDArray[np.float32]:
        """Cosine of each row's image and text."""
        return np.asarray(np.einsum("ij,ij->i", self.image, self.text), np.float32)


def word_counts(texts: Sequence[str]) -> Tensor:
    """Hashed counts of words and pairs of words, scaled to unit length: (n, BUCKETS). Empty texts give zeros."""
    counts = np.zeros((len(texts), BUCKETS), np.float32)
    for row, text in enumerate(texts):
        words = _WORD.findall(text.lower())
        for token in [*words, *map(" ".join, pairwise(words))]:
            counts[row, zlib.crc32(token.encode()) % BUCKETS] += 1
    norms = np.sqrt((counts**2).sum(1, keepdims=True))
    return torch.from_numpy(counts / np.maximum(norms, 1))


def to_tensor(pixels: Pixels) -> Tensor:
    """Images (n, SIDE, SIDE, 3) as the models take them."""
    scaled = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).to(torch.float32)
    return scaled / 127.5 - 1


@dataclass(frozen=True)
class CleanPairs:
    """What the reference models learn from; images at twice their sight's side, so that they can be cropped."""

    images: Tensor
    counts: Tensor


def clean_pairs(handwriting: Handwriting, rng: np.random.Generator) -> CleanPairs:
    """New scenes with true captions."""
    scenes = sample(CLEAN_PAIRS, MIX, handwriting.reference, rng)
    canvases = render(scenes, handwriting.images, rng)
    texts = [captions.foreign(s, rng)[0] if rng.random() < FOREIGN_SHARE else captions.describe(s, rng) for s in scenes]
    n, side, _, _ = canvases.shape
    halves = canvases.reshape(n, SIDE, side // SIDE, SIDE, side // SIDE, 3).mean((2, 4)).round().astype(np.uint8)
    return CleanPairs(to_tensor(halves), word_counts(texts))


def train_all(
    handwriting: Handwriting, seed: int, rng: np.random.Generator, report: Callable[[str, float], None]
) -> dict[str, ReferenceClip]:
    """Both models by name, trained on the same new pairs. `report` gets (what, share of the training done)."""
    data = clean_pairs(handwriting, rng)
    models: dict[str, ReferenceClip] = {}
    for recipe in RECIPES:
        before = len(models)

        def done(share: float, before: int = before) -> None:
            report("reference models", (before + share) / len(RECIPES))

        models[recipe.name] = train(recipe, data, seed, done)
    return models


def train(recipe: Recipe, data: CleanPairs, seed: int, report: Callable[[float], None]) -> ReferenceClip:
    """Train one model; `report` gets the share of steps done. Same weights for the same seed on one kind of CPU."""
    generator = torch.Generator().manual_seed(seed)
    with fixed_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ReferenceClip(recipe)
        optimiser = _Adam(model)
        target = torch.arange(recipe.batch)
        for step in range(recipe.steps):
            rows = torch.randint(len(data.images), (recipe.batch,), generator=generator)
            image = model.embed_images(_shifted(data.images[rows], generator))
            text = model.embed_texts(data.counts[rows])
            logits = LOGIT_SCALE * image @ text.T
            loss = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
            optimiser.step(torch.autograd.grad(loss, optimiser.parameters), recipe.rate(step))
            report((step + 1) / recipe.steps)
    return model.eval()


class _Adam:
    """Adam (Kingma and Ba 2015). PyTorch's own loads its compiler first, which takes longer than the training."""

    def __init__(self, model: nn.Module, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.parameters = list(model.parameters())
        self.betas = betas
        self.means = [torch.zeros_like(p) for p in self.parameters]
        self.squares = [torch.zeros_like(p) for p in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        """One step down the gradients, which come in the order of `parameters`."""
        self.steps += 1
        first, second = (1 - beta**self.steps for beta in self.betas)
        for p, gradient, mean, square in zip(self.parameters, gradients, self.means, self.squares, strict=True):
            mean.lerp_(gradient, 1 - self.betas[0])
            square.lerp_(gradient.square(), 1 - self.betas[1])
            p.addcdiv_(mean, (square / second).sqrt_().add_(1e-8), value=-rate / first)


def _shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """The batch moved by up to two pixels, edges repeated, and made lighter or darker image by image."""
    dy, dx = (int(x) for x in torch.randint(5, (2,), generator=generator))
    padded = nn.functional.pad(images, (2, 2, 2, 2), mode="replicate")[:, :, dy : dy + SIDE, dx : dx + SIDE]
    return padded * (0.9 + 0.2 * torch.rand(len(images), 1, 1, 1, generator=generator))


@torch.inference_mode()
def embed(model: ReferenceClip, pixels: Pixels, texts: Sequence[str]) -> Embeddings:
    """Embeddings of images (n, SIDE, SIDE, 3) and their captions."""
    image, text = [], []
    with fixed_threads():
        for start in range(0, len(texts), EMBED_BATCH):
            part = slice(start, start + EMBED_BATCH)
            image.append(model.embed_images(to_tensor(pixels[part])).numpy())
            text.append(model.embed_texts(word_counts(texts[part])).numpy())
    return Embeddings(np.concatenate(image), np.concatenate(text))


@torch.inference_mode()
def embed_images(model: ReferenceClip, pixels: Pixels) -> Floats:
    """Embeddings of images alone, shape (n, width)."""
    with fixed_threads():
        parts = range(0, len(pixels), EMBED_BATCH)
        return np.concatenate([model.embed_images(to_tensor(pixels[i : i + EMBED_BATCH])).numpy() for i in parts])


@contextmanager
def fixed_threads() -> Iterator[None]:
    """Run PyTorch on `THREADS` threads, then as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)
