"""What an attempt uses: wall clock, processor time of this process and of all that it starts, GPUs held."""

from __future__ import annotations

import os
import threading
import time

import psutil

from datacomp.messages import Stage, Usage
from datacomp_worker.devices import accelerator

GPU_STAGES = frozenset({Stage.TRAIN, Stage.EVALUATE})
"""Stages that compute on a GPU where there is one; the others leave it idle."""


class UsageMeter:
    """Measures one attempt from now on. A worker carries out one attempt at a time, so its time is the attempt's."""

    def __init__(self, stage: Stage) -> None:
        device, gpus = accelerator() if stage in GPU_STAGES else ("cpu", 0)
        self._device, self._count = ("cuda", gpus) if device == "cuda" else ("cpu", len(os.sched_getaffinity(0)))
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._before = _cpu_seconds()
        self._most = 0.0

    def read(self) -> Usage:
        """What was used so far. Processor time never falls, also when a child dies before we could ask it again."""
        with self._lock:
            self._most = max(self._most, _cpu_seconds() - self._before)
            return Usage(
                device="cuda" if self._device == "cuda" else "cpu",
                count=self._count,
                seconds=time.monotonic() - self._began,
                cpu_seconds=self._most,
            )


def _cpu_seconds() -> float:
    """Of this process, its living descendants, and those that have ended."""
    own = psutil.Process()
    total = _of(own)
    for child in own.children(recursive=True):
        try:
            total += _of(child)
        except psutil.Error:  # it has just ended; once waited for, its time is its parent's
            continue
    return total


def _of(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)
