"""The production set-up from end to end: PostgreSQL is the truth, Redis rings, everything else is as it is embedded."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from e2e_place import Place
from servers import REDIS, needed, postgres_schema

from datacomp.client import Client
from datacomp.local.platform import LocalPlatform

pytestmark = pytest.mark.e2e


class Production(LocalPlatform):
    """The same processes with production's settings."""

    database_url = ""

    def environment(self) -> dict[str, str]:
        return super().environment() | {
            "DATACOMP_MODE": "production",
            "DATACOMP_DATABASE_URL": self.database_url,
            # A Redis database of its own: other tests' workers would take its rings.
            "DATACOMP_BROKER_URL": needed(REDIS, "Redis").rstrip("0") + "1",
            "DATACOMP_STORAGE_URL": f"file://{self.data_dir}/objects",
        }


@dataclass
class Started:
    platform: Production
    client: Client


@pytest.fixture
def production(place: Place, tmp_path: Path) -> Iterator[Started]:
    (tmp_path / "pools").symlink_to(place.platform.data_dir / "pools")
    (tmp_path / "suites").symlink_to(place.platform.data_dir / "suites")
    with postgres_schema() as url:
        platform = Production(tmp_path, port=0, workers=1)
        platform.database_url = url
        environment = {**os.environ, "DATACOMP_DATABASE_URL": url}
        command = [sys.executable, "-m", "datacomp", "migrate"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        with platform:
            token = Client(platform.url).register("alan", "correct horse battery").token
            yield Started(platform, Client(platform.url, token))


@pytest.mark.timeout(280, func_only=True)
def test_a_rehearsal_goes_through_postgresql_and_redis(production: Started, place: Place, tmp_path: Path) -> None:
    uids = tmp_path / "uids.npy"
    made = place.datacomp("filter", "clip_score", "--fraction", "0.1", "--pool", str(place.pool), "--out", str(uids))
    assert made.returncode == 0, made.stderr
    receipt = production.client.submit(uids, "filtering-tiny", rehearsal=True)
    for _ in production.client.events(receipt.id):
        pass
    final = production.client.submission(receipt.id)
    assert final.state == "scored", final.failure
    assert all(run.attempts == 1 for run in final.runs)
    assert production.client.manifest(receipt.id).body
    assert not (tmp_path / "datacomp.sqlite3").exists()
    assert not (tmp_path / "broker").exists()
