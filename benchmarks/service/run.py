"""The service under load, on PostgreSQL: a board of many entries, readers, event watchers, submissions at once.

.venv/bin/python benchmarks/service/run.py [--entries 100000] [--rate 200] [--seconds 30] [--watchers 1000]
    [--submits 500] [--database URL]

Starts a PostgreSQL of its own (or takes an empty database), one server process in production mode and the load in
this process, all on this machine: with two cores the three share them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import load
import psutil
import seed
from postgres import postgres

from datacomp_server import schema
from datacomp_server.database import Database
from datacomp_server.settings import Settings
from datacomp_server.startup import apply_settings

PAGE, JSON = f"/boards/{seed.BOARD}", f"/api/leaderboard?board={seed.BOARD}&limit=100"
VIEWS = {
    "page and JSON by turns": [PAGE, JSON],
    "50 pages of the board": [f"{PAGE}?page={n}" for n in range(1, 51)],
    "sorted by four tasks": [f"{PAGE}?sort=task:{key}" for key in ("imagenet1k", "food101", "mnist", "sun397")],
}


def environment(folder: Path, database: str, port: int) -> dict[str, str]:
    """Settings of the server in production."""
    token = secrets.token_urlsafe(24)
    return {
        "DATACOMP_MODE": "production",
        "DATACOMP_DATABASE_URL": database,
        "DATACOMP_DATA_DIR": str(folder),
        "DATACOMP_STORAGE_URL": f"file://{folder}/storage",
        "DATACOMP_BOARDS_FILE": str(seed.write_boards(folder)),
        "DATACOMP_PUBLIC_URL": f"http://127.0.0.1:{port}",
        "DATACOMP_PORT": str(port),
        "DATACOMP_SECRET_KEY": secrets.token_urlsafe(32),
        "DATACOMP_WORKER_TOKEN": f"worker-{token}",
        "DATACOMP_ORGANISER_TOKEN": f"organiser-{token}",
        "DATACOMP_RATE_LIMITS": "false",  # all of the load comes from one address
    }


@contextmanager
def server(variables: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """A server process, ready."""
    with log.open("wb") as out:
        child = subprocess.Popen(
            [Path(sys.executable).with_name("datacomp"), "server"], env=os.environ | variables, stdout=out, stderr=out
        )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"{variables['DATACOMP_PUBLIC_URL']}/readyz", timeout=5):
                    break
            except OSError as error:
                if child.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the server did not start:\n{log.read_text()[-3000:]}") from error
                time.sleep(0.1)
        yield psutil.Process(child.pid)
    finally:
        child.terminate()
        child.wait(20)


def measure(options: argparse.Namespace, database: str, folder: Path) -> list[dict[str, Any]]:
    """All parts, one after the other."""
    port = seed_port()
    variables = environment(folder, database, port)
    os.environ |= variables
    settings = Settings()
    opened = Database(database)
    schema.migrate(opened)
    apply_settings(opened, settings)
    tokens = list(seed.people(opened, settings, 200).values())
    began = time.monotonic()
    seed.fill(opened, options.entries)
    opened.close()
    print(f"{options.entries:,} entries written in {time.monotonic() - began:.0f} s", file=sys.stderr)
    lines = []
    with server(variables, folder / "server.log") as process:
        host = "127.0.0.1"
        for name, paths in VIEWS.items():
            asyncio.run(load.warm(host, port, paths[:2]))
            with watched(process, name, lines) as line:
                times = asyncio.run(load.reads(host, port, paths, rate=options.rate, seconds=options.seconds))
                line.update(times.summary())
        with watched(process, f"{options.submits} submissions at once", lines) as line:
            line.update(asyncio.run(load.submits(host, port, tokens, seed.BOARD, options.submits)).summary())
        with watched(process, f"{options.watchers:,} event watchers", lines) as line:
            times, stayed = asyncio.run(
                load.watchers(
                    host, port, tokens=tokens, worker_token=variables["DATACOMP_WORKER_TOKEN"], board=seed.BOARD,
                    count=options.watchers, seconds=options.seconds,
                )
            )  # fmt: skip
            line.update(times.summary(), stayed=stayed)
    return lines


@contextmanager
def watched(process: psutil.Process, name: str, lines: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Adds what the server process took."""
    before, line = process.cpu_times(), {"part": name}
    yield line
    after = process.cpu_times()
    line["server CPU s"] = round(after.user + after.system - before.user - before.system, 1)
    line["server MB"] = round(process.memory_info().rss / 1e6)
    lines.append(line)
    print(json.dumps(line), file=sys.stderr)


def seed_port() -> int:
    """A free port."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def table(lines: list[dict[str, Any]]) -> str:
    """Markdown."""
    names = list(dict.fromkeys(name for line in lines for name in line))
    rows = [names, ["---"] * len(names), *([str(line.get(name, "")) for name in names] for line in lines)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rate", type=float, default=200)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--watchers", type=int, default=1000)
    parser.add_argument("--submits", type=int, default=500)
    parser.add_argument("--database", help="SQLAlchemy URL of an empty database; default: a PostgreSQL of its own")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-service-")))
        database = options.database or stack.enter_context(postgres())
        print(table(measure(options, database, folder)))


if __name__ == "__main__":
    main()
