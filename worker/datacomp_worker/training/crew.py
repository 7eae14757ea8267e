"""Who trains: how many processes on how many hosts, and how they find each other."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from datacomp.messages import Message

Launcher = Literal["local", "hosts", "slurm"]


class Crew(Message):
    """The processes of one training. Which they are is no part of the recipe: they share the scale's batch."""

    launcher: Launcher = "local"
    """`local`: this host. `hosts`: this host and others that run `datacomp train-host`. `slurm`: a Slurm job."""
    hosts: int = Field(1, ge=1)
    processes: int = Field(1, ge=1)
    """On each host."""
    rendezvous: str = ""
    """`host:port` of the worker's host, as the others reach it. Slurm's jobs choose their own."""
    cluster: Literal["slurm", "local"] = "slurm"
    """`local` tries the road to Slurm out on this host, without Slurm."""
    options: dict[str, Any] = Field(default_factory=dict)
    """What submitit is told beside the layout: partition, account, time limit."""

    @property
    def size(self) -> int:
        """Processes in all."""
        return self.hosts * self.processes
