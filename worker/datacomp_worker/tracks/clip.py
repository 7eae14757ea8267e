"""The image-text track: everything that is particular to CLIP, behind four functions.

`pool_rows` says what can be trained on, `train` makes a checkpoint of a selection, `load` makes a checkpoint a model
that evaluation can ask for embeddings, `task_data` says where a task's data lies.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datacomp.scales import Scale
from datacomp_worker.training.models import read_checkpoint, register_models, require_architecture, weights_of

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
