"""The frozen scale table: what a competition holds constant.

`small` to `xlarge` are DataComp's (Gadre et al. 2023, arXiv:2304.14108, Table 14 and `scale_configs.py`);
`tiny` is ours, sized so that a laptop without an accelerator trains it in about half a minute.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from datacomp.digests import digest_json
from datacomp.problems import BadInput


@dataclass(frozen=True)
class Scale:
    """One frozen recipe size. Units: samples, pairs per optimiser step, multiply-accumulates."""

    name: str
    pool_size: int
    samples_seen: int
    model: str
    batch_size: int
    learning_rate: float
    warmup: int
    """Optimiser steps of linear warm-up."""
    beta2: float | None
    """Adam's beta2; None leaves the trainer's default."""
    train_macs: float
    precision: str = "amp"
    checkpoints: int = 5
    """The run is cut into this many 'epochs' of samples_seen / checkpoints, each ending in a checkpoint."""
    loader_workers: int = 4
    threads: int | None = None
    """CPU threads of the trainer; None leaves the machine's. Fixed where runs must be bit-for-bit repeatable."""
    grad_checkpointing: bool = True
    rehearsal: bool = False

    @property
    def digest(self) -> str:
        """Digest of every field."""
        return digest_json(asdict(self))

    def to_json(self) -> dict[str, Any]:
        """All fields and the digest, for manifests and pages."""
        return {**asdict(self), "digest": self.digest}


SCALES: dict[str, Scale] = {
    scale.name: scale
    for scale in (
        # train_macs: 3 (forward and backward) x 9.4 MMACs of TINY_MODEL's two towers x samples seen.
        Scale("tiny", 16_384, 20_480, "tiny-ViT-8-32", 256, 1e-3, 10, None, 5.8e11,
              precision="fp32", loader_workers=0, threads=2, grad_checkpointing=False),
        Scale("small", 12_800_000, 12_800_000, "ViT-B-32", 4096, 5e-4, 500, None, 9.5e16),
        Scale("medium", 128_000_000, 128_000_000, "ViT-B-32", 4096, 5e-4, 500, 0.98, 9.5e17),
        Scale("large", 1_280_000_000, 1_280_000_000, "ViT-B-16", 8192, 5e-4, 500, 0.98, 2.6e19),
        Scale("xlarge", 12_800_000_000, 12_800_000_000, "ViT-L-14", 90112, 1e-3, 10000, 0.95, 1.1e21),
    )
}  # fmt: skip

TINY_MODEL: dict[str, Any] = {
    "embed_dim": 96,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 96, "layers": 4, "head_width": 32},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 3},
}
"""The architecture of `tiny`, in open_clip's model-configuration format."""

REHEARSAL_STEPS = 4
REHEARSAL_BATCH = 8


def get_scale(name: str) -> Scale:
    """The scale of that name; `BadInput` names the known ones."""
    if name not in SCALES:
        raise BadInput.of("scale-unknown", f"there is no scale {name!r}", hint=f"choose one of {', '.join(SCALES)}")
    return SCALES[name]


def rehearsal_of(scale: Scale) -> Scale:
    """The same model and arguments for a few small steps: proves a submission runs, never ranked.

    Precision falls to fp32 because float16 autocast on a CPU is several times slower, and a rehearsal must run there.
    """
    samples = REHEARSAL_STEPS * REHEARSAL_BATCH
    return replace(
        scale,
        samples_seen=samples,
        batch_size=REHEARSAL_BATCH,
        warmup=1,
        train_macs=scale.train_macs * samples / scale.samples_seen,
        precision="fp32",
        checkpoints=1,
        loader_workers=0,
        threads=2,
        rehearsal=True,
    )
