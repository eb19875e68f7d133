"""What a run says of itself while it trains: losses, pass@1 of samples of the tests, answers, speed."""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import TQDMProgressBar
from torch import Tensor
from tqdm.auto import tqdm

from synthlab.assessment.correctness import STATUSES, check
from synthlab.assessment.metrics import weighted_mean
from synthlab.assessment.tasks import Tasks
from synthlab.errors import ConfigurationError
from synthlab.learning.decoding import decode
from synthlab.learning.guards import StopSignal
from synthlab.learning.networks import Synthesizer, switched
from synthlab.presets import TrainingConfig

HISTORY = ["step", "name", "value"]
ANSWERS = ["step", "part", "class_id", "written", "status"]
METRICS_FILE = "metrics.csv"
_BY_THE_CLOCK = ("flops", "tokens_per_second")
_EVERY = 10
_SHOWN = 6
_SECONDS_BETWEEN = 2.0

Watch = Callable[[pd.DataFrame], None]


class Progress(pl.Callback):
    """Losses every ten steps, and greedy pass@1 on a fixed sample of every test set a few times a run.

    Losses stay on the device until they are written, so that no step waits for them. What depends on the
    clock is written to the metrics file only: the history of a run is the same however often it was resumed.

    Parameters
    ----------
    tasks
        Samples of the test sets.
    config
        Says how often they are looked at.
    stop
        Whether the user asked to stop.
    folder
        Where ``metrics.csv`` is written; None for nowhere.
    flops
        Of one step.
    watch
        Called with the history so far at every check, for live figures.
    """

    def __init__(
        self, tasks: Mapping[str, Tasks], config: TrainingConfig, stop: StopSignal, *,
        folder: Path | None = None, flops: int = 0, watch: Watch | None = None,
    ) -> None:  # fmt: skip
        self.tasks, self.stop, self.flops, self.watch = tasks, stop, flops, watch
        num = config.num_checks
        self.steps = {round(config.num_steps * k / num) for k in range(1, num + 1)} if num else set()
        self.path = None if folder is None else folder / METRICS_FILE
        self.records: list[tuple[int, str, float, float]] = []
        self.answers: list[tuple[int, str, int, str, str]] = []
        self.waiting: list[tuple[int, Tensor]] = []
        self.last: tuple[int, Tensor] | None = None
        self.num_tokens: Tensor | int = 0
        self.seconds_before, self.check_seconds, self.started = 0.0, 0.0, time.perf_counter()
        self.stopped: float | None = None
        self.num_written, self.written_at, self.complained = 0, 0.0, False

    @property
    def seconds(self) -> float:
        """Time of all sessions of the run so far, checks included."""
        return self.seconds_before + (self.stopped or time.perf_counter()) - self.started

    @property
    def training_seconds(self) -> float:
        """The same without the checks."""
        return self.seconds - self.check_seconds

    @property
    def history(self) -> pd.DataFrame:
        """Steps, names and values so far, but for what depends on the clock."""
        rows = [(step, name, value) for step, name, value, _ in self.records if name not in _BY_THE_CLOCK]
        return pd.DataFrame(rows, columns=HISTORY).astype({"step": int, "name": str, "value": float})

    @property
    def answer_table(self) -> pd.DataFrame:
        """Answers to a few tasks of every part, at every check."""
        return pd.DataFrame(self.answers, columns=ANSWERS)

    # ------------------------------------------------------------ kept in checkpoints

    def state_dict(self) -> dict[str, Any]:
        self._settle()
        return {
            "log": self.records, "answers": self.answers, "tokens": int(self.num_tokens), "seconds": self.seconds,
            "check_seconds": self.check_seconds,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.records = [(int(s), str(n), float(v), float(t)) for s, n, v, t in state_dict["log"]]
        self.answers = [(int(s), str(p), int(c), str(w), str(t)) for s, p, c, w, t in state_dict["answers"]]
        self.num_tokens, self.seconds_before = int(state_dict["tokens"]), float(state_dict["seconds"])
        self.check_seconds = float(state_dict["check_seconds"])

    # ------------------------------------------------------------ while training

    def on_train_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.stop.listen()
        self.started, self.num_written = time.perf_counter(), 0
        if trainer.is_global_zero:
            self._write()

    def on_train_batch_end(self, trainer: pl.Trainer, module: pl.LightningModule, outputs: Any, *_: Any) -> None:
        step = trainer.global_step
        self.num_tokens = self.num_tokens + outputs["tokens"]
        loss = outputs["loss"].detach()
        self.last = step, loss
        if step % _EVERY == 0 or step == 1:
            if trainer.world_size > 1:  # of several processes each knows the loss of its share
                loss = cast(Tensor, trainer.strategy.reduce(loss, reduce_op="mean"))
            self.waiting.append((step, loss))
        if step in self.steps:
            self._check(step, cast(Synthesizer, module.model))
        late = time.perf_counter() - self.written_at > _SECONDS_BETWEEN
        if trainer.is_global_zero and (late or step in self.steps):
            self._report(step)
        if self._must_stop(trainer, step):
            trainer.should_stop = True

    def _must_stop(self, trainer: pl.Trainer, step: int) -> bool:
        """Whether to stop; several processes decide together, now and then, so that all stop at one step."""
        if trainer.world_size == 1:
            return self.stop()
        return step % _EVERY == 0 and bool(trainer.strategy.reduce_boolean_decision(self.stop(), all=False))

    def _settle(self) -> None:
        """Bring waiting losses to the host, in their place among the checks.

        Raises
        ------
        ConfigurationError
            If one of them, or that of the last step, is not a finite number.
        """
        found = [(step, float(loss)) for step, loss in self.waiting]
        self.records += [(step, "loss", loss, self.seconds) for step, loss in found]
        found += [(step, float(loss)) for step, loss in filter(None, [self.last])]
        self.waiting, self.last = [], None
        wrong = [(step, loss) for step, loss in found if not math.isfinite(loss)]
        if wrong:
            what = "not a number" if math.isnan(wrong[0][1]) else "infinite"
            raise ConfigurationError(f"the loss is {what} at step {wrong[0][0]}: lower learning_rate, or set clip")

    def _check(self, step: int, model: Synthesizer) -> None:
        self._settle()
        start = time.perf_counter()
        with switched(model, training=False):
            for name, tasks in self.tasks.items():
                self._ask(step, name, tasks, model)
        if self.watch is not None:
            self.watch(self.history)
        self.check_seconds += time.perf_counter() - start

    def _ask(self, step: int, part: str, tasks: Tasks, model: Synthesizer) -> None:
        evaluation = check(tasks, decode(model, tasks, max_size=tasks.max_size))
        self.records.append((step, part, weighted_mean(evaluation.frame()), self.seconds))
        status = evaluation.first_status()
        shown = np.sort(np.random.default_rng(0).permutation(len(tasks))[:_SHOWN])
        texts = evaluation.candidates.take(shown).frame(tasks.grammar)["program"]
        self.answers += [
            (step, part, int(tasks.class_id[k]), text, STATUSES[status[k]])
            for k, text in zip(shown, texts, strict=True)
        ]

    def finish(self) -> None:
        """Bring the last losses in and stop the clock."""
        self._settle()
        self.stopped = time.perf_counter()

    # ------------------------------------------------------------ the metrics file

    def _report(self, step: int) -> None:
        """Note speed and compute so far, and write down what is new."""
        self._settle()
        self.written_at, seconds = time.perf_counter(), self.seconds
        self.records.append((step, "flops", float(self.flops * step), seconds))
        self.records.append((step, "tokens_per_second", int(self.num_tokens) / self.training_seconds, seconds))
        self._write()

    def _write(self) -> None:
        """Append what is new to the metrics file: step, name, value, seconds of training."""
        if self.path is None:
            return
        try:
            if not self.num_written:
                self.path.unlink(missing_ok=True)
            with self.path.open("a", newline="") as file:
                writer = csv.writer(file)
                writer.writerows([[*HISTORY, "seconds"]] * (not self.num_written))
                writer.writerows([*row[:3], round(row[3], 3)] for row in self.records[self.num_written :])
            self.num_written = len(self.records)
        except OSError as error:  # ends no run, since the next checkpoint will say so; all of it is written next time
            self.num_written = 0
            if not self.complained:
                tqdm.write(f"synthlab: {self.path} cannot be written ({error.strerror}), training goes on: make room")
            self.complained = True


def read_metrics(folder: Path) -> pd.DataFrame:
    """Metrics of a run under way or interrupted: step, name, value, seconds; no rows before the first."""
    columns, path = [*HISTORY, "seconds"], folder / METRICS_FILE
    try:
        table = pd.read_csv(path, on_bad_lines="skip", encoding_errors="replace")
    except (FileNotFoundError, pd.errors.EmptyDataError):  # also one that was opened and not written to yet
        return pd.DataFrame(columns=columns)
    if list(table) != columns:  # half a heading
        return pd.DataFrame(columns=columns)
    return table[pd.to_numeric(table["seconds"], errors="coerce").notna()].reset_index(drop=True)


class Bar(TQDMProgressBar):
    """A progress bar with the last loss that has reached the host."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(refresh_rate=20)
        self.progress = progress

    def get_metrics(self, *_: Any) -> dict[str, int | str | float | dict[str, float]]:
        losses = [value for _, name, value, _ in self.progress.records[-50:] if name == "loss"]
        return {"loss": f"{losses[-1]:.3f}"} if losses else {}
