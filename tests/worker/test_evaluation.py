"""Evaluation of small suites with a model known in closed form: records by hand, strict faults, rehearsals, a stage."""

import io
import json
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from small_suite import COLOURS, TEMPLATES, ColourModel, npy, png, riddle, write_tar, write_task
from stage_job import Notes, stage_context

from datacomp.messages import CHECKPOINT_FILE, RECORDS_FILE, EvaluateResult, Stage
from datacomp.problems import BadInput, PlatformFault
from datacomp.scales import SCALES
from datacomp.scoring import record_schema, score_records
from datacomp.suite import REHEARSAL_ITEMS, Kind, Metric, Suite, Task, load_suite, rehearsal_of
from datacomp_worker.evaluation import evaluate_suite
from datacomp_worker.stages import evaluate
from datacomp_worker.stages.base import Cancelled, StageContext
from datacomp_worker.training.models import register_models

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


def test_zeroshot_records_are_those_of_cosines_worked_out_directly(tmp_path: Path) -> None:
    samples, colours, labels = coloured(0, 150)
    one = task("vtab/colours", classes=6, size=150)
    write_task(tmp_path / one.folder, samples, shards=3)
    table = evaluated(suite_of(one), tmp_path)
    cosines = unit(colours) @ unit(VALUES).T
    assert table["item"] == list(range(150))
    assert table["label"] == labels.tolist()
    assert table["prediction"] == cosines.argmax(axis=1).tolist()
    own = cosines[np.arange(150), labels]
    assert table["rank"] == (cosines > own[:, None]).sum(axis=1).tolist()
    assert set(table["task"]) == {"vtab/colours"}
    assert set(table["group"]) == set(table["part"]) == {""}
    assert pq.read_schema(tmp_path / "records.parquet").equals(record_schema())


def test_a_classifier_is_the_unit_mean_of_unit_template_embeddings(tmp_path: Path) -> None:
    """Two templates that each name another colour: the class lies between both, whatever their lengths."""
    one = task("between", size=1)
    write_task(
        tmp_path / one.folder,
        [{"png": png((250, 10, 10)), "cls": b"0"}],
        names=["x", "y"],
        templates=["red {c}", "{c}"],
    )
    model = ColourModel()
    asked: list[list[str]] = []
    model.tokenizer = lambda texts: asked.append(texts) or ColourModel.tokenizer(model, texts)  # type: ignore[method-assign]
    table = evaluated(suite_of(one), tmp_path, model)
    assert asked == [["red x", "x", "red y", "y"]]
    assert table["rank"] == [0], "equal classes: the first is taken"


def test_a_model_that_tells_nothing_apart_scores_like_a_constant_answer(tmp_path: Path) -> None:
    samples, _, labels = coloured(1, 90)
    one = task("grey", size=90)
    pair = task("pairs", Kind.RETRIEVAL, Metric.MEAN_RECALL_AT_1, size=20)
    write_task(tmp_path / one.folder, samples, names=["x"] * 6)
    write_task(tmp_path / pair.folder, [{"png": png((9, 9, 9)), "txt": b"x\ny"} for _ in range(20)], names=None)
    evaluated(suite_of(one, pair), tmp_path)
    values = score_records(tmp_path / "records.parquet", suite_of(one, pair))
    assert values["grey"].value == pytest.approx((labels == 0).mean())
    assert values["pairs"].value == pytest.approx(1 / 20)


def test_groups_are_named_from_metadata(tmp_path: Path) -> None:
    named = task("named", metric=Metric.WORST_REGION, size=4, group_column=0, group_names=("Asia", "Africa", "Other"))
    numbered = task("numbered", metric=Metric.WORST_GROUP_ACC5, size=4, group_column=1)
    rows = [(0, 7), (1, 7), (2, 3), (0, 3)]
    samples = [{"png": png(COLOURS["red"]), "cls": b"0", "npy": npy(row)} for row in rows]
    for one in (named, numbered):
        write_task(tmp_path / one.folder, samples)
    table = evaluated(suite_of(named, numbered), tmp_path)
    assert table["group"] == ["Asia", "Africa", "Other", "Asia", "7", "7", "3", "3"]


def test_retrieval_ranks_both_ways(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    colours = rng.integers(0, 256, (40, 3)).astype(float)
    texts = [rng.choice(NAMES, rng.integers(1, 4)).tolist() for _ in range(40)]
    one = task("pairs", Kind.RETRIEVAL, Metric.MEAN_RECALL_AT_1, size=40)
    samples = [{"png": png(c), "txt": "\n".join(t).encode()} for c, t in zip(colours, texts, strict=True)]
    write_task(tmp_path / one.folder, samples, names=None)
    table = evaluated(suite_of(one), tmp_path)
    owner = [image for image, some in enumerate(texts) for _ in some]
    embedded = unit(VALUES[[NAMES.index(text) for some in texts for text in some]])
    cosines = unit(colours) @ embedded.T
    for place in range(40):
        own = [i for i, image in enumerate(owner) if image == place]
        best = max(cosines[place, own])
        first = next(i for i in own if cosines[place, i] > best - 1e-6)
        other = [i for i in range(len(owner)) if i not in own]
        ahead = sum(
            cosines[place, i] > best + 1e-6 or (abs(cosines[place, i] - best) <= 1e-6 and i < first) for i in other
        )
        assert (table["part"][place], table["item"][place], table["rank"][place]) == ("image_to_text", place, ahead)
    for text, image in enumerate(owner):
        row = 40 + text
        ahead = int((cosines[:, text] > cosines[image, text] + 1e-6).sum())
        assert (table["part"][row], table["item"][row]) == ("text_to_image", text)
        assert table["rank"][row] == ahead, "images are all different, so that there are no ties"


def test_riddles_choose_as_many_as_are_right(tmp_path: Path) -> None:
    red, green, blue = COLOURS["red"], COLOURS["green"], COLOURS["blue"]
    riddles = [
        riddle("red", [green, red, blue], [1]),  # chosen 1: right
        riddle("Red", [red, red, blue, green], [0, 2]),  # chosen 0, 1: one of three
        riddle("blue", [red, green, blue, red, green, red, green, red, green, red, green], [0]),  # chosen 2: none
    ]
    one = task("misc/riddles", Kind.WINOGAVIL, Metric.JACCARD, size=3)
    write_task(tmp_path / one.folder, riddles, names=None)
    model = ColourModel()
    asked: list[str] = []
    model.tokenizer = lambda texts: asked.extend(texts) or ColourModel.tokenizer(model, texts)  # type: ignore[method-assign]
    table = evaluated(suite_of(one), tmp_path, model)
    assert table["value"] == pytest.approx([1.0, 1 / 3, 0.0])
    assert table["group"] == ["3", "4", "11"]
    assert asked == ["A red", "A red", "A blue"]


def test_an_article_goes_before_the_cue() -> None:
    from datacomp_worker.evaluation.winogavil import prompt

    assert [prompt(cue) for cue in ("Owl", "bee", "umbrella")] == ["An owl", "A bee", "An umbrella"]


def test_attributes_are_asked_one_by_one(tmp_path: Path) -> None:
    one = task("fairness/faces", Kind.ATTRIBUTES, None, size=2, group_column=2, counted=False)
    names = ["race:red", "race:green", "gender:red", "gender:blue", "age:cyan", "age:red", "age:blue", "toxic:red"]
    templates = [f"{attribute}:{{c}}" for attribute in ("race", "gender", "age", "toxic")]
    samples = [
        {"png": png(COLOURS["red"]), "npy": npy((1, 0, 1, 0))},
        {"png": png(COLOURS["blue"]), "npy": npy((2, 0, 0, 1))},
    ]
    write_task(tmp_path / one.folder, samples, names=names, templates=templates, shards=1)
    table = evaluated(suite_of(one), tmp_path)
    assert table["part"] == [part for part in ("race", "gender", "age", "toxic") for _ in range(2)]
    assert table["item"] == [0, 1] * 4
    assert table["label"] == [1, 0, 0, 0, 1, 2, -1, -1]
    assert table["prediction"] == [0, 1, 0, 1, 1, 2, 0, 0], "blue is nearer to green than to red"
    assert table["rank"] == [1, 1, 0, 1, 0, 0, -1, -1]
    assert table["group"] == ["1", "0"] * 4
    assert score_records(tmp_path / "records.parquet", suite_of(one))["fairness/faces"].n == 2


def test_equal_classifiers_are_built_once_and_every_image_is_embedded_once(tmp_path: Path) -> None:
    tasks = [task(f"t{i}", size=70) for i in range(3)]
    for number, one in enumerate(tasks):
        write_task(tmp_path / one.folder, coloured(number, 70)[0])
    model = ColourModel()
    evaluated(suite_of(*tasks), tmp_path, model)
    assert sum(model.texts) == len(NAMES) * len(TEMPLATES)
    assert sum(model.images) == 210


def test_a_rehearsal_takes_the_first_items_of_each_task(tmp_path: Path) -> None:
    samples, _, labels = coloured(5, 60)
    long, short = task("long", size=60), task("short", size=3)
    write_task(tmp_path / long.folder, samples)
    write_task(tmp_path / short.folder, samples[:3])
    full = suite_of(long, short)
    rehearsal = rehearsal_of(full)
    model = ColourModel()
    table = evaluated(rehearsal, tmp_path, model)
    assert table["label"] == [*labels[:REHEARSAL_ITEMS].tolist(), *labels[:3].tolist()]
    assert sum(model.images) == REHEARSAL_ITEMS + 3
    assert sum(model.texts) == len(NAMES), "one template is enough"
    assert {key: value.n for key, value in score_records(tmp_path / "records.parquet", rehearsal).items()} == {
        "long": REHEARSAL_ITEMS,
        "short": 3,
    }
    with pytest.raises(BadInput, match="records-count"):
        score_records(tmp_path / "records.parquet", full)


def test_a_diverged_model_is_never_scored(tmp_path: Path) -> None:
    one = task("t", size=3)
    write_task(tmp_path / one.folder, coloured(0, 3)[0])
    with pytest.raises(BadInput, match="model-diverged") as refused:
        evaluated(suite_of(one), tmp_path, ColourModel(broken=True))
    assert refused.value.problems[0].where == "t"
    assert not (tmp_path / "records.parquet").exists()


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


# --- the stage -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Trained:
    """A checkpoint of the tiny architecture with random weights, and a suite beside its data."""

    checkpoint: Path
    suite_dir: Path
    suite: Suite
    network: torch.nn.Module

    def context(self, directory: Path, **changes: object) -> StageContext:
        fields = {"suite": self.suite.id, "suite_digest": self.suite.digest, "suite_dir": self.suite_dir, **changes}
        return stage_context(Stage.EVALUATE, directory, {CHECKPOINT_FILE: self.checkpoint}, **fields)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    register_models()
    torch.manual_seed(0)
    network = open_clip.create_model(SCALES["tiny"].model).eval()
    directory = tmp_path_factory.mktemp("trained")
    torch.save({"epoch": 1, "state_dict": network.state_dict()}, directory / "checkpoint.pt")
    suite = suite_of(
        task("colours", size=40, classes=6),
        task("pairs", Kind.RETRIEVAL, Metric.MEAN_RECALL_AT_1, size=12),
        task("riddles", Kind.WINOGAVIL, Metric.JACCARD, size=2),
    )
    rng = np.random.default_rng(0)
    write_task(directory / suite.tasks[0].folder, coloured(8, 40)[0])
    pairs = [{"png": png(rng.integers(0, 256, 3)), "txt": f"thing {i}\na {i}".encode()} for i in range(12)]
    write_task(directory / suite.tasks[1].folder, pairs, names=None)
    write_task(
        directory / suite.tasks[2].folder, [riddle("red", VALUES[:4], [0]), riddle("cyan", VALUES, [4])], names=None
    )
    (directory / "suite.json").write_text(suite.model_dump_json())
    return Trained(directory / "checkpoint.pt", directory, suite, network)


def test_the_stage_evaluates_a_real_network_as_open_clip_alone_does(trained: Trained, tmp_path: Path) -> None:
    notes = Notes()
    made = evaluate.run(trained.context(tmp_path, notes=notes))
    result, path = made.result, made.files[RECORDS_FILE]
    assert isinstance(result, EvaluateResult)
    assert (result.tasks, result.records) == (3, 40 + 12 + 24 + 2)
    assert result.suite_digest == trained.suite.digest
    assert notes.seen[-1].done == notes.seen[-1].total == 3
    assert [progress.done for progress in notes.seen] == sorted(progress.done for progress in notes.seen)
    values = score_records(path, trained.suite)
    assert all(value.value is not None and 0 <= value.value <= 1 for value in values.values())

    transform = open_clip.image_transform(32, is_train=False)
    tokenizer = open_clip.get_tokenizer(SCALES["tiny"].model)
    with torch.no_grad():
        classes = []
        for name in NAMES:
            rows = trained.network.encode_text(tokenizer([text.format(c=name) for text in TEMPLATES]), normalize=True)
            classes.append(rows.mean(dim=0) / rows.mean(dim=0).norm())
        images = [Image.open(io.BytesIO(sample["png"])) for sample in coloured(8, 40)[0]]
        rows = trained.network.encode_image(torch.stack([transform(image) for image in images]), normalize=True)
        said = (rows @ torch.stack(classes).T).argmax(dim=1)
    table = pq.read_table(path).to_pydict()
    assert table["prediction"][:40] == said.tolist()
    assert len(set(said.tolist())) > 1, "the random network tells colours apart somehow"


def test_a_checkpoint_of_another_architecture_is_named_and_nothing_is_scored(trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    other = {name: weights[:1] if weights.ndim else weights for name, weights in trained.network.state_dict().items()}
    torch.save({"state_dict": other}, path)
    context = replace(trained, checkpoint=path).context(tmp_path / "stage")
    with pytest.raises(PlatformFault) as fault:
        evaluate.run(context)
    assert fault.value.problems[0].code == "checkpoint-architecture"
    assert fault.value.problems[0].where
    assert not (context.workspace / RECORDS_FILE).exists()


def test_a_rehearsal_names_its_own_suite(trained: Trained, tmp_path: Path) -> None:
    made = evaluate.run(trained.context(tmp_path, rehearsal=True))
    rehearsal = rehearsal_of(trained.suite)
    assert isinstance(made.result, EvaluateResult)
    assert made.result.suite_digest == rehearsal.digest != trained.suite.digest
    assert {value.n for value in score_records(made.files[RECORDS_FILE], rehearsal).values()} == {REHEARSAL_ITEMS, 2}


def test_the_stage_refuses_another_suite_and_stops_when_cancelled(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(PlatformFault, match="suite-differs"):
        evaluate.run(trained.context(tmp_path / "1", suite_digest="0" * 64))
    with pytest.raises(PlatformFault, match="suite-unknown"):
        evaluate.run(trained.context(tmp_path / "2", suite="other@1", suite_dir=tmp_path))
    with pytest.raises(Cancelled):
        evaluate.run(trained.context(tmp_path / "3", notes=Notes(cancel_at="pairs")))
    assert not (tmp_path / "3" / "output" / RECORDS_FILE).exists()
