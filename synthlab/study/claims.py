"""The paper's claims as tests: effect, interval, controls, verdict.

A claim is supported if the whole 95 % interval lies on the claimed side of its bound, refuted if it lies
wholly on the other side, and open otherwise; with fewer than three seeds it is marked exploratory.
Intervals are hierarchical bootstraps: runs, then classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd

from synthlab.assessment.metrics import Difference, Estimate, difference
from synthlab.study.scaling import fit_scaling, is_saturated

SUPPORTED, REFUTED, OPEN = "supported", "refuted", "open"
EXPLORATORY = " (exploratory)"
MIN_SEEDS = 3
DROP = -0.30


@dataclass(frozen=True)
class Claim:
    """One claim with its evidence.

    Attributes
    ----------
    name, text
        Short name, and the claim in words.
    points, relative
        Effect in pass@1 points and relative to the control, each with its interval.
    verdict
        ``supported``, ``refuted`` or ``open``, marked where it is exploratory.
    control
        What the effect is measured against.
    num_runs, num_tasks
        Runs and classes behind it.
    """

    name: str
    text: str
    points: str
    relative: str
    verdict: str
    control: str
    num_runs: int
    num_tasks: int


def verdict(interval: Estimate, bound: float, *, above: bool) -> str:
    """Where an interval lies with respect to a bound; open where there is no effect to measure."""
    if np.isnan(interval.value):
        return OPEN
    if interval.low > bound:
        return SUPPORTED if above else REFUTED
    if interval.high < bound:
        return REFUTED if above else SUPPORTED
    return OPEN


def _marked(decision: str, num_seeds: int) -> str:
    """A verdict, marked as exploratory where too few seeds stand behind it."""
    return decision if num_seeds >= MIN_SEEDS else f"{decision}{EXPLORATORY}"


def _claim(name: str, text: str, found: Difference, decision: str, control: str, num_runs: int) -> Claim:
    relative = "n/a" if np.isnan(found.relative.value) else str(found.relative)
    return Claim(name, text, str(found.points), relative, decision, control, num_runs, found.points.num_tasks)


def density_claim(results: pd.DataFrame) -> Claim:
    """Dual sampling beats random sampling, over all test sets; classes are compared in pairs."""
    dual = _per_class(results[results["train_regime"] == "dual"])
    random = _per_class(results[results["train_regime"] == "random"])
    found = difference(random, dual, levels=["seed"])
    return _claim(
        "density", "Diverse sampling over both spaces is more robust than random sampling", found,
        _marked(verdict(found.points, 0.0, above=True), dual["seed"].nunique()),
        "random sampling of as many programs, the same reserved functions",
        random["seed"].nunique() + dual["seed"].nunique(),
    )  # fmt: skip


def _per_class(results: pd.DataFrame) -> pd.DataFrame:
    """One row per seed and class over all test sets, weighted by how often they drew it."""
    weight = results.get("weight", 1)
    rows = results.assign(weight=weight, right=results["solved"] * weight)
    table = rows.groupby(["seed", "class_id"])[["right", "weight"]].sum().reset_index()
    return table.assign(solved=table["right"] / table["weight"])


def forced_claim(results: pd.DataFrame, space: str) -> Claim:
    """What being forced into a held-out region costs, against ID of equal size, degree and texts."""
    chosen = results[results["space"] == space]
    control, forced = (chosen[chosen["part"] == f"matched_{part}"] for part in ("id", "forced"))
    levels = ["region", "seed"]
    found = difference(control, forced, levels=levels)
    texts = {
        "syntactic": "Being forced to write syntactically novel programs costs over 30 %",
        "semantic": "Functions in a held-out region of semantics cost under 30 % (syntax not held fixed)",
    }
    return _claim(
        f"support, {space}", texts[space], found,
        _marked(verdict(found.relative, DROP, above=space == "semantic"), chosen["seed"].nunique()),
        "ID matched by size, degree and number of texts (within a factor of four); joint shift",
        len(chosen.groupby(levels)),
    )  # fmt: skip


def scaling_claim(points: pd.DataFrame, part: str = "id") -> Claim:
    """Whether the straight line in log compute predicts the largest runs best.

    A line that wins stays open, since a straight law of a bounded share can hold only locally; it is refuted
    where another law predicts the runs that no fit has seen better, with three seeds or more.
    """
    series = points[points["part"] == part]
    text = "Gains are log-linear in compute"
    if is_saturated(series["success"].to_numpy()):
        decision = _marked(OPEN, series["seed"].nunique())
        return Claim("scaling", text, "n/a", "n/a", decision, "saturated for every size", len(series), 0)
    fits = {f.form: f for f in fit_scaling(series["flops"].tolist(), series["success"].tolist())}
    best = min(fits.values(), key=lambda f: f.held_out_error)
    line, num_seeds = fits["log-linear"], series["seed"].nunique()
    errors = ", ".join(f"{f.form} {f.held_out_error:.3f}" for f in fits.values())
    return Claim(
        "scaling", text, f"{line.points_per_decade:.3f} per decade", "n/a",
        _marked(OPEN if best.form == line.form or num_seeds < MIN_SEEDS else REFUTED, num_seeds),
        f"error on the largest held-out runs: {errors}", len(series), len(series),
    )  # fmt: skip


def claims_table(claims: Iterable[Claim]) -> pd.DataFrame:
    """Claims as a table, one row each."""
    return pd.DataFrame([asdict(c) for c in claims], columns=[f.name for f in fields(Claim)])
