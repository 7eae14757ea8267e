"""What the model sees has the distribution that open_clip_train's own pipeline gives with `--dataset-resampled`.

The pictures are gradients from 0 to 255, red across and green down, so that a crop can be read off its own pixels.
Seeds are fixed; with other seeds, each statistic would be refused by chance once in `ALARM` times.
"""

import io
import json
import os
import random
import tarfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from scipy.stats import chi2, chi2_contingency, ks_2samp
from stock_feed import stock_loader

from datacomp.reshard.virtual import from_tars
from datacomp.scales import SCALES
from datacomp_worker.shards import open_shards, write_mixture
from datacomp_worker.training.feed import get_data
from datacomp_worker.training.models import register_models

pytestmark = pytest.mark.faults  # a minute of sampling

ALARM = 1000
SAMPLES, BATCH = 1500, 50
WIDTH, HEIGHT = 48, 48


def write_tars(directory: Path, sizes: list[int]) -> list[Path]:
    """Tars of so many samples; caption n is the n-th sample's number."""
    directory.mkdir()
    across, down = np.linspace(0, 255, WIDTH).round(), np.linspace(0, 255, HEIGHT).round()
    pixels = np.stack(np.broadcast_arrays(across[None, :], down[:, None], 0), axis=-1).astype(np.uint8)
    image = io.BytesIO()
    Image.fromarray(pixels).save(image, "PNG")
    tars, number = [], 0
    for place, size in enumerate(sizes):
        tars.append(directory / f"{place:08d}.tar")
        with tarfile.open(tars[-1], "w") as tar:
            for _ in range(size):
                uid = {"uid": f"{number:032x}"}
                parts = {"json": json.dumps(uid).encode(), "png": image.getvalue(), "txt": str(number).encode()}
                for extension, data in parts.items():
                    member = tarfile.TarInfo(f"{number:09d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
                number += 1
    return tars


@dataclass(frozen=True)
class Seen:
    """What came out of a feed."""

    rows: np.ndarray
    """Each sample's row, from its tokens."""
    crops: np.ndarray
    """Left, top, width and height of each crop, as shares of the picture: shape (n, 4)."""

    def counts(self, rows: int) -> np.ndarray:
        return np.bincount(self.rows, minlength=rows)


def see(loader, rows: int) -> Seen:
    _, transform, _ = recipe()
    normalise = transform.transforms[-1]
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (normalise.mean, normalise.std))
    numbers = {tuple(tokenize(str(row)).tolist()): row for row in range(rows)}
    found, crops = [], []
    for images, tokens in loader:
        found += [numbers[tuple(own.tolist())] for own in tokens]
        crops.append(boxes((images * std + mean).double().numpy()))
    return Seen(np.array(found), np.concatenate(crops))


def boxes(images: np.ndarray) -> np.ndarray:
    """Crops, read off the inner pixels' slopes: what lies at the edge, the resizing bends."""
    places = np.arange(4, images.shape[-1] - 4)
    lines = [np.polyfit(places, images[:, 0, :, 4:-4].mean(axis=1).T, 1)]
    lines.append(np.polyfit(places, images[:, 1, 4:-4, :].mean(axis=2).T, 1))
    slope, start = np.stack([line[0] for line in lines], 1), np.stack([line[1] for line in lines], 1)
    whole = (np.array([WIDTH, HEIGHT]) - 1) / [WIDTH, HEIGHT]  # from the first pixel to the last
    return np.concatenate([start, slope * images.shape[-1] * whole], axis=1)


@cache
def recipe():
    register_models()
    name = SCALES["tiny"].model
    _, transform, _ = open_clip.create_model_and_transforms(name, load_weights=False)
    return name, transform, open_clip.get_tokenizer(name)


def tokenize(text: str) -> torch.Tensor:
    return recipe()[2](text)[0]


def ours(shards, samples: int = SAMPLES):
    args = SimpleNamespace(
        seed=0, batch_size=BATCH, rank=0, world_size=1, workers=0, train_num_samples=samples, device="cpu"
    )
    return get_data(shards, args, (recipe()[1], None), tokenizer=recipe()[2])["train"].dataloader


def stock(tars: list[Path], monkeypatch: pytest.MonkeyPatch, weights: str | None = None, samples: int = SAMPLES):
    """The stock feed with everything that it draws by the clock seeded."""
    torch.manual_seed(1)
    monkeypatch.setattr("webdataset.filters.time", SimpleNamespace(time=lambda: 1.0 - os.getpid()))
    return stock_loader(tars, recipe()[1], recipe()[2], samples=samples, batch=BATCH, weights=weights)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    """The chance of two such differing counts from one distribution."""
    return float(chi2_contingency(np.stack([one, other])).pvalue)


def fits(counts: np.ndarray, shares: np.ndarray) -> float:
    """The chance of such a deviation from expected shares."""
    expected = counts.sum() * shares / shares.sum()
    return float(chi2.sf(((counts - expected) ** 2 / expected).sum(), counts.size - 1))


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory):
    """60 tars of one sample each: the stock feed draws tars, so every draw of it is then one of a sample."""
    home = tmp_path_factory.mktemp("singles")
    tars = write_tars(home / "tars", [1] * 60)
    from_tars(tars, home / "folder")
    with pytest.MonkeyPatch.context() as monkeypatch:
        theirs = see(stock(tars, monkeypatch), 60)
    return see(ours(open_shards(home / "folder")), 60), theirs


def test_every_row_comes_as_often_as_from_the_stock_feed(singles) -> None:
    own, theirs = singles
    assert own.rows.size == theirs.rows.size == SAMPLES
    assert fits(own.counts(60), np.ones(60)) > 1 / ALARM
    assert alike(own.counts(60), theirs.counts(60)) > 1 / ALARM


@pytest.mark.parametrize("what", ["area", "aspect", "left", "top"])
def test_crops_are_those_of_the_stock_feed(singles, what: str) -> None:
    own, theirs = (measure(seen.crops)[what] for seen in singles)
    assert ks_2samp(own, theirs, method="asymp").pvalue > 1 / ALARM


def measure(crops: np.ndarray) -> dict[str, np.ndarray]:
    left, top, width, height = crops.T
    return {"area": width * height, "aspect": np.log(width * WIDTH / (height * HEIGHT)), "left": left, "top": top}


def test_the_crops_that_are_read_off_are_those_that_were_taken(singles) -> None:
    """So that a crop with other bounds would be noticed."""
    crops = measure(singles[0].crops)
    assert 0.86 < crops["area"].min() < 0.93 < 0.96 < crops["area"].max() < 1.04
    assert ks_2samp(crops["area"][::2] * 0.98, crops["area"][1::2], method="asymp").pvalue < 1 / ALARM


def test_rows_of_one_tar_come_equally_often_whatever_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stock feed draws whole tars: short ones as often as long ones, and so every sample as often as any other."""
    sizes = [3, 9, 18, 30]
    tars = write_tars(tmp_path / "tars", sizes)
    from_tars(tars, tmp_path / "folder")
    own = see(ours(open_shards(tmp_path / "folder")), 60).counts(60)
    theirs = see(stock(tars, monkeypatch, samples=2500), 60).counts(60)
    assert fits(own, np.ones(60)) > 1 / ALARM
    draws = np.add.reduceat(theirs, np.cumsum([0, *sizes[:-1]])) / np.array(sizes)
    assert fits(draws, np.ones(4)) > 1 / ALARM  # of tars; a shuffle buffer still holds up to 5,000 of the samples
    assert fits(theirs[30:], np.ones(30)) > 1 / ALARM


def test_weights_mean_what_upsampling_factors_mean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tars = write_tars(tmp_path / "tars", [1] * 30)
    weights = np.array([random.Random(0).choice([0.5, 1.0, 4.0]) for _ in tars])
    for tar in tars:
        from_tars([tar], tmp_path / tar.stem)
    sources = [(tmp_path / tar.stem, weight) for tar, weight in zip(tars, weights.tolist(), strict=True)]
    own = see(ours(write_mixture(tmp_path / "mixture", sources)), 30).counts(30)
    theirs = see(stock(tars, monkeypatch, "::".join(map(str, weights))), 30).counts(30)
    assert fits(own, weights) > 1 / ALARM
    assert fits(theirs, weights) > 1 / ALARM
    assert alike(own, theirs) > 1 / ALARM
