"""Messages of submissions that only people's lists need, and what an upload must turn out to be."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from datacomp.messages import Message, SubmissionKind
from datacomp.problems import Problem, raise_if_any
from datacomp_server.streaming import Received


class SubmissionLine(Message):
    """A submission in its participant's list."""

    id: str
    url: str
    method: str
    board: str
    kind: SubmissionKind
    state: str
    final: bool
    rehearsal: bool
    created_at: datetime
    subset_size: int | None


@dataclass(frozen=True)
class ExpectedUpload:
    """The file that was announced: where it belongs, how many bytes it has and their digest."""

    key: str
    size: int
    digest: str
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
