"""Checkpoints that are whole or not there, know what they belong to, and are read without trusting pickles.

A file is one line that names the format, one line of JSON (length and SHA-256 of the rest, and what the run is
made from), and the checkpoint as PyTorch writes it. The newest two are kept: where the newest is damaged, the
one before it serves.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO

from synthlab.durable import explained, write_atomically
from synthlab.errors import ArtifactError
from synthlab.learning.guards import is_out_of_memory
from synthlab.verification import CHECKPOINT_FORMAT

_PATTERN = "step-*.ckpt"
KEPT = 2
SECONDS_BETWEEN, COST = 60.0, 100
"""Least seconds between checkpoints that the clock asks for, and how many times their own duration."""


class SealedCheckpoints(CheckpointIO):
    """Lightning's way to the files of one run.

    Parameters
    ----------
    identity
        What the run is made from (corpus with its grammar, split, model, training); a checkpoint of another
        is refused.
    """

    def __init__(self, identity: Mapping[str, Any]) -> None:
        self.identity = json.loads(json.dumps(identity))

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        about = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest(), "identity": self.identity}
        with explained(Path(path).parent, len(content)):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(path), b"\n".join([CHECKPOINT_FORMAT, json.dumps(about).encode(), content]))

    def load_checkpoint(
        self, path: Any, map_location: Any | None = None, weights_only: bool | None = True
    ) -> dict[str, Any]:
        content = unsealed(Path(path), self.identity)
        try:
            return torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
        except Exception as error:
            if is_out_of_memory(error):  # the file is whole
                raise
            kind = type(error).__name__
            raise ArtifactError(f"checkpoint {path} cannot be read ({kind}): delete it and train again") from error

    def remove_checkpoint(self, path: Any) -> None:
        Path(path).unlink(missing_ok=True)


def unsealed(path: Path, identity: Mapping[str, Any]) -> bytes:
    """Content of a checkpoint file behind its seal.

    Raises
    ------
    ArtifactError
        If it cannot be read, is damaged, or belongs to another run; names what differs, with both values.
    """
    try:
        kind, header, content = path.read_bytes().split(b"\n", 2)
        about = json.loads(header)
        whole = kind == CHECKPOINT_FORMAT and len(content) == about["bytes"]
        whole = whole and hashlib.sha256(content).hexdigest() == about["sha256"]
        found = dict(about["identity"])
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ArtifactError(f"checkpoint {path} cannot be read ({reason}): mend that, or move it away") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"checkpoint {path} is damaged ({type(error).__name__}): delete it") from error
    if not whole:
        raise ArtifactError(f"checkpoint {path} is damaged: delete it")
    differs = [f"{n} {found.get(n)} instead of {identity.get(n)}" for n in identity if found.get(n) != identity.get(n)]
    if differs or found.keys() != identity.keys():
        raise ArtifactError(f"checkpoint {path} belongs to another run ({'; '.join(differs)}): move it away")
    return content


def files(folder: Path) -> list[Path]:
    """Checkpoint files of a run, newest first."""
    return sorted(folder.glob(_PATTERN), reverse=True)


def newest(folder: Path, identity: Mapping[str, Any]) -> Path | None:
    """The newest whole checkpoint of a run; a damaged one is passed over with a warning. None before the first.

    Raises
    ------
    ArtifactError
        If there are checkpoints and none is whole, or one belongs to another run or cannot be read.
    """
    found, problems = files(folder), []
    for path in found:
        try:
            unsealed(path, SealedCheckpoints(identity).identity)
        except ArtifactError as error:
            if "is damaged" not in str(error):
                raise
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(f"{problems[0]}; going on from {path.name}", stacklevel=2)
        for damaged in found[: len(problems)]:  # so that they do not count among those kept
            damaged.rename(damaged.with_suffix(".damaged"))
        return path
    if problems:
        raise ArtifactError(
            f"no checkpoint in {folder} is whole: delete the folder and train again ({found[0].name} is the newest)"
        )
    return None


class Keeper(pl.Callback):
    """Saves the run every so many steps, and every minute or so where one process trains alone."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.last, self.took = time.monotonic(), 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        patience = max(SECONDS_BETWEEN, COST * self.took)
        late = trainer.world_size == 1 and time.monotonic() - self.last > patience
        if trainer.global_step % self.every == 0 or late:
            self.save(trainer)

    def save(self, trainer: pl.Trainer) -> Path:
        """Save this step, and forget all but the newest two."""
        path = self.folder / f"step-{trainer.global_step:09d}.ckpt"
        start = time.monotonic()
        trainer.save_checkpoint(path)
        self.last = time.monotonic()
        self.took = self.last - start
        if trainer.is_global_zero:
            for old in files(self.folder)[KEPT:]:
                old.unlink(missing_ok=True)
        return path
