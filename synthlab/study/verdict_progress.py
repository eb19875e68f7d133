"""How far a verdict is: one small file that the process at work writes and any other reads, without torch."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthlab.durable import is_alive, this_process, write_atomically
from synthlab.errors import ConfigurationError
from synthlab.store import Store

STATES = AUDITING, TRAINING, SOLVING, DONE, STOPPED, FAILED = (
    "auditing", "training", "solving", "done", "stopped", "failed"
)  # fmt: skip
"""What a verdict under way does, in order, and how it can end."""
STATE_FILE = "verdict.json"


def progress_folder(store: Store, key: str) -> Path:
    """Where a verdict under way says how far it is."""
    return store.root / "progress" / key


class Diary:
    """What a verdict under way says of itself: one JSON file, replaced as a whole at every change."""

    def __init__(self, path: Path) -> None:
        self.path, self.lines, self.writer = path, list[dict[str, Any]](), this_process()

    def say(self, state: str, **details: Any) -> None:
        """Add a line: what happens now."""
        self.lines.append({"state": state, "at": time.time(), **details})
        write_atomically(self.path, json.dumps(self.writer | {"lines": self.lines}).encode())


@contextmanager
def diary(folder: Path) -> Iterator[Diary]:
    """A diary that also says how it ended."""
    kept = Diary(folder / STATE_FILE)
    try:
        yield kept
    except KeyboardInterrupt:
        kept.say(STOPPED)
        raise
    except Exception as error:
        kept.say(FAILED, error=f"{error}")
        raise
    kept.say(DONE)


@dataclass(frozen=True)
class Progress:
    """How far a verdict is, as another process sees it.

    Attributes
    ----------
    state
        One of `STATES`.
    is_alive
        Whether the process that wrote it is still at it.
    seconds
        Since it began.
    run
        Folder of the run that is trained (`study.watching.watch_folder`), once there is one; its number of steps.
    error
        Why it failed.
    """

    state: str
    is_alive: bool
    seconds: float
    run: Path | None = None
    steps: int = 0
    error: str = ""


def read_progress(store: Store, key: str) -> Progress | None:
    """How far a verdict is; None if it was not begun, or left nothing that can be read."""
    found = _read(store, key)
    if found is None:
        return None
    lines = found["lines"]
    state, details = lines[-1]["state"], {name: value for line in lines for name, value in line.items()}
    alive = state not in (DONE, STOPPED, FAILED) and is_alive(found)
    end = time.time() if alive else lines[-1]["at"]
    run = Path(details["run"]) if "run" in details else None
    steps, error = int(details.get("steps", 0)), str(details.get("error", ""))
    return Progress(state, alive, end - lines[0]["at"], run, steps, error)


def stop(store: Store, key: str) -> None:
    """Ask the process that is at a verdict to end; what it has is kept, and the same verdict goes on from there.

    Raises
    ------
    ConfigurationError
        If it runs on another machine.
    """
    import psutil

    found = _read(store, key)
    if found is None or not is_alive(found):
        return
    if found["host"] != socket.gethostname():
        raise ConfigurationError(f"the verdict is worked at on {found['host']}: stop process {found['process']} there")
    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(found["process"])).terminate()


def _read(store: Store, key: str) -> dict[str, Any] | None:
    """What the file says, if it is whole."""
    try:
        found = json.loads((progress_folder(store, key) / STATE_FILE).read_bytes())
        return dict(found) if found["lines"] and {"process", "started", "host"} <= found.keys() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
