"""Looks over the trainer's shoulder: tells the worker of steps and checkpoints, and stops a run that has diverged."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch

from datacomp_worker.training.events import Checkpoint, Plan, Step, emit
from datacomp_worker.training.pulse import Pulse, WaitedFor
from datacomp_worker.training.recipe import steps_per_epoch

NOTE = "datacomp"
"""Key in the optimiser's first parameter group, which is how our note travels in the trainer's own checkpoints."""
LATEST = "epoch_latest.pt"
Curve = list[tuple[int, float]]


class Diverged(Exception):
    """Loss or weights are no longer finite."""


class Watch:
    """Wraps the trainer's `train_one_epoch` and takes the place of its TensorBoard writer."""

    def __init__(self, plan: Plan, train_one_epoch: Callable[..., None], pulse: Pulse, *, leader: bool = True) -> None:
        self._plan, self._train_one_epoch, self._leader = plan, train_one_epoch, leader
        self._pulse = pulse
        self._loader: WaitedFor | None = None
        self._waited, self._told = 0.0, time.monotonic()
        self._started = False
        self._figures: dict[str, float] = {}
        self._model: torch.nn.Module | None = None
        self._scaler: Any = None
        self._clock = time.monotonic()
        self._clock_samples = 0
        self.curve: Curve = []

    def epoch(
        self, model: Any, data: Any, loss: Any, epoch: int, optimizer: Any, scaler: Any, *rest: Any, **keywords: Any
    ) -> None:
        """One epoch of the trainer. Called when the checkpoint before it is complete."""
        self._model, self._scaler = model, scaler
        if not self._started:
            self._start(epoch, optimizer, model)
        else:
            self.checkpoint(epoch)
        keywords["tb_writer"] = self if self._leader else None
        self._train_one_epoch(model, self._timed(data), loss, epoch, optimizer, scaler, *rest, **keywords)
        optimizer.param_groups[0][NOTE] = {"identity": self._plan.identity, "curve": self.curve}

    def _start(self, epoch: int, optimizer: Any, model: Any) -> None:
        self._started = True
        share_evenly(model, self._plan.accumulation)
        note = optimizer.param_groups[0].get(NOTE, {"curve": []})
        self.curve = [(int(samples), float(loss)) for samples, loss in note["curve"]]
        self._clock_samples = epoch * steps_per_epoch(self._plan.scale) * self._plan.scale.batch_size
        self._clock = time.monotonic()

    def _timed(self, data: dict[str, Any]) -> dict[str, SimpleNamespace]:
        """What the trainer reads of its data, with a loader that says when it is waited for."""
        feed = data["train"]
        self._loader = WaitedFor(feed.dataloader, self._pulse)
        self._waited, self._told = 0.0, time.monotonic()
        return {"train": SimpleNamespace(dataloader=self._loader, set_epoch=feed.set_epoch)}

    def _data_wait(self) -> float:
        """Share of the time since it was last asked for that the trainer waited for data."""
        now, waited = time.monotonic(), self._loader.seconds if self._loader else 0.0
        share = (waited - self._waited) / max(now - self._told, 1e-9)
        self._waited, self._told = waited, now
        return share

    def checkpoint(self, epoch: int) -> None:
        """Give the checkpoint that has just been completed a name of its own, and tell of it."""
        if not self._leader:
            return
        latest, own = self._plan.checkpoints / LATEST, self._plan.checkpoints / f"epoch_{epoch}.pt"
        if not own.exists():
            os.link(latest, own)
        emit(self._plan.workdir, Checkpoint(epoch=epoch, file=own))

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """A figure of the trainer's log; `train/loss` is the last of a step."""
        self._figures[name.removeprefix("train/")] = float(value)
        if name == "train/loss":
            self._step(step, float(value))

    def _step(self, step: int, loss: float) -> None:
        samples = (step + 1) * self._plan.scale.batch_size
        if not math.isfinite(loss):
            if self._scaler is not None and self.weights_are_finite():
                return  # the loss scaler has skipped this step and tries a smaller scale
            raise Diverged(f"the loss is {loss} after {samples:,} samples")
        self.curve.append((samples, loss))
        elapsed = max(time.monotonic() - self._clock, 1e-9)
        rate = (samples - self._clock_samples) / elapsed
        told = Step(
            samples=samples,
            loss=loss,
            samples_per_second=rate,
            learning_rate=self._figures.get("lr", 0.0),
            data_wait=self._data_wait(),
        )
        emit(self._plan.workdir, told)

    def weights_are_finite(self) -> bool:
        """Whether every parameter is."""
        return self._model is None or all(bool(p.isfinite().all()) for p in self._model.parameters())


def share_evenly(model: Any, accumulation: int) -> None:
    """Have gradient accumulation give the gradient of the whole batch.

    The trainer goes backward through the whole batch's loss once for every part, with the features of one part alive.
    Weights behind the features get each part once; the logit scale, which stands outside them, gets all every time.
    """
    if accumulation > 1:
        getattr(model, "module", model).logit_scale.register_hook(lambda gradient: gradient / accumulation)
