"""One tiny world of 1,024 pairs for every test file that looks at one, also of test processes side by side."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from datacomp.pool import Pool, ingest
from datacomp_worker.world import World, generate

PAIRS, SEED = 1024, 7


def tiny_world(factory: pytest.TempPathFactory) -> tuple[World, list[tuple[str, float]]]:
    """The world, not to be changed, and what making it reported: (what, share done)."""
    base = factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny-world"
    root.mkdir(exist_ok=True)
    notes = root / "reported.json"
    with (root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        reported: list[tuple[str, float]] = []
        world = generate(
            root / "pool",
            root / "suite",
            pairs=PAIRS,
            seed=SEED,
            report=lambda what, share: reported.append((what, share)),
        )
        if not notes.exists():
            notes.write_text(json.dumps(reported))
    return world, [(what, share) for what, share in json.loads(notes.read_text())]


def ingested(world: World, directory: Path) -> Pool:
    """The world's pool with a pack of its own."""
    for folder in ("metadata", "shards"):
        (directory / folder).symlink_to(world.directory / folder)
    return ingest(directory, processes=1)
