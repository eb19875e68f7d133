"""A run under way or finished, seen from a process that does not train it and loads no torch for it at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.universe.corpus import Corpus

BY_THE_CLOCK = ("flops", "tokens_per_second")
"""Names in a metrics file that are neither a loss nor a share of solved tasks."""


@dataclass(frozen=True, eq=False)
class TrainingState:
    """What a run says of itself at one moment.

    Attributes
    ----------
    stage
        ``waiting`` before the first line is written, ``training``, or ``finished`` and stored.
    metrics
        Columns step, name, value: losses, pass@1 by part, and what depends on the clock (`BY_THE_CLOCK`).
    num_steps
        Steps that the run will take; 0 if only its folder is known.
    seconds
        Of training so far, checks included.
    silent
        Seconds since the last line was written; 0 unless it is training.
    """

    stage: Literal["waiting", "training", "finished"]
    metrics: pd.DataFrame
    num_steps: int = 0
    seconds: float = 0.0
    silent: float = 0.0

    def last(self, name: str) -> tuple[int, float] | None:
        """Last step at which a name has a value, and that value; None without any."""
        rows = self.metrics[self.metrics["name"] == name]
        return (int(rows["step"].iloc[-1]), float(rows["value"].iloc[-1])) if len(rows) else None

    @property
    def history(self) -> pd.DataFrame:
        """Losses and pass@1 alone."""
        return self.metrics[~self.metrics["name"].isin(BY_THE_CLOCK)]


def watch_folder(folder: Path, num_steps: int = 0) -> TrainingState:
    """State of the run that keeps its checkpoints and metrics in a folder."""
    from synthlab.learning.progress import HISTORY, METRICS_FILE, read_metrics

    try:
        table = read_metrics(folder)
        silent = max(0.0, time.time() - (folder / METRICS_FILE).stat().st_mtime)
    except (FileNotFoundError, pd.errors.EmptyDataError):  # not yet written, just made, or let go
        table = pd.DataFrame(columns=[*HISTORY, "seconds"])
    if table.empty:
        return TrainingState("waiting", table[HISTORY], num_steps)
    numbers = table[["step", "value", "seconds"]].apply(pd.to_numeric, errors="coerce")
    table = table.assign(**numbers).dropna(subset=["step", "value"])  # a line may be half written
    return TrainingState("training", table[HISTORY], num_steps, float(table["seconds"].max()), silent)


def watch_run(
    corpus: Corpus, split: Split, model: ModelConfig, training: TrainingConfig, store: Store
) -> TrainingState:
    """State of a run that is given by its settings: the stored history, once it is finished.

    Raises
    ------
    ArtifactError
        If the stored run is damaged.
    """
    from synthlab.learning.run import Run, run_key
    from synthlab.learning.training import run_folder

    key = run_key(corpus, split, model, training)
    if store.has(Run.stage, key):
        run = Run.load(store, key)
        return TrainingState("finished", run.history, training.num_steps, run.cost["seconds"])
    return watch_folder(run_folder(corpus, split, model, training, store), training.num_steps)
