"""The load, from a process of its own: requests at a fixed rate, event watchers, submissions at once.

Times are taken from when a request was due, not from when it could be sent, so that a server that stalls is charged for
everybody who had to wait.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np

IDLE_SECONDS = 3.0
"""A connection unused for so long is opened anew: servers close idle ones after five seconds."""


@dataclass
class Times:
    """Latencies in seconds, and what was answered."""

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    received: int = 0

    def quantile(self, share: float) -> float:
        """In milliseconds; NaN without any."""
        ordered = sorted(self.seconds)
        return 1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")

    def summary(self) -> dict[str, Any]:
        """For the table."""
        return {
            "requests": len(self.seconds),
            "p50 ms": round(self.quantile(0.5), 1),
            "p99 ms": round(self.quantile(0.99), 1),
            "max ms": round(self.quantile(1), 1),
            "mean kB": round(self.received / max(len(self.seconds), 1) / 1000, 1),
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
        }


class Link:
    """One keep-alive connection."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.used_at = 0.0
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        """Status and body."""
        if time.perf_counter() - self.used_at > IDLE_SECONDS:
            self.close()
        self.used_at = time.perf_counter()
        if self._streams is None:
            self._streams = await asyncio.open_connection(self.host, self.port, limit=1 << 22)
        reader, writer = self._streams
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status = int(head.split(" ", 2)[1])
        length = next((int(x.split(":")[1]) for x in head.split("\r\n") if x.startswith("content-length:")), 0)
        content = await reader.readexactly(length) if length else b""
        if "connection: close" in head:
            self.close()
        return status, content

    def close(self) -> None:
        """End the connection; the next request opens another."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def reads(host: str, port: int, paths: Sequence[str], *, rate: float, seconds: float) -> Times:
    """Requests at a fixed rate, each on a connection that is free."""
    times, links = Times(), asyncio.LifoQueue[Link]()
    pending: set[asyncio.Task[None]] = set()
    start = time.perf_counter()

    async def one(due: float, path: str) -> None:
        link = links.get_nowait() if not links.empty() else Link(host, port)
        status, content = await link.ask("GET", path)
        times.seconds.append(time.perf_counter() - due)
        times.statuses[status] += 1
        times.received += len(content)
        links.put_nowait(link)

    for number in range(int(rate * seconds)):
        due = start + number / rate
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        task = asyncio.create_task(one(due, paths[number % len(paths)]))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)
    while not links.empty():
        links.get_nowait().close()
    return times


def subset(seed: int) -> bytes:
    """A small uid list."""
    array = np.zeros(64, dtype="u8,u8")
    array["f1"] = np.sort(np.random.default_rng(seed).choice(10**6, 64, replace=False))
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


async def submit(link: Link, token: str, board: str, seed: int, times: Times | None = None) -> str | None:
    """Open a submission and send its file; its id."""
    content = subset(seed)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    facts = {
        "board": board, "kind": "uids", "method": f"load {seed}", "filename": "uids.npy",
        "digest": hashlib.sha256(content).hexdigest(), "size": len(content),
    }  # fmt: skip
    began = time.perf_counter()
    status, body = await link.ask("POST", "/api/submissions", json.dumps(facts).encode(), headers)
    if status == 201:
        opened = json.loads(body)
        status, body = await link.ask("PUT", opened["upload"], content, headers)
    if times is not None:
        times.seconds.append(time.perf_counter() - began)
        times.statuses[status] += 1
        times.received += len(body)
    return str(opened["id"]) if status in {200, 204} else None


async def submits(host: str, port: int, tokens: list[str], board: str, count: int) -> Times:
    """Everybody at once."""
    times = Times()

    async def one(number: int) -> None:
        link = Link(host, port)
        await submit(link, tokens[number % len(tokens)], board, 1000 + number, times)
        link.close()

    await asyncio.gather(*(one(number) for number in range(count)))
    return times


async def watchers(
    host: str, port: int, *, tokens: list[str], worker_token: str, board: str, count: int, seconds: float
) -> tuple[Times, int]:
    """People who watch submissions that a worker is at: how long after a heartbeat they hear of it, and how many
    stayed to the end."""
    link = Link(host, port)
    submissions = [await submit(link, tokens[n % len(tokens)], board, 10_000 + n) for n in range(20)]
    worker = {"Authorization": f"Bearer {worker_token}", "Content-Type": "application/json"}
    jobs = []
    for _ in submissions:
        body = json.dumps({"worker": "load", "queues": ["cpu"]}).encode()
        status, answer = await link.ask("POST", "/api/worker/claim", body, worker)
        if status == 200:
            jobs.append(json.loads(answer))
    watched = [job["submission"] for job in jobs]
    times, stop = Times(), asyncio.Event()
    readers = [asyncio.create_task(_watch(host, port, watched[n % len(watched)], times, stop)) for n in range(count)]
    await asyncio.sleep(5)  # until all are connected and have caught up
    times.seconds.clear()
    await _beat(link, jobs, worker, seconds)
    await asyncio.sleep(2)
    stayed = sum(not reader.done() for reader in readers)
    stop.set()
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    return times, stayed


async def _beat(link: Link, jobs: list[dict[str, Any]], headers: dict[str, str], seconds: float) -> None:
    """Every job's heartbeat once in two seconds, evenly."""
    start = time.perf_counter()
    number = 0
    while time.perf_counter() - start < seconds:
        job = jobs[number % len(jobs)]
        progress = {"done": number, "total": 10_000, "unit": "rows"}
        body = json.dumps({"fence": job["fence"], "progress": progress}).encode()
        await link.ask("POST", f"/api/worker/attempts/{job['attempt']}/heartbeat", body, headers)
        number += 1
        await asyncio.sleep(max(0.0, start + number * 2 / len(jobs) - time.perf_counter()))


async def _watch(host: str, port: int, submission: str, times: Times, stop: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /api/submissions/{submission}/events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    times.statuses[int(head.split(" ", 2)[1])] += 1
    while not stop.is_set():
        line = await reader.readline()
        if not line:
            return
        if line.startswith(b"data: "):
            event = json.loads(line[6:])
            if event["what"] == "progress":
                times.seconds.append((datetime.now(UTC) - datetime.fromisoformat(event["at"])).total_seconds())


async def warm(host: str, port: int, paths: Sequence[str]) -> list[int]:
    """Each address once; sizes."""
    link = Link(host, port)
    return [len((await link.ask("GET", path))[1]) for path in paths]
