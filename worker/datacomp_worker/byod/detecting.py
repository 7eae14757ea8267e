"""A board's detector of unsafe pictures: a function that a package on the workers plugs in.

An entry point of the group `datacomp.detectors` names a callable that takes encoded images (a list of bytes; the small
JPEGs that fetching left, and the pool's own files) and gives a score from 0 to 1 for each, higher for worse. It is the
organiser's own code and runs as the worker does; an attribute `version` goes into the result. Whatever runs models can
stand behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from datacomp import plugins
from datacomp.messages import ByodSetting
from datacomp.problems import PlatformFault

GROUP = "datacomp.detectors"
BATCH = 64
"""Images that are shown to it at a time."""


@dataclass(frozen=True)
class Detector:
    """Tells which pictures are unsafe."""

    name: str
    """With its version, where it names one."""
    threshold: float
    score: Callable[[Sequence[bytes]], Sequence[float]]

    def unsafe(self, images: Sequence[bytes]) -> list[bool]:
        """Which of some encoded images are. `PlatformFault` when the detector fails or answers nonsense: a picture that
        nobody judged is not let through."""
        try:
            scores = np.asarray(self.score(list(images)), np.float64)
        except Exception as error:  # somebody else's code: whatever it raises is told
            raise PlatformFault.of("detector-failed", f"{type(error).__name__}: {error}"[:500], self.name) from error
        if scores.shape != (len(images),) or not np.isfinite(scores).all():
            message = f"scores of shape {scores.shape} for {len(images)} images, or not finite"
            raise PlatformFault.of("detector-failed", message, self.name)
        found: list[bool] = (scores >= self.threshold).tolist()
        return found


def detector(setting: ByodSetting) -> Detector | None:
    """The one that a board names, if any. `PlatformFault` where this worker lacks it."""
    if setting.detector is None:
        return None
    try:
        found = plugins.load(GROUP, setting.detector)
    except (ImportError, AttributeError) as error:
        raise _missing(setting.detector, f"cannot be loaded: {error}") from error
    if found is None:
        raise _missing(setting.detector, "is not here")
    version = getattr(found, "version", None)
    return Detector(f"{setting.detector}@{version}" if version else setting.detector, setting.unsafe, found)


def _missing(name: str, why: str) -> PlatformFault:
    hint = f"install the package that has it as an entry point of {GROUP} on every worker, see docs/byod.md"
    return PlatformFault.of("detector-missing", f"the board's detector {name!r} {why}", hint=hint)
