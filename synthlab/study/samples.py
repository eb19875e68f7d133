"""Rows of result tables that claims compare, and their bootstrapped means; what is missing is said in one line.

Support trials are drawn as regions, seeds within them, and classes; density trials as seeds and classes, where a class
is drawn at once for all regimes that were tested on it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment import metrics
from synthlab.assessment.bootstrap import Draws, Resampled, resample
from synthlab.assessment.metrics import posterior_draws
from synthlab.errors import ConfigurationError

BASE = "base"
RAW, MATCHED = ("id", "forced"), ("matched_id", "matched_forced")
DROP = -0.30
"""The paper's bound: forced tasks cost over 30 %."""
MAIN_GRAMMAR = "polynomial"
SATURATED = 1e-3
_ARM = ["regime", "policy", "num_cells", "num_train", "model"]

# ---------------------------------------------------------------- rows


def require_columns(table: pd.DataFrame, columns: Iterable[str]) -> None:
    """Refuse tables that are empty or lack columns.

    Raises
    ------
    ConfigurationError
        Naming what is missing.
    """
    if table.empty:
        raise ConfigurationError("no finished trials of this group: run its part of the study")
    missing = [c for c in columns if c not in table]
    if missing:
        raise ConfigurationError(f"the results lack {', '.join(missing)}: measure the trials with details")


def main_grammar(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the polynomial grammar where there are such, else all."""
    is_main = table["grammar"].eq(MAIN_GRAMMAR) if "grammar" in table else pd.Series(True, index=table.index)
    return table[is_main] if is_main.any() else table


def main_size(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the number of training programs that most trials have, of the first one where there are several."""
    if "num_train" not in table or table["num_train"].isna().all():
        return table
    sizes = table.drop_duplicates("trial")["num_train"]
    counts = sizes.value_counts(sort=False)
    return table[table["num_train"] == counts.idxmax()]


def support_rows(
    table: pd.DataFrame, parts: Sequence[str], *, space: str | None = None, variant: str = BASE,
    needed: Sequence[str] = (),
) -> pd.DataFrame:  # fmt: skip
    """Rows of some parts of support trials that have all of these parts.

    Parameters
    ----------
    table
        Results with the tags of their trials.
    parts
        Test sets that are compared.
    space, variant
        Of the held-out regions (None for all), and of the model and its targets.
    needed
        Further columns that must be there.

    Raises
    ------
    ConfigurationError
        If a column, the space, the variant or a part is missing.
    """
    require_columns(table, ["trial", "part", "class_id", "solved", *needed, *(["space"] if space else [])])
    rows = table if space is None else table[table["space"] == space]
    if rows.empty:
        raise ConfigurationError(f"no {space} regions were held out: train some")
    rows = rows[rows["variant"].fillna(BASE) == variant] if "variant" in rows else rows
    if rows.empty:
        raise ConfigurationError(f"no trials of the variant {variant!r}: train some")
    rows = rows[rows["part"].isin(parts)]
    num_parts = rows.groupby("trial")["part"].transform("nunique")
    complete = rows[num_parts == len(set(parts))]
    if complete.empty:
        absent = [p for p in parts if p not in set(rows["part"])] or ["a trial with both"]
        raise ConfigurationError(f"no tasks of {' and '.join(parts)} to compare ({absent[0]} is missing)")
    return complete.reset_index(drop=True)


def levels_of(rows: pd.DataFrame) -> list[str]:
    """Random factors of a table above the class, outermost first."""
    return [c for c in ("region", "seed") if c in rows]


# ---------------------------------------------------------------- means


def resampled(rows: pd.DataFrame, values: np.ndarray, seed: int, by: Sequence[str] = ("trial", "part")) -> Resampled:
    """Sums of columns (n, C) over classes, per trial and part, under the bootstrap of regions, seeds and classes."""
    return resample(rows, values, levels_of(rows), by, num_replicates=metrics.NUM_REPLICATES, seed=seed)


def weights_of(rows: pd.DataFrame) -> np.ndarray:
    """How often the test set drew each class (n,)."""
    return rows["weight"].to_numpy(float) if "weight" in rows else np.ones(len(rows))


def means_by_part(rows: pd.DataFrame, value: str | pd.Series = "solved", seed: int = 0) -> dict[str, Draws]:
    """Mean of a column over the classes of every part, over all trials; parts share regions, seeds, not classes."""
    weight = weights_of(rows)
    values = (rows[value] if isinstance(value, str) else value).to_numpy(float)
    sums = resampled(rows, np.stack([weight, weight * values], axis=1), seed)
    classes = rows.groupby("part", observed=True)["class_id"].nunique()
    return {
        str(part): share(sums, (sums.groups["part"] == part).to_numpy(), 0, 1, int(num), [seed, k])
        for k, (part, num) in enumerate(classes.items())
    }


def share(
    sums: Resampled, groups: np.ndarray, whole: int, part: int, num_tasks: int, seed: int | Sequence[int]
) -> Draws:
    """One summed column over another, in some groups; shares of 0 and 1 are drawn from Jeffreys' posterior.

    Parameters
    ----------
    sums, groups
        Sums, and a mask of their groups (L,).
    whole, part
        Columns: the denominator, and the numerator.
    num_tasks, seed
        Classes behind it, and of the posterior.
    """
    draws = sums.draws(lambda s: s[:, groups, part].sum(axis=1) / s[:, groups, whole].sum(axis=1), num_tasks)
    return posterior_draws(draws, num_tasks, seed) if draws.value in (0.0, 1.0) else draws


def require_signal(means: Mapping[str, Draws]) -> None:
    """Refuse comparisons of parts that are all saturated, at 0 or at 1.

    Raises
    ------
    ConfigurationError
        Naming the parts.
    """
    values = np.array([m.value for m in means.values()])
    for end, reached in ((0, values < SATURATED), (1, values > 1 - SATURATED)):
        if reached.all():
            raise ConfigurationError(
                f"pass@1 is saturated at {end} in {' and '.join(means)}: change the budget or the task"
            )


@dataclass(frozen=True, eq=False)
class Drop:
    """What one part of the tests costs against another.

    Attributes
    ----------
    points, relative
        Second minus first, and that over the first.
    rows
        Behind it.
    """

    points: Draws
    relative: Draws
    rows: pd.DataFrame


def drop_between(
    table: pd.DataFrame, space: str, *, parts: Sequence[str] = MATCHED, variant: str = BASE, seed: int = 0
) -> Drop:
    """Drop of pass@1 between two parts, pooled over the trials of a space and variant.

    Raises
    ------
    ConfigurationError
        If a part is missing, both are saturated, or nothing is solved in the first.
    """
    rows = support_rows(table, parts, space=space, variant=variant)
    means = means_by_part(rows, seed=seed)
    require_signal(means)
    first, second = (means[p] for p in parts)
    if first.value < SATURATED:
        raise ConfigurationError(f"nothing is solved in {parts[0]}, so that nothing can be lost: train longer")
    gap = (second - first).tasks(rows["class_id"].nunique())
    return Drop(gap, gap / first, rows)


# ---------------------------------------------------------------- density


@dataclass(frozen=True, eq=False)
class RegimeScores:
    """pass@1 of every way to draw training programs (arm) on every test regime, resampled together.

    Attributes
    ----------
    arms
        One row per arm (A,): regime, policy, num_cells, num_train, model, and its number of seeds.
    tests
        Test regimes.
    sums
        Columns 2a and 2a + 1: weight, and weighted success, of arm a.
    rows
        Behind it, with the number of their arm.
    """

    arms: pd.DataFrame
    tests: tuple[str, ...]
    sums: Resampled
    rows: pd.DataFrame

    def _by_test(self, arm: int, reduce: Callable[[np.ndarray], np.ndarray]) -> Draws:
        """A reduction of the scores (R, tests) of an arm, pooled over seeds."""
        groups = [(self.sums.groups["part"] == test).to_numpy() for test in self.tests]

        def statistic(sums: np.ndarray) -> np.ndarray:
            pooled = np.stack([sums[:, g, 2 * arm : 2 * arm + 2].sum(axis=1) for g in groups], axis=1)
            return reduce(pooled[..., 1] / pooled[..., 0])

        return self.sums.draws(statistic, self.rows["class_id"].nunique())

    def worst(self, arm: int) -> Draws:
        """Score on the test regime on which the arm does worst."""
        return self._by_test(arm, lambda scores: scores.min(axis=1))

    def mean(self, arm: int) -> Draws:
        """Mean score over test regimes."""
        return self._by_test(arm, lambda scores: scores.mean(axis=1))

    def find(self, **tags: Any) -> list[int]:
        """Arms with these tags."""
        equal = [self.arms[name] == value for name, value in tags.items()]
        return np.flatnonzero(np.logical_and.reduce([np.ones(len(self.arms), dtype=bool), *equal])).tolist()


def regime_scores(table: pd.DataFrame, seed: int = 0) -> RegimeScores:
    """Scores of all arms of the density trials; classes of a seed and test regime are drawn at once for all arms.

    Raises
    ------
    ConfigurationError
        If columns are missing, or all scores are saturated.
    """
    require_columns(table, ["trial", "seed", "regime", "part", "class_id", "solved"])
    rows = main_grammar(table)
    rows = rows.assign(**{tag: _tag(rows, tag) for tag in _ARM}, tally=weights_of(rows))
    rows = rows.assign(
        arm=rows.groupby(_ARM, dropna=False).ngroup(), right=rows["tally"] * rows["solved"].astype(float)
    ).reset_index(drop=True)
    require_signal({"every test": Draws(float(rows["right"].sum() / rows["tally"].sum()), *_NOTHING, 1, 0)})
    arms = rows.groupby("arm")[_ARM].first().assign(num_seeds=rows.groupby("arm")["seed"].nunique())
    keys = ["seed", "part", "class_id"]
    wide = rows.pivot_table(index=keys, columns="arm", values=["tally", "right"], aggfunc="sum", fill_value=0.0)
    wide = wide[[(name, arm) for arm in arms.index for name in ("tally", "right")]]
    classes = wide.index.to_frame(index=False)
    sums = resample(classes, wide.to_numpy(float), ["seed"], ["part"], num_replicates=metrics.NUM_REPLICATES, seed=seed)
    return RegimeScores(arms.reset_index(drop=True), tuple(sorted(classes["part"].unique())), sums, rows)


def _tag(rows: pd.DataFrame, name: str) -> pd.Series:
    """A tag as text; "usual" where it is missing."""
    values = rows[name] if name in rows else pd.Series(np.nan, index=rows.index)
    whole = pd.api.types.is_float_dtype(values)
    named = {v: str(int(v)) if whole and v == int(v) else str(v) for v in values.dropna().unique()}
    return values.map(named).fillna("usual")


_NOTHING = (np.empty(0), np.empty(0))
