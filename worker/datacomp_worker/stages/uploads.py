"""The participant's upload under a name that can be shown."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from datacomp.messages import SubmissionKind
from datacomp_worker.stages.base import StageContext

LONGEST_NAME = 100
_ODD = re.compile(r"[^A-Za-z0-9_. -]")


def named_upload(context: StageContext) -> Path:
    """A copy of the upload in the workspace, called as the participant called it, so that errors name their file.

    It lies in a folder of its own and is readable by all: the sandbox reads it as another user.
    """
    folder = context.workspace / "upload"
    folder.mkdir(mode=0o755)
    path = folder / safe_name(context.job.upload.name, code=context.job.kind is SubmissionKind.CODE)
    if context.job.kind is SubmissionKind.UIDS:  # may be large, and is read here alone
        path.symlink_to(context.input("upload").resolve())
        return path
    shutil.copyfile(context.input("upload"), path)
    path.chmod(0o644)
    return path


def safe_name(name: str, *, code: bool) -> str:
    """The file's name without directories, control characters and leading dots; code ends in `.py`."""
    stem = _ODD.sub("_", name.replace("\\", "/").rpartition("/")[2]).lstrip(". ")[-LONGEST_NAME:] or "upload"
    return f"{stem}.py" if code and not stem.endswith(".py") else stem
