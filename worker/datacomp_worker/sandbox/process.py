"""Runs one process tree in the sandbox: feeds its result to a parser, keeps its log, watches its limits, ends it."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import IO

from datacomp.problems import DatacompError, PlatformFault
from datacomp_worker.sandbox import seccomp, tree
from datacomp_worker.sandbox.cgroup import Cgroup
from datacomp_worker.sandbox.command import Box, command_line
from datacomp_worker.sandbox.layers import ALL, Layer, Layers
from datacomp_worker.sandbox.limits import Limits
from datacomp_worker.sandbox.log import BoundedLog

BLOCK = 1 << 16
TICK = 0.1
RESULT_FD = "{result}"
"""In a command: replaced by the number of the descriptor that results are written to."""

Feed = Callable[[bytes], None]


class End(StrEnum):
    """Why the tree ended."""

    EXITED = "exited"
    TIMEOUT = "timeout"
    LOG_FLOOD = "log-flood"
    MEMORY = "memory"
    FILES = "files"


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    end: End
    code: int
    """Exit status; 128 + n after signal n."""
    seconds: float
    peak_memory: int
    log: str


def nothing() -> None:
    """The default of callbacks."""


def run(
    box: Box,
    limits: Limits,
    *,
    feed: Feed,
    layers: Layers = ALL,
    cgroup: Cgroup | None = None,
    check: Callable[[], None] = nothing,
) -> Outcome:
    """Run `box.command` and return when no process of it is left.

    `feed` gets the bytes written to the result descriptor as they come, and may raise `BadInput` to end the run.
    `check` is called ten times a second and may raise. Whatever happens, the whole tree is dead on return;
    `PlatformFault` `sandbox-leak` when it would not die, `sandbox-missing` when the sandbox cannot be started.
    """
    with ExitStack() as stack:
        group = stack.enter_context(cgroup.child(limits)) if cgroup else None
        results, results_in = _pipe(stack)
        log, log_in = _pipe(stack)
        guard = stack.enter_context(seccomp.in_pipe())
        process = subprocess.Popen(
            [
                *(group.enter_command() if group else []),
                *command_line(_with_result(box, results_in.fileno()), limits, layers, guard.fileno()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log_in,
            stderr=log_in,
            pass_fds=(results_in.fileno(), guard.fileno()),
            env={} if Layer.CLEAR_ENVIRONMENT in layers else None,
            cwd="/",
        )
        watch = _Watch(process, limits, layers)
        try:
            for file in (results_in, log_in, guard):
                file.close()
            end = watch.pump(results, log, feed, check)
        except DatacompError as error:
            error.log_tail = watch.log.text()
            raise
        finally:
            code = _end(process)
        if group and group.ran_out_of_memory():
            end = End.MEMORY
        return Outcome(end, _exit_status(code), watch.seconds(), watch.peak, watch.log.text())


def _end(process: subprocess.Popen[bytes]) -> int:
    """End the tree and return its exit code; `PlatformFault` `sandbox-leak` when it does not die within ten seconds."""
    gone = tree.end(process.pid)
    try:
        code = process.wait(tree.TEARDOWN_SECONDS)
    except subprocess.TimeoutExpired:
        gone = False
    if not gone:
        raise PlatformFault.of("sandbox-leak", "processes of the sandbox outlived it", where=str(process.pid))
    return code


def _exit_status(code: int) -> int:
    return 128 - code if code < 0 else code


def _with_result(box: Box, descriptor: int) -> Box:
    return replace(box, command=[word.replace(RESULT_FD, str(descriptor)) for word in box.command])


def _pipe(stack: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    return stack.enter_context(os.fdopen(reading, "rb", 0)), stack.enter_context(os.fdopen(writing, "wb", 0))


class _Watch:
    """One tree while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], limits: Limits, layers: Layers) -> None:
        self.process, self.limits, self.layers = process, limits, layers
        self.started = time.monotonic()
        self.log = BoundedLog(limits.log_kept)
        self.peak = 0
        self._looked = self.started

    def seconds(self) -> float:
        """Wall clock since the start."""
        return time.monotonic() - self.started

    def pump(self, results: IO[bytes], log: IO[bytes], feed: Feed, check: Callable[[], None]) -> End:
        """Move bytes until the tree ends or must be ended."""
        sinks: dict[int, Feed] = {results.fileno(): feed, log.fileno(): self.log.add}
        with selectors.DefaultSelector() as selector:
            for descriptor in sinks:
                selector.register(descriptor, selectors.EVENT_READ)
            while True:
                ended = self.process.poll() is not None
                ready = selector.select(0 if ended else TICK)
                for key, _ in ready:
                    if block := os.read(key.fd, BLOCK):
                        sinks[key.fd](block)
                    else:
                        selector.unregister(key.fd)
                if (exceeded := self._exceeded(check)) is not None:
                    return exceeded
                if ended and not ready:
                    return End.EXITED

    def _exceeded(self, check: Callable[[], None]) -> End | None:
        if self.log.total > self.limits.log_bytes and Layer.LOG_BOUND in self.layers:
            return End.LOG_FLOOD
        now = time.monotonic()
        if now - self._looked < TICK:
            return None
        self._looked = now
        check()
        if now - self.started > self.limits.seconds and Layer.WALL_CLOCK in self.layers:
            return End.TIMEOUT
        return self._look_at_tree()

    def _look_at_tree(self) -> End | None:
        family = tree.descendants(self.process.pid)
        memory = tree.memory(family)
        self.peak = max(self.peak, memory)
        if memory > self.limits.memory and Layer.WATCHED_MEMORY in self.layers:
            return End.MEMORY
        files = tree.files_in(family[-1], ("/tmp", "/dev/shm")) if family else 0  # noqa: S108
        return End.FILES if files > self.limits.tmp_files and Layer.WATCHED_FILES in self.layers else None
