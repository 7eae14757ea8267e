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
    """How subsets are read, and what a worker's scratch directory may hold of them."""

    model_config = SettingsConfigDict(env_prefix="DATACOMP_", extra="ignore")

    subsets: Literal["virtual", "tars"] = "virtual"
    """Where a subset's samples are read: `virtual`, where they lie in the pool's tars; `tars`, in tars of their own,
    which pays where the pool lies on a slower disk than the scratch directory. Nothing that is learnt depends on it."""
    subset_cache_bytes: int = Field(1_000_000_000_000, ge=0)
    """Bytes of subset shards that are kept. The least recently used leave first, those in use never; what a run needs
    now is made even beyond it, as far as the disk goes."""
    dataset_cache_bytes: int = Field(500_000_000_000, ge=0)
    """The same for datasets of participants that are unpacked here."""


class ScratchSettings(BaseSettings):
    """Where a host works, and how it logs."""

    model_config = SettingsConfigDict(env_prefix="DATACOMP_", extra="ignore")

    data_dir: Path = Path("datacomp-data")
    scratch_dir: Path | None = None
    """Fast local disk for workspaces and caches; one that all hosts share where several train together. Default:
    `<data_dir>/scratch`."""
    log_format: LogFormat = LogFormat.TEXT
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @cached_property
    def scratch(self) -> Path:
        """The scratch directory."""
        return self.scratch_dir or self.data_dir / "scratch"


class TrainSettings(BaseSettings):
    """Who trains, and how long it may stand still. See docs/training.md."""

    model_config = SettingsConfigDict(env_prefix="DATACOMP_TRAIN_", extra="ignore")

    launcher: Literal["local", "hosts", "slurm"] = "local"
    """`local`: this host's GPUs. `hosts`: also those of hosts that run `datacomp train-host`. `slurm`: a Slurm job."""
    hosts: int = Field(1, ge=1)
    """Hosts in all."""
    processes: int | None = Field(None, ge=1)
    """Processes on each. Default: one for every GPU of this host, one where there is none."""
    device: Literal["cpu", "cuda"] | None = None
    """What they compute on. Default: what this host has."""
    rendezvous: str = ""
    """`host:port` at which other hosts reach this one; needed by `hosts`."""
    accumulation: int = Field(1, ge=1)
    """Parts of a rank's share of the batch to begin with. More are taken when memory runs out."""
    stall_seconds: float = Field(1800, ge=0)
    """A training that shows no progress for so long is ended and tried again; 0 never ends one."""
    slurm: dict[str, str | int | float | bool] = Field(default_factory=dict)
    """What submitit is told, as JSON: `{"slurm_partition": "gpu", "timeout_min": 2880}`."""
    slurm_cluster: Literal["slurm", "local"] = "slurm"
    """`local` runs the job on this host without Slurm, to try the road out."""


class FetchSettings(BaseSettings):
    """How a worker fetches the images of participants' datasets. See docs/byod.md."""

    model_config = SettingsConfigDict(env_prefix="DATACOMP_FETCH_", extra="ignore")

    allow: tuple[str, ...] = ()
    """Networks that are not public and may be connected to nevertheless, as JSON: `["10.1.0.0/16"]`."""
    processes: int = Field(1, ge=1)
    threads: int = Field(32, ge=1)
    """Of each process."""
    image_size: int = Field(512, ge=16)
    image_seconds: float = Field(20, gt=0)
    image_bytes: int = Field(32 << 20, ge=1)
    image_pixels: int = Field(64_000_000, ge=1)
    retries: int = Field(2, ge=0)
    host_connections: int = Field(8, ge=1)
    host_interval: float = Field(0.0, ge=0)
    tar_seconds: float = Field(3600, gt=0)
    tar_bytes: int = Field(20_000_000_000, ge=1)
    """Of one webdataset tar that a dataset names."""
    dataset_bytes: int = Field(200_000_000_000, ge=1)
    """Bytes of one dataset's images."""
    spare_bytes: int = Field(1 << 30, ge=0)
    """Bytes of the disk that stay free."""
    box: Literal["auto", "require", "off"] = "auto"
    """Whether the downloading process is shut in by bubblewrap: `auto`, where this host can, with a warning where it
    cannot; `require`, nothing is fetched without."""
    memory: int = Field(8 << 30, ge=1 << 30)
    """Bytes that one of its processes may have, in the box."""


class WorkerSettings(ScratchSettings):
    """Where the server, the broker, the pools and the suites are. A worker holds no database credentials."""

    server_url: str = "http://127.0.0.1:8000"
    worker_token: SecretStr
    worker_name: str = Field(default_factory=lambda: f"{socket.gethostname()}-{os.getpid()}")
    pools_dir: Path | None = None
    """Holds one folder per pool, by name. Default: `<data_dir>/pools`."""
    suites_dir: Path | None = None
    """Holds one folder per suite name with the `wds_*` folders. Default: `<data_dir>/suites`."""
    broker_url: str = "filesystem://"
    broker_dir: Path | None = None
    """Folder of the file-system broker. Default: `<data_dir>/broker`."""
    hello_seconds: float = 2.0
    """How often this worker says that it is alive."""

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
