"""What search gains the models of a grid: the same models on the same tasks, alone and with search.

Classes of a seed are drawn at once for all of its models, with and without search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthlab.assessment.bootstrap import Draws, Resampled
from synthlab.errors import ConfigurationError
from synthlab.study.laws import num_computes
from synthlab.study.races import COMMAND, by_seed, wide
from synthlab.study.samples import require_signal

ALONE, COMPLETED = "model, beam", "hole completion"


@dataclass(frozen=True, eq=False)
class Grid:
    """Models of several sizes alone and with search, resampled together.

    Attributes
    ----------
    rows, sums
        Rows behind it; sums by seed of 1, and of tasks and both successes of every slot.
    groups, slots
        Number of the seed, and slot in it, of every trial (T).
    decades
        Decimal logarithm of the whole compute, alone and with search (2, T).
    """

    rows: pd.DataFrame
    sums: Resampled
    groups: np.ndarray
    slots: np.ndarray
    decades: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame, part: str) -> Grid:
        """Classes of a part that both were asked, drawn at once for all models of a seed."""
        rows = rows[(rows["part"] == part) & rows["method"].isin((ALONE, COMPLETED))]
        cost = rows["test_flops"].fillna(0.0) if "test_flops" in rows else 0.0
        keys, pair = ["seed", "trial", "class_id"], [ALONE, COMPLETED]
        table = wide(rows.assign(test_flops=cost), keys, "method", ["solved", "test_flops"])
        if table.empty or not {*pair} <= {*table["solved"]}:
            raise ConfigurationError(f"no {part} task of both {ALONE!r} and {COMPLETED!r}: run `{COMMAND}`")
        both = table.index.to_frame(index=False)
        solved, spent = (table[name][pair].to_numpy(float) for name in ("solved", "test_flops"))
        require_signal({f"{part} tasks": _value(solved.mean())})
        both["slot"] = both.groupby("seed")["trial"].transform(lambda trial: pd.factorize(trial)[0])
        both["group"], both[pair] = both.groupby("seed").ngroup(), spent
        trials = both.groupby(["group", "slot"]).agg({"trial": "first", ALONE: "sum", COMPLETED: "sum"}).reset_index()
        training = trials["trial"].map(rows.groupby("trial")["flops"].first()).to_numpy(float)
        decades = np.log10(training + trials[pair].to_numpy(float).T)
        if not np.isfinite(decades).all() or num_computes(10 ** decades[0]) < 2:
            raise ConfigurationError(f"a slope needs two known computes: train models of several sizes, `{COMMAND}`")
        return cls(rows, _by_slot(both, solved), trials["group"].to_numpy(), trials["slot"].to_numpy(), decades)

    def _means(self, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How much every trial counts (R, T), and its success alone and with search (2, R, T)."""
        num, *solved = (sums[:, self.groups, 1 + 3 * self.slots + k] for k in range(3))
        times = sums[:, self.groups, 0] / self.sums.observed[:, self.groups, 0]
        return np.where(num > 0, times, 0.0), np.stack(solved) / np.where(num > 0, num, 1)

    def _line(self, sums: np.ndarray, method: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Mean success, mean decade and slope (R) of the model alone (0) or with search (1)."""
        weights, means = self._means(sums)
        x, y, weights = self.decades[method], means[method], weights / weights.sum(axis=1, keepdims=True)
        centre, level = (weights * x).sum(axis=1), (weights * y).sum(axis=1)
        apart = weights * (x - centre[:, None])
        spread = (apart * (x - centre[:, None])).sum(axis=1)
        slope = (apart * y).sum(axis=1) / np.where(spread > 1e-12, spread, np.nan)
        return level, centre, slope.round(12)  # a constant has no slope, whatever the last digit says

    def _draws(self, method: int, which: int) -> Draws:
        return self.sums.draws(lambda sums: self._line(sums, method)[which], self.rows["class_id"].nunique())

    def slope(self, method: int) -> Draws:
        """Points per decade."""
        return self._draws(method, 2)

    def gain(self) -> Draws:
        """Success with search minus that without, over all trials."""
        return self._draws(1, 0) - self._draws(0, 0)

    def advantage(self) -> Draws:
        """Gain of search minus what a decade of compute gains the model alone."""
        return self.gain() - self.slope(0)

    def shift(self) -> Draws:
        """Distance of the two lines at the median compute of the models alone."""
        at = float(np.median(self.decades[0]))
        heights = [self._draws(m, 0) + self.slope(m) * (self._draws(m, 1) * -1.0 + at) for m in (0, 1)]
        return heights[1] - heights[0]


def _value(mean: float) -> Draws:
    return Draws(float(mean), np.empty(0), np.empty(0), 1, 0)


def _by_slot(both: pd.DataFrame, solved: np.ndarray) -> Resampled:
    """Sums over the classes of every seed: 1, and for every slot tasks, and both columns of successes."""
    unit, slot = both.groupby(["seed", "class_id"]).ngroup().to_numpy(), both["slot"].to_numpy()
    values = np.zeros((unit.max() + 1, 4 + 3 * slot.max()))
    values[:, 0] = 1
    for column, value in enumerate((np.ones(len(both)), *solved.T)):
        values[unit, 1 + 3 * slot + column] = value
    return by_seed(both.iloc[np.unique(unit, return_index=True)[1]], values)
