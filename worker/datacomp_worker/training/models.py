"""Architectures: makes open_clip know ours, and compares checkpoints with them."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from datacomp.problems import PlatformFault
from datacomp.scales import SCALES, TINY_MODEL

if TYPE_CHECKING:
    import torch


@cache
def register_models() -> None:
    """Add `tiny`'s architecture to open_clip's registry."""
    import open_clip

    with TemporaryDirectory() as folder:  # read at once, never again
        (Path(folder) / f"{SCALES['tiny'].model}.json").write_text(json.dumps(TINY_MODEL))
        open_clip.add_model_config(folder)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint's content, mapped rather than read; only tensors and plain values are ever unpickled.

    `PlatformFault` when it is damaged or not a checkpoint.
    """
    import pickle

    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        first = str(error).partition("\n")[0]
        raise PlatformFault.of("checkpoint-unreadable", f"not a readable checkpoint: {first}", str(path)) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
        raise PlatformFault.of("checkpoint-unreadable", "it holds no state_dict", str(path))
    return content


def weights_of(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The state dict, without the prefix that distributed training puts before every name."""
    return {name.removeprefix("module."): tensor for name, tensor in checkpoint["state_dict"].items()}


def require_architecture(weights: dict[str, torch.Tensor], model: torch.nn.Module, name: str, path: Path) -> None:
    """`PlatformFault` names the first tensors that do not fit the architecture `name`."""
    expected = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    found = {key: tuple(tensor.shape) for key, tensor in weights.items()}
    differing = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if differing:
        shown = ", ".join(f"{key}: {found.get(key)} for {expected.get(key)}" for key in differing[:3])
        message = f"{len(differing)} tensors do not fit {name} ({shown})"
        hint = "the checkpoint was trained at another scale"
        raise PlatformFault.of("checkpoint-architecture", message, where=str(path), hint=hint)
