"""A worker's settings, read once from the environment (prefix `DATACOMP_`)."""

from __future__ import annotations

import os
import socket
from functools import cached_property
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from datacomp.logs import LogFormat
from datacomp.problems import PlatformFault


class CacheSettings(BaseSettings):
    """What a worker's scratch directory may hold."""

    model_config = SettingsConfigDict(env_prefix="DATACOMP_", extra="ignore")

    subset_cache_bytes: int = Field(1_000_000_000_000, ge=0)
    """Bytes of subset shards that are kept. The least recently used leave first, those in use never; what a run needs
    now is made even beyond it, as far as the disk goes."""


class WorkerSettings(BaseSettings):
    """Where the server, the broker, the pools and the suites are. A worker holds no database credentials."""

    model_config = SettingsConfigDict(env_prefix="DATACOMP_", extra="ignore")

    server_url: str = "http://127.0.0.1:8000"
    worker_token: SecretStr
    worker_name: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    data_dir: Path = Path("datacomp-data")
    pools_dir: Path | None = None
    """Holds one folder per pool, by name. Default: `<data_dir>/pools`."""
    suites_dir: Path | None = None
    """Holds one folder per suite name with the `wds_*` folders. Default: `<data_dir>/suites`."""
    scratch_dir: Path | None = None
    """Fast local disk for workspaces and caches. Default: `<data_dir>/scratch`."""
    broker_url: str = "filesystem://"
    broker_dir: Path | None = None
    """Folder of the file-system broker. Default: `<data_dir>/broker`."""
    log_format: LogFormat = LogFormat.TEXT
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    hello_seconds: float = 2.0
    """How often this worker says that it is alive."""

    @cached_property
    def scratch(self) -> Path:
        """The scratch directory."""
        return self.scratch_dir or self.data_dir / "scratch"

    @cached_property
    def broker(self) -> Path:
        """The file-system broker's directory."""
        return self.broker_dir or self.data_dir / "broker"

    def pool(self, name: str) -> Path:
        """The directory of a pool; `PlatformFault` when this worker has none of that name."""
        path = (self.pools_dir or self.data_dir / "pools") / name
        if not path.is_dir():
            hint = "copy or link the pool there, or set DATACOMP_POOLS_DIR"
            raise PlatformFault.of("pool-missing", f"this worker has no pool {name!r}", where=str(path), hint=hint)
        return path

    def suite(self, suite_id: str) -> Path:
        """The directory that holds a suite's `wds_*` folders. It may be absent: only evaluation needs it."""
        return (self.suites_dir or self.data_dir / "suites") / suite_id.partition("@")[0]
