"""The evaluation suite of the tiny world: one world of 1,024 pairs."""

import io
import json
from collections import Counter
from math import comb

import numpy as np
import pytest
from PIL import Image
from tiny_world import tiny_world
from world_made import SUITE, ZEROSHOT, Made, grouped, image_of, members

from datacomp.suite import Kind, Metric, Task
from datacomp_worker.world import handwriting, tasks

pytestmark = pytest.mark.timeout(600)  # half a minute of work in the fixture, which a busy machine stretches


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(*tiny_world(tmp_path_factory))


def test_suite_folders_are_those_of_the_suite_file(made: Made) -> None:
    folders = {path.name for path in made.world.suite_dir.iterdir() if path.is_dir()}
    assert folders == {task.folder for task in SUITE.tasks}
    assert {task.group for task in SUITE.counted} == {"main", "shift", "vtab", "retrieval", "other"}
    assert {task.group for task in SUITE.tasks if not task.counted} == set(SUITE.side_groups)
    for task in SUITE.tasks:
        assert (made.world.suite_dir / task.folder / "test" / "nshards.txt").read_text().strip() == "1"


@pytest.mark.parametrize("task", ZEROSHOT, ids=lambda task: task.key)
def test_classification_task(made: Made, task: Task) -> None:
    folder = made.world.suite_dir / task.folder
    names = (folder / "classnames.txt").read_text().splitlines()
    templates = (folder / "zeroshot_classification_templates.txt").read_text().splitlines()
    assert len(names) == len(set(names)) == task.classes
    assert templates
    assert all("{c}" in template for template in templates)
    samples = grouped(made.task(task))
    assert len(samples) == task.size
    labels = [int(files["cls"].decode()) for files in samples.values()]
    counts = Counter(labels)
    assert set(counts) == set(range(task.classes))
    if task.metric == Metric.MEAN_PER_CLASS_RECALL:
        assert max(counts.values()) > 10 * min(counts.values())
    else:
        assert len(set(counts.values())) == 1
    for files in samples.values():
        (extension,) = image_of(files)
        with Image.open(io.BytesIO(files[extension])) as image:
            assert image.size == (64, 64)
    top = 5 if task.metric == Metric.WORST_GROUP_ACC5 else 1
    assert task.chance == pytest.approx(top / task.classes)
    if task.group_column is not None:
        check_groups(task, [np.load(io.BytesIO(files["npy"])) for files in samples.values()], labels)


@pytest.mark.parametrize("task", [task for task in SUITE.tasks if task.kind == Kind.PROBE], ids=lambda task: task.key)
def test_probes_have_pictures_to_learn_from_that_are_not_asked_about(made: Made, task: Task) -> None:
    assert task.probe is not None
    train = grouped(members(made.world.suite_dir / task.folder / "train" / "0.tar"))
    test = grouped(made.task(task))
    assert (len(train), len(test)) == (task.probe.train_size, task.size)
    assert task.chance == pytest.approx(1 / task.classes)
    for samples in (train, test):
        counts = Counter(int(files["cls"].decode()) for files in samples.values())
        assert set(counts) == set(range(task.classes))
        assert len(set(counts.values())) == 1
    assert min(Counter(int(files["cls"].decode()) for files in train.values()).values()) >= max(task.probe.shots)
    pictures = [{files[ext] for files in samples.values() for ext in image_of(files)} for samples in (train, test)]
    assert pictures[0].isdisjoint(pictures[1])


def check_groups(task: Task, metadata: list[np.ndarray], labels: list[int]) -> None:
    assert all(vector.dtype == np.int64 and vector.ndim == 1 for vector in metadata)
    assert task.group_names is not None
    assert task.group_column is not None
    cells = Counter((int(v[task.group_column]), label) for v, label in zip(metadata, labels, strict=True))
    assert {group for group, _ in cells} == set(range(len(task.group_names)))
    assert len(cells) == len(task.group_names) * task.classes
    assert len(set(cells.values())) == 1  # so that a constant answer scores at chance in every group


def test_retrieval_task(made: Made) -> None:
    (task,) = (task for task in SUITE.tasks if task.kind == Kind.RETRIEVAL)
    samples = grouped(made.task(task))
    captions = [files["txt"].decode().splitlines() for files in samples.values()]
    assert len(samples) == task.size
    assert task.chance == 1 / task.size
    assert {len(own) for own in captions} == {tasks.CAPTIONS_EACH}
    assert all(set(files) == {"jpg", "txt"} for files in samples.values())
    assert (made.world.suite_dir / task.folder / "dataset_type.txt").read_text().strip() == "retrieval"


def test_association_task(made: Made) -> None:
    (task,) = (task for task in SUITE.tasks if task.kind == Kind.WINOGAVIL)
    samples = grouped(made.task(task))
    assert len(samples) == task.size
    chances = []
    for files in samples.values():
        about = json.loads(files.pop("json"))
        assert set(about) == {"cue", "associations"}
        n, k = len(files), len(about["associations"])
        assert set(files) == {f"{place}.jpg" for place in range(n)}
        assert 10 <= n <= 12
        assert set(about["associations"]) < set(range(n))
        ways = [(comb(k, hits) * comb(n - k, k - hits) / comb(n, k), hits / (2 * k - hits)) for hits in range(k + 1)]
        chances.append(sum(share * value for share, value in ways))
    assert task.chance == pytest.approx(np.mean(chances), abs=1e-5)


def test_association_candidates_are_right_or_wrong_for_the_cue() -> None:
    plans = tasks.plan(handwriting.load().suite, np.random.default_rng(3))
    (plan,) = (plan for plan in plans if isinstance(plan, tasks.Association))
    for scenes, cue, right in zip(plan.scenes, plan.cues, plan.right, strict=True):
        names = [(tasks.COLOURS[s.colour], tasks.SHAPES[s.shape], tasks.BACKGROUNDS[s.background]) for s in scenes]
        assert [place for place, words in enumerate(names) if cue in words] == right


def test_no_digit_image_is_in_two_parts() -> None:
    writing = handwriting.load()
    parts = [{image for image, _ in part} for part in (writing.pool, writing.reference, writing.suite)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 1797
    assert all({value for _, value in part} == set(range(10)) for part in (writing.pool, writing.suite))
