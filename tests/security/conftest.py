"""The place where hostile filters run, and the summary of `make test-security`."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from boxed import require_bubblewrap
from hostile import Outside, raise_own_limits
from small_pool import SmallPool

from datacomp.pool import Pool, ingest


@pytest.fixture(scope="session")
def outside(tmp_path_factory: pytest.TempPathFactory, hostile_pool: Pool):
    """A pool that anybody may write to (but for the sandbox), and a machine full of canaries."""
    require_bubblewrap()
    raise_own_limits()
    with Outside(readable(tmp_path_factory.mktemp("outside")), hostile_pool) as found:
        yield found


def readable(directory: Path) -> Path:
    """The directory, which everybody may now look into."""
    for path in (directory, *directory.parents):
        if path.stat().st_mode & 0o5 != 0o5 and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o5)
    return directory


@pytest.fixture(scope="session")
def hostile_pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """A small pool, everything in it world-writable: what keeps filters from it is the sandbox alone."""
    directory = readable(tmp_path_factory.mktemp("hostile")) / "pool"
    SmallPool(rows=24, shards=2).write(directory)
    pool = ingest(directory, processes=1)
    (directory / "truth.parquet").write_text("the hidden truth")
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o777 if path.is_dir() else 0o666)
    assert np.any(pool.column("words") > 3)
    return pool


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was found, by class: contained and not, and how fast the slowest was torn down."""
    found = [
        dict(report.user_properties)
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
    ]
    cases = [each for each in found if "hostile" in each]
    if cases:
        total, kept = Counter(c["hostile"] for c in cases), Counter(c["hostile"] for c in cases if c["contained"])
        by_class = ", ".join(f"{name} {kept[name]}/{count}" for name, count in total.items())
        slowest = max(cases, key=lambda c: c["teardown"])
        terminalreporter.write_line(
            f"hostile filters: {kept.total()} of {total.total()} contained in {len(total)} classes ({by_class}); "
            f"slowest teardown {slowest['teardown']:.2f} s ({slowest['hostile']}/{slowest['case']})"
        )
    for each in found:
        if "layer" in each:
            terminalreporter.write_line(f"without {each['layer']}: {each['broke']}")
    for each in found:
        if "note" in each:
            terminalreporter.write_line(each["note"])
    fuzzed = Counter[str]()
    for each in found:
        if "fuzzed" in each:
            fuzzed[each["fuzzed"]] += each["inputs"]
    if fuzzed:
        counts = ", ".join(f"{name} {count:,}" for name, count in sorted(fuzzed.items()))
        terminalreporter.write_line(f"fuzzed: {fuzzed.total():,} inputs, typed errors alone ({counts})")
    if config.option.markexpr == "not faults and not gpu":
        count = {name: len(terminalreporter.getreports(name)) for name in ("passed", "failed", "error", "skipped")}
        said = ", ".join(f"{number} {name}" for name, number in count.items())
        terminalreporter.write_line(f"security: {said}; {len(cases)} hostile filters, {fuzzed.total():,} fuzzed inputs")
