"""Runs participants' code: bubblewrap with every namespace of its own, seccomp, limits, a watchdog, and a counted pipe.

There is no way to run it bare: where the sandbox does not hold, `require_sandbox` says why and nothing is run.
"""

from datacomp_worker.sandbox.cgroup import Cgroup
from datacomp_worker.sandbox.cgroup import find as find_cgroup
from datacomp_worker.sandbox.filters import Scored, score_in_sandbox
from datacomp_worker.sandbox.layers import Layer, without
from datacomp_worker.sandbox.limits import Limits, SandboxSettings
from datacomp_worker.sandbox.selftest import require_sandbox, self_test, why_no_code

__all__ = [
    "Cgroup",
    "Layer",
    "Limits",
    "SandboxSettings",
    "Scored",
    "find_cgroup",
    "require_sandbox",
    "score_in_sandbox",
    "self_test",
    "why_no_code",
    "without",
]
