"""Files that are whole or not there: staged beside their place, synced, and moved by one rename."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
import weakref
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


def leftovers(folder: Path) -> Iterator[Path]:
    """What killed writers of this machine left in a folder; what living ones stage is theirs."""
    import psutil

    for path in sorted(folder.glob(f"{_TEMPORARY}{socket.gethostname()}-*")):
        process = path.name.rsplit("-", 2)[1]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            yield path


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers of this machine left in a folder."""
    for path in leftovers(folder):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def is_staged(path: Path) -> bool:
    """Whether a file or folder is what a writer stages."""
    return path.name.startswith(_TEMPORARY)


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
    there = next(f for f in (folder.absolute(), *folder.absolute().parents) if f.exists())
    free = shutil.disk_usage(there).free
    if full or needed > free:
        limit = (
            ", but the disk takes no more (a quota, or too many files)" if 2 * needed < free else ""
        )  # files take whole blocks
        raise ArtifactError(
            f"{folder} needs {needed / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free{limit}: make room, run again"
        )


# ---------------------------------------------------------------- descriptions that vouch for themselves


def sealed(about: Mapping[str, Any]) -> bytes:
    """A description as JSON that holds the SHA-256 of the rest of itself."""
    rest = json.dumps(about, indent=1, default=str)
    return json.dumps({**about, "seal": hashlib.sha256(rest.encode()).hexdigest()}, indent=1, default=str).encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """The description that `sealed` wrote.

    Raises
    ------
    ValueError
        If one byte is another, be it white space, or there is no seal.
    """
    try:
        found = json.loads(content)
        del found["seal"]
    except (RecursionError, KeyError, TypeError) as error:
        raise ValueError("it is no sealed description") from error
    if sealed(found) != content:
        raise ValueError("it was changed after it was written")
    return found


# ---------------------------------------------------------------- one writer at a time


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone; the lock of a process that is gone is taken over.

    Raises
    ------
    InUseError
        If a living process holds it, or one of another machine; names process, host and time.
    """
    path, mine = folder / "running.json", _Lock()
    try:
        with explained(folder, 0):
            folder.mkdir(parents=True, exist_ok=True)
            while not _claimed(path, mine.content):
                _clear(path)
        yield
    finally:
        try:
            with contextlib.suppress(OSError):  # of a disk that went away; a lock that nobody holds is free
                if path.exists() and path.read_bytes() == mine.content:
                    path.unlink()
        finally:
            _HELD.pop(mine.name, None)


class _Lock:
    """A lock of this process and moment; what it says is in the file as long as somebody holds this object.

    Ctrl-C can come between taking a lock and giving it back: a file of this process whose object is gone is free.
    """

    def __init__(self) -> None:
        self.name = uuid.uuid4().hex
        about = this_process() | {"since": time.strftime("%Y-%m-%d %H:%M:%S"), "lock": self.name}
        self.content = json.dumps(about).encode()
        _HELD[self.name] = self


_HELD: weakref.WeakValueDictionary[str, _Lock] = weakref.WeakValueDictionary()


def _clear(path: Path) -> None:
    """Take away a lock whose holder is gone; who looks and takes does so alone, so that it is the one it looked at."""
    with _alone(path.parent):
        try:
            holder = _holder(path.read_bytes())
        except FileNotFoundError:
            return  # let go meanwhile
        if is_alive(holder):
            raise InUseError(
                f"{path.parent} is in use by process {holder.get('process')} on {holder.get('host')} since "
                f"{holder.get('since')}: wait for it, or delete {path.name} there if it is gone",
                here=holder.get("host") == socket.gethostname(),
            )
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Take turns with other processes, by a lock of the system on the folder, which ends with whoever holds it."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # file systems without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


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
    except (ValueError, RecursionError):
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
    if holder.get("process") == os.getpid() and holder.get("lock", "") and holder["lock"] not in _HELD:
        return False
    try:
        process = psutil.Process(int(holder["process"]))
        is_the_same = abs(process.create_time() - float(holder["started"])) < 1
        return is_the_same and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, KeyError, TypeError, ValueError, OverflowError):
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
