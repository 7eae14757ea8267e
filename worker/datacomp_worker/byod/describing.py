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
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from datacomp.digests import digest_file
from datacomp.messages import ByodSetting
from datacomp.problems import PlatformFault
from datacomp_filters.neardup.evaluation import Images
from datacomp_filters.neardup.rows import Rows
from datacomp_worker.byod import copies
from datacomp_worker.byod.descriptors import Half
from datacomp_worker.training.models import read_checkpoint, register_models, require_architecture, weights_of

if TYPE_CHECKING:
    import torch

FOLDER = "decontamination"
BATCH = 64


Kept = npt.NDArray[Any]
"""What is kept of evaluation images, a row each."""
Likeness = Callable[[Sequence[bytes]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Describer:
    """Tells copies."""

    method: str
    """Names what rows depend on: those of two methods are not to be compared."""
    measure: str
    """What the likeness is called."""
    keep: Callable[[Sequence[bytes]], Kept]
    """What is kept of evaluation images."""
    nearest: Callable[[Kept, float], Likeness]
    """Given that, and the threshold: how like each sample is to the evaluation image nearest to it, told exactly from
    the threshold on; NaN for a sample that shows nothing."""
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
        return Describer(
            copies.VERSION,
            "likeness",
            lambda images: np.stack([copies.thumbnail(image) for image in images]),
            lambda kept, _: _by_pixels(copies.Finder(kept)),
        )
    found, weights = _model_file(setting, suite_dir / FOLDER / f"{setting.model}.json")
    embed = _embedder(found.architecture, weights, device)
    nearest = partial(_by_model, embed)
    return Describer(f"{setting.model}@{found.sha256[:16]}", "cosine", embed, nearest, found.sha256)


def _by_pixels(finder: copies.Finder) -> Likeness:
    return lambda images: finder.similarity(np.stack([copies.thumbnail(image) for image in images]))


def _by_model(embed: Callable[[Sequence[bytes]], Half], kept: Kept, threshold: float) -> Likeness:
    near = Images.of(Rows.of(kept), threshold)
    return lambda images: near.nearest_cosine(Rows.of(embed(images)))


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
