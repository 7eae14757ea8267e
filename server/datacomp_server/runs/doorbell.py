"""The doorbell: messages in the broker's queues that wake workers. Nothing but the queue's name is in a ring.

A ring is a call of the task `datacomp.ring` in Celery's message protocol, version 2, sent with kombu: the server does
not import Celery (https://docs.celeryq.dev/en/stable/internals/protocol.html).
"""

from __future__ import annotations

import os
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from kombu import Connection, Producer
from kombu.exceptions import KombuError

from datacomp.problems import PlatformFault
from datacomp_server.settings import Settings

RING = "datacomp.ring"
TIMEOUT_SECONDS = 5.0


def transport_options(url: str, directory: Path) -> dict[str, Any]:
    """The file broker's folders, which are the workers' own (what we send is what they take in), or time limits."""
    if not url.startswith("filesystem"):
        return {"socket_timeout": TIMEOUT_SECONDS, "socket_connect_timeout": TIMEOUT_SECONDS, "max_retries": 1}
    queue, control = directory / "queue", directory / "control"
    for folder in (queue, control):
        folder.mkdir(parents=True, exist_ok=True)
    return {"data_folder_in": str(queue), "data_folder_out": str(queue), "control_folder": str(control)}


class Doorbell:
    """A connection to the broker, opened when first needed and again after a failure."""

    def __init__(self, settings: Settings) -> None:
        self._url = settings.broker_url
        self._directory = settings.broker_dir or settings.data_dir / "broker"
        self._connection: Connection | None = None
        self._channel: Any = None

    def ring(self, queue: str) -> None:
        """Send one ring to a queue; `PlatformFault` when the broker cannot be reached."""
        self._guarded(lambda channel: _send(channel, queue))

    def waiting(self, queue: str) -> int:
        """Rings in a queue that no worker has taken up."""
        return int(self._guarded(lambda channel: channel._size(queue)))

    def close(self) -> None:
        """Close the connection; silent when it is broken."""
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            connection.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _guarded(self, act: Any) -> Any:
        try:
            if self._connection is None:
                options = transport_options(self._url, self._directory)  # folders that were deleted come back
                self._connection = Connection(self._url, transport_options=options, connect_timeout=TIMEOUT_SECONDS)
                self._channel = self._connection.channel()
            return act(self._channel)
        except _broker_errors(self._connection) as error:
            self.close()
            raise PlatformFault.of(
                "broker-unreachable",
                f"the broker cannot be reached: {error}",
                where="DATACOMP_BROKER_URL",
                hint="is it running? Rings that are owed are sent once it is back",
            ) from error


def _broker_errors(connection: Connection | None) -> tuple[type[Exception], ...]:
    """What is raised when the broker is away: every transport has its own."""
    common = (KombuError, OSError)
    return (*common, *connection.connection_errors, *connection.channel_errors) if connection is not None else common


def _send(channel: Any, queue: str) -> None:
    """To the queue itself, by the anonymous exchange: nothing has to be declared before a worker is there."""
    identity = str(uuid4())
    Producer(channel, auto_declare=False).publish(
        [[queue], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}],
        exchange="",
        routing_key=queue,
        serializer="json",
        correlation_id=identity,
        headers={
            "lang": "py",
            "task": RING,
            "id": identity,
            "root_id": identity,
            "parent_id": None,
            "group": None,
            "argsrepr": repr((queue,)),
            "kwargsrepr": "{}",
            "origin": f"dispatcher-{os.getpid()}@{socket.gethostname()}",
            "retries": 0,
            "eta": None,
            "expires": None,
            "timelimit": [None, None],
        },
    )
