"""Which tests run side by side: a file's tests stay together, and so do all that share one running platform."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import hypothesis
import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdist.remote import Producer

PLATFORM = "tests/e2e/"
CORPUS = "tests/security/test_corpus.py"
LONGEST = (
    # The web tests need no tiny world: they go on in one process while the end-to-end tests' one makes it.
    *(PLATFORM, "tests/web/", "tests/worker/test_training_child.py", "tests/worker/test_training_crew.py"),
    *("tests/worker/", "tests/security/", "tests/filters/", "tests/core/test_local.py"),
)
# What a test finds must not depend on how busy the machine is.
hypothesis.settings.register_profile("datacomp", deadline=None)
hypothesis.settings.load_profile("datacomp")


class ByPlatform(LoadFileScheduling):
    """By file, all end-to-end tests in one process, and the hostile corpus by its classes."""

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(CORPUS):
            return nodeid.partition("-")[0]
        return PLATFORM if nodeid.startswith(PLATFORM) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    return ByPlatform(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that all processes end at about the same time."""
    items.sort(
        key=lambda item: next((n for n, long in enumerate(LONGEST) if item.nodeid.startswith(long)), len(LONGEST))
    )


@pytest.fixture(autouse=True)
def _logs_go_where_they_went() -> Iterator[None]:
    """A command that a test runs in this process sends all logs to its own standard error, which is gone afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


SUMMARY = pytest.StashKey[list[str]]()


@pytest.fixture
def summary(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Adds a line to what is printed at the end: what a test with a seed and a count did, and what it found."""
    lines = request.config.stash.setdefault(SUMMARY, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if lines := config.stash.get(SUMMARY, []):
        terminalreporter.section("summary")
        for line in lines:
            terminalreporter.write_line(line)
