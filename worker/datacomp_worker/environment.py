"""What a result depends on besides its inputs: versions and hardware, for the manifest."""

from __future__ import annotations

import os
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from datacomp_worker.devices import accelerator

PACKAGES = {
    "datacomp": "datacomp",
    "numpy": "numpy",
    "pyarrow": "pyarrow",
    "pillow": "pillow",
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "faiss-cpu": "faiss-cpu",
    "faiss-gpu": "faiss-gpu-cu12",
}
"""Names in the manifest and the distributions behind them; one that is not installed is left out."""


@cache
def environment() -> dict[str, str]:
    """Versions, system, processor and, where there are any, GPUs. Nothing heavy is imported on a host without GPU."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpus": str(os.cpu_count()),
    }
    for name, distribution in PACKAGES.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            continue
    return found | _gpus()


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or "unknown")


def _gpus() -> dict[str, str]:
    device, count = accelerator()
    if device != "cuda":
        return {}
    import torch

    return {
        "gpus": f"{count} x {torch.cuda.get_device_name(0)}",
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),  # type: ignore[no-untyped-call]
    }
