"""Starts the platform's processes by forking one that has imported everything already.

Those processes are real and run the commands' own code from the first line; what is saved are their imports, four
seconds of a processor for a server, which otherwise most of a run with hundreds of kills would go into.
"""

from __future__ import annotations

import json
import os
import runpy
import select
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from datacomp.lifeline import PARENT, die_with_parent

USED = (
    *("uvicorn", "datacomp.cli", "datacomp_server.app", "datacomp_server.cli"),
    *(
        "datacomp_worker.app",
        "datacomp_worker.cli",
        "celery.apps.worker",
        "celery.bin.worker",
        "celery.worker.components",
    ),
    *("celery.concurrency.solo", "kombu.transport.filesystem", "kombu.transport.redis", "psycopg"),
    *("scipy.special", "scipy.sparse", "pyarrow.parquet"),
)
"""What servers, dispatchers and workers import sooner or later."""


class Starter:
    """The process that forks. It ends with ours, and so does whatever it started."""

    def __init__(self) -> None:
        environment = os.environ | {PARENT: str(os.getpid()), "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, words: list[str], environment: dict[str, str], log: Path) -> int:
        """Run what `python WORDS` runs; returns its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        environment = environment | {PARENT: str(self._process.pid)}
        print(json.dumps({"words": words, "environment": environment, "log": str(log)}), file=self._process.stdin)
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def end(self) -> None:
        """End it, and all that it started."""
        self._process.kill()
        self._process.communicate()


class Forked:
    """A process that a starter forked. Held by a descriptor, so that no other can be taken for it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._held = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already
            self._held = -1

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        held = self._held
        return held >= 0 and not select.select([held], [], [], 0)[0]

    def kill(self) -> None:
        """kill -9, without waiting for its end. `OSError` when it was closed meanwhile."""
        signal.pidfd_send_signal(self._held, signal.SIGKILL)

    def close(self) -> None:
        """Hold it no longer."""
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def serve() -> None:
    """Fork a process for every line."""
    die_with_parent(parent=int(os.environ.pop(PARENT)))
    for name in USED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            become(json.loads(line))
        print(pid, flush=True)


def become(wish: dict[str, Any]) -> NoReturn:
    """Be what was wished for, until it ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.clear()
    os.environ.update(wish["environment"])
    log = os.open(wish["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor, to in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
        os.dup2(descriptor, to)
    sys.stdin = open(os.devnull)  # noqa: SIM115 - what is read ahead of the pipe is not ours
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    status = 1
    try:
        words: list[str] = wish["words"]
        if words[0] == "-m":
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
