"""The stage `evaluate` with a real network."""

import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from small_suite import TEMPLATES, png, riddle, write_task
from stage_job import Notes, stage_context
from suite_tasks import NAMES, VALUES, coloured, suite_of, task

from datacomp.messages import CHECKPOINT_FILE, RECORDS_FILE, EvaluateResult, Stage
from datacomp.problems import PlatformFault
from datacomp.scales import SCALES
from datacomp.scoring import score_records
from datacomp.suite import REHEARSAL_ITEMS, Kind, Metric, Suite, rehearsal_of
from datacomp_worker.stages import evaluate
from datacomp_worker.stages.base import Cancelled, StageContext
from datacomp_worker.training.models import register_models


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
