"""Files that are whole or not there: staged beside their place, synced, and moved by one rename."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

from synthlab.errors import ArtifactError

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
