"""What the device makes of the recipe's arithmetic: layouts that change no value, and settings that are said."""

from __future__ import annotations

import logging
from functools import partial, wraps
from typing import Any

import torch

from datacomp_worker.training.events import Plan


def prepare_device(plan: Plan, trainer: Any) -> None:
    """Fit `open_clip_train.main` to the plan's device before it runs."""
    if plan.device.startswith("cuda"):
        trainer.create_model_and_transforms = channels_last(trainer.create_model_and_transforms)
        logging.info("arithmetic: %s", settings_said(plan.scale.precision))
    elif plan.crew.size > 1:  # the trainer hands over its device as a GPU's, which a model on the CPU must not be given
        torch.nn.parallel.DistributedDataParallel = partial(_on_cpu, torch.nn.parallel.DistributedDataParallel)  # type: ignore[misc, assignment]


def _on_cpu(wrap: Any, model: torch.nn.Module, *, device_ids: Any, **options: Any) -> Any:
    return wrap(model, **options)


def channels_last(create: Any) -> Any:
    """Models whose convolutions lie in memory as tensor cores read them; numbers and their order of use stay."""

    @wraps(create)
    def created(*args: Any, **options: Any) -> Any:
        model, *transforms = create(*args, **options)
        return (model.to(memory_format=torch.channels_last), *transforms)

    return created


def settings_said(precision: str) -> str:
    """The settings that decide how a GPU multiplies. TF32 is the trainer's own choice, made when it starts."""
    cudnn = "on" if torch.backends.cudnn.allow_tf32 else "off"
    return f"precision {precision}, TF32 on in matrix products and {cudnn} in cuDNN, cuDNN chooses kernels by timing"
