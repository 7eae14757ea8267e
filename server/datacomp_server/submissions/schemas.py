"""What an upload must turn out to be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from datacomp.problems import Problem, raise_if_any
from datacomp_server.streaming import Received


@dataclass(frozen=True)
class ExpectedUpload:
    """The file that was announced: where it belongs, how many bytes it has and their digest."""

    key: str
    size: int
    digest: str
    opened_at: datetime
    confirmed: bool
    """Whether it has arrived already: sent again, it is compared and kept nowhere."""

    def check(self, received: Received) -> None:
        """`BadInput` unless just the announced bytes arrived."""
        problems = []
        if received.size != self.size:
            problems.append(
                Problem(
                    code="upload-size",
                    message=f"{received.size:,} bytes arrived, {self.size:,} were announced",
                    where="body",
                    hint="send the whole file again",
                )
            )
        if received.digest != self.digest:
            problems.append(
                Problem(
                    code="upload-digest",
                    message=f"the file that arrived has digest {received.digest}, announced was {self.digest}",
                    where="body",
                    hint="send the file that was announced, or open a new submission for this one",
                )
            )
        raise_if_any(problems)
