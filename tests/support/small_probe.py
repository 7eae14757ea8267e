"""Small tasks of the kind probe: near-colours to learn from and to be tested on, for `small_suite.ColourModel`."""

from pathlib import Path

import numpy as np
from small_suite import COLOURS, png, write_tar, write_task

from datacomp.probing import ALL, ProbeDesign
from datacomp.suite import Kind, Metric, Task

CLASSES, TRAIN, TEST = 6, 60, 42
VALUES = np.array(list(COLOURS.values()), float)


def coloured(seed: int, n: int, spread: float = 60.0) -> list[dict[str, bytes]]:
    """n images near the colours of their classes, the classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % CLASSES
    colours = np.clip(VALUES[labels] + rng.normal(0, spread, (n, 3)), 0, 255)
    return [{"png": png(c), "cls": str(label).encode()} for c, label in zip(colours, labels, strict=True)]


def probe(key: str = "probe", **fields: object) -> Task:
    design = ProbeDesign(shots=(1, 3, ALL), draws=3, train_size=TRAIN)
    plain = {"group": "probes", "classes": CLASSES, "size": TEST, "probe": design, "counted": False}
    return Task(key=key, name=key, kind=Kind.PROBE, metric=Metric.ACC1, **{**plain, **fields})


def write_probe(folder: Path, train: list[dict[str, bytes]], test: list[dict[str, bytes]]) -> None:
    write_task(folder, test)
    (folder / "train").mkdir()
    (folder / "train" / "nshards.txt").write_text("1\n")
    write_tar(folder / "train" / "0.tar", [(f"s{i:07d}", files) for i, files in enumerate(train)])
