"""Evaluation of small suites with a model known in closed form: records by hand, strict faults, rehearsals."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from small_suite import COLOURS, TEMPLATES, ColourModel, npy, png, riddle, write_task
from suite_tasks import NAMES, VALUES, coloured, evaluated, suite_of, task, unit

from datacomp.problems import BadInput
from datacomp.scoring import record_schema, score_records
from datacomp.suite import REHEARSAL_ITEMS, Kind, Metric, rehearsal_of


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
