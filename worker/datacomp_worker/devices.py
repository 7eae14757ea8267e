"""What this host trains on."""

from __future__ import annotations

from functools import cache
from pathlib import Path


@cache
def accelerator() -> tuple[str, int]:
    """`("cuda", number of GPUs)` where PyTorch sees a GPU, else `("cpu", 0)`.

    The driver's files are looked for first, so that a CPU-only host does not import torch to validate a list of uids.
    """
    if not any(Path(path).exists() for path in ("/dev/nvidia0", "/dev/nvidiactl", "/proc/driver/nvidia/version")):
        return "cpu", 0
    import torch

    return ("cuda", torch.cuda.device_count()) if torch.cuda.is_available() else ("cpu", 0)
