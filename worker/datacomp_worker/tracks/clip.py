"""The image-text track: everything that is particular to CLIP, behind four functions.

`pool_rows` says what can be trained on, `train` makes a checkpoint of a selection, `load` makes a checkpoint a model
that evaluation can ask for embeddings, `task_data` says where a task's data lies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datacomp.digests import digest_json
from datacomp.pool import Pool
from datacomp.scales import Scale
from datacomp.suite import Task
from datacomp.uids import Uids
from datacomp_worker.shards import Shards
from datacomp_worker.stages.base import Reporter
from datacomp_worker.subsets import Selection, select
from datacomp_worker.training.crew import Crew
from datacomp_worker.training.events import Plan
from datacomp_worker.training.models import read_checkpoint, register_models, require_architecture, weights_of
from datacomp_worker.training.recipe import recipe_digest, samples_seen
from datacomp_worker.training.supervise import STALL_SECONDS, run_child

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ClipModel:
    """A trained model in evaluation mode, with what its inputs must go through."""

    module: torch.nn.Module
    tokenizer: Callable[[list[str]], torch.Tensor]
    """Captions to tokens, shape (n, context length)."""
    transform: Callable[[Any], torch.Tensor]
    """The model's own validation transform: an RGB PIL image to shape (3, side, side)."""
    device: str

    def embed_image(self, images: torch.Tensor) -> torch.Tensor:
        """Unit embeddings of transformed images, shape (n, 3, side, side) to (n, d), float32, on `device`."""
        return self._embed("encode_image", images)

    def embed_text(self, tokens: torch.Tensor) -> torch.Tensor:
        """Unit embeddings of tokens, shape (n, context length) to (n, d), float32, on `device`."""
        return self._embed("encode_text", tokens)

    def _embed(self, method: str, batch: torch.Tensor) -> torch.Tensor:
        import torch

        with torch.inference_mode():
            features: torch.Tensor = getattr(self.module, method)(batch.to(self.device), normalize=True)
            return features.float()


def load(checkpoint: Path, scale: Scale, *, device: str = "cpu") -> ClipModel:
    """A checkpoint (final or of an epoch) as a model of the scale's architecture, in float32.

    `PlatformFault`: `checkpoint-unreadable`, or `checkpoint-architecture` when it is not of this scale.
    """
    import open_clip

    register_models()
    weights = weights_of(read_checkpoint(checkpoint))
    module, _, transform = open_clip.create_model_and_transforms(scale.model, load_weights=False, device=device)
    require_architecture(weights, module, scale.model, checkpoint)
    module.load_state_dict(weights)
    module.eval()
    return ClipModel(module, open_clip.get_tokenizer(scale.model), transform, device)


def pool_rows(pool: Pool, uids: Uids, *, limit: int | None = None) -> Selection:
    """The rows of a sorted subset that can be trained on here, at most `limit` of them; see `subsets.select`."""
    return select(pool, uids, limit=limit)


@dataclass(frozen=True)
class Trained:
    """The outcome of a training."""

    checkpoint: Path
    """Final weights, without the optimiser's state."""
    weights_digest: str
    recipe_digest: str
    samples_seen: int
    accumulation: int
    """Parts in which every rank worked its share of a batch off."""
    resumed_from: int
    """Epochs taken over from an earlier attempt."""
    loss_curve: tuple[tuple[int, float], ...]
    """(samples seen, loss)."""
    environment: Mapping[str, str]
    """Versions and hardware of the host that trained; empty where it was this one."""


def train(
    selection: Selection,
    scale: Scale,
    seed: int,
    *,
    shards: Shards,
    workdir: Path,
    report: Reporter,
    device: str = "cpu",
    crew: Crew | None = None,
    accumulation: int = 1,
    stall_seconds: float = STALL_SECONDS,
    calls: Path | None = None,
    resume: Path | None = None,
) -> Trained:
    """Train the scale's architecture on a selection with `open_clip_train` in a child process.

    Intermediate checkpoints are stored through `report` as `epoch_<k>.pt`; `resume` is one of them. Errors: see
    `training.supervise.run_child`.
    """
    recipe = recipe_digest(scale)
    identity = digest_json([scale.digest, recipe, seed, selection.digest])
    plan = Plan(
        scale=scale,
        seed=seed,
        shards=shards.directory.absolute(),
        workdir=workdir.absolute(),
        device=device,
        crew=crew or Crew(),
        accumulation=accumulation,
        calls=calls and calls.absolute(),
        resume=resume and resume.absolute(),
        identity=identity,
        parent=os.getpid(),
    )
    outcome = run_child(plan, report, stall_seconds=stall_seconds)
    finished = outcome.finished
    return Trained(
        checkpoint=finished.file,
        weights_digest=finished.weights_digest,
        recipe_digest=recipe,
        samples_seen=samples_seen(scale),
        accumulation=outcome.accumulation,
        resumed_from=outcome.resumed_from,
        loss_curve=tuple(finished.curve),
        environment=finished.environment,
    )


def task_data(task: Task, suite_dir: Path) -> Path:
    """The folder that holds a task's data in the original's format."""
    return suite_dir / task.folder
