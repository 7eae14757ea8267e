"""Linear probes: the solver against another, index sets that nothing but the suite decides, records, faults."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax
from small_probe import CLASSES, TEST, TRAIN, coloured, probe, write_probe
from small_suite import ColourModel, write_tar

from datacomp.probing import ALL, Condition, training_items
from datacomp.problems import PlatformFault
from datacomp.scoring import score_records
from datacomp.suite import Suite, Task, rehearsal_of
from datacomp_worker.evaluation import evaluate_suite
from datacomp_worker.evaluation.linear import fit


def suite_of(*tasks: Task) -> Suite:
    return Suite(name="small", version="1", tasks=tasks, side_groups=("probes",))


def run(tmp_path: Path, *tasks: Task, model: ColourModel | None = None, rehearsal: bool = False) -> dict[str, list]:
    suite = rehearsal_of(suite_of(*tasks)) if rehearsal else suite_of(*tasks)
    evaluate_suite(suite, tmp_path, model or ColourModel(), tmp_path / "records.parquet")
    return pq.read_table(tmp_path / "records.parquet").to_pydict()


@pytest.mark.parametrize("classes", [2, 4])
def test_the_solver_finds_the_minimum_of_the_penalised_loss(classes: int) -> None:
    """Against SciPy on the loss written down directly; for two classes as for more."""
    rng = np.random.default_rng(classes)
    labels = np.arange(40) % classes
    features = rng.standard_normal((40, 5)) + labels[:, None] * 0.5
    found = fit(features, labels, classes, strength=2.0)
    centred = features - features.mean(axis=0)
    x = centred / np.sqrt((centred**2).sum(axis=1).mean())

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w, b = flat[:-classes].reshape(classes, 5), flat[-classes:]
        fitted = log_softmax(x @ w.T + b, axis=1)
        off = np.exp(fitted) - np.eye(classes)[labels]
        slope = np.concatenate([(off.T @ x + w / 2.0).ravel(), off.sum(axis=0)])
        return float(-fitted[np.arange(40), labels].sum() + (w**2).sum() / (2 * 2.0)), slope

    start = np.zeros(classes * 6)
    other = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-9}).x
    w, b = other[:-classes].reshape(classes, 5), other[-classes:]
    ours, theirs = found.scores(features), x @ w.T + b
    np.testing.assert_allclose(log_softmax(ours, axis=1), log_softmax(theirs, axis=1), atol=1e-5)
    assert loss(np.concatenate([found.weights.ravel(), found.offsets]))[0] == pytest.approx(loss(other)[0], abs=1e-9)


def test_scores_do_not_depend_on_the_scale_or_place_of_the_embeddings() -> None:
    rng = np.random.default_rng(0)
    features, labels = rng.standard_normal((30, 4)), np.arange(30) % 3
    first, moved = fit(features, labels, 3, 10.0), fit(features * 0.01 + 7, labels, 3, 10.0)
    np.testing.assert_allclose(first.scores(features), moved.scores(features * 0.01 + 7), atol=1e-4)


def test_classes_never_seen_come_last_and_a_single_class_is_always_said() -> None:
    features = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.1]])
    scores = fit(features, np.array([1, 2, 2]), 4, 10.0).scores(features)
    assert np.isneginf(scores[:, [0, 3]]).all()
    assert scores.argmax(axis=1).tolist() == [1, 2, 2]
    assert fit(features, np.array([3, 3, 3]), 4, 10.0).scores(features).argmax(axis=1).tolist() == [3, 3, 3]


def test_index_sets_are_written_down() -> None:
    """They may never change: every score of a probe depends on them."""
    labels = np.arange(24) % 3
    assert training_items(labels, Condition(1, 0), "k").tolist() == EXPECTED[0]
    assert training_items(labels, Condition(2, 0), "k").tolist() == EXPECTED[1]
    assert training_items(labels, Condition(2, 1), "k").tolist() == EXPECTED[2]
    assert training_items(labels, Condition(ALL, 0), "k").tolist() == list(range(24))


EXPECTED = ([3, 8, 19], [3, 8, 10, 15, 19, 23], [3, 7, 11, 13, 18, 20])


def test_index_sets_are_balanced_nested_and_differ_by_draw_task_and_seed() -> None:
    labels = np.random.default_rng(1).integers(0, 5, 300)
    sets = {k: training_items(labels, Condition(k, 2), "a") for k in (1, 5, 10)}
    for k, chosen in sets.items():
        assert np.bincount(labels[chosen]).tolist() == [k] * 5
    assert set(sets[1]) < set(sets[5]) < set(sets[10])
    others = [
        training_items(labels, Condition(5, draw), key, seed)
        for draw, key, seed in ((3, "a", 0), (2, "b", 0), (2, "a", 1))
    ]
    assert all(set(other) != set(sets[5]) for other in others)
    few = np.array([0, 0, 0, 1])
    assert np.bincount(few[training_items(few, Condition(2, 0), "a")]).tolist() == [2, 1]


def test_records_hold_every_item_draw_and_number_of_shots(tmp_path: Path) -> None:
    one = probe()
    write_probe(tmp_path / one.folder, coloured(0, TRAIN), coloured(1, TEST))
    table = run(tmp_path, one)
    conditions = [(1, 0), (1, 1), (1, 2), (3, 0), (3, 1), (3, 2), (0, 0)]
    cells = list(zip(table["shots"], table["draw"], table["item"], strict=True))
    assert cells == [(*condition, item) for condition in conditions for item in range(TEST)]
    assert table["label"] == [item % CLASSES for _, _, item in cells]
    right = np.array([rank == 0 for rank in table["rank"]]).reshape(7, TEST).mean(axis=1)
    found = score_records(tmp_path / "records.parquet", suite_of(one))["probe"]
    assert found.details["1-shot"] == pytest.approx(right[:3].mean())
    assert found.details["1-shot sd"] == pytest.approx(right[:3].std(ddof=1))
    assert found.details["all"] == pytest.approx(right[6])
    assert found.value == pytest.approx(np.mean([right[:3].mean(), right[3:6].mean(), right[6]]))
    assert found.n == TEST
    assert 1 / CLASSES < found.details["1-shot"] < found.details["all"], "more examples teach more"


def test_every_model_learns_from_the_same_items_and_the_same_model_twice_alike(tmp_path: Path) -> None:
    one = probe()
    write_probe(tmp_path / one.folder, coloured(0, TRAIN), coloured(1, TEST))
    first, second = run(tmp_path, one), run(tmp_path, one)
    assert first.pop("value") is not second.pop("value"), "not numbers, which equal nothing"
    assert first == second


def test_a_rehearsal_learns_from_the_first_items(tmp_path: Path) -> None:
    one = probe()
    write_probe(tmp_path / one.folder, coloured(0, TRAIN), coloured(1, TEST))
    model = ColourModel()
    table = run(tmp_path, one, model=model, rehearsal=True)
    assert (table["shots"], sum(model.images)) == ([0] * 4, 8)
    score_records(tmp_path / "records.parquet", rehearsal_of(suite_of(one)))


def lose_a_class(folder: Path) -> None:
    kept = [sample for sample in coloured(0, 72) if sample["cls"] != b"2"]
    write_tar(folder / "train" / "0.tar", [(f"s{i}", files) for i, files in enumerate(kept)])


def lose_samples(folder: Path) -> None:
    write_tar(folder / "train" / "0.tar", [(f"s{i}", files) for i, files in enumerate(coloured(0, 12))])


def lose_everything(folder: Path) -> None:
    (folder / "train" / "0.tar").unlink()
    (folder / "train" / "nshards.txt").unlink()


@pytest.mark.parametrize(
    ("damage", "code", "where"),
    [
        (lose_a_class, "task-class-untrained", "probe: train"),
        (lose_samples, "task-count", "probe: train"),
        (lose_everything, "task-file-unreadable", "probe: train/nshards.txt"),
    ],
)
def test_a_broken_training_split_is_named(tmp_path: Path, damage, code: str, where: str) -> None:
    one = probe()
    write_probe(tmp_path / one.folder, coloured(0, TRAIN), coloured(1, TEST))
    damage(tmp_path / one.folder)
    with pytest.raises(PlatformFault) as fault:
        run(tmp_path, one)
    assert (fault.value.problems[0].code, fault.value.problems[0].where) == (code, where)
