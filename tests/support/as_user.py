"""Running this very interpreter as an ordinary user, though it may lie where only root can look."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

USER = "54321"
BECOME = ("setpriv", "--reuid", USER, "--regid", USER, "--clear-groups", "--inh-caps", "-all", "--")
REPOSITORY = Path(__file__).parents[2]


def as_user(*command: str) -> list[str]:
    """The command, run as an ordinary user in a mount namespace where the interpreter and this repository can be read.

    Directories in between that are closed to others are covered by empty ones that are not.
    """
    if os.geteuid() != 0:
        return list(command)
    return in_own_mounts(opening(), *BECOME, *command)


def in_own_mounts(script: str, *command: str) -> list[str]:
    """The command, after a shell script in a mount namespace of its own."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        needed("only root can change what a process sees of the file system")
    return ["unshare", "--mount", "--propagation", "private", "sh", "-e", "-c", f'{script}\nexec "$@"', "sh", *command]


def needed(what: str) -> None:
    """Skip; in continuous integration, which runs as root, that is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def opening() -> str:
    """Shell lines that make the interpreter and this repository reachable for everybody."""
    closed: dict[Path, list[Path]] = {}
    for path in (Path(sys.base_prefix), Path(sys.prefix), REPOSITORY):
        cover = next((p for p in reversed(path.parents) if not p.stat().st_mode & stat.S_IXOTH), None)
        if cover is not None:
            closed.setdefault(cover, []).append(path)
    lines = []
    for cover, inside in closed.items():
        lines += ["place=/mnt", 'mount -t tmpfs -o mode=755 none "$place"']
        for number, path in enumerate(inside):
            lines += [f'mkdir "$place/{number}"', f"mount --rbind '{path}' \"$place/{number}\""]
        lines.append(f"mount -t tmpfs -o mode=755 none '{cover}'")
        for number, path in enumerate(inside):
            lines += [f"mkdir -p '{path}'", f"mount --rbind \"$place/{number}\" '{path}'"]
    return "\n".join(lines)


def run(command: list[str], *, timeout: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run with the tests' helpers importable and nothing of this process's environment."""
    path = os.pathsep.join(str(REPOSITORY / "tests" / name) for name in ("support", "security"))
    base = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "PYTHONPATH": path, "HOME": "/nonexistent", "LANG": "C.UTF-8"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=timeout, cwd=REPOSITORY, env=base | environment
    )
