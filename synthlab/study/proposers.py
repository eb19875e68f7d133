"""Trained models as proposers of programs, and the temperature at which they propose best."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.metrics import wilson
from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.errors import ConfigurationError
from synthlab.search.budget import Cost
from synthlab.search.proposer import Proposals

if TYPE_CHECKING:
    from synthlab.learning.decoding import Decoding
    from synthlab.learning.networks import Synthesizer
    from synthlab.learning.run import Run

How = Literal["beam", "distinct", "samples"]
TEMPERATURES = (0.5, 0.7, 1.0, 1.3, 1.6)


@dataclass(frozen=True, eq=False)
class ModelProposer:
    """A trained model that proposes what it writes.

    Tokens are all that samples or beams write, up to the end of each text (`learning.decoding.Work`). FLOPs are
    rows read times those of reading, plus rows times steps times those of a step, as they are computed and
    counted like those of training (`learning.decoding.decoding_flops`): a text of full length takes one forward
    pass, a third of what training spends on it.

    Parameters
    ----------
    run
        The trained model; on the GPU, where there is one.
    how
        ``beam`` for the likeliest programs that a beam finds, ``distinct`` for a sample without replacement,
        which asked for more begins with the same, ``samples`` for independent samples.
    temperature
        Of samples, distinct or not.
    max_size
        Bound on what is proposed; that of the run's universe by default.
    grammatical
        Write only what can still become a program within the bound.
    seed
        Of samples; the same outputs get the same proposals.
    width
        Of the beam, if it is to be wider than what is asked for.

    Raises
    ------
    ConfigurationError
        For settings that contradict each other.
    """

    run: Run
    _: KW_ONLY
    how: How
    temperature: float = 1.0
    max_size: int | None = None
    grammatical: bool = True
    seed: int = 0
    width: int | None = None

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise ConfigurationError(f"unknown way {self.how!r} to propose: choose from {', '.join(get_args(How))}")
        if self.width is not None and (self.how != "beam" or self.width < 1):
            raise ConfigurationError(f"width {self.width} for {self.how!r}: only a beam has one, of at least 1")
        if self.how != "beam" and not self.temperature > 0:
            raise ConfigurationError(f"temperature {self.temperature}: samples need one over 0")

    @property
    def name(self) -> str:
        """Model and way of proposing."""
        return f"{self.run.label}, {self.how}" + ("" if self.how == "beam" else f" at {self.temperature:g}")

    @property
    def training(self) -> Cost:
        """Seconds and FLOPs of the training, checks included in the seconds."""
        return Cost(seconds=self.run.cost["seconds"], flops=self.run.cost["flops"])

    def propose(self, outputs: np.ndarray, num: int) -> Proposals:
        """Programs for outputs (B, G), `num` for each; the model is loaded before the clock starts.

        Raises
        ------
        ConfigurationError
            For fewer than one proposal, or outputs that do not fit the grid or overflow the encoding.
        """
        from synthlab.learning.decoding import Work, write_programs

        if num < 1:
            raise ConfigurationError(f"{num} proposals: ask for at least one")
        model, (reading, step), work = self._model, self._flops, Work()
        wanted = len(model.grammar.grid.points)
        if outputs.ndim != 2 or outputs.shape[1] != wanted:
            raise ConfigurationError(f"outputs {outputs.shape}: give one row of {wanted}, the grid's points, per task")
        start = time.perf_counter()
        prefix, log_probability = write_programs(model, outputs, self._decoding(num), work=work)
        seconds = time.perf_counter() - start
        flops = float(work.reads * reading + work.steps * step)
        return Proposals(prefix, log_probability, Cost(seconds=seconds, tokens=work.tokens, flops=flops))

    def candidates(self, tasks: Tasks, num: int) -> Candidates:
        """The same programs as `propose` gives, as answers to tasks."""
        from synthlab.learning.decoding import decode

        return decode(self._model, tasks, self._decoding(num))

    @cached_property
    def _model(self) -> Synthesizer:
        from synthlab.learning.evaluation import placed

        return placed(self.run.model())

    @cached_property
    def _flops(self) -> tuple[int, int]:
        from synthlab.learning.decoding import decoding_flops

        return decoding_flops(self._model)

    def _decoding(self, num: int) -> Decoding:
        from synthlab.learning.decoding import Decoding

        limit = self.run.corpus["max_size"] if self.max_size is None else self.max_size
        ways: dict[str, dict[str, Any]] = {
            "beam": dict(beam=max(num, self.width or 0)),
            "distinct": dict(beam=num, distinct=True, temperature=self.temperature, seed=self.seed),
            "samples": dict(temperature=self.temperature, seed=self.seed),
        }
        return Decoding(num_samples=num, grammatical=self.grammatical, max_size=limit, **ways[self.how])


def tuned_temperature(
    run: Run, tasks: Tasks, *, num_samples: int, temperatures: Sequence[float] = TEMPERATURES,
    how: Literal["distinct", "samples"] = "samples", seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Share of validation tasks solved by the same number of samples at every temperature.

    A task is solved if the first sample that is right on the grid, which a solver can see, is the same function.

    Parameters
    ----------
    run, tasks
        The trained model, and tasks on which nothing else is judged.
    num_samples
        Samples a task.
    temperatures
        To be tried.
    how, seed
        As in `ModelProposer`.

    Returns
    -------
    pandas.DataFrame
        One row per temperature: temperature, solved, low, high (95 %, Wilson), best (the first that solves most).

    Raises
    ------
    ConfigurationError
        If there is no task or no temperature.
    """
    if not len(tasks) or not len(temperatures):
        raise ConfigurationError(f"{len(tasks)} tasks and {len(temperatures)} temperatures: tuning needs some of both")
    rows = []
    for temperature in temperatures:
        proposer = ModelProposer(run, how=how, temperature=temperature, max_size=tasks.max_size, seed=seed)
        solved = int((check(tasks, proposer.candidates(tasks, num_samples)).submitted() == SOLVED).sum())
        rows.append((temperature, solved / len(tasks), *wilson(solved, len(tasks))))
    table = pd.DataFrame(rows, columns=["temperature", "solved", "low", "high"])
    return table.assign(best=table.index == table["solved"].idxmax())


def tuned_proposer(
    run: Run, tasks: Tasks, *, num_samples: int, temperatures: Sequence[float] = TEMPERATURES,
    how: Literal["distinct", "samples"] = "samples", seed: int = 0,
) -> ModelProposer:  # fmt: skip
    """A proposer at the temperature that solves most validation tasks; parameters as in `tuned_temperature`."""
    table = tuned_temperature(run, tasks, num_samples=num_samples, temperatures=temperatures, how=how, seed=seed)
    best = float(table.loc[table["best"], "temperature"].iloc[0])
    return ModelProposer(run, how=how, temperature=best, max_size=tasks.max_size, seed=seed)
