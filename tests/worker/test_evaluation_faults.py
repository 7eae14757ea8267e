"""Evaluations that cannot be carried out: short memory, broken samples, broken folders; all are named."""

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_suite import ColourModel, npy, png, write_tar, write_task
from suite_tasks import coloured, evaluated, suite_of, task

from datacomp.problems import PlatformFault
from datacomp.suite import Kind, Task, load_suite
from datacomp_worker.evaluation import evaluate_suite
from datacomp_worker.stages.base import Cancelled


@dataclass
class Short(ColourModel):
    """Runs out of memory at images of one task, as PyTorch says it on a GPU or on a processor."""

    error: Exception = field(default_factory=MemoryError)
    size: int = 3
    calls: int = 0

    def embed_image(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if len(images) == self.size:
            raise self.error
        return super().embed_image(images)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_short_memory_is_a_typed_failure_after_the_other_tasks_were_tried(tmp_path: Path, error: Exception) -> None:
    tasks = [task("large", size=3), task("small", size=2)]
    for number, one in enumerate(tasks):
        write_task(tmp_path / one.folder, coloured(number, 3 - number)[0])
    model = Short(error=error)
    with pytest.raises(PlatformFault) as fault:
        evaluated(suite_of(*tasks), tmp_path, model)
    (problem,) = fault.value.problems
    assert (problem.code, problem.where) == ("evaluation-memory", "large: after 0 records")
    assert problem.hint
    assert model.calls == 2
    assert not (tmp_path / "records.parquet").exists()


def test_whoever_stops_an_evaluation_stops_all_that_runs_in_it(tmp_path: Path) -> None:
    """Tasks run side by side; stopped at the first records, none goes on, and nothing is left."""
    tasks = [task(f"t{number}", size=2000) for number in range(3)]
    write_task(tmp_path / tasks[0].folder, coloured(0, 2000)[0])
    for one in tasks[1:]:
        (tmp_path / one.folder).symlink_to(tmp_path / tasks[0].folder)
    model, before = ColourModel(), threading.active_count()

    def tick(done: int, one: Task, items: int) -> None:
        if items:
            raise Cancelled

    with pytest.raises(Cancelled):
        evaluate_suite(suite_of(*tasks), tmp_path, model, tmp_path / "records.parquet", tick=tick)
    assert threading.active_count() == before
    assert sum(model.images) < 4000
    assert not (tmp_path / "records.parquet").exists()


def test_an_error_of_ours_is_not_taken_for_short_memory(tmp_path: Path) -> None:
    one = task("t", size=3)
    write_task(tmp_path / one.folder, coloured(0, 3)[0])
    with pytest.raises(RuntimeError, match="shape mismatch"):
        evaluated(suite_of(one), tmp_path, Short(error=RuntimeError("shape mismatch")))
    assert not (tmp_path / "records.parquet").exists()


# --- broken data -----------------------------------------------------------------------------------------------------

GOOD = {"png": png((1, 2, 3)), "cls": b"0"}
BROKEN_SAMPLES = {
    "task-image-corrupt": {"png": png((1, 2, 3))[:40], "cls": b"0"},
    "task-label-range": {**GOOD, "cls": b"6"},
    "task-sample-incomplete": {"cls": b"0"},
    "task-sample-invalid": {**GOOD, "cls": b"red"},
}


@pytest.mark.parametrize("code", BROKEN_SAMPLES)
def test_a_broken_sample_is_named_with_task_shard_and_key(tmp_path: Path, code: str) -> None:
    one = task("vtab/t", size=4)
    write_task(tmp_path / one.folder, [GOOD, GOOD, GOOD, BROKEN_SAMPLES[code]])
    with pytest.raises(PlatformFault) as fault:
        evaluated(suite_of(one), tmp_path)
    (problem,) = fault.value.problems
    assert (problem.code, problem.where) == (code, "vtab/t: test/1.tar: s0000003")


@pytest.mark.parametrize("metadata", [npy((0.5,)), npy(()), b"\x93NUMPY", npy((9,)), None])
def test_bad_metadata_is_a_fault(tmp_path: Path, metadata: bytes | None) -> None:
    one = task("t", size=1, group_column=0, group_names=("a", "b"))
    write_task(tmp_path / one.folder, [GOOD if metadata is None else {**GOOD, "npy": metadata}], shards=1)
    with pytest.raises(PlatformFault, match=r"t: test/0\.tar: s0000000") as fault:
        evaluated(suite_of(one), tmp_path)
    assert fault.value.problems[0].code in {"task-sample-invalid", "task-sample-incomplete", "task-group-range"}


def damage_class_file(folder: Path) -> None:
    (folder / "classnames.txt").write_text("red\ngreen\n")


def remove_templates(folder: Path) -> None:
    (folder / "zeroshot_classification_templates.txt").unlink()


def break_templates(folder: Path) -> None:
    (folder / "zeroshot_classification_templates.txt").write_text("a photo of a {c}\na photo of {}\n")


def empty_class_file(folder: Path) -> None:
    (folder / "classnames.txt").write_text("")


def cut_shard(folder: Path) -> None:
    shard = folder / "test" / "1.tar"
    shard.write_bytes(shard.read_bytes()[:700])


def remove_shard(folder: Path) -> None:
    (folder / "test" / "1.tar").unlink()


def add_sample(folder: Path) -> None:
    write_tar(folder / "test" / "1.tar", [(f"x{i}", GOOD) for i in range(9)])


def misname_shards(folder: Path) -> None:
    (folder / "test" / "nshards.txt").write_text("two")


@pytest.mark.parametrize(
    ("damage", "code", "where"),
    [
        (damage_class_file, "task-classes", "t: classnames.txt"),
        (remove_templates, "task-file-unreadable", "t: zeroshot_classification_templates.txt"),
        (break_templates, "task-template-invalid", "t: zeroshot_classification_templates.txt"),
        (empty_class_file, "task-file-empty", "t: classnames.txt"),
        (cut_shard, "task-shard-unreadable", "t: test/1.tar"),
        (remove_shard, "task-shard-unreadable", "t: test/1.tar"),
        (add_sample, "task-count", "t: test"),
        (misname_shards, "task-file-invalid", "t: test/nshards.txt"),
    ],
)
def test_a_broken_folder_is_named_by_file(tmp_path: Path, damage, code: str, where: str) -> None:
    one = task("t", size=4, classes=6)
    write_task(tmp_path / one.folder, [GOOD] * 4)
    damage(tmp_path / one.folder)
    with pytest.raises(PlatformFault) as fault:
        evaluated(suite_of(one), tmp_path)
    assert (fault.value.problems[0].code, fault.value.problems[0].where) == (code, where)


def test_all_broken_tasks_are_named_after_the_others_were_tried_and_nothing_is_left(tmp_path: Path) -> None:
    tasks = [task("missing", size=1), task("good", size=4), task("short", size=9)]
    for one in tasks[1:]:
        write_task(tmp_path / one.folder, [GOOD] * 4)
    seen: list[str] = []
    path = tmp_path / "records.parquet"
    with pytest.raises(PlatformFault) as fault:
        evaluate_suite(
            suite_of(*tasks),
            tmp_path,
            ColourModel(),
            path,
            tick=lambda done, one, items: seen.append(f"{one.key} {items}"),
        )
    assert [problem.code for problem in fault.value.problems] == ["task-missing", "task-count"]
    assert "good 4" in seen
    assert not path.exists()
    with pytest.raises(PlatformFault, match="suite-missing"):
        evaluate_suite(suite_of(*tasks), tmp_path / "nowhere", ColourModel(), path)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 5000))
def test_no_bytes_in_place_of_a_shard_do_more_than_a_typed_fault(tmp_path_factory, noise: bytes, at: int) -> None:
    directory = tmp_path_factory.mktemp("fuzz")
    one = task("t", size=2)
    write_task(directory / one.folder, [GOOD, GOOD], shards=1)
    shard = directory / one.folder / "test" / "0.tar"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        items = evaluated(suite_of(one), directory)["item"]
    except PlatformFault as fault:
        items = [problem.code for problem in fault.problems]
    assert items == [0, 1] or all(str(code).startswith("task-") for code in items)


def test_packaged_suites_only_use_kinds_that_can_be_evaluated() -> None:
    from datacomp_worker.evaluation.suite import KINDS

    assert set(KINDS) == set(Kind)
    assert {one.kind for one in load_suite("datacomp-38").tasks} <= set(KINDS)
    assert json.loads(load_suite("datacomp-38").model_dump_json())["rehearsal"] is False
