"""The end of a run: the trainer's last checkpoint becomes the weights that are promoted, with a digest of their own."""

from __future__ import annotations

import hashlib
import logging
import shutil
from typing import Any

import torch

from datacomp.digests import canonical_json
from datacomp.problems import PlatformFault
from datacomp_worker.training.events import Finished, Plan
from datacomp_worker.training.models import read_checkpoint, weights_of
from datacomp_worker.training.watch import LATEST, NOTE, Diverged

FINAL = "final.pt"


def finish(plan: Plan) -> Finished:
    """Write the final weights without the optimiser's state, which nobody needs any more."""
    checkpoint = read_checkpoint(plan.checkpoints / LATEST)
    weights = weights_of(checkpoint)
    if not all(bool(tensor.isfinite().all()) for tensor in weights.values() if tensor.is_floating_point()):
        raise Diverged("the final weights are not finite")
    path = plan.workdir / FINAL
    torch.save({"epoch": checkpoint["epoch"], "name": plan.scale.name, "state_dict": weights}, path)
    curve = [(int(samples), float(loss)) for samples, loss in note_of(checkpoint)["curve"]]
    return Finished(file=path, weights_digest=weights_digest(weights), curve=curve)


def note_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Our note in a checkpoint of the trainer; empty where there is none."""
    groups = checkpoint.get("optimizer", {}).get("param_groups") or [{}]
    note: dict[str, Any] = groups[0].get(NOTE, {})
    return note


def weights_digest(weights: dict[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes, dtypes and little-endian bytes, in the state dict's order."""
    sha = hashlib.sha256()
    for name, tensor in weights.items():
        sha.update(canonical_json([name, list(tensor.shape), str(tensor.dtype)]))
        sha.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


def place_resume(plan: Plan) -> int:
    """Put an earlier attempt's checkpoint where the trainer looks for its latest; returns the epochs it has done.

    One that is damaged, or of another run, is left aside: starting afresh always ends well.
    """
    latest = plan.checkpoints / LATEST
    if latest.exists():  # this attempt's own: it has been started again with smaller parts of a batch
        return int(read_checkpoint(latest)["epoch"])
    if plan.resume is None:
        return 0
    try:
        checkpoint = read_checkpoint(plan.resume)
        if note_of(checkpoint).get("identity") != plan.identity:
            raise PlatformFault.of("checkpoint-of-another-run", "its recipe, seed or data differ", str(plan.resume))
    except PlatformFault as fault:
        logging.warning("training starts afresh: %s", fault)
        return 0
    plan.checkpoints.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(plan.resume, latest)
    return int(checkpoint["epoch"])
