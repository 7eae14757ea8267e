"""The modifier `vary`: pixels of variations, every kind of task under them, and what is scored."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from small_probe import CLASSES, TEST, coloured, probe, write_probe
from small_suite import COLOURS, ColourModel, png, riddle, write_task

from datacomp.problems import BadInput
from datacomp.scoring import score_records
from datacomp.suite import Kind, Metric, Suite, Task
from datacomp.variation import Variation
from datacomp_worker.evaluation import evaluate_suite
from datacomp_worker.evaluation.showing import GREY, show

PLAIN, NEGATIVE = Variation(name="plain"), Variation(name="negative", invert=True)
REWORDED = Variation(name="reworded", templates=("no {c} at all", "{c}"))
BOTH = (PLAIN, NEGATIVE)


def varied(key: str, kind: Kind, metric: Metric, vary: tuple[Variation, ...], **fields: object) -> Task:
    return Task(key=key, name=key, kind=kind, metric=metric, group="varied", counted=False, vary=vary, **fields)


def run(tmp_path: Path, *tasks: Task, model: ColourModel | None = None) -> tuple[dict[str, list], dict]:
    suite = Suite(name="small", version="1", tasks=tasks, side_groups=("varied",))
    path = tmp_path / "records.parquet"
    evaluate_suite(suite, tmp_path, model or ColourModel(), path)
    return pq.read_table(path).to_pydict(), score_records(path, suite)


def test_variations_change_pixels_exactly() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 6, 3), np.uint8)
    image = Image.fromarray(pixels)
    for degrees in (90, 180, 270):
        turned = show(image, Variation(name="t", rotate=degrees))
        np.testing.assert_array_equal(np.asarray(turned), np.rot90(pixels, degrees // 90))
    np.testing.assert_array_equal(np.asarray(show(image, NEGATIVE)), 255 - pixels)
    small = np.asarray(show(image, Variation(name="s", scale=0.5)))
    assert small.shape == (6, 6, 3)
    assert (small[[0, -1]] == GREY).all()
    assert not (small[2:4, 2:4] == GREY).all()
    np.testing.assert_array_equal(np.asarray(show(image, PLAIN)), pixels)
    flat = Image.new("RGB", (8, 6), (9, 200, 30))
    np.testing.assert_array_equal(np.asarray(show(flat, Variation(name="l", scale=2.0))), np.asarray(flat))


def test_a_classification_is_asked_under_every_variation(tmp_path: Path) -> None:
    one = varied("t", Kind.ZEROSHOT, Metric.ACC1, (*BOTH, REWORDED), size=60, classes=6)
    write_task(tmp_path / one.folder, coloured(0, 60, spread=90.0))
    model = ColourModel()
    asked: list[str] = []
    model.tokenizer = lambda texts: asked.extend(texts) or ColourModel.tokenizer(model, texts)  # type: ignore[method-assign]
    table, scores = run(tmp_path, one, model=model)
    assert table["variation"] == ["plain"] * 60 + ["negative"] * 60 + ["reworded"] * 60
    assert table["item"] == list(range(60)) * 3
    assert "no red at all" in asked
    right = np.array([rank == 0 for rank in table["rank"]]).reshape(3, 60).mean(axis=1)
    found = scores["t"]
    assert found.value == pytest.approx(right.mean())
    assert [found.details[name] for name in ("plain", "negative", "reworded")] == pytest.approx(right.tolist())
    assert found.details["worst variation"] == pytest.approx(right.min())
    assert found.details["spread of variations"] == pytest.approx(np.ptp(right))
    assert right[1] < right[0], "a negative's colour is another"
    assert found.details["homogeneity p"] < 0.01
    assert found.details["same items p"] < 0.01
    assert found.details["over-dispersion"] > 0.05


def test_the_same_pictures_under_equal_variations_come_out_alike(tmp_path: Path) -> None:
    one = varied("t", Kind.ZEROSHOT, Metric.ACC1, (PLAIN, Variation(name="turned", rotate=90)), size=30, classes=6)
    base = Task(key="base", name="base", kind=Kind.ZEROSHOT, metric=Metric.ACC1, group="main", size=30, classes=6)
    one = one.model_copy(update={"data": "base"})
    write_task(tmp_path / base.folder, coloured(3, 30, spread=90.0))
    table, scores = run(tmp_path, base, one)
    assert (scores["t"].value, scores["t"].details["plain"]) == (scores["base"].value, scores["base"].value)
    assert (scores["t"].details["spread of variations"], scores["t"].details["same items p"]) == (0.0, 1.0)
    assert table["rank"][:30] == table["rank"][30:60]


def test_retrieval_riddles_and_probes_are_varied_too(tmp_path: Path) -> None:
    worded = Variation(name="worded", templates=("surely {c}",))
    pairs = varied("pairs", Kind.RETRIEVAL, Metric.MEAN_RECALL_AT_1, (*BOTH, worded), size=6)
    riddles = varied("riddles", Kind.WINOGAVIL, Metric.JACCARD, (*BOTH, worded), size=2)
    learnt = probe("learnt", group="varied", vary=BOTH)
    pictures = [{"png": png(colour), "txt": name.encode()} for name, colour in COLOURS.items()]
    write_task(tmp_path / pairs.folder, pictures, names=None)
    some = [
        riddle("red", [COLOURS["red"], COLOURS["green"]], [0]),
        riddle("blue", [COLOURS["red"], COLOURS["blue"]], [1]),
    ]
    write_task(tmp_path / riddles.folder, some, names=None)
    write_probe(tmp_path / learnt.folder, coloured(0, 60), coloured(1, TEST))
    model = ColourModel()
    asked: set[str] = set()
    model.tokenizer = lambda texts: asked.update(texts) or ColourModel.tokenizer(model, texts)  # type: ignore[method-assign]
    _, scores = run(tmp_path, pairs, riddles, learnt, model=model)
    assert {"surely red", "surely A red"} <= asked
    assert scores["pairs"].details["plain"] == 1.0 == scores["pairs"].details["worded"]
    assert scores["riddles"].details["plain"] == 1.0
    assert scores["learnt"].details["plain"] > scores["learnt"].details["negative"], "it learnt from plain ones"
    assert scores["learnt"].details["plain"] > 2 / CLASSES


def test_records_that_lack_a_variation_are_refused(tmp_path: Path) -> None:
    one = varied("t", Kind.ZEROSHOT, Metric.ACC1, BOTH, size=6, classes=6)
    write_task(tmp_path / one.folder, coloured(0, 6))
    run(tmp_path, one)
    path = tmp_path / "records.parquet"
    suite = Suite(name="s", version="1", tasks=(one,), side_groups=("varied",))
    whole = pq.read_table(path)
    for part, code in ((whole.slice(0, 6), "records-conditions"), (whole.slice(0, 11), "records-conditions")):
        pq.write_table(part, path)
        with pytest.raises(BadInput, match=code):
            score_records(path, suite)


@pytest.mark.parametrize(
    "changes",
    [
        {"vary": [{"name": "one"}]},
        {"vary": [{"name": "one"}, {"name": "one"}]},
        {"vary": [{"name": "one"}, {"name": "two", "templates": ["no blank"]}]},
        {"vary": [{"name": "one"}, {"name": "two", "rotate": 45}]},
        {"kind": "probe"},
        {"probe": {}},
        {"kind": "probe", "probe": {}, "classes": None},
        {"kind": "probe", "probe": {}, "vary": [{"name": "one"}, {"name": "two", "templates": ["{c}"]}]},
    ],
)
def test_tasks_that_make_no_sense_are_refused(changes: dict) -> None:
    plain = {"key": "t", "name": "t", "kind": "zeroshot", "metric": "acc1", "group": "g", "classes": 3}
    Task.model_validate(plain)
    with pytest.raises(ValueError, match=r"validation error"):
        Task.model_validate({**plain, **changes})
