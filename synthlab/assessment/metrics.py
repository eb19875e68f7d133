"""Pure functions of counts: pass@k, shares with intervals, differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment.bootstrap import Draws, Resampled, resample
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


def mean_draws(
    frame: pd.DataFrame, value: str = "solved", levels: Sequence[str] = (), seed: int | Sequence[int] = 0
) -> Draws:
    """Weighted mean of a column with its hierarchical bootstrap; parameters as for `estimate`.

    Where all tasks or none were solved a bootstrap cannot vary; there the replicates come from Jeffreys' posterior
    of the share instead.

    Raises
    ------
    ConfigurationError
        For a table without rows.
    """
    _require_tasks(frame)
    sums = resample(frame, _weighted(frame, value), levels, num_replicates=NUM_REPLICATES, seed=seed)
    return _mean(sums, slice(None), 0, frame, value, seed)


def _require_tasks(frame: pd.DataFrame) -> None:
    if frame.empty:
        raise ConfigurationError("no task to average over: the test set is empty")


def _weighted(frame: pd.DataFrame, value: str) -> np.ndarray:
    """Weight, and weight times value, of every row (n, 2)."""
    weight = frame["weight"].to_numpy(float) if "weight" in frame else np.ones(len(frame))
    return np.stack([weight, weight * frame[value].to_numpy(float)], axis=1)


def _mean(
    sums: Resampled, groups: Any, column: int, frame: pd.DataFrame, value: str, seed: int | Sequence[int]
) -> Draws:
    """Mean over some groups from a column of weights and the next one, of weighted values."""
    num, values = _num_tasks(frame), frame[value].to_numpy(float)

    def mean(totals: np.ndarray) -> np.ndarray:
        weight, weighted = (totals[:, groups, c].sum(axis=1) for c in (column, column + 1))
        return weighted / weight

    draws = sums.draws(mean, num)
    return posterior_draws(draws, num, seed) if values[0] in (0.0, 1.0) and (values == values[0]).all() else draws


def posterior_draws(draws: Draws, num_tasks: int, seed: int | Sequence[int]) -> Draws:
    """A share of 0 or 1 with replicates from Jeffreys' posterior of so many tasks (Brown, Cai and DasGupta, 2001)."""
    generator = np.random.default_rng(seed)
    first, second = 0.5 + draws.value * num_tasks, 0.5 + (1 - draws.value) * num_tasks
    replicates, within = (generator.beta(first, second, len(r)) for r in (draws.replicates, draws.within))
    return replace(draws, replicates=replicates, within=within)


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
    return _percentiles(mean_draws(frame, value, levels, seed))


def _percentiles(draws: Draws) -> Estimate:
    low, high = np.quantile(draws.replicates, [0.025, 0.975])
    return Estimate(draws.value, min(draws.value, float(low)), max(draws.value, float(high)), draws.num_tasks)


def wilson(successes: int, num: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson, 1927).

    Raises
    ------
    ConfigurationError
        For a share of nothing, or of more than all.
    """
    if not 0 <= successes <= num or num < 1:
        raise ConfigurationError(f"{successes} of {num}: a share needs at least one task, and at most all of them")
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
    one, two = paired_draws(first, second, value, levels, seed)
    num = _num_tasks(pd.concat([first, second]))
    gap = two - one
    low, high = np.quantile(gap.replicates, [0.025, 0.975])
    relative, share = [np.nan, np.nan], np.nan
    known = one.replicates > 0
    if one.value and known.any():
        share, relative = gap.value / one.value, np.quantile((gap / one).replicates[known], [0.025, 0.975])
    return Difference(
        Estimate(gap.value, float(low), float(high), num),
        Estimate(share, float(relative[0]), float(relative[1]), num),
    )


def paired_draws(
    first: pd.DataFrame, second: pd.DataFrame, value: str = "solved", levels: Sequence[str] = (),
    seed: int | Sequence[int] = 0,
) -> tuple[Draws, Draws]:  # fmt: skip
    """Means of two samples, replicated together as far as they hold the same runs and classes (`difference`)."""
    keys = [*levels, *({"class_id"} & set(first) & set(second))]
    first, second = (f.sort_values(keys, ignore_index=True) if keys else f for f in (first, second))
    both, entropy = (first, second), [seed] if isinstance(seed, int) else [*seed]
    if levels and _runs(first, levels) != _runs(second, levels):
        return mean_draws(first, value, levels, seed), mean_draws(second, value, levels, [*entropy, 1])
    paired = "class_id" in keys and first[keys].equals(second[keys])
    if paired:
        columns = np.concatenate([_weighted(f, value) for f in both], axis=1)
        sums = resample(first, columns, levels, num_replicates=NUM_REPLICATES, seed=seed)
    else:
        columns = np.concatenate([_weighted(f, value) for f in both])
        rows = pd.concat([f[list(levels)].assign(side=k) for k, f in enumerate(both)], ignore_index=True)
        sums = resample(rows, columns, levels, ["side"], num_replicates=NUM_REPLICATES, seed=seed)
    sides = [slice(None) if paired else np.flatnonzero(sums.groups["side"] == k) for k in range(2)]
    one, two = (_mean(sums, sides[k], 2 * k * paired, frame, value, [*entropy, 2 + k]) for k, frame in enumerate(both))
    return one, two


def _num_tasks(frame: pd.DataFrame) -> int:
    """Distinct classes, or rows where classes are not named."""
    return int(frame["class_id"].nunique()) if "class_id" in frame else len(frame)


def _runs(frame: pd.DataFrame, levels: Sequence[str]) -> set[Any]:
    return set(frame[list(levels)].itertuples(index=False, name=None))


def weighted_mean(frame: pd.DataFrame, value: str = "solved") -> float:
    """Mean of a column over classes, each as often as its test set drew it (column weight, where there is one).

    Raises
    ------
    ConfigurationError
        For a table without rows.
    """
    _require_tasks(frame)
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
        task, for k > n, or for a table without rows.
    """
    if results.empty:
        raise ConfigurationError("no task to average over: the test sets are empty (0 rows)")
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
