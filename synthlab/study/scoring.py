"""Grading predictions: one table for a model, a search, a language model, or whatever else writes programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import SOLVED, STATUSES, TOO_LONG, Evaluation, check
from synthlab.assessment.metrics import pass_at_k, wilson
from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError, ConfigurationError, ProgramSyntaxError
from synthlab.language.grammar import PAD
from synthlab.language.identity import check_coefficients
from synthlab.language.measure import max_length
from synthlab.language.program import parse
from synthlab.study.benchmark import Benchmark, benchmark_folder, json_rows, load_benchmark
from synthlab.study.predictions import json_lines, prediction_table, read_predictions

UNANSWERED = "unanswered"
KS = (1, 8, 64)
"""Values of k for pass@k, as far as there are samples."""
_GROUP = ["system", "grammar", "region", "part"]
_REASONS = (*STATUSES[1:], UNANSWERED)


@dataclass(frozen=True, eq=False)
class Scores:
    """What predictions are worth.

    Attributes
    ----------
    tasks
        One row per system and task of every part that it answered: system, task, grammar, region, part, leaves,
        answered, solved (the first candidate is the same function), status (of the first candidate, or
        ``unanswered``), submitted (solved when the candidates are filtered by the visible grid and one is
        submitted), num_correct, num_candidates, independent, log_probability (of the first), seconds (of all).
    summary
        One row per system and part: system, grammar, region, part; tasks, answered; pass_at_1, low, high (first
        candidate, 95 % Wilson interval); submitted; oracle_at_n (any candidate is right, for the checker picks) and
        most_candidates (that n); shares of the first candidates' failures, which with pass_at_1 sum to 1;
        sampled_pass_at_k for independent samples, equally many a task; mean seconds of the tasks that state them.
    left_out
        Parts that a system answered nothing of, as ``system: grammar-region-part``.
    """

    tasks: pd.DataFrame
    summary: pd.DataFrame
    left_out: tuple[str, ...]

    def frame(self) -> pd.DataFrame:
        """The summary."""
        return self.summary


def score(predictions: pd.DataFrame, benchmark: Benchmark, *, extra_size: int = 0, ks: Sequence[int] = KS) -> Scores:
    """Grade predictions.

    Parameters
    ----------
    predictions
        Columns task, rank, program and optional ones; see `predictions`.
    benchmark
        What was asked. Tasks without an answer count as unsolved; parts without any are left out.
    extra_size
        How many more leaves than the bound an answer may have and still count; report it apart.
    ks
        Values of k for pass@k.

    Raises
    ------
    ConfigurationError
        For a row that is no prediction, an unknown task, a repeated or missing rank, or no predictions at all.
    """
    if extra_size < 0:
        raise ConfigurationError(f"answers of {extra_size} leaves more than the bound: use 0 or more")
    records = ((f"row {k}", row) for k, row in enumerate(predictions.to_dict("records")))
    rows = prediction_table(records, "predictions")
    _check_table(rows, set(benchmark.tasks["task"]))
    tables = [_graded(answers, benchmark, *key, extra_size) for key, answers in _by_grammar(rows, benchmark)]
    everything = pd.concat(tables, ignore_index=True)
    touched = everything.groupby(_GROUP)["num_candidates"].transform("sum") > 0
    kept = everything[touched].reset_index(drop=True)
    return Scores(kept, _summary(kept, ks), _left_out(kept, benchmark))


def _left_out(graded: pd.DataFrame, benchmark: Benchmark) -> tuple[str, ...]:
    parts, names = benchmark.tasks[_GROUP[1:]].drop_duplicates(), []
    for system, rows in graded.groupby("system", sort=False):
        known = set(rows[_GROUP[1:]].itertuples(index=False, name=None))
        names += [f"{system}: {'-'.join(p)}" for p in parts.itertuples(index=False, name=None) if p not in known]
    return tuple(names)


def _check_table(rows: pd.DataFrame, known: set[str]) -> None:
    """Refuse predictions that do not fit together."""
    if rows.empty:
        raise ConfigurationError("there are no predictions: write one row a candidate")
    strangers = rows.loc[~rows["task"].isin(known), "task"]
    if len(strangers):
        raise ConfigurationError(
            f"unknown task {ascii(strangers.iloc[0])[:80]}: take the names from the benchmark's tasks.parquet"
        )
    repeated = rows[rows.duplicated(["system", "task", "rank"])]
    if len(repeated):
        first = repeated.iloc[0]
        raise ConfigurationError(f"task {first['task']} has rank {first['rank']} twice: number its candidates anew")
    ranks = rows.groupby(["system", "task"])["rank"].agg(["max", "size"]).reset_index()
    gaps = ranks[ranks["max"] + 1 != ranks["size"]]
    if len(gaps):
        first = gaps.iloc[0]
        raise ConfigurationError(
            f"task {first['task']} has {first['size']} candidates with ranks up to {first['max']}: number them from 0"
        )


def _by_grammar(rows: pd.DataFrame, benchmark: Benchmark) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    grammars = benchmark.tasks.set_index("task")["grammar"]
    grouped = rows.groupby(["system", grammars.loc[rows["task"]].to_numpy()], sort=False)
    return [((str(system), str(grammar)), answers) for (system, grammar), answers in grouped]


def _graded(answers: pd.DataFrame, benchmark: Benchmark, system: str, grammar: str, extra_size: int) -> pd.DataFrame:
    """One row per task of a grammar for one system."""
    asked = benchmark.tasks[benchmark.tasks["grammar"] == grammar]
    answers = answers.assign(position=pd.Index(asked["task"]).get_indexer(answers["task"]))
    answers = answers.sort_values(["position", "rank"], ignore_index=True)
    evaluation = _evaluated(answers, benchmark.checkable(asked), extra_size)
    at = evaluation.candidates.task
    spoke = answers["program"].str.strip().ne("").to_numpy()
    answered = np.bincount(at, weights=spoke, minlength=len(asked)) > 0
    first, which = answers[answers["rank"] == 0], at[answers["rank"] == 0]
    table = asked[["task", "grammar", "region", "part", "leaves"]].assign(
        system=system, answered=answered, solved=evaluation.first_status() == SOLVED,
        status=np.where(answered, np.array(STATUSES)[evaluation.first_status()], UNANSWERED),
        submitted=evaluation.submitted() == SOLVED, num_correct=evaluation.num_correct(),
        num_candidates=evaluation.num_samples, independent=evaluation.candidates.independent,
        log_probability=_at(which, first["log_probability"], len(asked)),
        seconds=_at(at, answers["seconds"], len(asked)),
    )  # fmt: skip
    return table[["system", *table.columns.drop("system")]]


def _at(positions: np.ndarray, values: pd.Series[float], num: int) -> np.ndarray:
    """Sums of values by position (num,); NaN where there is none, or one is missing."""
    sums = np.bincount(positions, weights=values, minlength=num)
    return np.where(np.bincount(positions, minlength=num) > 0, sums, np.nan)


def _evaluated(answers: pd.DataFrame, tasks: Tasks, extra_size: int) -> Evaluation:
    """Outcome of every candidate."""
    limit = tasks.max_size + extra_size
    check_coefficients(tasks.grammar, limit, tasks.measure)
    prefix, too_long = _read(answers["program"], tasks, limit)
    candidates = Candidates(
        answers["position"].to_numpy(), answers["rank"].to_numpy(), prefix, answers["log_probability"].to_numpy(),
        independent=bool(answers["independent"].all()),
    )  # fmt: skip
    evaluation = check(tasks, candidates, max_size=limit)
    return replace(evaluation, status=np.where(too_long, TOO_LONG, evaluation.status))


def _read(texts: pd.Series[str], tasks: Tasks, limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Prefix tokens (K, L), all padding where a text is no program or a larger one; and which are larger (K,)."""
    numbers, distinct = pd.factorize(texts)
    prefix = np.full((len(distinct), max_length(tasks.grammar, limit, tasks.measure)), PAD, dtype=np.uint8)
    too_long = np.zeros(len(distinct), dtype=bool)
    for row, text in enumerate(distinct):
        try:
            program = parse(tasks.grammar, text)
        except ProgramSyntaxError:
            continue
        too_long[row] = getattr(program, tasks.measure) > limit
        if not too_long[row]:
            prefix[row, : program.nodes] = program.prefix
    return prefix[numbers], too_long[numbers]


def _summary(tasks: pd.DataFrame, ks: Sequence[int]) -> pd.DataFrame:
    rows = []
    for key, group in tasks.groupby(_GROUP, sort=False):
        right, num = int(group["solved"].sum()), len(group)
        low, high = wilson(right, num)
        shares = group["status"].value_counts(normalize=True)
        rows.append({
            **dict(zip(_GROUP, key, strict=True)), "tasks": num, "answered": int(group["answered"].sum()),
            "pass_at_1": right / num, "low": low, "high": high, "submitted": float(group["submitted"].mean()),
            "oracle_at_n": float((group["num_correct"] > 0).mean()),
            "most_candidates": int(group["num_candidates"].max()),
            **{reason.replace(" ", "_"): float(shares.get(reason, 0.0)) for reason in _REASONS},
            **_sampled(group, ks), "seconds": float(group["seconds"].mean()),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _sampled(group: pd.DataFrame, ks: Sequence[int]) -> Mapping[str, float]:
    """pass@k by name; NaN where the candidates are no independent samples, equally many a task, or fewer than k."""
    num = int(group["num_candidates"].iloc[0])
    defined = bool(group["independent"].all()) and num > 1 and group["num_candidates"].eq(num).all()
    correct = group["num_correct"].to_numpy()
    return {
        f"sampled_pass_at_{k}": float(pass_at_k(num, correct, k).mean()) if defined and k <= num else np.nan for k in ks
    }


# ---------------------------------------------------------------- files


def score_file(path: Path | str, folder: Path | str | None = None, *, extra_size: int = 0) -> dict[str, Any]:
    """Grade a prediction file against the committed benchmark, or one in another folder, for the command line.

    Returns
    -------
    dict
        ``scores``: rows of the summary as JSON; ``left_out``: parts without any answer.
    """
    found = score(read_predictions(path), load_benchmark(folder), extra_size=extra_size)
    return {"scores": json_rows(found.summary), "left_out": list(found.left_out)}


def record_scores(scores: Scores, folder: Path | str | None = None) -> Path:
    """Add the summary to ``scores.jsonl`` beside the benchmark; a part scored before is replaced."""
    path = (benchmark_folder() if folder is None else Path(folder)) / "scores.jsonl"
    known = [table for table in (recorded_scores(path.parent), scores.summary) if len(table)]
    rows = pd.concat(known, ignore_index=True)
    write_atomically(path, json_lines(rows.drop_duplicates(_GROUP, keep="last")))
    return path


def recorded_scores(folder: Path | str | None = None) -> pd.DataFrame:
    """Summaries recorded beside the benchmark, one row per system and part.

    Raises
    ------
    ArtifactError
        If the file is damaged.
    """
    path = (benchmark_folder() if folder is None else Path(folder)) / "scores.jsonl"
    if not path.exists():
        return pd.DataFrame(columns=_GROUP)
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return pd.DataFrame(rows).dropna(axis="columns", how="all")
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is damaged: check it out again") from error
