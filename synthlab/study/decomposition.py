"""What an out-of-distribution drop is made of: one share per rival explanation, and what is left for structure.

Success on forced tasks is predicted by logistic models of ID tasks (g-computation, Robins, 1986): what the models
explain by a property of the tasks is that property's share. Shares are given in one order, and averaged over all
orders (Shapley, 1953; Shorrocks, 2013), so that the order is no degree of freedom; they add up to the drop exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import combinations
from math import factorial

import numpy as np
import pandas as pd
from scipy.special import expit

from synthlab.assessment import metrics
from synthlab.assessment.bootstrap import Draws, trial_replicates
from synthlab.errors import ConfigurationError
from synthlab.study.evidence import evidence, interval
from synthlab.study.samples import levels_of, main_grammar, support_rows
from synthlab.study.verdicts import Control, Finding, claim

ROOT, SIZE, TEXTS, OTHER, LABELS = "root token", "size", "texts", "other space", "labels"
ORDER = (ROOT, SIZE, TEXTS, OTHER, LABELS)
"""Explanations in the order of the sequential shares."""
STRUCTURE, TOTAL = "structure", "total"
_OVERLAP = "overlap"
RIDGE = 1.0
"""Penalty of squared coefficients of standardised features; that of the intercept is a thousandth of it."""
_SHARE_OF_REPLICATES = 4
_NEWTON_STEPS = 25
_FAR = 60.0  # logits beyond are certainties
_MIN_ROWS = 20
_COLUMNS = ("leaves", "degree", "texts", "syntactic_distance", "semantic_distance", "shape_distance")

_Players = tuple[str, ...]

# ---------------------------------------------------------------- features


def _log(values: pd.Series) -> np.ndarray:
    """Logarithm of a distance, offset by the median of its positive values, so that 0 has a place."""
    found = values.to_numpy(float)
    positive = found[found > 0]
    return np.log(found + (np.median(positive) if len(positive) else 1.0))


def _features(rows: pd.DataFrame, space: str) -> dict[str, np.ndarray]:
    """Columns (n, k) of every explanation that is a property of tasks.

    size: leaves and degree of the function, and their squares. texts: logarithm of the number of right texts. other
    space: log distance to training in the space that the region was not cut in. labels: how much further the nearest
    training text is with labels than without.
    """
    leaves, degree = rows["leaves"].to_numpy(float), rows["degree"].to_numpy(float)
    other = "syntactic_distance" if space == "semantic" else "semantic_distance"
    return {
        SIZE: np.stack([leaves, leaves**2, degree, degree**2], axis=1),
        TEXTS: np.log2(np.maximum(rows["texts"].to_numpy(float), 1))[:, None],
        OTHER: _log(rows[other])[:, None],
        LABELS: (_log(rows["syntactic_distance"]) - _log(rows["shape_distance"]))[:, None],
    }


# ---------------------------------------------------------------- one trial


@dataclass(frozen=True, eq=False)
class _Sample:
    """One trial: outcomes by name, standardised features by explanation, and how often each row counts (R, n)."""

    outcomes: dict[str, np.ndarray]
    features: dict[str, np.ndarray]
    counts: np.ndarray

    @cached_property
    def totals(self) -> np.ndarray:
        """Rows drawn in every replicate (R + 1,); 0 where the trial was not drawn."""
        return self.counts.sum(axis=1)

    @cached_property
    def means(self) -> dict[str, np.ndarray]:
        """Mean of every outcome in every replicate, the data first (R + 1,)."""
        with np.errstate(invalid="ignore"):
            return {
                name: (self.counts @ values.astype(np.float32)).astype(float) / self.totals
                for name, values in self.outcomes.items()
            }

    def design(self, players: _Players) -> np.ndarray:
        """Intercept and the features of some explanations (n, k)."""
        blocks = [self.features[p] for p in players if p in self.features]
        return np.concatenate([np.ones((self.counts.shape[1], 1)), *blocks], axis=1)


def _explained(known: _Sample, asked: _Sample, players: _Players) -> np.ndarray:
    """How much of the drop some explanations account for (R + 1,): the drop, less what prediction leaves of it."""
    outcome = "root_given" if ROOT in players else "solved"
    total = known.means["solved"] - asked.means["solved"]
    coefficients = _refitted(known.design(players), known.outcomes[outcome], known.counts)
    chances = -coefficients.astype(np.float32) @ asked.design(players).astype(np.float32).T
    np.exp(np.clip(chances, -_FAR, _FAR), out=chances)
    np.reciprocal(1 + chances, out=chances)
    with np.errstate(invalid="ignore"):
        predicted = np.einsum("rn,rn->r", asked.counts, chances) / asked.totals
    return np.asarray(total - (predicted - asked.means[outcome]))


def _refitted(design: np.ndarray, outcome: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Coefficients (R, k) of ridge logistic regressions in which row i counts `counts[r, i]` times (R, n).

    The first replicate is the data, fitted by Newton's method; the others are one step of it from there, which is
    as good as a fit up to O(1 / n) (one-step bootstrap, Moulton and Zeger, 1991).
    """
    penalty = np.full(design.shape[1], RIDGE)
    penalty[0] = RIDGE / 1000
    centre = np.zeros(design.shape[1])
    for _ in range(_NEWTON_STEPS):
        step = _newton(design, outcome, counts[:1].astype(float), centre, penalty)[0]
        centre = centre + step / max(1.0, float(np.abs(step).max()) / 4)
        if np.abs(step).max() < 1e-8:
            break
    return centre + _newton(design, outcome, counts, centre, penalty)


def _newton(
    design: np.ndarray, outcome: np.ndarray, counts: np.ndarray, at: np.ndarray, penalty: np.ndarray
) -> np.ndarray:
    """Newton's step (R, k) of the penalised likelihood of every replicate from one place."""
    num = design.shape[1]
    chance = expit(design @ at)
    upper = np.triu_indices(num)
    curvature = design[:, upper[0]] * design[:, upper[1]] * (chance * (1 - chance))[:, None]
    summands = np.concatenate([design * (outcome - chance)[:, None], curvature], axis=1)
    sums = (counts @ summands.astype(counts.dtype)).astype(float)
    gradient = sums[:, :num] - penalty * at
    hessian = np.zeros((len(counts), num, num))
    hessian[:, upper[0], upper[1]] = hessian[:, upper[1], upper[0]] = sums[:, num:]
    hessian[:, np.arange(num), np.arange(num)] += penalty
    return np.linalg.solve(hessian, gradient[..., None])[..., 0]


def _coalitions(known: _Sample, asked: _Sample, players: _Players) -> dict[_Players, np.ndarray]:
    """What every set of explanations accounts for together (R + 1,), in the order of `players`."""
    sets = [chosen for num in range(len(players) + 1) for chosen in combinations(players, num)]
    return {chosen: _explained(known, asked, chosen) if chosen else 0.0 * known.means["solved"] for chosen in sets}


def _in_order(worth: Mapping[_Players, np.ndarray], players: _Players) -> dict[str, np.ndarray]:
    """What each explanation adds to those before it."""
    return {p: worth[players[: k + 1]] - worth[players[:k]] for k, p in enumerate(players)}


def shapley(worth: Mapping[tuple[str, ...], np.ndarray], players: Sequence[str]) -> dict[str, np.ndarray]:
    """What each player adds to those before it, averaged over all orders.

    Parameters
    ----------
    worth, players
        Worth of every subset of the players, as a tuple in their order.
    """
    num, players = len(players), tuple(players)
    shares = {p: np.zeros_like(worth[()]) for p in players}
    for chosen, value in worth.items():
        for p in players:
            others = len(chosen) - (p in chosen)
            weight = factorial(others) * factorial(num - 1 - others) / factorial(num)
            shares[p] = shares[p] + (weight if p in chosen else -weight) * value
    return shares


# ---------------------------------------------------------------- all trials of a space


@dataclass(frozen=True, eq=False)
class Decomposition:
    """The drop from ID to forced tests over the regions of a space, in points.

    Attributes
    ----------
    space
        Where the regions were cut.
    ordered, average
        Shares by explanation in the order of `ORDER`, and averaged over all orders; with structure, what no
        explanation accounts for, they add up to the total.
    structure, total
        The same in either.
    overlap
        Share of forced tasks that lie within the range of ID tasks in every feature; the others are extrapolated.
    rows
        Behind it.
    """

    space: str
    ordered: dict[str, Draws]
    average: dict[str, Draws]
    structure: Draws
    total: Draws
    overlap: float
    rows: pd.DataFrame

    def frame(self) -> pd.DataFrame:
        """Rows of explanation, structure and total.

        Returns
        -------
        pandas.DataFrame
            space, share; ordered, ordered_low, ordered_high; average, low, high (points, 95 %); overlap.
        """
        rest = {STRUCTURE: self.structure, TOTAL: self.total}
        rows = []
        for name, average in (self.average | rest).items():
            one, two = interval((self.ordered | rest)[name]), interval(average)
            rows.append((self.space, name, one.value, one.low, one.high, two.value, two.low, two.high, self.overlap))
        columns = ["space", "share", "ordered", "ordered_low", "ordered_high", "average", "low", "high", "overlap"]
        return pd.DataFrame(rows, columns=columns)


def decompose(table: pd.DataFrame, space: str, *, seed: int = 0) -> Decomposition:
    """Split the drop over the regions of a space; every trial counts once, refitted in every replicate.

    Parameters
    ----------
    table
        Results of group support with details. Where answers with the root token given are missing, that
        explanation is left out.
    space, seed
        Of the regions, and of the bootstrap.

    Raises
    ------
    ConfigurationError
        If columns or parts are missing, or no trial has 20 tasks of either part and ID tasks of both outcomes.
    """
    rows = support_rows(main_grammar(table), ("id", "forced"), space=space, needed=_COLUMNS)
    if rows[list(_COLUMNS)].isna().any(axis=None):
        raise ConfigurationError("some tasks have no size or distance to training: measure the trials with details")
    rooted = "root_given" in rows and bool(rows["root_given"].notna().all())
    players = ORDER if rooted else ORDER[1:]
    kept = [group.reset_index(drop=True) for _, group in rows.groupby("trial") if _is_usable(group)]
    if not kept:
        raise ConfigurationError(
            f"no {space} trial has {_MIN_ROWS} tasks in id and forced, and id tasks solved and not: train longer"
        )
    trials = trial_replicates(
        kept, levels_of(rows), partial(_shares_of, space, players), seed=seed,
        num_replicates=max(1, metrics.NUM_REPLICATES // _SHARE_OF_REPLICATES),
    )  # fmt: skip
    rows = pd.concat(kept, ignore_index=True)
    draws = {name: trials.mean(name, rows["class_id"].nunique()) for name in trials.found[0]}
    ordered, average = ({p: draws[kind, p] for p in players} for kind in ("ordered", "average"))
    structure, total, overlap = (draws["", name] for name in (STRUCTURE, TOTAL, _OVERLAP))
    return Decomposition(space, ordered, average, structure, total, overlap.value, rows)


def _is_usable(group: pd.DataFrame) -> bool:
    is_id = group["part"] == "id"
    return min(is_id.sum(), (~is_id).sum()) >= _MIN_ROWS and group.loc[is_id, "solved"].nunique() == 2


def _shares_of(
    space: str, players: _Players, group: pd.DataFrame, draw: Callable[[int], np.ndarray]
) -> dict[tuple[str, str], np.ndarray]:
    """Shares of one trial in every replicate, by (kind, explanation)."""
    is_id = (group["part"] == "id").to_numpy()
    features = _features(group, space)
    known, asked = (_sample(group, features, is_id, mask, draw) for mask in (is_id, ~is_id))
    worth = _coalitions(known, asked, players)
    total = known.means["solved"] - asked.means["solved"]
    found = {("ordered", p): value for p, value in _in_order(worth, players).items()}
    found |= {("average", p): value for p, value in shapley(worth, players).items()}
    one, two = known.design(players), asked.design(players)
    inside = ((two >= one.min(axis=0)) & (two <= one.max(axis=0))).all(axis=1).mean()
    return found | {
        ("", STRUCTURE): total - worth[players], ("", TOTAL): total, ("", _OVERLAP): np.full(len(total), inside)
    }  # fmt: skip


def _sample(
    group: pd.DataFrame, features: Mapping[str, np.ndarray], is_id: np.ndarray, mask: np.ndarray,
    draw: Callable[[int], np.ndarray],
) -> _Sample:  # fmt: skip
    """Rows of one part, with features in units of their spread over ID."""
    outcomes = {n: group[n].to_numpy(float)[mask] for n in ("solved", "root_given") if n in group}
    scaled = {}
    for name, columns in features.items():
        spread = columns[is_id].std(axis=0)
        scaled[name] = (columns[mask] - columns[is_id].mean(axis=0)) / np.where(spread > 0, spread, 1)
    return _Sample(outcomes, scaled, draw(int(mask.sum())).astype(np.float32))


# ---------------------------------------------------------------- C5
_AFTER = "is left after the root token, size, texts, the other space and labels"


@claim("C5a", f"Part of the syntactic drop {_AFTER}", "points", 0.0, above=True)
def syntactic_structure(table: pd.DataFrame) -> Finding:
    """Points of the drop over syntactic regions of group support that no explanation accounts for."""
    return _structure(table, "syntactic")


@claim("C5b", f"Part of the semantic drop {_AFTER}", "points", 0.0, above=True)
def semantic_structure(table: pd.DataFrame) -> Finding:
    """Points of the drop over semantic regions of group support that no explanation accounts for."""
    return _structure(table, "semantic")


def _structure(table: pd.DataFrame, space: str) -> Finding:
    found = decompose(table, space)
    controls: list[Control] = [(TOTAL, interval(found.total))]
    controls += [(name, interval(share)) for name, share in found.average.items()]
    controls.append(("forced tasks within the range of ID", f"{found.overlap:.0%}"))
    note = "" if ROOT in found.average else "the root token is not separated: no answers with it given"
    return Finding(evidence(found.structure, 0.0), found.rows, tuple(controls), note)
