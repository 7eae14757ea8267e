"""Downloading images by img2dataset, guarded: limits, a process of its own, causes for whatever failed."""

from datacomp_worker.download.archives import Archives
from datacomp_worker.download.driver import Options, Space, require_img2dataset, run_download
from datacomp_worker.download.limits import Limits
from datacomp_worker.download.outcomes import REPLACED, Outcomes, outcomes

__all__ = [
    "REPLACED",
    "Archives",
    "Limits",
    "Options",
    "Outcomes",
    "Space",
    "outcomes",
    "require_img2dataset",
    "run_download",
]
