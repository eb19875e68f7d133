"""Scaling laws against each other: fitted to all runs but the largest, and judged by these.

R-squared on fitted points decides nothing, and a straight line in log C can hold only locally. Intervals come from
refitting every law to every replicate of a hierarchical bootstrap: seeds, then the classes of a test, drawn at once
for all models that met them. A law is preferred to another only if the interval of the difference of their errors
on the runs that neither saw excludes 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from synthlab.assessment.bootstrap import Draws, resample
from synthlab.errors import ConfigurationError
from synthlab.study import laws
from synthlab.study.evidence import Evidence, evidence, interval
from synthlab.study.laws import LAWS, LOSS, SUCCESS, Law, Runs, Solutions, computes, is_saturated, num_computes

NUM_REPLICATES, MIN_REPLICATES = 200, 20
LOG_LINEAR, MIN_POINTS = "log-linear", laws.MIN_POINTS
BETTER, WORSE, ALIKE = "predicts better", "predicts worse", "not told apart"
_Numbers = Sequence[float] | np.ndarray
_COLUMNS = {SUCCESS: "solved", LOSS: "test_loss"}
_LIMITS = {SUCCESS: (0.0, 1.0), LOSS: (0.0, np.inf)}
_TABLE = (
    "law", "points_per_decade", "low", "high", "held_out_error", "held_out_low", "held_out_high", "rank", "num_runs",
    "num_computes", "num_held_out", "num_seeds", "num_refits", "note",
)  # fmt: skip
_SATURATED = "the largest runs are saturated at 0 or 1 and tell no laws apart: train smaller models"


@dataclass(frozen=True, eq=False)
class ScalingFit:
    """One law fitted to one series of runs, and refitted to its replicates.

    Attributes
    ----------
    law, metric, scale
        Names of the law and of what it describes, and the geometric mean of the computes in FLOPs.
    slopes, errors
        Points per decade and held-out error, with replicates.
    solutions
        The fits: the first is that of the data.
    """

    law: str
    metric: str
    scale: float
    slopes: Draws = field(repr=False)
    errors: Draws = field(repr=False)
    solutions: Solutions = field(repr=False)

    @property
    def parameters(self) -> dict[str, float]:
        """By the names of the law's formula (`laws.Law.formula`), in units of c = C / `scale`."""
        return self.solutions.parameters()

    @property
    def points_per_decade(self) -> float:
        """Change of pass@1 (1 is 100 points; of test loss, in nats) over the tenfold compute around `scale`."""
        return self.slopes.value

    @property
    def held_out_error(self) -> float:
        """Root mean square error on the runs of the largest computes, by the law fitted to the others."""
        return self.errors.value

    def predict(self, flops: _Numbers) -> np.ndarray:
        """The metric (m,) at computes (m,) in FLOPs; laws without bounds may leave those of the metric."""
        return np.asarray(self.solutions.predict(np.asarray(flops, dtype=float))[0])


@dataclass(frozen=True, eq=False)
class Series:
    """All laws refitted to the runs of one part.

    Attributes
    ----------
    tags
        Part, metric, and the values of the columns that part the runs (num_train).
    runs, fits, left_out
        The runs; by name of the law, its fit, or why there is none.
    """

    tags: dict[str, str]
    runs: Runs
    fits: dict[str, ScalingFit]
    left_out: dict[str, str]


def fit_scaling(
    flops: _Numbers, values: _Numbers, *, metric: str = SUCCESS, errors: _Numbers | None = None
) -> list[ScalingFit]:
    """Fit every law that has enough computes; `laws.left_out` says why others are missing.

    Parameters
    ----------
    flops, values, metric
        Per run, training compute (FLOPs; within five per cent it is the same) and pass@1 (``success``) or test loss
        in nats (``loss``).
    errors
        Standard errors of the values; runs count by their inverse squares. None: all alike.

    Raises
    ------
    ConfigurationError
        With fewer than four different computes, success that never leaves 0 or 1, or what is no number.
    """
    _check_metrics([metric])
    at, y = np.asarray(flops, dtype=float), np.asarray(values, dtype=float)
    spread = np.ones(len(at)) if errors is None else np.asarray(errors, dtype=float)
    if not len(at) == len(y) == len(spread):
        raise ConfigurationError(f"{len(at)} computes for {len(y)} values: give one of each per run")
    if not (np.isfinite(spread) & (spread > 0)).all():
        raise ConfigurationError("standard errors have to be positive: smooth shares of 0 and 1, or leave them out")
    series = _fitted({"metric": metric}, Runs(at, y[None], (spread.min(initial=np.inf) / spread[None]) ** 2))
    if not series.fits:
        raise ConfigurationError(next(iter(series.left_out.values())))
    return list(series.fits.values())


def refit_laws(
    results: pd.DataFrame, parts: Sequence[str], *, metrics: Sequence[str] = (SUCCESS,), by: Sequence[str] = (),
    num_replicates: int = NUM_REPLICATES, seed: int = 0,
) -> list[Series]:  # fmt: skip
    """Fit all laws to the runs of every part, and again to every replicate of a hierarchical bootstrap.

    Parameters
    ----------
    results
        One row per trial, part and class: trial, seed, flops, part, class_id, the columns of `by`, weight (where tests
        drew classes several times), and solved or test_loss (NaN is left out).
    parts, metrics
        What to fit; metrics are ``success`` and ``loss``.
    by
        Columns whose values are fitted apart, as num_train.
    num_replicates, seed
        Of the bootstrap.

    Raises
    ------
    ConfigurationError
        For missing columns or parts, repeated rows, and what is no number. A part without a fit is no error.
    """
    _check_metrics(metrics)
    rows = _checked(results, parts, [*by, *(_COLUMNS[m] for m in metrics)])
    groups = rows.groupby(list(by), dropna=False) if by else [((), rows)]
    return [
        _fitted({"part": part, "metric": metric, **dict(zip(by, map(str, key), strict=True))}, runs)
        for key, group in groups for metric in metrics
        for part, runs in _replicated(group, parts, _COLUMNS[metric], num_replicates, seed)
    ]  # fmt: skip


def _check_metrics(metrics: Sequence[str]) -> None:
    for metric in metrics:
        if metric not in LAWS:
            raise ConfigurationError(f"unknown metric {metric!r}: choose from {', '.join(LAWS)}")


def _fitted(tags: dict[str, str], runs: Runs) -> Series:
    """Fit all laws that can be, and say why others cannot."""
    metric, y = tags["metric"], runs.values[0]
    if not (np.isfinite(y) & (y >= 0) & (y <= _LIMITS[metric][1])).all():
        allowed = "in 0..1" if metric == SUCCESS else "finite and at least 0"
        raise ConfigurationError(f"{metric} has to be {allowed}: leave out runs without it")
    reasons = laws.left_out(runs, metric)
    fits = {law.name: _refit(law, runs, metric) for law in LAWS[metric] if law.name not in reasons}
    return Series(tags, runs, fits, reasons)


def _refit(law: Law, runs: Runs, metric: str) -> ScalingFit:
    """Fit a law to all rows of some runs: to all computes, and to all but the largest."""
    held, whole = runs.part(runs.held_out), laws.fit_law(law, runs)
    seen = laws.fit_law(law, runs.part(~runs.held_out))
    misses, total = (seen.predict(held.flops) - held.values) ** 2, held.weights.sum(1)
    errors = np.sqrt((held.weights * misses).sum(1) / np.where(total > 0, total, np.nan))
    scale = float(np.exp(whole.centre))
    low, high = whole.predict(scale * 10.0 ** np.array([-0.5, 0.5])).T
    # a replicate whose seeds have too few sizes says nothing
    enough = runs.part(~runs.held_out).num_present > law.num_parameters
    # finer differences are those of optimisers, not of laws
    slopes, errors = (np.where(enough, s, np.nan).round(7) for s in (high - low, errors))
    return ScalingFit(law.name, metric, scale, runs.draws(slopes), runs.draws(errors), whole)


# ---------------------------------------------------------------- resampling


def _checked(results: pd.DataFrame, parts: Sequence[str], columns: Sequence[str]) -> pd.DataFrame:
    """Rows of some parts, or what is wrong with the table."""
    missing = [c for c in ("trial", "seed", "flops", "part", "class_id", *columns) if c not in results]
    if missing:
        raise ConfigurationError(f"no column {', '.join(missing)}: join the results of a study with its trials")
    known = sorted(set(results["part"]))
    if not parts or not {*parts} <= {*known}:
        asked, there = ", ".join(parts) or "none", ", ".join(known) or "those of a finished study"
        raise ConfigurationError(f"no results of parts {asked}: choose from {there}")
    rows = results[results["part"].isin(parts)].reset_index(drop=True)
    if np.isinf(rows[list(columns)].select_dtypes("number").to_numpy(float)).any():
        raise ConfigurationError(f"{', '.join(columns)} have to be finite: leave out (NaN) what cannot be measured")
    if rows.duplicated(["trial", "part", "class_id"]).any():
        raise ConfigurationError("a class of a trial has several rows in one part: give every trial once")
    return rows


def _replicated(
    rows: pd.DataFrame, parts: Sequence[str], value: str, num_replicates: int, seed: int
) -> Iterator[tuple[str, Runs]]:
    """Runs of every part with replicates; seeds are drawn at once for all parts, classes for all trials of a part."""
    if num_replicates < MIN_REPLICATES:
        raise ConfigurationError(f"{num_replicates} replicates make no interval: use {MIN_REPLICATES} or more")
    slot = 2 * rows.groupby("seed")["trial"].transform(lambda t: pd.factorize(t)[0]).to_numpy() + 1
    number, measured = rows.groupby(["seed", "part", "class_id"]).ngroup().to_numpy(), rows[value].to_numpy(float)
    weight = (rows["weight"].to_numpy(float) if "weight" in rows else 1.0) * ~np.isnan(measured)
    wide = np.ones((number.max() + 1, slot.max() + 2))
    wide[:, 1:] = 0  # a row per class: 1, then weight and weighted metric of every trial of its seed
    wide[number, slot], wide[number, slot + 1] = weight, np.where(weight > 0, weight * measured, 0)
    first = rows.iloc[np.unique(number, return_index=True)[1]]
    sums = resample(first, wide, ["seed"], ["part"], num_replicates=num_replicates, seed=seed)
    totals = np.concatenate([sums.observed, sums.replicates, sums.within])
    group = rows.groupby(["seed", "part"]).ngroup().to_numpy()
    for part in parts:
        here = (rows["part"] == part).to_numpy()
        first_rows = np.flatnonzero(here & ~rows.duplicated(["trial", "part"]))
        at, k = group[first_rows], slot[first_rows]
        times, known, total = totals[:, at, 0] / totals[0, at, 0], totals[:, at, k], totals[:, at, k + 1]
        some = known[0] > 0
        means = np.divide(total, known, out=np.zeros_like(total), where=known > 0)[:, some]
        runs = rows.iloc[first_rows[some]]
        yield part, Runs(
            runs["flops"].to_numpy(float), means, np.where(known > 0, times, 0)[:, some], tuple(runs["trial"]),
            num_replicates, sums.num_groups, rows.loc[here, "class_id"].nunique(),
        )  # fmt: skip


# ---------------------------------------------------------------- tables


def scaling_table(series: Sequence[Series]) -> pd.DataFrame:
    """Every law for every series, or the reason why there is no fit.

    Returns
    -------
    pandas.DataFrame
        Tags; law; points_per_decade, low, high; held_out_error, held_out_low, held_out_high; rank by held-out error;
        num_runs, num_computes, num_held_out (computes), num_seeds, num_refits (replicates with enough computes); note.
        Intervals (95 %) are stretched for few seeds as those of all claims; of one seed they hold no noise of seeds.
    """
    rows = []
    for one in series:
        ranks = pd.Series({name: fit.held_out_error for name, fit in one.fits.items()}, dtype=float).rank()
        held = one.runs.part(one.runs.held_out)
        counts = len(one.runs.flops), num_computes(one.runs.flops), num_computes(held.flops), one.runs.num_seeds
        note = _SATURATED if one.tags["metric"] == SUCCESS and is_saturated(held.values[0]) else ""
        for law in (law.name for law in LAWS[one.tags["metric"]]):
            found: tuple[object, ...] = (*[np.nan] * 7, *counts, 0, one.left_out.get(law))
            if law in one.fits:
                errors, slope = one.fits[law].errors, interval(one.fits[law].slopes)
                error, num_refits = interval(errors, (0.0, np.inf)), int(np.isfinite(errors.replicates).sum())
                judged = slope.value, slope.low, slope.high, error.value, error.low, error.high, ranks[law]
                found = *judged, *counts, num_refits, note
            rows.append((*one.tags.values(), law, *found))
    return pd.DataFrame(rows, columns=[*_tag_names(series), *_TABLE])


def _tag_names(series: Sequence[Series]) -> list[str]:
    return list(series[0].tags) if series else ["part", "metric"]


def fitted_curves(series: Sequence[Series], num: int = 60) -> pd.DataFrame:
    """The laws as lines to draw, within the range of the metric: tags, law, flops, value, low, high (95 %)."""
    columns, tables = [*_tag_names(series), "law", "flops", "value", "low", "high"], []
    for one in series:
        grid = np.geomspace(one.runs.flops.min(), one.runs.flops.max(), num) if one.fits else np.empty(0)
        for name, fit in one.fits.items():
            known = np.concatenate([[True], *(np.isfinite(s) for s in (fit.slopes.replicates, fit.slopes.within))])
            lines = np.where(known, fit.solutions.predict(grid).T, np.nan)
            bands = [interval(one.runs.draws(line), _LIMITS[fit.metric]) for line in lines]
            ends = np.clip([(b.value, b.low, b.high) for b in bands], *_LIMITS[fit.metric])
            table = pd.DataFrame(ends, columns=columns[-3:])
            tables.append(table.assign(**one.tags, law=name, flops=grid)[columns])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def compare_laws(series: Sequence[Series], against: str = LOG_LINEAR) -> pd.DataFrame:
    """Whether another law predicts the largest runs better than the log-linear one, replicate by replicate.

    Returns
    -------
    pandas.DataFrame
        Tags; law; against; difference of held-out errors (law - against; below 0 the law is better), low, high (95 %);
        p_value (two-sided); verdict: ``predicts better`` or ``predicts worse`` only if the interval excludes 0, else
        ``not told apart``, or the reason why there is no fit.
    """
    rows, columns = [], [*_tag_names(series), "law", "against", "difference", "low", "high", "p_value", "verdict"]
    for one in series:
        for law in (law.name for law in LAWS[one.tags["metric"]] if law.name != against):
            found: tuple[object, ...] = (*[np.nan] * 4, one.left_out.get(law) or one.left_out.get(against))
            if law in one.fits and against in one.fits:
                proof = evidence(one.fits[law].errors - one.fits[against].errors, 0.0)
                gap = proof.estimate
                verdict = BETTER if gap.high < 0 else WORSE if gap.low > 0 else ALIKE
                found = gap.value, gap.low, gap.high, proof.p_value, verdict
            rows.append((*one.tags.values(), law, against, *found))
    return pd.DataFrame(rows, columns=columns)


# ---------------------------------------------------------------- points and gaps


@dataclass(frozen=True)
class GapSlope:
    """Change per tenfold compute of the distance between two parts, held against 0.

    Attributes
    ----------
    points, relative
        Of first - second, and of that as a share of first.
    num_runs, num_left_out
        Trials, and those that solve nothing of the first part: they have no relative gap.
    """

    points: Evidence
    relative: Evidence
    num_runs: int
    num_left_out: int


def gap_slope(
    results: pd.DataFrame, first: str = "matched_id", second: str = "matched_forced", *, num_replicates: int = 2000,
    seed: int = 0,
) -> GapSlope:  # fmt: skip
    """Whether scale moves the wall: least-squares slope of the gap between two parts on the decades of compute.

    Parameters and errors are those of `refit_laws`; trials without one of the parts are left out.
    """
    both = _checked(results, [first, second], ["solved"])
    both = both[both.groupby("trial")["part"].transform("nunique") == 2].reset_index(drop=True)
    pair = [runs for _, runs in _replicated(both, [first, second], "solved", num_replicates, seed)] if len(both) else []
    if not pair or num_computes(pair[0].flops) < 2:
        raise ConfigurationError("a slope needs two computes: train models of several sizes and test both parts")
    one, two = pair
    other = [two.trials.index(trial) for trial in one.trials]
    gap, weights = one.values - two.values[:, other], np.minimum(one.weights, two.weights[:, other])
    known = (one.values[0] > 0) & (one.values > 0)
    share = np.divide(gap, one.values, out=np.zeros_like(gap), where=known)
    slopes = [_slope(np.log10(one.flops), y, w) for y, w in ((gap, weights), (share, weights * known))]
    points, relative = (evidence(one.draws(slope), 0.0) for slope in slopes)
    return GapSlope(points, relative, len(one.trials), int((~known[0]).sum()))


def _slope(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted least-squares slope of every row of y (B, n) on x (n,); NaN where x does not vary."""
    total = np.maximum(weights.sum(1, keepdims=True), 1e-300)
    centred = x - (weights * x).sum(1, keepdims=True) / total
    spread = (weights * centred**2).sum(1)
    slope = (weights * centred * y).sum(1) / np.where(spread > 1e-12, spread, np.nan)
    return np.asarray(slope.round(12))  # a constant has no slope, whatever the last digit says


def scaling_points(results: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Mean success and test loss of every trial and part, beside what the trial cost.

    Parameters
    ----------
    results, trials
        One row per trial, part and class: trial, part, solved, and weight and test_loss (nats) where there are any;
        and one row per trial: trial, flops, and parameters, num_train, model and seed where there are any.

    Returns
    -------
    pandas.DataFrame
        trial, part, success, test_loss (NaN if unknown), and those columns of `trials`.
    """
    weight = results["weight"].astype(float) if "weight" in results else pd.Series(1.0, results.index)
    loss = results["test_loss"].astype(float) if "test_loss" in results else pd.Series(np.nan, results.index)
    sums = results[["trial", "part"]].assign(all=weight, right=weight * results["solved"], loss=weight * loss)
    sums = sums.assign(known=weight * loss.notna()).groupby(["trial", "part"], sort=False).sum()
    sums["success"] = sums.pop("right") / sums.pop("all")
    sums["test_loss"] = sums.pop("loss") / sums.pop("known").replace(0, np.nan)
    kept = [c for c in ("trial", "flops", "parameters", "num_train", "model", "seed") if c in trials]
    return sums.reset_index().merge(trials[kept], on="trial", validate="many_to_one")


def envelope(points: pd.DataFrame, value: str = "success") -> pd.DataFrame:
    """Runs of the best configuration (model, num_train) at every compute of a part: the first approach of Chinchilla.

    Configurations are compared by their mean over seeds, so that the luckiest seed does not choose; the best of many
    still looks a little better than it is. Columns and rows are those of `points`; of value test_loss, less is better.
    """
    size = points.groupby("part")["flops"].transform(lambda f: computes(f.to_numpy(float)))
    settings = [c for c in ("model", "num_train") if c in points]
    mean = points.groupby(["part", *settings, size], dropna=False)[value].transform("mean")
    best = mean.groupby([points["part"], size]).transform("min" if value == "test_loss" else "max")
    return points[mean == best].reset_index(drop=True)
