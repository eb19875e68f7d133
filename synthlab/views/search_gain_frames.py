"""Tables behind the figures of what search adds to a model: with its size, and when it learns what search finds.

They read what `study.search_study` makes; intervals are those of the claims.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from synthlab.assessment import metrics
from synthlab.assessment.bootstrap import resample
from synthlab.errors import ConfigurationError
from synthlab.study.evidence import interval
from synthlab.study.samples import levels_of, main_grammar, require_columns
from synthlab.views.search_frames import estimates, in_order
from synthlab.views.study_frames import means

_BANDS = 24  # points at which the band of a line is drawn

# ---------------------------------------------------------------- against training compute


def search_scaling_points(table: pd.DataFrame, parts: Sequence[str] = ("id", "forced")) -> pd.DataFrame:
    """Share solved by every model size, with and without search.

    Parameters
    ----------
    table
        `search-scaling`.
    parts
        Test sets.

    Returns
    -------
    pandas.DataFrame
        part, method, model, flops (of training, and of answering all tasks of that part; mean over trials), value,
        low, high, num_tasks.

    Raises
    ------
    ConfigurationError
        If there are no tasks of these parts, or models of one size alone.
    """
    rows = _scaling_rows(table, parts)
    by = ["part", "method", "model"]
    found = means(rows, by).rename(columns={"pass_at_1": "value"})
    spent = rows.groupby(by, sort=False)["total"].mean().rename("flops")
    found = found.merge(spent, on=by, validate="one_to_one")
    return in_order(found[[*by, "flops", "value", "low", "high", "num_tasks"]])


def search_scaling_lines(table: pd.DataFrame, parts: Sequence[str] = ("id", "forced")) -> pd.DataFrame:
    """Straight lines in the logarithm of compute through the points, by least squares; parameters as for these.

    Returns
    -------
    pandas.DataFrame
        part, method, flops, value, low, high (the line and its band), slope, slope_low, slope_high (share gained
        for ten times the compute).
    """
    rows, tables = _scaling_rows(table, parts), []
    for (part, method), own in rows.groupby(["part", "method"], sort=False):
        tables.append(_fitted(own).assign(part=str(part), method=str(method)))
    names = ["part", "method", "flops", "value", "low", "high", "slope", "slope_low", "slope_high"]
    return in_order(pd.concat(tables, ignore_index=True)[names])


def _fitted(rows: pd.DataFrame) -> pd.DataFrame:
    """The line of one method, fitted anew in every replicate; classes are drawn at once for all models."""
    levels = levels_of(rows)
    wide = rows.pivot_table(
        index=[*levels, "class_id"], columns="model", values="solved", aggfunc=["size", "sum"], fill_value=0
    )
    sums = resample(
        wide.index.to_frame(index=False), wide.to_numpy(float), levels, num_replicates=metrics.NUM_REPLICATES
    )
    at = np.log10(rows.groupby("model")["total"].mean()[wide["size"].columns].to_numpy())
    num, middle = rows["class_id"].nunique(), at.mean()

    def shares(totals: np.ndarray) -> np.ndarray:
        tasks, solved = np.split(totals.sum(axis=1), 2, axis=1)
        return np.asarray(solved / tasks)

    steep = sums.draws(lambda s: shares(s) @ (at - middle) / ((at - middle) ** 2).sum(), num)
    level = sums.draws(lambda s: shares(s).mean(axis=1), num)
    grid = np.linspace(at.min(), at.max(), _BANDS)
    line = estimates([interval(level + steep * float(x - middle), (0.0, 1.0)) for x in grid])
    gained = interval(steep)
    return line.assign(
        value=line["value"].clip(0, 1), flops=10**grid, slope=gained.value, slope_low=gained.low,
        slope_high=gained.high,
    )  # fmt: skip


def _scaling_rows(table: pd.DataFrame, parts: Sequence[str]) -> pd.DataFrame:
    """Rows of some parts with the compute of their trial, training and test together."""
    require_columns(table, ["trial", "seed", "model", "flops", "test_flops", "part", "class_id", "method", "solved"])
    rows = main_grammar(table)
    rows = rows[rows["part"].isin(parts)]
    if rows.empty:
        raise ConfigurationError(f"no tasks of {' or '.join(parts)}: choose from {', '.join(table['part'].unique())}")
    if rows["model"].nunique() < 2:
        raise ConfigurationError("models of one size alone: a line needs two or more")
    tests = rows.groupby(["trial", "method", "part"])["test_flops"].transform("sum")
    return rows.assign(total=rows["flops"] + tests)


# ---------------------------------------------------------------- expert iteration


def rounds_frame(table: pd.DataFrame) -> pd.DataFrame:
    """pass@1 of every round of expert iteration, by part and arm.

    Parameters
    ----------
    table
        `search-rounds`.

    Returns
    -------
    pandas.DataFrame
        part, tasks (``practiced`` or ``never trained on``), arm, round, value, low, high, num_tasks. Practiced
        tasks have the part that they were taken from.
    """
    require_columns(table, ["seed", "arm", "round", "part", "class_id", "solved"])
    practiced = table["part"].str.startswith("practice")
    rows = table.assign(
        part=table["part"].str.removeprefix("practice").str.strip().replace("", "practice"),
        tasks=np.where(practiced, "practiced", "never trained on"),
    )
    by = ["tasks", "part", "arm", "round"]
    found = means(rows, by).rename(columns={"pass_at_1": "value"})
    return found.sort_values(by, kind="stable", ignore_index=True)
