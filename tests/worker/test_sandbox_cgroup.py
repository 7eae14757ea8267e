"""Cgroups, where the host has version 2 of them."""

import os
from pathlib import Path

import pytest
from boxed import SMALL, boxed, require_bubblewrap

from datacomp_worker.sandbox import Cgroup, Layer, find_cgroup, without
from datacomp_worker.sandbox.process import End


def hierarchy() -> Path:
    """Where version 2 is mounted and may be written to; it need not have the controllers."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line and os.access(place := line.split()[4], os.W_OK):
            return Path(place)
    pytest.skip("no cgroup v2 that this user may write to")


def test_only_a_directory_with_both_controllers_is_taken(tmp_path: Path) -> None:
    assert find_cgroup(tmp_path) is None
    (tmp_path / "cgroup.subtree_control").write_text("cpu pids")
    assert find_cgroup(tmp_path) is None
    (tmp_path / "cgroup.subtree_control").write_text("cpu pids memory")
    assert find_cgroup(tmp_path) == Cgroup(tmp_path)
    assert find_cgroup(tmp_path / "absent") is None


def test_a_run_is_in_a_group_of_its_own_that_goes_with_it() -> None:
    require_bubblewrap()
    cgroup = Cgroup(hierarchy())
    before = set(cgroup.path.iterdir())
    source = "answer([line for line in open('/proc/self/cgroup') if line.startswith('0::')])"
    inside = boxed(source, cgroup=cgroup)
    assert inside.answer == ["0::/\n"], "its own group is all it sees"
    left = "for _ in range(3):\n    if os.fork() == 0: time.sleep(60)\nanswer(1)\nos._exit(0)"
    assert boxed(left, cgroup=cgroup).outcome.end is End.EXITED
    assert set(cgroup.path.iterdir()) == before


def test_memory_of_a_group_is_the_kernels_to_count() -> None:
    require_bubblewrap()
    cgroup = find_cgroup()
    if cgroup is None:
        pytest.skip("this host delegates no memory and pids controllers of cgroup v2")
    source = "kept = [bytearray(b'x' * (8 << 20)) for _ in range(200)]"
    ours = without(Layer.DATA, Layer.AS, Layer.WATCHED_MEMORY)
    assert boxed(source, cgroup=cgroup, layers=ours, limits=SMALL).outcome.end is End.MEMORY
