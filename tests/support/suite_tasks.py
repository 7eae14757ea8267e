"""Tasks of small suites, and their records by a model known in closed form."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from small_suite import COLOURS, ColourModel, png

from datacomp.suite import Kind, Metric, Suite, Task
from datacomp_worker.evaluation import evaluate_suite

NAMES = list(COLOURS)
VALUES = np.array(list(COLOURS.values()), float)


def task(key: str, kind: Kind = Kind.ZEROSHOT, metric: Metric | None = Metric.ACC1, **fields: object) -> Task:
    return Task(key=key, name=key, kind=kind, metric=metric, group="other", **fields)


def suite_of(*tasks: Task) -> Suite:
    return Suite(name="small", version="1", tasks=tasks)


def coloured(seed: int, n: int) -> tuple[list[dict[str, bytes]], np.ndarray, np.ndarray]:
    """n samples of random colours with random labels; the colours (as stored) and the labels."""
    rng = np.random.default_rng(seed)
    colours, labels = rng.integers(0, 256, (n, 3)), rng.integers(0, len(NAMES), n)
    samples = [{"png": png(c), "cls": str(label).encode()} for c, label in zip(colours, labels, strict=True)]
    return samples, colours.astype(float), labels


def evaluated(suite: Suite, directory: Path, model: ColourModel | None = None) -> dict[str, list]:
    path = directory / "records.parquet"
    evaluate_suite(suite, directory, model or ColourModel(), path)
    return pq.read_table(path).to_pydict()


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
