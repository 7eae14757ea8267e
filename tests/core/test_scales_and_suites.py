"""The frozen scale table against DataComp's published one, and suite files."""

import json
from pathlib import Path

import pytest

from datacomp.problems import BadInput
from datacomp.scales import SCALES, get_scale, rehearsal_of
from datacomp.suite import load_suite

# DataComp's Table 14 (arXiv:2304.14108): pool = samples seen, model, batch, learning rate, warm-up, beta2, MACs.
TABLE_14 = {
    "small": (12_800_000, "ViT-B-32", 4096, 5e-4, 500, None, 9.5e16),
    "medium": (128_000_000, "ViT-B-32", 4096, 5e-4, 500, 0.98, 9.5e17),
    "large": (1_280_000_000, "ViT-B-16", 8192, 5e-4, 500, 0.98, 2.6e19),
    "xlarge": (12_800_000_000, "ViT-L-14", 90112, 1e-3, 10000, 0.95, 1.1e21),
}


@pytest.mark.parametrize("name", TABLE_14)
def test_published_scales_are_exact(name: str) -> None:
    s = SCALES[name]
    assert s.pool_size == s.samples_seen
    row = (s.samples_seen, s.model, s.batch_size, s.learning_rate, s.warmup, s.beta2, s.train_macs)
    assert row == TABLE_14[name]
    assert (s.precision, s.checkpoints, s.loader_workers, s.grad_checkpointing) == ("amp", 5, 4, True)


def test_scale_digests_differ_and_rehearsals_are_marked() -> None:
    assert len({s.digest for s in SCALES.values()}) == len(SCALES)
    rehearsal = rehearsal_of(SCALES["medium"])
    assert rehearsal.rehearsal
    assert (rehearsal.model, rehearsal.learning_rate) == ("ViT-B-32", 5e-4)
    assert rehearsal.digest != SCALES["medium"].digest


def test_unknown_scale_names_the_known_ones() -> None:
    with pytest.raises(BadInput, match="tiny, small, medium, large, xlarge"):
        get_scale("huge")


def test_bad_suite_file_lists_every_problem_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    task = {"key": "a", "name": "A", "kind": "zeroshot", "metric": "acc1", "group": "main"}
    path.write_text(
        json.dumps({"name": "s", "version": "1", "tasks": [task | {"kind": "guess"}, task | {"metric": "x"}]})
    )
    with pytest.raises(BadInput) as error:
        load_suite(path)
    assert [p.where for p in error.value.problems] == [f"{path}: tasks.0.kind", f"{path}: tasks.1.metric"]
    path.write_text(json.dumps({"name": "s", "version": "1", "tasks": [task, task]}))
    with pytest.raises(BadInput, match="share a key"):
        load_suite(path)
