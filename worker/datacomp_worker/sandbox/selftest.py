"""Proof, before any participant's code runs, that the sandbox contains on this very host. Fails closed."""

from __future__ import annotations

import json
import os
import tempfile
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from datacomp.problems import PlatformFault
from datacomp_worker.sandbox.cgroup import Cgroup
from datacomp_worker.sandbox.cgroup import find as find_cgroup
from datacomp_worker.sandbox.command import Box, bounds, may_look_inside
from datacomp_worker.sandbox.filters import PYTHON, not_started
from datacomp_worker.sandbox.layers import ALL, Layers
from datacomp_worker.sandbox.limits import MIB, Limits, SandboxSettings
from datacomp_worker.sandbox.mounts import Mount
from datacomp_worker.sandbox.process import RESULT_FD, End, run

PROBE = Path(__file__).with_name("probe.py")
NAMESPACES = ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup")
LIMITS = Limits(seconds=20, memory=512 * MIB, processes=16, tmp_bytes=32 * MIB)
GIVEN = Path("/probe/given")
"""Where the probe sees a file that anybody may write to, but for the sandbox."""
LARGEST_REPORT = 1 << 16
LONGEST_REASON = 2000


class _Report(BaseModel):
    model_config = ConfigDict(extra="forbid")

    trouble: list[str]


@cache
def require_sandbox(cgroup: Cgroup | None = None) -> None:
    """Test the sandbox once in this process. `PlatformFault` `sandbox-missing` says what does not hold or is missing,
    and what to install or set; it is tested again next time."""
    trouble = self_test(cgroup=cgroup)
    if trouble:
        hint = "run the worker as an ordinary user, or as root with setpriv installed; see docs/sandbox.md"
        message = f"the sandbox does not contain on this host: {'; '.join(trouble)}"
        raise PlatformFault.of("sandbox-missing", message, where=os.uname().nodename, hint=hint)


def why_no_code() -> str:
    """What keeps this host from running participants' code, for people; empty when nothing does. Tested at the start of
    a worker, so that it is handed no code that it would have to refuse."""
    try:
        require_sandbox(find_cgroup(SandboxSettings().cgroup))
    except PlatformFault as fault:
        return "; ".join(str(problem) for problem in fault.problems)[:LONGEST_REASON]
    return ""


def self_test(*, layers: Layers = ALL, cgroup: Cgroup | None = None) -> list[str]:
    """What does not hold: nothing, if all is well. `PlatformFault` `sandbox-missing` when nothing runs at all."""
    answer = bytearray()

    def feed(block: bytes) -> None:
        answer.extend(block[: LARGEST_REPORT - len(answer)])

    with tempfile.NamedTemporaryFile() as canary, tempfile.NamedTemporaryFile() as open_to_all:
        os.chmod(open_to_all.name, 0o666)  # noqa: S103 - so that the mount alone protects it
        facts = {
            "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
            "canary": canary.name,
            "host": os.uname().nodename,
            "processes": LIMITS.processes,
            "memory": LIMITS.memory,
            "tmp": LIMITS.tmp_bytes,
            "limits": {str(layer.removeprefix("limit-")): value for layer, value in bounds(LIMITS).items()}
            | {"core": 1},
        }
        command = [*PYTHON, "/probe/probe.py", RESULT_FD, json.dumps(facts)]
        box = Box(command, [Mount(PROBE, Path("/probe/probe.py")), Mount(Path(open_to_all.name), GIVEN)])
        outcome = run(box, LIMITS, feed=feed, layers=layers, cgroup=cgroup)
    if outcome.end is not End.EXITED or outcome.code:
        raise not_started(outcome)
    try:
        trouble = _Report.model_validate_json(bytes(answer)).trouble
    except ValidationError as error:
        raise not_started(outcome) from error
    if not may_look_inside():
        trouble.append("files: root without CAP_SYS_PTRACE may not count those that code makes")
    return trouble
