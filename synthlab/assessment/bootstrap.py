"""Hierarchical bootstrap by counting: groups of runs are drawn, groups within them, then rows, all as multinomials.

How often each row is drawn is all that a statistic of sums needs, so no replicate is ever laid out; equal rows are
drawn as one. The law is that of drawing groups and rows one by one with replacement (Saravanan et al., 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

_ROWS_PER_PATTERN = 25
_WITHIN = 4
_DRAWS_AT_ONCE = 1 << 22


@dataclass(frozen=True, eq=False)
class Draws:
    """A statistic with its bootstrap replicates; sums and ratios of such are replicated alike.

    Attributes
    ----------
    value
        On the data.
    replicates
        Under the whole bootstrap (R,).
    within
        Where the groups stay and rows alone are drawn (R',): what of the spread is sampling of rows.
    num_groups
        Groups of the outermost level that has several; 1 if none has.
    num_tasks
        Distinct classes behind it.
    """

    value: float
    replicates: np.ndarray
    within: np.ndarray
    num_groups: int
    num_tasks: int

    def _with(self, other: Draws | float, apply: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Draws:
        if not isinstance(other, Draws):
            same = np.full(1, float(other))
            other = Draws(float(other), same, same, self.num_groups, self.num_tasks)
        return Draws(
            float(apply(np.array(self.value), np.array(other.value))),
            apply(self.replicates, other.replicates),
            apply(self.within, other.within),
            min(self.num_groups, other.num_groups),
            max(self.num_tasks, other.num_tasks),
        )

    def __add__(self, other: Draws | float) -> Draws:
        return self._with(other, lambda a, b: a + b)

    def __sub__(self, other: Draws | float) -> Draws:
        return self._with(other, lambda a, b: a - b)

    def __mul__(self, other: Draws | float) -> Draws:
        return self._with(other, lambda a, b: a * b)

    def __truediv__(self, other: Draws | float) -> Draws:
        return self._with(other, lambda a, b: np.where(b == 0, np.nan, a / np.where(b == 0, 1, b)))

    def tasks(self, num_tasks: int) -> Draws:
        """The same, with another number of classes behind it."""
        return replace(self, num_tasks=num_tasks)


@dataclass(frozen=True, eq=False)
class Resampled:
    """Sums of columns over the rows of every group, on the data and in every replicate.

    Attributes
    ----------
    groups
        One row per innermost group (L,): its values of levels and strata.
    observed
        Sums on the data (1, L, C).
    replicates, within
        Sums under the whole bootstrap (R, L, C), and where rows alone are drawn (R', L, C).
    num_groups
        As in `Draws`.
    """

    groups: pd.DataFrame
    observed: np.ndarray
    replicates: np.ndarray
    within: np.ndarray
    num_groups: int

    def draws(self, statistic: Callable[[np.ndarray], np.ndarray], num_tasks: int) -> Draws:
        """A statistic of the sums: a function from (R, L, C) to (R,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            value, replicates, within = (statistic(s) for s in (self.observed, self.replicates, self.within))
        return Draws(float(value[0]), replicates, within, self.num_groups, num_tasks)


def resample(
    frame: pd.DataFrame,
    values: np.ndarray,
    levels: Sequence[str],
    strata: Sequence[str] = (),
    *,
    num_replicates: int,
    seed: int | Sequence[int] = 0,
) -> Resampled:
    """Sums of columns under a hierarchical bootstrap.

    Parameters
    ----------
    frame
        One row per class and run, with the columns of `levels` and `strata`.
    values
        What is summed (n, C); no NaN.
    levels
        Columns that group runs, outermost first (region, seed): as many groups as there are, drawn with replacement,
        and in each of them groups of the next level.
    strata
        Columns that part the rows within the innermost level (part, trial); all of them are kept, and rows are
        drawn within each.
    num_replicates, seed
        Of the bootstrap.
    """
    order, groups = grouped(frame, [*levels, *strata])
    of_groups, of_rows = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    times = group_counts(groups[list(levels)], num_replicates, of_groups)
    once = np.ones(max(1, num_replicates // _WITHIN), dtype=np.int64)
    blocks = [np.asarray(values, dtype=float)[rows] for rows in order]
    whole = [_row_sums(block, times[:, k], of_rows) for k, block in enumerate(blocks)]
    fixed = [_row_sums(block, once, of_rows) for block in blocks]
    observed = np.stack([block.sum(axis=0) for block in blocks])[None]
    return Resampled(groups, observed, np.stack(whole, 1), np.stack(fixed, 1), outer_groups(groups, levels))


def grouped(frame: pd.DataFrame, columns: Sequence[str]) -> tuple[list[np.ndarray], pd.DataFrame]:
    """Row numbers of every group, and the groups' values, in the order of these; all rows are one without columns."""
    if not columns:
        return [np.arange(len(frame))], pd.DataFrame(index=[0])
    keys = frame[list(columns)].reset_index(drop=True)
    number = keys.groupby(list(columns), sort=True, dropna=False).ngroup().to_numpy()
    rows = np.split(np.argsort(number, kind="stable"), np.cumsum(np.bincount(number))[:-1])
    return rows, keys.iloc[[r[0] for r in rows]].reset_index(drop=True)


def outer_groups(groups: pd.DataFrame, levels: Sequence[str]) -> int:
    """Number of groups of the outermost level that has several; 1 if none has."""
    numbers = (len(groups[list(levels[: k + 1])].drop_duplicates()) for k in range(len(levels)))
    return next((n for n in numbers if n > 1), 1)


def group_counts(groups: pd.DataFrame, num_replicates: int, generator: np.random.Generator) -> np.ndarray:
    """How often each row of a table of groups is drawn (R, L): its columns are levels, outermost first."""
    times = np.ones((num_replicates, len(groups)), dtype=np.int64)
    parent: np.ndarray = np.zeros(len(groups), dtype=np.int64)
    for depth in range(groups.shape[1]):
        keys = list(groups.columns[: depth + 1])
        child = groups.groupby(keys, sort=True, dropna=False).ngroup().to_numpy()
        for one in np.unique(parent):
            rows = np.flatnonzero(parent == one)
            members, place = np.unique(child[rows], return_inverse=True)
            num = len(members)
            times[:, rows] = generator.multinomial(times[:, rows[0]] * num, np.full(num, 1 / num))[:, place]
        parent = child
    return times


def row_counts(times: np.ndarray, num_rows: int, generator: np.random.Generator) -> np.ndarray:
    """How often each row of a group is drawn (R, n), where the group itself is drawn `times` (R,)."""
    owner = np.repeat(np.arange(len(times)) * num_rows, times * num_rows)
    drawn = owner + generator.integers(0, num_rows, len(owner))
    return np.bincount(drawn, minlength=len(times) * num_rows).reshape(len(times), num_rows)


def trial_replicates(
    trials: Sequence[pd.DataFrame],
    levels: Sequence[str],
    statistics: Callable[[pd.DataFrame, Callable[[int], np.ndarray]], dict[Any, np.ndarray]],
    *,
    num_replicates: int,
    seed: int | Sequence[int] = 0,
) -> Trials:
    """Statistics of every trial that are no sums, such as those of a model fitted anew in every replicate.

    Parameters
    ----------
    trials, levels
        Rows of every trial, and the columns that group trials, outermost first.
    statistics
        From the rows of a trial, and a function that draws counts (R, n) of n of its rows, to arrays (R,) by key.
        The first replicate is the data; a trial that was not drawn has counts of 0.
    num_replicates, seed
        Of the bootstrap.
    """
    of_groups, of_rows = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    groups = pd.concat([trial.iloc[[0]][list(levels)] for trial in trials], ignore_index=True)
    times = group_counts(groups, num_replicates, of_groups)
    once = np.ones(max(1, num_replicates // _WITHIN), dtype=np.int64)
    found = []
    for k, trial in enumerate(trials):
        drawn = np.concatenate([times[:, k], once])

        def draw(num: int, drawn: np.ndarray = drawn) -> np.ndarray:
            return np.concatenate([np.ones((1, num), dtype=np.int64), row_counts(drawn, num, of_rows)])

        found.append(statistics(trial, draw))
    return Trials(found, times, outer_groups(groups, levels))


@dataclass(frozen=True, eq=False)
class Trials:
    """Statistics by trial and key, (1 + R + R',) each: on the data, in all replicates, where rows alone are drawn.

    Attributes
    ----------
    found
        Arrays by key, per trial.
    times
        How often each trial was drawn (R, T).
    num_groups
        As in `Draws`.
    """

    found: list[dict[Any, np.ndarray]]
    times: np.ndarray
    num_groups: int

    def mean(self, key: Any, num_tasks: int) -> Draws:
        """Mean over the trials in which the statistic is defined, each as often as it was drawn."""
        values = np.stack([trial[key] for trial in self.found], axis=1)
        num = len(self.times)
        once = np.ones((1, values.shape[1]))
        weights = np.concatenate([once, self.times, np.repeat(once, len(values) - 1 - num, axis=0)])
        weights = np.where(np.isfinite(values), weights, 0)
        total = weights.sum(axis=1)
        means = (weights * np.nan_to_num(values)).sum(axis=1) / np.where(total > 0, total, np.nan)
        return Draws(float(means[0]), means[1 : num + 1], means[num + 1 :], self.num_groups, num_tasks)


def combined(draws: Sequence[Draws], function: Callable[[np.ndarray], np.ndarray]) -> Draws:
    """A function of several statistics of one bootstrap: from their values (..., K) to (...)."""
    value, replicates, within = (
        function(np.stack([getattr(d, name) for d in draws], axis=-1)) for name in ("value", "replicates", "within")
    )
    groups, tasks = min(d.num_groups for d in draws), max(d.num_tasks for d in draws)
    return Draws(float(value), replicates, within, groups, tasks)


def _row_sums(rows: np.ndarray, times: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Sums (R, C) over as many rows as there are, drawn with replacement; equal rows are drawn as one."""
    patterns, counts = np.unique(rows, axis=0, return_counts=True)
    if len(patterns) * _ROWS_PER_PATTERN > len(rows) + _ROWS_PER_PATTERN:
        parts = np.array_split(times, max(1, len(times) * len(rows) // _DRAWS_AT_ONCE))
        return np.concatenate([row_counts(part, len(rows), generator).astype(float) @ rows for part in parts])
    return generator.multinomial(times * len(rows), counts / len(rows)) @ patterns
