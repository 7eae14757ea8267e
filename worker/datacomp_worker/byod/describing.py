"""What copies of evaluation images are told by: an embedding model that the board names, or pixels.

A model lies with the suite's data, `decontamination/<name>.json` beside its weights:

    {"architecture": "ViT-B-32", "weights": "vit_b_32.safetensors", "sha256": "..."}

The architecture is one of open_clip's, the weights its state dict (safetensors, or a checkpoint of tensors alone). What
the model's own validation transform shows it is embedded in float32 and kept in float16.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datacomp.digests import digest_file
from datacomp.messages import ByodSetting
from datacomp.problems import PlatformFault
from datacomp_worker.byod import descriptors
from datacomp_worker.byod.descriptors import Half
from datacomp_worker.training.models import read_checkpoint, register_models, require_architecture, weights_of

if TYPE_CHECKING:
    import torch

FOLDER = "decontamination"
BATCH = 64


@dataclass(frozen=True)
class Describer:
    """Turns images into rows whose cosines tell copies."""

    method: str
    """Names what rows depend on: descriptors of two methods are not to be compared."""
    evaluation: Callable[[Sequence[bytes]], Half]
    """Rows of evaluation images, shape (n, width)."""
    sample: Callable[[Sequence[bytes]], Half]
    """Rows of samples, shape (n, width)."""
    closer: Callable[[Sequence[bytes]], Half] | None = None
    """Of samples that lie near by `sample`, several rows each, shape (n, variants, width); the nearest one counts."""
    digest: str | None = None
    """Of the model's weights."""


class ModelFile(BaseModel):
    """The description of a model."""

    model_config = ConfigDict(extra="forbid")

    architecture: str
    weights: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Name of the file beside the description."""
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


def describer(setting: ByodSetting, suite_dir: Path, device: str = "cpu") -> Describer:
    """What a board's setting asks for. `PlatformFault` where its model is not on this host, or is another one."""
    if setting.model is None:
        rows = descriptors.stacked
        return Describer(
            descriptors.VERSION,
            lambda images: rows(map(descriptors.trimmed, images)),
            lambda images: rows(map(descriptors.middle, images)),
            lambda images: np.stack([descriptors.variants(image) for image in images]),
        )
    found, weights = _model_file(setting, suite_dir / FOLDER / f"{setting.model}.json")
    embed = _embedder(found.architecture, weights, device)
    return Describer(f"{setting.model}@{found.sha256[:16]}", embed, embed, digest=found.sha256)


def _model_file(setting: ByodSetting, path: Path) -> tuple[ModelFile, Path]:
    """The description and the weights, whose digest is checked."""
    hint = "give this worker the suite's decontamination model, see docs/byod.md"
    try:
        found = ModelFile.model_validate_json(path.read_text())
        digest = digest_file(path.with_name(found.weights))
    except (OSError, ValueError, ValidationError) as error:
        message = f"the board's decontamination model {setting.model!r} is not here: {error}"[:500]
        raise PlatformFault.of("decontamination-model", message, str(path), hint) from error
    if digest != found.sha256 or setting.model_digest not in {None, digest}:
        wanted = setting.model_digest or found.sha256
        message = f"the weights of {setting.model!r} are others: {digest[:16]}, not {wanted[:16]}"
        raise PlatformFault.of("decontamination-model", message, str(path), hint)
    return found, path.with_name(found.weights)


def _embedder(architecture: str, weights: Path, device: str) -> Callable[[Sequence[bytes]], Half]:
    import open_clip
    import torch

    register_models()
    try:
        module, _, transform = open_clip.create_model_and_transforms(architecture, load_weights=False, device=device)
    except RuntimeError as error:
        raise PlatformFault.of("decontamination-model", f"no architecture {architecture!r}: {error}"[:500]) from error
    state = _state(weights)
    require_architecture(state, module, architecture, weights)
    module.load_state_dict(state)
    module.eval()

    def embed(images: Sequence[bytes]) -> Half:
        found = []
        with torch.inference_mode():
            for part in parts_of(images, BATCH):
                shown = torch.stack([transform(_decoded(image)) for image in part]).to(device)
                found.append(module.encode_image(shown, normalize=True).float().cpu().numpy().astype(np.float16))
        return np.concatenate(found)

    return embed


def _state(weights: Path) -> dict[str, torch.Tensor]:
    if weights.suffix != ".safetensors":
        return weights_of(read_checkpoint(weights))
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Any] = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise PlatformFault.of("decontamination-model", f"unreadable weights: {error}", str(weights)) from error
    return state


def _decoded(data: bytes) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGB")


def parts_of(images: Iterable[bytes], size: int = 4 * BATCH) -> Iterator[list[bytes]]:
    """Images, so many at a time."""
    source = iter(images)
    while part := list(islice(source, size)):
        yield part
