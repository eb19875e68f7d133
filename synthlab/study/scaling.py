"""Scaling curves: several forms fitted side by side, judged by the largest runs they have not seen.

A straight line in log C is unbounded and can hold only locally, so it competes with a line in the logit
and with a power law of the failure rate. R-squared on the fitted points decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import expit, logit

from synthlab.assessment.metrics import weighted_mean
from synthlab.errors import ConfigurationError

MIN_POINTS = 4
_EDGE = 1e-3


@dataclass(frozen=True)
class Form:
    """One law: success as a function of compute, linear in two parameters after a transformation."""

    name: str
    transform: Callable[[np.ndarray], np.ndarray]
    inverse: Callable[[np.ndarray], np.ndarray]


FORMS = (
    Form("log-linear", lambda y: y, lambda z: z),
    Form("logit-linear", lambda y: logit(np.clip(y, _EDGE, 1 - _EDGE)), expit),
    Form("power law of failures", lambda y: np.log(np.clip(1 - y, _EDGE, 1)), lambda z: 1 - np.exp(z)),
)


@dataclass(frozen=True)
class ScalingFit:
    """One form fitted to one series.

    Attributes
    ----------
    form
        Name of the law.
    intercept, slope
        In the transformed success per factor e of compute.
    points_per_decade
        Change of pass@1 per tenfold compute at the geometric mean of the computes.
    held_out_error
        Root mean square error on the runs with the largest compute, which were not fitted.
    """

    form: str
    intercept: float
    slope: float
    points_per_decade: float
    held_out_error: float

    def predict(self, flops: np.ndarray) -> np.ndarray:
        """Success at a compute in FLOPs."""
        form = next(f for f in FORMS if f.name == self.form)
        return form.inverse(self.intercept + self.slope * np.log(np.asarray(flops, dtype=float)))


def fit_scaling(flops: Sequence[float], success: Sequence[float]) -> list[ScalingFit]:
    """Fit all forms; the largest fifth of the computes is held out to judge them.

    Parameters
    ----------
    flops
        Training compute per run; runs of one size share a value.
    success
        pass@1 per run.

    Raises
    ------
    ConfigurationError
        With fewer than four different computes, or success that never leaves 0 or 1.
    """
    x, y = np.log(np.asarray(flops, dtype=float)), np.asarray(success, dtype=float)
    sizes = np.unique(x)
    if len(sizes) < MIN_POINTS:
        raise ConfigurationError(
            f"{len(sizes)} computes are too few for a scaling fit: train at least {MIN_POINTS} sizes"
        )
    if is_saturated(y):
        raise ConfigurationError("pass@1 is saturated at 0 or 1 for every size: change the budget or the task")
    num_held = max(1, len(sizes) // 5)
    seen = x < sizes[-num_held]
    fits = []
    for form in FORMS:
        slope, intercept = np.polyfit(x[seen], form.transform(y[seen]), 1)
        error = float(np.sqrt(np.mean((form.inverse(intercept + slope * x[~seen]) - y[~seen]) ** 2)))
        slope, intercept = np.polyfit(x, form.transform(y), 1)
        middle = x.mean() + np.log(10) * np.array([-0.5, 0.5])
        low, high = form.inverse(intercept + slope * middle)
        fits.append(ScalingFit(form.name, float(intercept), float(slope), float(high - low), error))
    return fits


def is_saturated(success: np.ndarray) -> bool:
    """Whether pass@1 stays at 0 or at 1 for every size, so that no law can be fitted."""
    return bool(success.max() < _EDGE or success.min() > 1 - _EDGE)


def scaling_points(results: pd.DataFrame, costs: pd.DataFrame) -> pd.DataFrame:
    """Mean success per model, part and seed beside its FLOPs: flops, success, part, model, seed."""
    groups = results.groupby(["model", "seed", "part"], sort=False)[["solved", *{"weight"} & set(results)]]
    success = groups.apply(weighted_mean).rename("success").reset_index()
    return success.merge(costs[["model", "seed", "flops", "parameters"]], on=["model", "seed"])


def scaling_table(points: pd.DataFrame, parts: Sequence[str]) -> pd.DataFrame:
    """Fits of every part: part, form, points per decade, held-out error; a saturated part says so instead."""
    rows: list[tuple[str, str, float, float]] = []
    for part in parts:
        fits = _fits_of(points, part)
        rows += [(part, f.form, f.points_per_decade, f.held_out_error) for f in fits]
        rows += [] if fits else [(part, "saturated: no fit", np.nan, np.nan)]
    return pd.DataFrame(rows, columns=["part", "form", "points_per_decade", "held_out_error"])


def fitted_curves(points: pd.DataFrame, parts: Sequence[str], num: int = 60) -> pd.DataFrame:
    """The fitted laws as lines to draw: flops, value, form, part; none for saturated parts."""
    grid = np.geomspace(points["flops"].min(), points["flops"].max(), num)
    tables = [
        pd.DataFrame({"flops": grid, "value": np.clip(fit.predict(grid), 0, 1), "form": fit.form, "part": part})
        for part in parts
        for fit in _fits_of(points, part)
    ]
    nothing = pd.DataFrame({"flops": grid[:0], "value": grid[:0], "form": pd.Series([], dtype=str)})
    return pd.concat([nothing.assign(part=nothing["form"]), *tables], ignore_index=True)


def _fits_of(points: pd.DataFrame, part: str) -> list[ScalingFit]:
    """Fits of one part; none if it is saturated."""
    series = points[points["part"] == part]
    if is_saturated(series["success"].to_numpy()):
        return []
    return fit_scaling(series["flops"].tolist(), series["success"].tolist())
