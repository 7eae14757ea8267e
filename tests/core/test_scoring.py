"""Every metric against an independent computation (scikit-learn's, or plain loops), what records are refused, and the
aggregation against DataComp's published table of 27 models x 38 tasks."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import oracle
from sklearn.metrics import balanced_accuracy_score, f1_score, top_k_accuracy_score

from datacomp.problems import BadInput
from datacomp.scoring import FIELDS, METRICS, aggregate, record_schema, score_records
from datacomp.suite import REHEARSAL_ITEMS, Kind, Metric, Suite, Task, load_suite, rehearsal_of

CLASSES = 7
Columns = dict[str, np.ndarray]


def task(key: str, metric: Metric | None, kind: Kind = Kind.ZEROSHOT, **fields: object) -> Task:
    return Task(key=key, name=key, kind=kind, metric=metric, **{"group": "other", **fields})


def columns(n: int, **given: object) -> Columns:
    """Records of one task with every column filled."""
    plain = {"item": np.arange(n), "part": "", "label": -1, "prediction": -1, "rank": -1, "value": np.nan, "group": ""}
    plain |= {"variation": "", "shots": -1, "draw": -1}
    return {name: np.broadcast_to(np.asarray(value), (n,)) for name, value in {**plain, **given}.items()}


def write(path: Path, tasks: dict[str, Columns]) -> Path:
    parts = []
    for key, found in tasks.items():
        full = {"task": np.full(len(found["item"]), key), **found}
        arrays = [pa.array(list(full[field.name])).cast(field.type) for field in record_schema()]
        parts.append(pa.Table.from_arrays(arrays, schema=record_schema()))
    pq.write_table(pa.concat_tables(parts), path)
    return path


def value_of(path: Path, metric: Metric, found: Columns, kind: Kind = Kind.ZEROSHOT) -> float:
    suite = Suite(name="s", version="1", tasks=(task("t", metric, kind),))
    value = score_records(write(path / "r.parquet", {"t": found}), suite)["t"].value
    assert value is not None
    return value


def classified(seed: int, n: int = 400, present: int = CLASSES) -> tuple[Columns, np.ndarray, np.ndarray]:
    """Records of a classifier with random scores that lean towards the right class; the labels and scores."""
    rng = np.random.default_rng(seed)
    label = np.minimum(rng.integers(0, present, n), rng.integers(0, present, n))  # unbalanced
    scores = rng.standard_normal((n, CLASSES))
    scores[np.arange(n), label] += 0.8
    order = np.argsort(-scores, axis=1)
    rank = np.array([list(row).index(right) for row, right in zip(order, label, strict=True)])
    return columns(n, label=label, prediction=order[:, 0], rank=rank), label, scores


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_classification_metrics_agree_with_scikit_learn(tmp_path: Path, seed: int) -> None:
    found, label, scores = classified(seed)
    said, every = scores.argmax(axis=1), np.arange(CLASSES)
    assert value_of(tmp_path, Metric.ACC1, found) == pytest.approx((said == label).mean(), abs=1e-12)
    for k, metric in ((1, Metric.ACC1), (5, Metric.ACC5)):
        other = top_k_accuracy_score(label, scores, k=k, labels=every)
        assert value_of(tmp_path, metric, found) == pytest.approx(other, abs=1e-12)
    recall = balanced_accuracy_score(label, said)
    assert value_of(tmp_path, Metric.MEAN_PER_CLASS_RECALL, found) == pytest.approx(recall, abs=1e-12)
    f1 = f1_score(label, said, average="macro", labels=np.unique(label))
    assert value_of(tmp_path, Metric.F1_MACRO, found) == pytest.approx(f1, abs=1e-12)


def test_classes_that_never_occur_count_for_nothing(tmp_path: Path) -> None:
    """Predicted but absent classes are no part of the mean (CLIP_benchmark's recall, WILDS' F1)."""
    found, label, scores = classified(3, present=3)
    said = scores.argmax(axis=1)
    assert set(said) - set(label)
    by_hand = np.mean([(said[label == c] == c).mean() for c in sorted(set(label))])
    assert value_of(tmp_path, Metric.MEAN_PER_CLASS_RECALL, found) == pytest.approx(by_hand, abs=1e-12)
    f1 = f1_score(label, said, average="macro", labels=np.unique(label))
    assert value_of(tmp_path, Metric.F1_MACRO, found) == pytest.approx(f1, abs=1e-12)
    assert f1 != pytest.approx(f1_score(label, said, average="macro", labels=np.arange(CLASSES)))


GROUPS = np.array(["Asia", "Europe", "Other", ""])


@pytest.mark.parametrize(
    ("metric", "k", "left_out"),
    [(Metric.WORST_GROUP_ACC1, 1, {""}), (Metric.WORST_GROUP_ACC5, 5, {""}), (Metric.WORST_REGION, 1, {"", "Other"})],
)
def test_the_worst_group_counts(tmp_path: Path, metric: Metric, k: int, left_out: set[str]) -> None:
    found, label, scores = classified(4)
    groups = GROUPS[np.random.default_rng(5).integers(0, 4, label.size)]
    scores[groups == "Other"] = -np.eye(CLASSES)[label[groups == "Other"]]  # always wrong there
    rank = (scores > scores[np.arange(label.size), label][:, None]).sum(axis=1)
    right: dict[str, list[bool]] = {}
    for group, place in zip(groups, rank, strict=True):
        right.setdefault(str(group), []).append(bool(place < k))
    shares = {group: sum(some) / len(some) for group, some in right.items() if group not in left_out}
    value = value_of(tmp_path, metric, {**found, "rank": rank, "group": groups})
    assert value == pytest.approx(min(shares.values()), abs=1e-12)
    assert ("Other" in left_out) == (value > 0)


def test_without_groups_the_worst_group_is_everybody(tmp_path: Path) -> None:
    found, label, scores = classified(6)
    accuracy = (scores.argmax(axis=1) == label).mean()
    assert value_of(tmp_path, Metric.WORST_GROUP_ACC1, found) == pytest.approx(accuracy)
    only_other = {**found, "group": np.full(label.size, "Other")}
    assert value_of(tmp_path, Metric.WORST_REGION, only_other) == pytest.approx(accuracy)


def test_recall_at_1_is_the_mean_of_both_ways(tmp_path: Path) -> None:
    images, captions = np.array([0, 3, 0, 1]), np.array([0, 0, 5, 2, 0, 1, 0, 0, 9, 9])
    found = columns(
        14,
        item=np.concatenate([np.arange(4), np.arange(10)]),
        part=np.repeat(["image_to_text", "text_to_image"], [4, 10]),
        rank=np.concatenate([images, captions]),
    )
    assert value_of(tmp_path, Metric.MEAN_RECALL_AT_1, found, Kind.RETRIEVAL) == pytest.approx((2 / 4 + 5 / 10) / 2)


def test_riddles_count_all_or_only_those_of_many_candidates(tmp_path: Path) -> None:
    values = np.array([1.0, 0.5, 0.0, 0.25, 1 / 3])
    found = columns(5, value=values, group=["5", "6", "10", "12", "10"])
    assert value_of(tmp_path, Metric.JACCARD, found, Kind.WINOGAVIL) == pytest.approx(values.mean())
    assert value_of(tmp_path, Metric.JACCARD_LARGE, found, Kind.WINOGAVIL) == pytest.approx((0 + 0.25 + 1 / 3) / 3)
    few = columns(2, value=values[:2], group=["5", "6"])
    assert np.isnan(value_of(tmp_path, Metric.JACCARD_LARGE, few, Kind.WINOGAVIL))


def test_every_metric_has_a_formula() -> None:
    assert set(METRICS) == set(Metric)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_scores_lie_in_0_to_1_and_depend_neither_on_order_nor_on_how_often_data_is_repeated(
    tmp_path_factory, data
) -> None:
    n = data.draw(st.integers(1, 40))
    rng = np.random.default_rng(data.draw(st.integers(0, 1 << 30)))
    rank = rng.integers(0, CLASSES, n)
    label = rng.integers(0, CLASSES, n)
    prediction = np.where(rank == 0, label, (label + 1) % CLASSES)
    found = columns(n, label=label, prediction=prediction, rank=rank, group=GROUPS[rng.integers(0, 4, n)])
    mixed = {name: column[rng.permutation(n)] if name == "item" else column for name, column in found.items()}
    order = rng.permutation(n)
    shuffled = {name: column[order] for name, column in mixed.items()}
    doubled = {name: np.concatenate([column, column]) for name, column in found.items()} | {"item": np.arange(2 * n)}
    directory = tmp_path_factory.mktemp("p")
    simple = (Metric.ACC1, Metric.ACC5, Metric.MEAN_PER_CLASS_RECALL, Metric.F1_MACRO)
    worst = (Metric.WORST_GROUP_ACC1, Metric.WORST_GROUP_ACC5, Metric.WORST_REGION)
    for metric in simple + worst:
        value = value_of(directory, metric, found)
        assert 0 <= value <= 1
        assert value_of(directory, metric, shuffled) == pytest.approx(value, abs=1e-12)
        assert value_of(directory, metric, doubled) == pytest.approx(value, abs=1e-12)
    assert value_of(directory, Metric.WORST_GROUP_ACC1, found) <= value_of(directory, Metric.WORST_GROUP_ACC5, found)
    assert value_of(directory, Metric.ACC1, found) <= value_of(directory, Metric.ACC5, found)


# --- what is refused -------------------------------------------------------------------------------------------------


def test_all_unfit_tasks_are_named_at_once(tmp_path: Path) -> None:
    suite = Suite(
        name="s",
        version="1",
        tasks=(
            task("missing", Metric.ACC1),
            task("short", Metric.ACC1, size=5),
            task("twice", Metric.ACC1, size=3),
            task("one-way", Metric.MEAN_RECALL_AT_1, Kind.RETRIEVAL, size=3),
        ),
    )
    path = write(
        tmp_path / "r.parquet",
        {
            "short": columns(4, rank=0),
            "twice": columns(4, rank=0, item=[0, 1, 2, 2]),
            "one-way": columns(3, rank=0, part="image_to_text"),
            "unknown": columns(1),
        },
    )
    with pytest.raises(BadInput) as error:
        score_records(path, suite)
    assert {(problem.code, problem.where) for problem in error.value.problems} == {
        ("records-task-missing", "missing"),
        ("records-task-unknown", "unknown"),
        ("records-count", "short"),
        ("records-twice", "twice"),
        ("records-parts", "one-way"),
    }


def test_files_that_are_not_records_are_refused(tmp_path: Path) -> None:
    suite = Suite(name="s", version="1", tasks=(task("t", Metric.ACC1),))
    path = tmp_path / "r.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    with pytest.raises(BadInput, match="records-unreadable"):
        score_records(path, suite)
    pq.write_table(pa.table({name: [0] for name in FIELDS}), path)
    with pytest.raises(BadInput, match="records-schema"):
        score_records(path, suite)


def test_a_task_without_summary_metric_has_items_but_no_value(tmp_path: Path) -> None:
    faces = task("faces", None, Kind.ATTRIBUTES, size=3, counted=False)
    suite = Suite(name="s", version="1", tasks=(faces,))
    found = columns(6, item=[0, 1, 2] * 2, part=np.repeat(["race", "age"], 3), label=0, rank=0)
    value = score_records(write(tmp_path / "r.parquet", {"faces": found}), suite)["faces"]
    assert (value.value, value.n) == (None, 3)


# --- aggregation -----------------------------------------------------------------------------------------------------


def test_a_mean_with_a_task_missing_is_none_rather_than_another_mean() -> None:
    suite = load_suite("datacomp-38")
    values = {one.key: 0.5 for one in suite.counted}
    whole = aggregate(values, suite)
    assert (whole.average, whole.main) == (0.5, 0.5)
    assert set(whole.groups) == {"main", "shift", "vtab", "retrieval", "other"}
    del values["cars"]
    part = aggregate(values, suite)
    assert part.average is None
    assert part.main == 0.5
    assert set(part.groups) == {"main", "shift", "vtab", "retrieval"}


def test_the_suite_is_datacomps() -> None:
    suite = load_suite("datacomp-38")
    assert (len(suite.tasks), len(suite.counted)) == (40, 38)
    assert {group: len(tasks) for group, tasks in suite.groups().items()} == {
        "main": 1,
        "shift": 6,
        "vtab": 13,
        "retrieval": 3,
        "other": 15,
    }


def require_table() -> list[dict[str, str]]:
    with oracle("datacomp", "openclip_released_baselines_per_task.csv").open() as file:
        return list(csv.DictReader(file))


def test_the_average_over_38_is_the_published_one_for_all_27_models() -> None:
    rows = require_table()
    suite = load_suite("datacomp-38")
    assert len(rows) == 27
    assert {one.name for one in suite.counted} <= set(rows[0])
    for row in rows:
        ours = aggregate({one.key: float(row[one.name]) for one in suite.counted}, suite)
        assert ours.average == pytest.approx(float(row["average_38"]), abs=1e-4), row["pretrained"]
        assert ours.main == float(row["ImageNet 1k"])


# --- rehearsals ------------------------------------------------------------------------------------------------------


def test_a_rehearsals_suite_is_another_suite_of_the_same_tasks() -> None:
    suite = load_suite("datacomp-38")
    rehearsal = rehearsal_of(suite)
    assert rehearsal.digest != suite.digest
    assert rehearsal_of(rehearsal).digest == rehearsal.digest
    assert [one.key for one in rehearsal.tasks] == [one.key for one in suite.tasks]
    assert {one.size for one in rehearsal.tasks} == {REHEARSAL_ITEMS}
    few = Suite(name="s", version="1", tasks=(task("few", None, size=3), task("some", None)))
    assert [one.size for one in rehearsal_of(few).tasks] == [3, None]
