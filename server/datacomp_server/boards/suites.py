"""The suites that this server has: those that boards named once, those that come with it, and those beside the boards
file. Whoever chooses one names it by digest, never by a path."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files

from sqlalchemy import select
from sqlalchemy.orm import Session

from datacomp.problems import DatacompError
from datacomp.suite import Suite, load_suite
from datacomp_server.boards.models import StoredSuite
from datacomp_server.errors import NotFound
from datacomp_server.settings import Settings

LARGEST = 1 << 20
"""Bytes; files beside the boards file that are larger are no suites."""


def known_suites(session: Session, settings: Settings) -> list[Suite]:
    """Every suite that can be chosen, each once, by name and version."""
    found = {suite.digest: suite for suite in _all(session, settings)}
    return sorted(found.values(), key=lambda suite: (suite.id, suite.digest))


def known_suite(session: Session, settings: Settings, digest: str) -> Suite:
    """The one with that digest; `NotFound`."""
    for suite in _all(session, settings):
        if suite.digest == digest:
            return suite
    raise NotFound.of("suite-unknown", "the server has no such suite", where="suite", hint="choose one of the list")


def _all(session: Session, settings: Settings) -> Iterator[Suite]:
    for row in session.scalars(select(StoredSuite)):
        yield Suite.model_validate(row.body)
    for resource in (files("datacomp") / "suites").iterdir():
        if resource.name.endswith(".json"):
            yield load_suite(resource.name.removesuffix(".json"))
    if settings.boards_file is not None:
        for path in sorted(settings.boards_file.parent.glob("*.json")):
            try:
                if path.stat().st_size <= LARGEST:
                    yield load_suite(path)
            except (DatacompError, OSError, ValueError):
                continue  # some other file, or one that is being written
