"""Pure functions of counts: pass@k, shares with intervals, differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError

NUM_REPLICATES = 2000


def pass_at_k(num_samples: int, num_correct: np.ndarray, k: int) -> np.ndarray:
    """Unbiased probability that one of k independent samples is correct, per task (Chen et al., 2021).

    Parameters
    ----------
    num_samples
        Samples drawn per task, n.
    num_correct
        Correct samples per task, c (T,).
    k
        Number of samples allowed, at most n.

    Raises
    ------
    ConfigurationError
        If k is not in 1..n, or a count is impossible.
    """
    correct = np.asarray(num_correct)
    if not 1 <= k <= num_samples:
        raise ConfigurationError(f"pass@{k} of {num_samples} samples is undefined: draw at least {k} samples")
    if ((correct < 0) | (correct > num_samples)).any():
        raise ConfigurationError(f"correct counts must lie in 0..{num_samples}")
    factors = np.arange(num_samples, 0, -1)
    # product over i = n-c+1..n of (1 - k/i): take the first c of n, n-1, ...
    terms = np.cumprod(np.concatenate([[1.0], np.clip(1 - k / factors, 0, None)]))
    return 1.0 - terms[correct]


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % bootstrap interval and the number of classes behind it."""

    value: float
    low: float
    high: float
    num_tasks: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def _replicates(
    frame: pd.DataFrame, value: str, levels: Sequence[str], seed: int, group_salt: int = 0, row_salt: int = 0
) -> np.ndarray:
    """Weighted means under a hierarchical bootstrap: groups of the first level, of the next in each, then rows.

    Groups are drawn by the seed and `group_salt` alone, so that two samples of the same runs can be
    resampled together. Where all tasks or none were solved a bootstrap cannot vary; there the replicates
    come from Jeffreys' posterior of the share instead.
    """
    of_groups, of_rows = np.random.default_rng([seed, 0, group_salt]), np.random.default_rng([seed, 1, row_salt])
    weights = frame["weight"].to_numpy(float) if "weight" in frame else np.ones(len(frame))
    values = frame[value].to_numpy(float)
    if values[0] in (0.0, 1.0) and (values == values[0]).all():
        num = _num_tasks(frame)
        return of_rows.beta(0.5 + values[0] * num, 0.5 + (1 - values[0]) * num, size=NUM_REPLICATES)
    groups = _nested_groups(frame.reset_index(drop=True), list(levels))
    means = np.empty(NUM_REPLICATES)
    for k in range(NUM_REPLICATES):
        rows = np.concatenate([g[of_rows.integers(0, len(g), len(g))] for g in _drawn(groups, of_groups)])
        means[k] = np.average(values[rows], weights=weights[rows])
    return means


def _nested_groups(frame: pd.DataFrame, levels: list[str]) -> Any:
    """Row numbers as nested lists, one depth per level, in the order of the levels' sorted values."""
    if not levels:
        return frame.index.to_numpy()
    return [_nested_groups(group, levels[1:]) for _, group in frame.groupby(levels[0])]


def _drawn(groups: Any, generator: np.random.Generator) -> list[np.ndarray]:
    """Resampled groups of rows: as many as there are, with replacement, at every depth."""
    if isinstance(groups, np.ndarray):
        return [groups]
    chosen = generator.integers(0, len(groups), len(groups)) if len(groups) > 1 else [0]
    return [rows for g in chosen for rows in _drawn(groups[g], generator)]


def estimate(frame: pd.DataFrame, value: str = "solved", levels: Sequence[str] = (), seed: int = 0) -> Estimate:
    """Mean of a column over classes (rows), with a hierarchical bootstrap interval.

    Parameters
    ----------
    frame
        One row per class and run; an optional ``weight`` column says how often a test set drew the class.
    value
        Column to average.
    levels
        Columns that group runs, outermost first (region, seed); they are resampled before the classes.
    seed
        Of the bootstrap.
    """
    if frame.empty:
        raise ConfigurationError("no task to average over: the test set is empty")
    mean = weighted_mean(frame, value)
    low, high = np.quantile(_replicates(frame, value, levels, seed), [0.025, 0.975])
    return Estimate(mean, min(mean, float(low)), max(mean, float(high)), _num_tasks(frame))


def wilson(successes: int, num: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson, 1927)."""
    z = 1.959964
    share, spread = successes / num, z * z / num
    middle = (share + spread / 2) / (1 + spread)
    half = z * np.sqrt(share * (1 - share) / num + spread / num / 4) / (1 + spread)
    return float(max(0.0, middle - half)), float(min(1.0, middle + half))


@dataclass(frozen=True)
class Difference:
    """Second minus first, in points and relative to the first, each with a 95 % interval."""

    points: Estimate
    relative: Estimate


def difference(
    first: pd.DataFrame, second: pd.DataFrame, value: str = "solved", levels: Sequence[str] = (), seed: int = 0
) -> Difference:
    """How far the mean of `second` lies from that of `first`, by bootstrap of both.

    If both samples hold the same runs (equal values of `levels`), runs are resampled together; if they hold
    the same classes in the same runs, so are the classes (a paired comparison).
    """
    keys = [*levels, *({"class_id"} & set(first) & set(second))]
    first, second = (f.sort_values(keys, ignore_index=True) if keys else f for f in (first, second))
    one, two = estimate(first, value, levels, seed), estimate(second, value, levels, seed)
    alike = not levels or _runs(first, levels) == _runs(second, levels)
    paired = "class_id" in keys and first[keys].equals(second[keys])
    ones = _replicates(first, value, levels, seed)
    twos = _replicates(second, value, levels, seed, group_salt=0 if alike else 1, row_salt=0 if paired else 1)
    gap, num = two.value - one.value, _num_tasks(pd.concat([first, second]))
    points = np.quantile(twos - ones, [0.025, 0.975])
    known = ones > 0
    relative, share = [np.nan, np.nan], np.nan
    if one.value and known.any():
        share, relative = gap / one.value, np.quantile((twos - ones)[known] / ones[known], [0.025, 0.975])
    return Difference(
        Estimate(gap, float(points[0]), float(points[1]), num),
        Estimate(share, float(relative[0]), float(relative[1]), num),
    )


def _num_tasks(frame: pd.DataFrame) -> int:
    """Distinct classes, or rows where classes are not named."""
    return int(frame["class_id"].nunique()) if "class_id" in frame else len(frame)


def _runs(frame: pd.DataFrame, levels: Sequence[str]) -> set[Any]:
    return set(frame[list(levels)].itertuples(index=False, name=None))


def weighted_mean(frame: pd.DataFrame, value: str = "solved") -> float:
    """Mean of a column over classes, each as often as its test set drew it (column weight, where there is one)."""
    return float(np.average(frame[value].astype(float), weights=frame.get("weight")))


def status_shares(results: pd.DataFrame) -> pd.DataFrame:
    """Share of every status by part (columns part, status), for a stacked bar: part, status, share."""
    weights = results["weight"] if "weight" in results else np.ones(len(results))
    counts = results.assign(num=weights).groupby(["part", "status"], sort=False)["num"].sum().reset_index()
    return counts.assign(share=counts["num"] / counts.groupby("part")["num"].transform("sum"))


def pass_at_k_table(results: pd.DataFrame, ks: Sequence[int]) -> pd.DataFrame:
    """pass@k by part with intervals from columns num_correct and num_samples: k, part, value, low, high.

    Raises
    ------
    ConfigurationError
        For candidates that are no independent samples (of a beam, or without repetitions), or not equally many a
        task, or for k > n.
    """
    if (
        not results.get("independent", pd.Series([True])).all()
        or results["num_samples"].ne(results["num_samples"].iloc[0]).any()
    ):
        raise ConfigurationError(
            "pass@k needs independent samples, equally many a task: for others report what is solved within a budget"
        )
    rows = []
    for part, group in results.groupby("part", sort=False):
        for k in ks:
            chance = pass_at_k(int(group["num_samples"].iloc[0]), group["num_correct"].to_numpy(), k)
            found = estimate(group.assign(chance=chance), "chance")
            rows.append((k, part, found.value, found.low, found.high))
    return pd.DataFrame(rows, columns=["k", "part", "value", "low", "high"])


def summarize(
    frame: pd.DataFrame, by: Sequence[str], value: str = "solved", levels: Sequence[str] = ()
) -> pd.DataFrame:
    """Mean and interval of a column per group: columns of `by`, then pass_at_1, low, high, num_tasks."""
    rows = []
    for key, group in frame.groupby(list(by), sort=False):
        found = estimate(group, value, levels)
        rows.append((*key, found.value, found.low, found.high, group["class_id"].nunique()))
    return pd.DataFrame(rows, columns=[*by, "pass_at_1", "low", "high", "num_tasks"])
