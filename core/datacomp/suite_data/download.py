"""Fetching a suite's folders from the hub, or a mirror that speaks as it does: resumed, verified, never half done.

`huggingface_hub` does the transfer (it goes on with what an interrupted one left); sizes and digests are compared here
with what the hub announces: SHA-256 for large files, git's blob digest for small ones.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datacomp.digests import BLOCK, digest_file
from datacomp.problems import BadInput, PlatformFault, Problem
from datacomp.suite import Kind, Suite, Task
from datacomp.suite_data import tables
from datacomp.suite_data.check import DOWNLOADED
from datacomp.suite_data.sources import HUB, Repository

Report = Callable[[str, float, float], None]
"""Told what, bytes done and bytes in all of a file."""


@dataclass(frozen=True)
class Remote:
    """A file as the hub announces it."""

    name: str
    size: int
    sha256: str | None
    blob: str | None
    """Git's digest, where there is no SHA-256."""

    def verify(self, path: Path) -> str:
        """Its SHA-256; `PlatformFault` when what came is something else."""
        found = digest_file(path)
        fits = path.stat().st_size == self.size
        if self.sha256 is not None:
            fits = fits and found == self.sha256
        elif self.blob is not None:
            fits = fits and _blob_digest(path) == self.blob
        if not fits:
            path.unlink()
            message = f"{path.name} is another file than announced; it was removed"
            raise PlatformFault.of("suite-download-damaged", message, self.name, "run the same command again")
        return found


def download_suite(
    suite: Suite,
    directory: Path,
    *,
    tasks: Sequence[str] = (),
    endpoint: str = HUB,
    revision: str = "main",
    report: Report,
) -> list[str]:
    """Fetch the folders of the suite's tasks, or of some by key, and return the keys of those fetched now.

    All tasks are tried; then `PlatformFault` says which could not be had. What is complete is not fetched again.
    `BadInput` for unknown keys, and where the software for it is not installed.
    """
    _require_hub()
    if unknown := sorted(set(tasks) - {task.key for task in suite.tasks}):
        known = ", ".join(task.key for task in suite.tasks)
        raise BadInput.of("task-unknown", f"{suite.id} has no task {', '.join(unknown)}", hint=f"tasks: {known}")
    problems: list[Problem] = []
    fetched = []
    folders: set[str] = set()
    for task in suite.tasks:
        if (tasks and task.key not in tasks) or task.folder in folders:
            continue
        folders.add(task.folder)
        try:
            if _fetch(task, directory / task.folder, endpoint, revision, _needs_training(suite, task), report):
                fetched.append(task.key)
        except PlatformFault as fault:
            problems += [problem.at(f"{task.key}: {problem.where}") for problem in fault.problems]
    if problems:
        raise PlatformFault(*problems)
    return fetched


def _require_hub() -> None:
    from importlib.util import find_spec

    if find_spec("huggingface_hub") is None:
        message = "fetching suites needs huggingface_hub, which the worker's software brings"
        raise BadInput.of("extra-missing", message, hint="pip install 'datacomp[worker,cpu]'")


def _needs_training(suite: Suite, task: Task) -> bool:
    return any(other.kind is Kind.PROBE for other in suite.tasks if other.folder == task.folder)


def _fetch(task: Task, folder: Path, endpoint: str, revision: str, train: bool, report: Report) -> bool:
    """One folder; False when it was complete."""
    if _is_complete(folder, train=train):
        return False
    repository = Repository.of(task, revision)
    commit, remotes = _listing(repository, endpoint, train=train)
    into = folder / ".tables" if repository.table else folder
    into.mkdir(parents=True, exist_ok=True)
    digests = {one.name: _transfer(repository.id, commit, one, into, endpoint, report) for one in remotes}
    files = {one.name: {"size": one.size, "sha256": digests[one.name]} for one in remotes}
    if repository.table:
        tables.write_task(task, [into / one.name for one in remotes], folder)
        shutil.rmtree(into)
        made = sorted((folder / "test").iterdir())
        files = {f"test/{p.name}": {"size": p.stat().st_size, "sha256": digest_file(p)} for p in made}
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    told = {"repository": repository.id, "revision": commit, "train": train, "files": files}
    part = folder / f"{DOWNLOADED}.part"
    part.write_text(json.dumps(told, indent=1))
    part.replace(folder / DOWNLOADED)
    return True


def _is_complete(folder: Path, *, train: bool) -> bool:
    try:
        told = json.loads((folder / DOWNLOADED).read_text())
        sizes = {name: file["size"] for name, file in told["files"].items()}
        return told["train"] >= train and all((folder / n).stat().st_size == size for n, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _listing(repository: Repository, endpoint: str, *, train: bool) -> tuple[str, list[Remote]]:
    """The commit that the revision names now, and the files to fetch."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi(endpoint=endpoint)
        info = api.dataset_info(repository.id, revision=repository.revision, files_metadata=True)
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise _unreachable(repository.id, endpoint, error) from error
    remotes = []
    for one in info.siblings or []:
        if repository.wants(one.rfilename, train=train):
            sha256 = one.lfs.sha256 if one.lfs else None
            remotes.append(Remote(one.rfilename, int(one.size or 0), sha256, one.blob_id))
    if not remotes or info.sha is None:
        message = "the repository holds no data of the task in a form that can be read"
        raise PlatformFault.of("suite-repository-empty", message, repository.id)
    return info.sha, remotes


def _transfer(repository: str, commit: str, remote: Remote, into: Path, endpoint: str, report: Report) -> str:
    """Fetch a file unless it is there; returns its SHA-256."""
    import httpx
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    path = into / remote.name
    if path.is_file() and path.stat().st_size == remote.size:
        try:
            return remote.verify(path)
        except PlatformFault:
            pass  # damaged: it is fetched anew
    title = f"{repository.rpartition('/')[2]}/{remote.name}"
    try:
        hf_hub_download(
            repository,
            remote.name,
            repo_type="dataset",
            revision=commit,
            local_dir=into,
            endpoint=endpoint,
            tqdm_class=_bar(title, remote.size, report),
        )
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise _unreachable(f"{repository}: {remote.name}", endpoint, error) from error
    report(title, remote.size, remote.size)
    return remote.verify(path)


def _bar(title: str, size: int, report: Report) -> Any:
    """The library's progress bar, which tells ours."""
    from tqdm import tqdm

    class Told(tqdm):  # type: ignore[misc] # the package carries no types
        def __init__(self, *_: Any, **options: Any) -> None:
            self._done = float(options.get("initial") or 0)
            super().__init__(disable=True)

        def update(self, n: float | None = 1) -> None:
            self._done += n or 0
            report(title, self._done, max(size, 1))

    return Told


def _unreachable(where: str, endpoint: str, error: Exception) -> PlatformFault:
    first = str(error).strip().partition("\n")[0]
    hint = "run the same command again, it goes on where it was; --endpoint names a mirror"
    return PlatformFault.of("suite-download", f"{endpoint}: {first or type(error).__name__}", where, hint)


def _blob_digest(path: Path) -> str:
    sha = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            sha.update(block)
    return sha.hexdigest()
