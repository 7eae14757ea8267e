"""The same as an ordinary user: workers should not be root, and the other tests may be."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
from as_user import as_user, run
from boxed import require_bubblewrap
from corpus import CASES, CLASSES

from datacomp_worker.sandbox import Layer

pytestmark = pytest.mark.security
SELF_TEST = "from datacomp_worker.sandbox import self_test, command; print(command.entry(), self_test())"
LAYERS = (Layer.OWN_SESSION, Layer.NPROC, Layer.READ_ONLY, Layer.NETWORK, Layer.PROCESSES, Layer.FIRST_PROCESS)
EACH = 3


def as_ordinary_user(tmp_path: Path, *arguments: str) -> str:
    """Output of pytest with these arguments, run as an ordinary user."""
    require_bubblewrap()
    base = Path("/tmp") / f"as-user-{os.getpid()}-{tmp_path.name}"
    words = ["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={base}", "-m", "not gpu"]
    try:
        done = run(as_user(sys.executable, *words, *arguments), timeout=280, CI="true")
    finally:
        shutil.rmtree(base, ignore_errors=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    return done.stdout


def test_the_self_test_holds() -> None:
    require_bubblewrap()
    done = run(as_user(sys.executable, "-c", SELF_TEST))
    assert done.stdout == "user []\n", done.stdout + done.stderr


def test_a_slice_of_the_corpus(tmp_path: Path, record_property) -> None:
    cases = {kind: [case for case in CASES[kind] if case.seconds > 5][:EACH] for kind in CLASSES}
    cases["duration"] = [case for case in CASES["duration"] if case.name == "sleeps"]
    names = [
        f"tests/security/test_corpus.py::test_contained[{kind}-{c.name}]" for kind, some in cases.items() for c in some
    ]
    found = re.search(r"(\d+) of (\d+) contained in (\d+) classes", as_ordinary_user(tmp_path, *names))
    assert found
    assert found.groups() == (str(len(names)), str(len(names)), str(len(CLASSES)))
    record_property("note", f"as an ordinary user: {len(names)} of {len(names)} hostile filters contained")


def test_layers_of_the_tree(tmp_path: Path) -> None:
    names = [f"tests/security/test_layers.py::test_without_it_a_filter_breaks_out[{layer}]" for layer in LAYERS]
    assert f"{len(names)} passed" in as_ordinary_user(tmp_path, *names)
