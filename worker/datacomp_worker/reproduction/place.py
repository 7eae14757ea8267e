"""The working directory of a reproduction: what is finished in it is not done again, training goes on where it was."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datacomp.digests import digest_file, digest_json
from datacomp.messages import Progress, Stage
from datacomp.problems import BadInput
from datacomp.reproduction.compare import Made
from datacomp_worker.stages.base import StageOutput

OF_MANIFEST = "manifest-digest"
DONE = "done.json"
PER_SEED = frozenset({Stage.TRAIN, Stage.EVALUATE})
Show = Callable[[str, float], None]


@dataclass(frozen=True)
class StagePlace:
    """One stage's folder."""

    directory: Path

    def finished(self, key: str) -> Made | None:
        """What was made of inputs with this key, if it is all still there."""
        try:
            told = json.loads((self.directory / DONE).read_text())
            if told["key"] != key or any(digest_file(self.file(name)) != d for name, d in told["files"].items()):
                return None
            return Made(Stage(told["stage"]), told["seed"], told["result"], told["environment"], told["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def file(self, name: str) -> Path:
        """An output of the finished stage."""
        return self.directory / "files" / name

    @property
    def kept(self) -> Path:
        """Checkpoints of the run in progress."""
        return self.directory / "kept"

    @property
    def latest(self) -> Path | None:
        """The checkpoint of the highest epoch."""
        found = {int(path.stem[6:]): path for path in self.kept.glob("epoch_*.pt") if path.stem[6:].isdigit()}
        return found[max(found)] if found else None

    def begin(self, key: str) -> Path:
        """An empty workspace; what was kept of work with other inputs is gone."""
        note = self.directory / "key"
        if not note.is_file() or note.read_text() != key:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory.mkdir(parents=True)
            note.write_text(key)
        workspace = self.directory / "workspace"
        for folder in (workspace, self.directory / "files"):
            shutil.rmtree(folder, ignore_errors=True)
        workspace.mkdir()
        self.kept.mkdir(exist_ok=True)
        return workspace

    def end(self, key: str, seed: int, output: StageOutput, environment: Mapping[str, str]) -> Made:
        """Keep a stage's outputs; the marker is written last."""
        (self.directory / "files").mkdir()
        for name, path in output.files.items():
            shutil.move(path, self.file(name))
        digests = {name: digest_file(self.file(name)) for name in output.files}
        result = output.result.model_dump(mode="json")
        made = Made(output.result.stage, seed, result, dict(environment), digests)
        told: dict[str, Any] = {"key": key, "stage": made.stage.value, "seed": seed, "result": result}
        _write(self.directory / DONE, json.dumps(told | {"environment": made.environment, "files": digests}))
        for folder in (self.kept, self.directory / "workspace"):
            shutil.rmtree(folder, ignore_errors=True)
        return made


@dataclass(frozen=True)
class Place:
    """The whole directory."""

    directory: Path

    @classmethod
    def of(cls, directory: Path, manifest_digest: str) -> Place:
        """Make or go on with it. `BadInput` when it is another manifest's."""
        note = directory / OF_MANIFEST
        if note.is_file() and note.read_text() != manifest_digest:
            message = "this directory holds the reproduction of another manifest"
            raise BadInput.of("reproduction-other", message, str(directory), "name another with --work")
        if directory.is_dir() and not note.is_file() and any(directory.iterdir()):
            message = "this directory holds something else"
            raise BadInput.of("reproduction-other", message, str(directory), "name an empty or new one with --work")
        directory.mkdir(parents=True, exist_ok=True)
        _write(note, manifest_digest)
        return cls(directory)

    def stage(self, stage: Stage, seed: int) -> StagePlace:
        """The folder of a stage and seed."""
        name = f"{stage.value}-{seed}" if stage in PER_SEED else stage.value
        return StagePlace(self.directory / name)

    @property
    def scratch(self) -> Path:
        """For subset shards."""
        return self.directory / "scratch"


@dataclass
class Teller:
    """A stage's line to the person at the terminal, and to the working directory."""

    place: StagePlace
    title: str
    show: Show

    def progress(self, progress: Progress) -> None:
        """See `Reporter`."""
        share = progress.done / progress.total if progress.total else 0.0
        rate = f", {progress.rate:,.0f} {progress.unit}/s" if progress.rate else ""
        self.show(f"{self.title} {progress.note}{rate}".strip(), min(share, 1.0))

    def log(self, text: str) -> None:
        """See `Reporter`."""
        with (self.place.directory / "log.txt").open("a") as file:
            file.write(text)

    def check(self) -> None:
        """See `Reporter`: nobody takes the run away."""

    def store(self, name: str, path: Path) -> None:
        """See `Reporter`: checkpoints stay, the newest alone, so that an interrupted training goes on."""
        part = self.place.kept / f"{name}.part"
        shutil.copyfile(path, part)
        part.replace(self.place.kept / name)
        for older in self.place.kept.glob("epoch_*.pt"):
            if older.name != name:
                older.unlink()


def key_of(parts: Mapping[str, Any]) -> str:
    """What a stage's work is known by: the digest of everything that it depends on."""
    return digest_json(parts)


def _write(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text)
    os.replace(part, path)
