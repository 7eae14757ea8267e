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
    "scipy": "scipy",
    "pyarrow": "pyarrow",
    "pillow": "pillow",
    "torch": "torch",
    "torchvision": "torchvision",
    "open_clip": "open_clip_torch",
    "webdataset": "webdataset",
    "scikit-learn": "scikit-learn",
    "fasttext-predict": "fasttext-predict",
    "faiss-cpu": "faiss-cpu",
    "faiss-gpu": "faiss-gpu-cu12",
}
"""Names in the manifest and the distributions behind them; one that is not installed is left out."""

SIMD = ("amx_tile", "avx512f", "avx2", "avx", "sse4_2", "sve", "asimd")


@cache
def environment() -> dict[str, str]:
    """Versions, system, processor and, where there are any, GPUs. Nothing heavy is imported on a host without GPU."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cpus": str(os.cpu_count()),
        "cpus_usable": str(len(os.sched_getaffinity(0))),
        "simd": _simd(),
        "memory_gib": str(round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)),
        "device": accelerator()[0],
        "gpu_count": str(accelerator()[1]),
    }
    if threads := os.environ.get("OMP_NUM_THREADS"):
        found["omp_num_threads"] = threads
    for name, distribution in PACKAGES.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            continue
    return found | _gpus()


def _cpu_model() -> str:
    return _cpuinfo("model name") or platform.processor() or "unknown"


def _simd() -> str:
    """The widest vector instructions that numerical libraries choose their kernels by."""
    flags = {*_cpuinfo("flags").split(), *_cpuinfo("Features").split()}
    return next((name for name in SIMD if name in flags), "unknown")


def _cpuinfo(field: str) -> str:
    """The first processor's entry; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(field)), "")


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
