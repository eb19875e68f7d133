"""Prediction files: what a system answers to the benchmark, as JSON lines or Parquet.

One row a candidate: ``task``; ``rank``, 0 for the program submitted first, without gaps; ``program``, infix or prefix
text, blank to give up. Optional: ``system`` (the name of the file by default), ``log_probability`` (natural
logarithm), ``seconds`` (spent on this candidate), ``independent`` (whether the candidates of every task are equally
many independent draws, so that pass@k is defined). Other columns are ignored. Text is parsed, never executed.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from synthlab.assessment.tasks import Candidates
from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.program import MAX_CHARACTERS
from synthlab.search.budget import Budget
from synthlab.search.problem import Problem
from synthlab.search.symbolic import METHOD, Enumeration
from synthlab.splits.split import Split, learned_texts
from synthlab.study.benchmark import Benchmark, json_rows
from synthlab.study.solvers import submitted
from synthlab.study.tables import parquet
from synthlab.universe.corpus import Corpus

if TYPE_CHECKING:
    from synthlab.learning.run import Run

REQUIRED = ("task", "rank", "program")
COLUMNS = ("system", *REQUIRED, "log_probability", "seconds", "independent")
MAX_CANDIDATES = 1_000
"""Largest number of candidates a task."""
_MAX_ROWS = 5_000_000
_MAX_LINE = 1 << 26
_MAX_NAME = 120


# ---------------------------------------------------------------- reading


def read_predictions(path: Path | str) -> pd.DataFrame:
    """Predictions in a file, checked row by row: columns `COLUMNS`.

    Raises
    ------
    ArtifactError
        If the file cannot be read, or holds nothing.
    ConfigurationError
        For another suffix than .jsonl and .parquet, or a row that is no prediction; names the row and the mend.
    """
    path = Path(path)
    readers = {".jsonl": _json_lines, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise ConfigurationError(f"predictions {_shown(path.name)}: use a file that ends in .jsonl or .parquet")
    try:
        rows = prediction_table(readers[path.suffix](path), path.stem)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror}): name a prediction file") from error
    if rows.empty:
        raise ArtifactError(f"{path} holds no predictions: write one row a candidate ({', '.join(REQUIRED)})")
    return rows


def _json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(_MAX_LINE + 1), b""), 1):
            where = f"line {number} of {path.name}"
            if len(line) > _MAX_LINE:
                raise ConfigurationError(f"{where} has over {_MAX_LINE:,} bytes: write one prediction a line")
            try:
                text = line.decode("utf-8-sig").strip()
                record = json.loads(text) if text else None
            except (ValueError, RecursionError) as error:
                raise ConfigurationError(f"{where} is no JSON object in UTF-8: write one prediction a line") from error
            if text:
                yield where, record


def _parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            number = 0
            for batch in file.iter_batches(batch_size=1 << 12, columns=list(COLUMNS)):
                for record in batch.to_pylist():
                    yield f"row {number} of {path.name}", record
                    number += 1
    except (pa.ArrowException, ValueError) as error:
        raise ArtifactError(f"{path} is no Parquet file that can be read: write it again") from error


def prediction_table(records: Iterable[tuple[str, Any]], system: str) -> pd.DataFrame:
    """Records, each with the place where it stands, as a table with columns `COLUMNS`.

    Raises
    ------
    ConfigurationError
        For a record that is no prediction.
    """
    rows = []
    for where, record in records:
        rows.append(_prediction(where, record, system))
        if len(rows) > _MAX_ROWS:
            raise ConfigurationError(f"{where}: at most {_MAX_ROWS:,} predictions a file")
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _prediction(where: str, record: Any, system: str) -> tuple[str, str, int, str, float, float, bool]:
    if not isinstance(record, dict):
        raise ConfigurationError(f"{where} is no JSON object: write one prediction a line")
    missing = [name for name in REQUIRED if name not in record]
    if missing:
        raise ConfigurationError(f"{where} has no {missing[0]}: every prediction needs {', '.join(REQUIRED)}")
    task, rank, program = (record[name] for name in REQUIRED)
    system, independent = record.get("system", system), record.get("independent", False)
    if not isinstance(task, str) or not task.isprintable() or len(task) > _MAX_NAME:
        raise ConfigurationError(f"{where}: task {_shown(task)} is no name of the benchmark")
    if isinstance(rank, bool) or not isinstance(rank, int | np.integer) or not 0 <= rank < MAX_CANDIDATES:
        raise ConfigurationError(f"{where}: rank {_shown(rank)}: use a whole number from 0 to {MAX_CANDIDATES - 1}")
    if not isinstance(program, str):
        raise ConfigurationError(f"{where}: program {_shown(program)} is no text: leave it blank to give up")
    if not isinstance(system, str) or not system.isprintable() or not 0 < len(system) <= _MAX_NAME:
        raise ConfigurationError(f"{where}: system {_shown(system)}: use a printable name of up to {_MAX_NAME} letters")
    if not isinstance(independent, bool | np.bool_):
        raise ConfigurationError(f"{where}: independent {_shown(independent)}: use true or false")
    score, seconds = (_number(where, name, record.get(name)) for name in ("log_probability", "seconds"))
    if seconds < 0:
        raise ConfigurationError(f"{where}: seconds {_shown(seconds)}: use a number from 0 on")
    # what is longer than any program that is read need not be kept to be ungrammatical, nor half of a character
    kept = program[: MAX_CHARACTERS + 1].encode(errors="replace").decode()
    return system, task, int(rank), kept, score, seconds, bool(independent)


def _number(where: str, name: str, value: Any) -> float:
    """A finite number, or NaN where there is none."""
    if value is None:
        return math.nan
    try:
        number = math.inf if isinstance(value, bool) or not isinstance(value, int | float | np.number) else float(value)
    except OverflowError:
        number = math.inf
    if math.isinf(number):
        raise ConfigurationError(f"{where}: {name} {_shown(value)}: use a finite number, or leave it out")
    return number


def _shown(value: Any) -> str:
    """A value on one line of ASCII, cut short."""
    try:
        text = ascii(value)
    except (ValueError, RecursionError):  # a number of too many digits
        text = type(value).__name__
    return text if len(text) <= _MAX_NAME else f"{text[:_MAX_NAME]}..."


def write_predictions(path: Path | str, rows: pd.DataFrame) -> Path:
    """Write predictions as JSON lines or Parquet, by the suffix.

    Raises
    ------
    ConfigurationError
        For another suffix.
    """
    path = Path(path)
    if path.suffix not in (".jsonl", ".parquet"):
        raise ConfigurationError(f"predictions {_shown(path.name)}: use a file that ends in .jsonl or .parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, parquet(rows) if path.suffix == ".parquet" else json_lines(rows))
    return path


def json_lines(rows: pd.DataFrame) -> bytes:
    """A table as JSON lines; what is missing is null."""
    return "".join(json.dumps(row) + "\n" for row in json_rows(rows)).encode()


# ---------------------------------------------------------------- the systems of synthlab


def predictions_of(
    candidates: Candidates, names: Sequence[str], grammar: Grammar, *, system: str, seconds: np.ndarray | float = np.nan
) -> pd.DataFrame:
    """Candidates of a solver as predictions.

    Parameters
    ----------
    candidates, grammar
        What the solver wrote, and in which language.
    names
        Name of every task that it was asked (T,).
    system
        Its name in tables.
    seconds
        Spent on every candidate (K,), or on each alike.
    """
    table = candidates.frame(grammar)
    table = table.assign(
        system=system, task=np.asarray(names, dtype=object)[candidates.task], seconds=seconds,
        independent=candidates.independent,
    )  # fmt: skip
    return table[list(COLUMNS)]


def predict_by_search(
    benchmark: Benchmark, budget: Budget, *, splits: Sequence[str] | None = None, system: str = ""
) -> pd.DataFrame:
    """Predictions of bottom-up enumeration: one program a task, blank where the budget is spent without one.

    Parameters
    ----------
    benchmark, budget
        What is asked, and what every task may cost; a limit on programs alone makes it a pure function.
    splits
        Names of splits; all by default.
    system
        Name in tables; says the method and the budget by default.
    """
    limits = [f"{budget.programs:,} programs"] if budget.programs is not None else []
    limits += [f"{budget.seconds:g} s"] if math.isfinite(budget.seconds) else []
    system, tables = system or ", ".join([METHOD, *limits]), []
    for split in benchmark.splits if splits is None else splits:
        rows = benchmark.select(split)
        tasks = benchmark.checkable(rows)
        results = Enumeration().solve_all([Problem.of(tasks, row) for row in range(len(tasks))], budget)
        seconds = np.array([result.cost.seconds for result in results])
        candidates = submitted(tasks, results)
        tables.append(predictions_of(candidates, rows["task"].tolist(), tasks.grammar, system=system, seconds=seconds))
    return pd.concat(tables, ignore_index=True)


def predict_with_run(
    run: Run, benchmark: Benchmark, split: str, *, taught: tuple[Corpus, Split] | None = None,
    parts: Sequence[str] | None = None, system: str = "", **decoding: Any,
) -> pd.DataFrame:  # fmt: skip
    """Predictions of a trained model on the tasks of one split.

    Parameters
    ----------
    run, benchmark, split
        Who answers, and what is asked.
    taught
        Universe and split that the run was trained on, where that is not the benchmark's own
        (`Benchmark.draw_training`): every text that it may have been taught has to be in the training set.
    parts
        Of the split; all by default.
    system
        Name in tables; the model's and the number of candidates by default.
    **decoding
        Fields of `learning.decoding.Decoding`: greedy by default.

    Raises
    ------
    ArtifactError, SplitError
        If the run belongs to another universe, or may have been taught what the split tests.
    """
    from synthlab.learning.decoding import decode

    require_untaught(run, benchmark, split, taught)
    rows = benchmark.select(split, parts)
    tasks, model, start = benchmark.checkable(rows), run.model(), time.perf_counter()
    candidates = decode(model, tasks, **decoding)
    seconds = (time.perf_counter() - start) / len(candidates)
    num = len(candidates) // len(tasks)
    usual = f"{run.model_config.name}, " + ("greedy" if num == 1 else f"{num} candidates")
    return predictions_of(candidates, rows["task"].tolist(), tasks.grammar, system=system or usual, seconds=seconds)


def require_untaught(run: Run, benchmark: Benchmark, split: str, taught: tuple[Corpus, Split] | None = None) -> None:
    """Refuse a run that may have been taught what a split of the benchmark tests; see `predict_with_run`."""
    about, domain = benchmark.split(split), benchmark.domain(split)
    identity = {name: domain[name] for name in run.corpus}
    if run.corpus != identity:
        raise ArtifactError(f"the run belongs to another universe than split {split}: train on {identity}")
    if taught is not None:
        corpus, other = taught
        run.require_corpus(corpus)
        run.require_split(other)
        benchmark.require_allowed(split, learned_texts(corpus, other))
    elif run.split_key != about["key"]:
        raise ArtifactError(
            f"the run was trained on split {run.split_key}, not on {about['key']} ({split}): "
            "pass the split it was trained on as `taught`"
        )
