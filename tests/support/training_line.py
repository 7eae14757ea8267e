"""The line to the server of one training that a test carries out itself."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from datacomp.messages import Progress
from datacomp_worker.stages.base import Cancelled


@dataclass
class Line:
    """Keeps what it is told; checkpoints are stored in `home`."""

    home: Path
    cancelled: bool = False
    seen: list[Progress] = field(default_factory=list)
    text: str = ""

    def progress(self, progress: Progress) -> None:
        self.seen.append(progress)

    def log(self, text: str) -> None:
        self.text += text

    def check(self) -> None:
        if self.cancelled:
            raise Cancelled

    def store(self, name: str, path: Path) -> None:
        shutil.copyfile(path, self.home / name)
