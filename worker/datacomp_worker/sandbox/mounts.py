"""What the sandbox sees: a read-only root of named directories and nothing else."""

from __future__ import annotations

import importlib.util
import os
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datacomp.problems import PlatformFault

PACKAGES = ("datacomp", "datacomp_filters")
"""Source packages that participants' code may import; in an editable installation they lie outside the prefix."""
SYSTEM = ("/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime")
TOP_LEVEL = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


@dataclass(frozen=True)
class Mount:
    """A directory or file of the host and where the sandbox sees it, read-only."""

    source: Path
    target: Path


def runtime() -> list[str]:
    """bwrap arguments that give the system libraries, the interpreter, its environment and our packages."""
    arguments = ["--ro-bind", "/usr", "/usr", "--dir", "/etc"]
    for name in TOP_LEVEL:
        arguments += _top_level(Path("/") / name)
    for path in SYSTEM:
        arguments += ["--ro-bind-try", path, path]
    return arguments + binds([Mount(path, path) for path in interpreter()])


def _top_level(path: Path) -> list[str]:
    if path.is_symlink():
        return ["--symlink", os.readlink(path), str(path)]
    return ["--ro-bind", str(path), str(path)] if path.is_dir() else []


def interpreter() -> list[Path]:
    """Directories of the interpreter, its virtual environment and our packages that /usr does not hold."""
    wanted = [Path(sys.base_prefix), Path(sys.prefix), Path(os.path.realpath(sys.executable)).parent]
    wanted += [_package(name) for name in PACKAGES]
    found: list[Path] = []
    for path in (Path("/usr"), *wanted):
        if not any(path.is_relative_to(other) for other in found):
            found.append(path)
    return found[1:]


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise PlatformFault.of("sandbox-missing", f"the package {name} is not installed", hint="install datacomp")
    return Path(spec.origin).resolve().parent


def binds(mounts: Sequence[Mount], *, read_only: bool = True) -> list[str]:
    """bwrap arguments for `mounts`."""
    arguments: list[str] = []
    for mount in mounts:
        # Directories that bubblewrap makes by itself are closed to all but their owner; these are not.
        arguments += [word for parent in reversed(mount.target.parents[:-1]) for word in ("--dir", str(parent))]
        arguments += ["--ro-bind" if read_only else "--bind", str(mount.source.resolve()), str(mount.target)]
    return arguments


def require_readable(mounts: Sequence[Mount]) -> None:
    """`PlatformFault` names the first file that an unprivileged user could not read."""
    for mount in mounts:
        for path in (mount.source, *(sorted(mount.source.iterdir()) if mount.source.is_dir() else ())):
            mode = path.stat().st_mode
            needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
            if mode & needed != needed:
                hint = "the sandbox reads it as an unprivileged user: make it world-readable (chmod -R o+rX)"
                raise PlatformFault.of("pool-unreadable", "the sandbox cannot read this", where=str(path), hint=hint)
