"""Writing the evaluation suite as CLIP_benchmark's webdataset builder reads it, one `wds_*_test` folder a task.

Samples are `<key>.jpg|png|webp` with `<key>.cls`, the class number in ASCII. Worst-group tasks add `<key>.npy`, an
int64 vector as WILDS' metadata: group, class. Retrieval tasks have `<key>.txt` instead, one caption a line. An instance
of the associations is `<key>.json` = {"cue": str, "associations": [indices of the right candidates]} with the
candidates `<key>.0.jpg`, `<key>.1.jpg`, ...
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp_worker.world.pictures import encode_as
from datacomp_worker.world.pool_files import add
from datacomp_worker.world.render import Floats, Pixels, render
from datacomp_worker.world.scenes import Scene
from datacomp_worker.world.side_tasks import Pictures, Probe, Side
from datacomp_worker.world.tasks import Association, Classification, Plan, Retrieval


@dataclass(frozen=True)
class SuitePictures:
    """Pictures of the suite that may leak into a crawl: canvases (n, SIDE, SIDE, 3), what they show, `task/item`."""

    canvases: Pixels
    scenes: list[Scene]
    names: list[str]


def write_suite(
    directory: Path,
    plans: list[Plan],
    handwriting: Floats,
    rng: np.random.Generator,
    report: Callable[[str, float], None],
) -> SuitePictures:
    """Draw and write all tasks. `report` gets (task, share of tasks begun)."""
    canvases, scenes, names = [], [], []
    for number, plan in enumerate(plans):
        report(f"evaluation suite: {plan.key}", number / len(plans))
        folder = directory / task_folder(plan.key)
        flat = [s for part in plan.scenes for s in part] if isinstance(plan, Association) else plan.scenes
        drawn = render(flat, handwriting, rng)
        _write_tar(folder / "test", _members(plan, drawn))
        _write_texts(folder, plan)
        if not isinstance(plan, Association):
            canvases.append(drawn)
            scenes += flat
            names += [f"{plan.key}/{item}" for item in range(len(flat))]
    return SuitePictures(np.concatenate(canvases), scenes, names)


def write_side_tasks(directory: Path, plans: list[Side], handwriting: Floats, rng: np.random.Generator) -> None:
    """Draw and write the tasks that stand beside the average; no picture of theirs leaks into a crawl."""
    for plan in plans:
        folder = directory / task_folder(plan.key)
        if isinstance(plan, Probe):
            parts = {"train": plan.train, "test": plan.test}
        else:
            parts = {"test": Pictures(plan.labels, plan.scenes)}
        for split, part in parts.items():
            drawn = part.canvases if part.canvases is not None else render(part.scenes, handwriting, rng)
            _write_tar(folder / split, _labelled(plan.extension, drawn, part.labels))
        _write_texts(folder, plan)


def _write_tar(folder: Path, members: Iterator[tuple[str, bytes]]) -> None:
    """One shard and the number of shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nshards.txt").write_text("1\n")
    with tarfile.open(folder / "0.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            add(tar, name, data)


def _labelled(extension: str, drawn: Pixels, labels: list[int]) -> Iterator[tuple[str, bytes]]:
    for item, (canvas, label) in enumerate(zip(drawn, labels, strict=True)):
        yield f"s{item:07d}.{extension}", encode_as(extension, canvas)
        yield f"s{item:07d}.cls", str(label).encode()


def write_eval_features(directory: Path, embeddings: Mapping[str, Floats]) -> None:
    """`eval_features.npz`: the reference models' embeddings of all pictures that may leak, under the pool's own feature
    names, so that whoever filters can keep away from them without seeing them."""
    arrays = {f"{name}_img": found.astype(np.float16) for name, found in embeddings.items()}
    np.savez(directory / "eval_features.npz", allow_pickle=False, **arrays)


def task_folder(key: str) -> str:
    """Name of a task's folder, as `datacomp.suite.Task.folder` has it."""
    return f"wds_{key.replace('/', '-')}_test"


def _write_texts(folder: Path, plan: Plan | Side) -> None:
    if isinstance(plan, Probe):
        (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in plan.classnames))
    elif isinstance(plan, Classification):
        (folder / "classnames.txt").write_text("".join(f"{name}\n" for name in plan.classnames))
        (folder / "zeroshot_classification_templates.txt").write_text("".join(f"{t}\n" for t in plan.templates))
    else:
        (folder / "dataset_type.txt").write_text("retrieval\n" if isinstance(plan, Retrieval) else "association\n")


def _members(plan: Plan, drawn: Pixels) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the tar's files, sample by sample."""
    if isinstance(plan, Association):
        yield from _association_members(plan, drawn)
        return
    for item, canvas in enumerate(drawn):
        key = f"s{item:07d}"
        if isinstance(plan, Retrieval):
            yield f"{key}.jpg", encode_as("jpg", canvas)
            yield f"{key}.txt", "\n".join(plan.texts[item]).encode()
            continue
        yield f"{key}.{plan.extension}", encode_as(plan.extension, canvas)
        yield f"{key}.cls", str(plan.labels[item]).encode()
        if plan.groups is not None:
            yield f"{key}.npy", _npy(np.array([plan.groups[item], plan.labels[item]], np.int64))


def _association_members(plan: Association, drawn: Pixels) -> Iterator[tuple[str, bytes]]:
    at = 0
    for item, (scenes, cue, right) in enumerate(zip(plan.scenes, plan.cues, plan.right, strict=True)):
        key = f"s{item:07d}"
        yield f"{key}.json", json.dumps({"cue": cue, "associations": right}).encode()
        for place in range(len(scenes)):
            yield f"{key}.{place}.jpg", encode_as("jpg", drawn[at + place])
        at += len(scenes)


def _npy(array: npt.NDArray[np.int64]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
