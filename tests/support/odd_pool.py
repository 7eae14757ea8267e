"""A pool of odd cases in the original's format: what a filter could get wrong, for comparison with the original's code.

Deterministic by its seed: only NumPy's legacy generator is used, whose streams are frozen. Beside `metadata/` it
writes `assets/`: a tiny WordNet, a list of synsets, centroids, and features of target images.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tiny_wordnet import SYNSETS, write_wordnet

WIDTH = 768
ENGLISH = (
    "a photo of a dog in the park",
    "The Dogs ran past two houses.",
    "best running shoes for women this summer",
    "an old house by the sea with a garden",
    "buy now and get free shipping",
    "people walking through the city at night",
    "dog",
    "red car",
    "this is it",
    "a b c",
    "ox cart on the road near the church",
    "better geese were flying over the axes",
    "the mice run",
)
FOREIGN = (
    "une photo d'un chien dans le jardin",
    "ein altes Haus am Meer mit einem Garten",
    "公园里的一只狗",
    "犬の写真です",
    "собака в парке возле дома",
    "un perro en el parque de la ciudad",
    "صورة كلب في الحديقة",
    "강아지 사진",
)
WHITE = (" ", "\n", "\t", "\r\n", "\x0b", "\x0c", "\x1c", "\x1f", "\x85", "\xa0", "\u1680", "\u2003", "\u2028",
         "\u202f", "\u205f", "\u3000", "\u200b", "\ufeff", "\x00", "  ", " \n \n")  # fmt: skip
ODD = (
    "", " ", "\n", "\n\n\n", "\t", "\x00", "\u3000", "\u200b", "dog\n", "\ndog", "dog\x00house", "1234567890",
    "dogs_and_houses", "DOG HOUSE GARDEN", "dog, house; garden.",
    "\U0001f436\U0001f3e0 dog house", "e\u0301t\u00e9 dog",
    "IMG_2041.JPG", "http://example.org/dog.jpg", "a" * 3000, "the dog and the house " * 120, "дом " * 400,
)  # fmt: skip


@dataclass(frozen=True)
class OddPool:
    """How to make it; `wide` stores scores as float64, `nan` gives some rows no score."""

    rows: int = 1500
    shards: int = 4
    seed: int = 0
    wide: bool = False
    nan: bool = True

    def write(self, directory: Path) -> None:
        """Write `metadata/` and `assets/`."""
        rng = np.random.RandomState(self.seed)
        centroids = _unit(rng.standard_normal((40, WIDTH))).astype(np.float32)
        centroids[[30, 17]] = centroids[[3, 4]]  # nearest to two centroids alike: the lower one counts
        columns = {
            "uid": _uids(self.rows, rng),
            "url": [f"https://example.org/{i}.jpg" for i in range(self.rows)],
            "text": [_caption(rng) for _ in range(self.rows)],
            "original_width": _sides(self.rows, rng),
            "original_height": _sides(self.rows, rng),
            "clip_b32_similarity_score": self._scores(rng),
            "clip_l14_similarity_score": self._scores(rng),
            "face_bboxes": pa.array([[] for _ in range(self.rows)], pa.list_(pa.list_(pa.float64()))),
            "sha256": [f"{rng.randint(1 << 30):064x}" for _ in range(self.rows)],
        }
        features = _features(self.rows, centroids, rng)
        (directory / "metadata").mkdir(parents=True)
        cuts = sorted(rng.choice(np.arange(1, self.rows), self.shards - 1, replace=False))
        for number, part in enumerate(np.split(np.arange(self.rows), cuts)):
            stem = directory / "metadata" / f"{number:08d}"
            pq.write_table(pa.table(columns).take(pa.array(part)), stem.with_suffix(".parquet"))
            np.savez(stem.with_suffix(".npz"), l14_img=features[part])
        assets = directory / "assets"
        write_wordnet(assets / "wordnet")
        (assets / "synsets.txt").write_text("".join(f"{name}\n" for name in SYNSETS))
        np.save(assets / "centroids.npy", centroids)
        near = centroids[[1, 3, 8, 8, 17, 25]] + 0.01 * rng.standard_normal((6, WIDTH)).astype(np.float32)
        np.save(assets / "targets.npy", _unit(near).astype(np.float16))

    def _scores(self, rng: np.random.RandomState) -> np.ndarray:
        """Scores on float16's grid with many ties, some at and beside 0.28, some missing."""
        scores = np.round(rng.uniform(-0.05, 0.45, self.rows), 2).astype(np.float16).astype(np.float32)
        edge = np.float32(0.28)
        beside = np.array([edge, np.nextafter(edge, np.float32(1)), np.nextafter(edge, np.float32(0)), 0, -0.0])
        places = rng.choice(self.rows, 60, replace=False)
        scores[places] = np.resize(beside.astype(np.float32), 60)
        if self.nan:
            scores[rng.choice(self.rows, self.rows // 50, replace=False)] = np.nan
        return scores.astype(np.float64) + (scores > 0.3) * 1e-12 if self.wide else scores


def _uids(rows: int, rng: np.random.RandomState) -> list[str]:
    """Random, with leading zeros, halves of zeros, equal high halves, extremes, and upper-case digits."""
    uids = ["".join(f"{part:08x}" for part in rng.randint(0, 1 << 31, 4)) for _ in range(rows)]
    for i in range(0, rows, 9):
        uids[i] = "0" * (1 + i % 15) + uids[i][1 + i % 15 :]
    for i in range(1, rows, 31):
        uids[i] = "00000000000000ab" + uids[i][16:]
    for i in range(2, rows, 47):
        uids[i] = uids[i][:16] + "0" * 16
    for i in range(3, rows, 53):
        uids[i] = uids[i].upper()
    uids[4], uids[5], uids[6] = "0" * 32, "f" * 32, "0" * 31 + "1"
    return uids


def _caption(rng: np.random.RandomState) -> str:
    kind = rng.randint(10)
    if kind < 4:
        return ENGLISH[rng.randint(len(ENGLISH))]
    if kind < 6:
        return FOREIGN[rng.randint(len(FOREIGN))]
    if kind < 7:
        return ODD[rng.randint(len(ODD))]
    words = ENGLISH[rng.randint(len(ENGLISH))].split()
    ends = [WHITE[rng.randint(len(WHITE))] if rng.randint(4) == 0 else "" for _ in range(2)]
    text = "".join(word + (WHITE[rng.randint(len(WHITE))] if rng.randint(2) else " ") for word in words)
    return ends[0] + text.strip() + ends[1]


def _sides(rows: int, rng: np.random.RandomState) -> np.ndarray:
    chosen = np.array([0, 1, 66, 199, 200, 201, 599, 600, 601, 603, 1800, 60000])
    return np.where(rng.randint(2, size=rows), rng.choice(chosen, rows), rng.randint(150, 900, rows)).astype(np.int64)


def _features(rows: int, centroids: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Around centroids, on centroids, and midway between two of them."""
    base = centroids[rng.randint(len(centroids), size=rows)]
    other = centroids[rng.randint(len(centroids), size=rows)]
    noise = rng.standard_normal((rows, WIDTH)) * np.where(rng.randint(4, size=rows) == 0, 0, 0.03)[:, None]
    return _unit(base + np.where(rng.randint(8, size=rows) == 0, other.T, 0).T + noise).astype(np.float16)


def _unit(array: np.ndarray) -> np.ndarray:
    return array / np.linalg.norm(array, axis=1, keepdims=True)


if __name__ == "__main__":
    OddPool(rows=int(sys.argv[2]) if len(sys.argv) > 2 else 1500).write(Path(sys.argv[1]))
