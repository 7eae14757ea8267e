"""Stands where the training child stands: the same plan, events and checkpoints, but the model is a chain of hashes.

Its final weights depend on every step and on the identity: a resumption that skipped or repeated a step shows.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from pathlib import Path

from datacomp.lifeline import die_with_parent
from datacomp_worker.training.events import Checkpoint, Finished, Plan, Started, Step, emit

STEPS = 4
"""Steps of an epoch."""
SECONDS = float(os.environ.get("QUICK_SECONDS", "1.0"))
"""How long a whole training takes."""


def final_digest(identity: str, epochs: int) -> str:
    """Digest of the final weights of an unbroken training."""
    state = identity
    for _ in range(epochs * STEPS):
        state = _next(state)
    return _digest(state)


def _next(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()


def _digest(state: str) -> str:
    return hashlib.sha256(json.dumps({"state": state}).encode()).hexdigest()


def main(plan_file: str) -> None:
    plan = Plan.model_validate_json(Path(plan_file).read_text())
    die_with_parent(parent=plan.parent)
    plan.checkpoints.mkdir(parents=True)
    epochs, begin, state, curve = plan.scale.checkpoints, 0, plan.identity, []
    if plan.resume is not None:
        saved = json.loads(plan.resume.read_text())
        if saved["identity"] == plan.identity:
            begin, state, curve = saved["epoch"], saved["state"], [tuple(point) for point in saved["curve"]]
    emit(plan.workdir, Started(epoch=begin))
    for epoch in range(begin + 1, epochs + 1):
        for step in range(STEPS):
            time.sleep(SECONDS / (epochs * STEPS))
            state = _next(state)
            samples = (epoch - 1) * STEPS + step + 1
            curve.append((samples, 1 / samples))
            emit(plan.workdir, Step(samples=samples, loss=1 / samples, samples_per_second=1, learning_rate=1))
            print(f"step {samples}", flush=True)
        file = plan.checkpoints / f"epoch_{epoch}.pt"
        file.write_text(json.dumps({"identity": plan.identity, "epoch": epoch, "state": state, "curve": curve}))
        emit(plan.workdir, Checkpoint(epoch=epoch, file=file))
    final = plan.workdir / "checkpoint.pt"
    final.write_text(json.dumps({"state": state}))
    emit(plan.workdir, Finished(file=final, weights_digest=_digest(state), curve=curve))


if __name__ == "__main__":
    main(sys.argv[1])
