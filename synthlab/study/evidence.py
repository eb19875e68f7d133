"""Statistics of claims: intervals and p-values for few groups, all of several, families, standardisation.

A bootstrap of few groups is too narrow: it misses a factor n/(n-1) of the variance between n groups, and the
uncertainty of that variance. Both are put back (Hesterberg, The American Statistician, 2015) for the part of the
variance that lies between groups. For a share s of the variance there, t has (n-1)/sqrt(s) degrees of freedom:
Satterthwaite's (n-1)/s^2 takes s for known, which made up to ten times too many errors for three groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import norm, t

from synthlab.assessment.bootstrap import Draws
from synthlab.assessment.metrics import Estimate

LEVEL = 0.95
_EDGE = 5  # replicates beyond a bound that are too few to read a tail from
_MIN_FINITE = 0.5


@dataclass(frozen=True)
class Evidence:
    """An estimate held against a bound.

    Attributes
    ----------
    estimate
        With its 95 % interval.
    bound
        What it is compared with.
    p_above, p_below
        One-sided p-values: small if the truth is convincingly above, or below, the bound. NaN if nothing is known.
    """

    estimate: Estimate
    bound: float
    p_above: float
    p_below: float

    @property
    def p_value(self) -> float:
        """Two-sided p-value against the bound, never below 1 / replicates."""
        return float(np.minimum(1.0, 2 * np.minimum(self.p_above, self.p_below)))


def evidence(draws: Draws, bound: float, limits: tuple[float, float] = (-np.inf, np.inf)) -> Evidence:
    """Hold a statistic against a bound; `limits` are values that it cannot leave."""
    return Evidence(interval(draws, limits), bound, *_tails(draws, bound))


def interval(draws: Draws, limits: tuple[float, float] = (-np.inf, np.inf)) -> Estimate:
    """Percentile interval (95 %), stretched about the estimate for the number of groups; NaN if it is undefined."""
    replicates = _finite(draws)
    if not len(replicates):
        return Estimate(draws.value, np.nan, np.nan, draws.num_tasks)
    low, high = np.quantile(replicates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    scale, freedom = _few_groups(draws)
    stretch = scale * t.ppf((1 + LEVEL) / 2, freedom) / norm.ppf((1 + LEVEL) / 2)
    ends = np.array([min(0.0, low - draws.value), max(0.0, high - draws.value)])
    low, high = np.clip(draws.value + stretch * ends, *limits)
    return Estimate(draws.value, float(low), float(high), draws.num_tasks)


def _finite(draws: Draws) -> np.ndarray:
    """Replicates in which the statistic is defined; none if it is not on the data, or not in half of them."""
    known = np.isfinite(draws.replicates)
    defined = np.isfinite(draws.value) and known.mean() >= _MIN_FINITE
    return draws.replicates[known] if defined else draws.replicates[:0]


def _few_groups(draws: Draws) -> tuple[float, float]:
    """By what the spread is too small, and degrees of freedom, from the share of variance between groups."""
    total, num = float(np.var(_finite(draws))), draws.num_groups
    within = float(np.var(draws.within[np.isfinite(draws.within)])) if np.isfinite(draws.within).any() else 0.0
    between = max(0.0, 1 - within / total) if total else 0.0
    if num < 2 or not between:
        return 1.0, np.inf
    return float(np.sqrt(1 + between / (num - 1))), float((num - 1) / np.sqrt(between))


def _tails(draws: Draws, bound: float) -> tuple[float, float]:
    """One-sided p-values against not being above, and not being below, the bound; never below half of 1 / replicates.

    The share of replicates beyond the bound as a normal score, in units of t; where it is too small to be read off,
    the distance to the bound in standard errors.
    """
    replicates = _finite(draws)
    spread = float(replicates.std()) if len(replicates) else 0.0
    if not spread:
        return (np.nan, np.nan) if not len(replicates) else (1.0, 1.0)
    num, (scale, freedom) = len(replicates), _few_groups(draws)
    share = ((replicates < bound).sum() + (replicates <= bound).sum()) / (2 * num)
    edge = min(0.5, _EDGE / num)
    score = float(norm.isf(np.clip(share, edge, 1 - edge)))
    if not edge < share < 1 - edge:
        score = float(np.sign(score) * max(abs(score), abs(draws.value - bound) / spread))
    above, below = t.sf(score / scale, freedom), t.cdf(score / scale, freedom)
    return float(max(above, 0.5 / num)), float(max(below, 0.5 / num))


def weakest(found: Sequence[Evidence], *, above: bool) -> Evidence:
    """Evidence that all of several statistics lie above (or below) their common bound.

    Held up by the least convincing of them (intersection-union test, Berger, 1982); refuted by any one that lies on
    the other side, corrected for their number (Bonferroni).
    """
    pick = min if above else max
    value, low, high = (pick(getattr(e.estimate, end) for e in found) for end in ("value", "low", "high"))
    sides = [(e.p_above, e.p_below) if above else (e.p_below, e.p_above) for e in found]
    held, refuted = max(s[0] for s in sides), min(1.0, len(found) * min(s[1] for s in sides))
    estimate = Estimate(value, low, high, max(e.estimate.num_tasks for e in found))
    return Evidence(estimate, found[0].bound, *((held, refuted) if above else (refuted, held)))


def mapped(found: Evidence, function: np.ufunc) -> Evidence:
    """The same evidence on another scale: an increasing function of estimate and bound."""
    value, low, high = (float(function(getattr(found.estimate, end))) for end in ("value", "low", "high"))
    estimate = Estimate(value, low, high, found.estimate.num_tasks)
    return replace(found, estimate=estimate, bound=float(function(found.bound)))


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Adjusted p-values that keep the family-wise error (Holm, 1979); NaN is no test and stays NaN."""
    p = np.asarray(p_values, dtype=float)
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    adjusted = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted


def standardized_mean(solved: np.ndarray, num: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean success if tasks were distributed over cells as in a target (direct standardisation).

    Parameters
    ----------
    solved, num
        Solved tasks and tasks per cell (..., K).
    target
        Tasks of the target population per cell (..., K).

    Returns
    -------
    tuple
        The mean (...) over cells where both have tasks, and the share of the target (...) that these hold.
    """
    shared = np.where(num > 0, target, 0.0)
    rates = solved / np.where(num > 0, num, 1)
    total = shared.sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (shared * rates).sum(axis=-1) / total, total / target.sum(axis=-1)
