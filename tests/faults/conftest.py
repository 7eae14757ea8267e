"""The platform that the fault tests break, on both kinds of servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from faults import COUNT, SEED
from own_servers import OwnPostgres, OwnRedis, own_postgres, own_redis
from quick_platform import QuickPlatform


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The last line of `make test-faults`."""
    if config.option.markexpr == "faults":
        count = {name: len(terminalreporter.getreports(name)) for name in ("passed", "failed", "error", "skipped")}
        said = ", ".join(f"{number} {name}" for name, number in count.items())
        terminalreporter.write_line(f"faults (seed {SEED}, count {COUNT}): {said}")


@dataclass
class Site:
    """A running platform and the servers below it."""

    platform: QuickPlatform
    postgres: OwnPostgres | None
    redis: OwnRedis | None


@contextmanager
def platform_on(kind: str, folder: Path, **changes: Any) -> Iterator[Site]:
    """A running platform: on SQLite and the file broker, or on a PostgreSQL and a Redis of its own."""
    with ExitStack() as stack:
        production = kind == "production"
        postgres = stack.enter_context(own_postgres()) if production else None
        redis = stack.enter_context(own_redis()) if production else None
        platform = QuickPlatform(folder, postgres=postgres, redis=redis, **changes)
        yield Site(stack.enter_context(platform), postgres, redis)


@pytest.fixture(scope="module", params=["embedded", "production"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A running platform, on both kinds of servers, one after the other."""
    with platform_on(request.param, tmp_path_factory.mktemp("platform") / "data") as made:
        yield made
