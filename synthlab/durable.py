"""Files that are whole or not there: staged beside their place, synced, and moved by one rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from synthlab.errors import ArtifactError, InUseError

_TEMPORARY = ".tmp-"


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file in one step: sibling temporary, fsync, rename, fsync of the folder."""
    temporary = temporary_in(path.parent)
    with explained(path.parent, len(content)):
        try:
            write_synced(temporary, content)
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers of this machine left in a folder; what living ones stage stays."""
    import psutil

    for path in folder.glob(f"{_TEMPORARY}{socket.gethostname()}-*"):
        process = path.name.rsplit("-", 2)[1]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


@contextlib.contextmanager
def explained(folder: Path, needed: int) -> Iterator[None]:
    """Errors of the file system as one line that names the folder and the mend."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            require_space(folder, needed, full=True)
        raise ArtifactError(
            f"{folder} cannot be written ({error.strerror}): mend that, or use another store"
        ) from error


def temporary_in(folder: Path) -> Path:
    """A fresh hidden name that tells who writes there; unlike `tempfile`, permissions follow the umask."""
    return folder / f"{_TEMPORARY}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"


def write_synced(path: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can be asked for it."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(folder: Path, needed: int, *, full: bool = False) -> None:
    """Refuse to write more than the disk holds, or say so when it turned out full."""
    free = shutil.disk_usage(folder).free
    if full or needed > free:
        raise ArtifactError(
            f"{folder} needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free: make room, run again"
        )


# ---------------------------------------------------------------- one writer at a time


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; the lock of a process that is gone is taken over.

    Raises
    ------
    InUseError
        If a living process holds it, or one of another machine; names process, host and time.
    """
    path, mine = folder / "running.json", _lock()
    with explained(folder, 0):
        folder.mkdir(parents=True, exist_ok=True)
        while not _claimed(path, mine):
            _clear(path)
    try:
        yield
    finally:
        if path.exists() and path.read_bytes() == mine:
            path.unlink()


def _clear(path: Path) -> None:
    """Take away a lock whose holder is gone, and only that one: of several who try, one moves it aside."""
    seen = path.read_bytes() if path.exists() else b""
    holder = _holder(seen)
    if is_alive(holder):
        raise InUseError(
            f"{path.parent} is in use by process {holder.get('process')} on {holder.get('host')} since "
            f"{holder.get('since')}: wait for it, or delete {path.name} there if it is gone",
            here=holder.get("host") == socket.gethostname(),
        )
    aside = temporary_in(path.parent)
    with contextlib.suppress(FileNotFoundError):
        path.rename(aside)
        if aside.read_bytes() != seen:  # another process has claimed it meanwhile: give it back
            with contextlib.suppress(FileExistsError):
                os.link(aside, path)
        aside.unlink()


def _lock() -> bytes:
    """What a lock of this process and moment says."""
    about = this_process() | {"since": time.strftime("%Y-%m-%d %H:%M:%S"), "lock": uuid.uuid4().hex}
    return json.dumps(about).encode()


def _claimed(path: Path, lock: bytes) -> bool:
    """Whether the lock could be taken; its content is whole from the start, since it is linked into place."""
    temporary = temporary_in(path.parent)
    try:
        write_synced(temporary, lock)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _holder(lock: bytes) -> dict[str, Any]:
    """Who holds a lock; empty if it was let go meanwhile, or says nothing."""
    try:
        found = json.loads(lock)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def this_process() -> dict[str, Any]:
    """What tells this process from all others: number, start (seconds since 1970) and machine."""
    import psutil

    return {"process": os.getpid(), "started": psutil.Process().create_time(), "host": socket.gethostname()}


def is_alive(holder: Mapping[str, Any]) -> bool:
    """Whether who calls itself so (`this_process`) may still write: a process that runs here, or any elsewhere."""
    import psutil

    if holder.get("host", socket.gethostname()) != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(holder["process"]))
        is_the_same = abs(process.create_time() - float(holder["started"])) < 1
        return is_the_same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, KeyError, TypeError, ValueError):
        return False


def require_writable(folder: Path, needed: int) -> None:
    """Refuse work whose result could not be written: make the folder, write to it, and look at the free space.

    Raises
    ------
    ArtifactError
        If it is read-only, or has not `needed` bytes free.
    """
    with explained(folder, needed):
        folder.mkdir(parents=True, exist_ok=True)
        probe = temporary_in(folder)
        try:
            write_synced(probe, b"synthlab")
        finally:
            probe.unlink(missing_ok=True)
    require_space(folder, needed)
