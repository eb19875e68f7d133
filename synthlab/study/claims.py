"""The paper's claims as tests, and the family that they form with its open questions and the claims about search.

A claim is a function from the result table of a group to effect, interval and controls (`verdicts.Claim`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment import metrics
from synthlab.assessment.bootstrap import Draws
from synthlab.assessment.metrics import Estimate
from synthlab.errors import ConfigurationError
from synthlab.study.decomposition import semantic_structure, syntactic_structure
from synthlab.study.evidence import evidence, interval, weakest
from synthlab.study.open_questions import (
    catching_up,
    every_grammar,
    every_variant,
    headroom,
    open_against_forced,
    recombination,
    scale_against_wall,
)
from synthlab.study.predictors import best_predictor
from synthlab.study.samples import (
    DROP,
    RAW,
    RegimeScores,
    drop_between,
    main_grammar,
    main_size,
    regime_scores,
    require_columns,
)
from synthlab.study.scaling import LOG_LINEAR, refit_laws
from synthlab.study.search_claims import guided_search, search_against_compute, wall_moved
from synthlab.study.tables import StudyTables
from synthlab.study.verdicts import (
    Claim,
    ClaimFunction,
    Control,
    Finding,
    claim,
    claim_or_reason,
    claims_table,
    optional,
)

__all__ = [
    "FAMILY", "Claim", "claim_or_reason", "claims_table", "family_claims", "log_linear", "semantic_against_syntactic",
    "semantic_drop", "syntactic_drop", "worst_case",
]  # fmt: skip
SCHEMA = 2
"""Version of the claims: published ones of another are made again."""
RIVALS = ("random", "syntactic", "semantic")
_SHARE_OF_REPLICATES = 4

# ---------------------------------------------------------------- C1: density


@claim("C1", "Sampling diversely over both spaces has the best worst case over test regimes", "points", 0.0, above=True)
def worst_case(table: pd.DataFrame, trials: pd.DataFrame | None = None) -> Finding:
    """Worst case of dual minus that of each rival, per target policy, then averaged; all rivals have to lose.

    The table is that of group density; its trials carry the manipulation check, unless the table does. Policies and
    numbers of cells count where every regime was trained on them.
    """
    rows = _complete_seeds(table)
    scores = regime_scores(rows)
    conditions = _conditions(scores, ("dual", *RIVALS))
    gaps = {r: _average([_gap(scores, at, r, "worst") for at in conditions]) for r in RIVALS}
    controls: list[Control] = [(f"dual - {rival}", interval(gap)) for rival, gap in gaps.items()]
    overall = _average([_gap(scores, at, "random", "mean") for at in conditions])
    controls.append(("dual - random, mean of tests", interval(overall)))
    controls += _by_policy(scores) + _by_cells(scores, conditions)
    controls += [
        ("dual - class", interval(_average([_gap(scores, at, "class", "worst") for at in shared])))
        for shared in [_conditions(scores, ("dual", "class"), required=False)] if shared
    ]  # fmt: skip
    arms = {arm for at in conditions for arm in at.values()}
    spread, note = _manipulation(scores, arms, rows if trials is None or trials.empty else trials)
    found = weakest([evidence(gap, 0.0) for gap in gaps.values()], above=True)
    return Finding(found, scores.rows, (*controls, *spread), note)


def _complete_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the seeds in which dual and all of its rivals were trained."""
    require_columns(table, ["trial", "seed", "regime", "part", "class_id", "solved"])
    rows = main_grammar(table)
    regimes = rows.groupby("seed")["regime"].agg(set)
    missing = set.intersection(*({"dual", *RIVALS} - found for found in regimes))
    if missing:
        raise ConfigurationError(f"no seed has all regimes ({', '.join(sorted(missing))} missing): train them")
    complete = [seed for seed, found in regimes.items() if found >= {"dual", *RIVALS}]
    return rows[rows["seed"].isin(complete)]


_CONDITION = ["policy", "num_cells", "num_train", "model"]
_Condition = dict[str, int]


def _conditions(scores: RegimeScores, regimes: Sequence[str], *, required: bool = True) -> list[_Condition]:
    """Arms by regime, for every policy, number of cells and of programs that all of some regimes were trained on."""
    found = [
        dict(zip(group["regime"], group.index, strict=True))
        for _, group in scores.arms.groupby(_CONDITION, dropna=False, sort=False)
    ]
    complete = [at for at in found if set(regimes) <= set(at)]
    if required and not complete:
        raise ConfigurationError(f"no target policy was crossed with all of {', '.join(regimes)}: train them")
    return complete


def _gap(scores: RegimeScores, at: _Condition, rival: str, score: str) -> Draws:
    reduce: Callable[[int], Draws] = getattr(scores, score)
    return reduce(at["dual"]) - reduce(at[rival])


def _average(draws: Sequence[Draws]) -> Draws:
    total = draws[0]
    for other in draws[1:]:
        total = total + other
    return total / len(draws)


def _by_policy(scores: RegimeScores) -> list[Control]:
    """Dual minus the best rival that was trained, per target policy."""
    found: list[Control] = []
    for at in _conditions(scores, ("dual", "random"), required=False):
        gaps = [evidence(_gap(scores, at, r, "worst"), 0.0) for r in RIVALS if r in at]
        policy, cells = (str(scores.arms.loc[at["dual"], tag]) for tag in ("policy", "num_cells"))
        label = f"targets {policy}, {cells} cells, {len(gaps)} rivals"
        found.append((label, weakest(gaps, above=True).estimate))
    return found


def _by_cells(scores: RegimeScores, conditions: list[_Condition]) -> list[Control]:
    """Dual of other numbers of cells minus the best rival; its tests are other draws of the same regimes."""
    found: list[Control] = []
    for at in conditions:
        usual = scores.arms.loc[at["dual"]]
        alike = {tag: usual[tag] for tag in ("policy", "num_train", "model")}
        for arm in scores.find(regime="dual", **alike):
            cells = str(scores.arms.loc[arm, "num_cells"])
            if cells != usual["num_cells"]:
                gaps = [evidence(scores.worst(arm) - scores.worst(at[r]), 0.0) for r in RIVALS]
                found.append((f"dual of {cells} cells", weakest(gaps, above=True).estimate))
    return found


_MANIPULATED = ("syntactic_spread", "semantic_spread", "effective_classes", "text_bits")


def _manipulation(scores: RegimeScores, arms: set[int], trials: pd.DataFrame) -> tuple[list[Control], str]:
    """Whether dual training sets fill both spaces more evenly than random ones, and whether their texts are tidier."""
    counted = set(scores.rows.loc[scores.rows["arm"].isin(arms), "trial"])
    chosen = trials[trials["trial"].isin(counted)].drop_duplicates("trial")
    means = chosen.groupby("regime")[[c for c in _MANIPULATED if c in chosen]].mean()
    pairs = {str(name): (means[name]["dual"], means[name]["random"]) for name in means}
    controls: list[Control] = [
        (f"{name.replace('_', ' ')} of dual", f"{dual:.3g}, of random {random:.3g}")
        for name, (dual, random) in pairs.items()
    ]
    failed = [n.replace("_", " ") for n in _MANIPULATED[:2] if n in pairs and not pairs[n][0] > pairs[n][1]]
    return controls, f"manipulation failed: dual has no larger {' and '.join(failed)}" if failed else ""


# ---------------------------------------------------------------- C2: support


@claim("C2a", "Being forced to write syntactically novel programs costs over 30 %", "relative", DROP, above=False)
def syntactic_drop(table: pd.DataFrame) -> Finding:
    """Drop from matched ID to matched forced, relative to the former, over syntactic regions of group support."""
    return _drop_finding(table, "syntactic")


@claim("C2b", "Semantic novelty costs less than syntactic novelty", "relative", 0.0, above=True)
def semantic_against_syntactic(table: pd.DataFrame) -> Finding:
    """Relative drop of semantic regions minus that of syntactic ones, both matched; group support."""
    drops = [drop_between(main_grammar(table), space, seed=k) for k, space in enumerate(("semantic", "syntactic"))]
    semantic, syntactic = drops
    controls = (
        ("semantic", interval(semantic.relative)), ("syntactic", interval(syntactic.relative)),
        ("in points", interval(semantic.points - syntactic.points)),
    )  # fmt: skip
    rows = pd.concat([semantic.rows, syntactic.rows])
    gap = (semantic.relative - syntactic.relative).tasks(rows["class_id"].nunique())
    return Finding(evidence(gap, 0.0), rows, controls)


@claim("C2c", "Functions in a held-out region of semantics cost under 30 %", "relative", DROP, above=True)
def semantic_drop(table: pd.DataFrame) -> Finding:
    """Drop from matched ID to matched forced, relative to the former, over semantic regions of group support."""
    return _drop_finding(table, "semantic")


def _drop_finding(table: pd.DataFrame, space: str) -> Finding:
    rows = main_grammar(table)
    found = drop_between(rows, space)
    controls: list[Control] = [("points", interval(found.points))]
    for label, changes in (
        ("not matched", {"parts": RAW}), ("isolated in the other space", {"variant": "isolated"}),
        ("two more leaves allowed", {"variant": "room"}),
    ):  # fmt: skip
        controls += optional(label, partial(_relative, rows, space, **changes))
    controls += optional("not matched, points", lambda: interval(drop_between(rows, space, parts=RAW).points))
    if space == "syntactic":
        controls += optional("regions without labels", partial(_relative, rows, "shape"))
    return Finding(evidence(found.relative, DROP, limits=(-1.0, np.inf)), found.rows, tuple(controls))


def _relative(rows: pd.DataFrame, space: str, **changes: Any) -> Estimate:
    return interval(drop_between(rows, space, **changes).relative, limits=(-1.0, np.inf))


# ---------------------------------------------------------------- C3: scaling


@claim(
    "C3", "Gains are log-linear in compute: a straight line predicts the largest runs better than any other law",
    "points", 0.0, above=True,
)  # fmt: skip
def log_linear(table: pd.DataFrame) -> Finding:
    """Error of the best other law on held-out largest runs, minus that of the line; ID tests of group scaling."""
    require_columns(table, ["trial", "seed", "flops", "part", "class_id", "solved"])
    rows = main_size(main_grammar(table))
    rows = rows[rows["part"] == "id"].reset_index(drop=True)
    (series,) = refit_laws(rows, ["id"], num_replicates=max(1, metrics.NUM_REPLICATES // _SHARE_OF_REPLICATES))
    rivals = [name for name in series.fits if name != LOG_LINEAR]
    if LOG_LINEAR not in series.fits or not rivals:
        raise ConfigurationError(next(iter(series.left_out.values())))
    line = series.fits[LOG_LINEAR]
    gaps = {name: evidence(series.fits[name].errors - line.errors, 0.0) for name in rivals}
    controls: list[Control] = [
        ("points per decade", interval(line.slopes)), ("held-out error of the line", interval(line.errors, (0, np.inf)))
    ]  # fmt: skip
    controls += [(f"{name}, further off by", gap.estimate) for name, gap in gaps.items()]
    note = "; ".join(f"{name}: {reason}" for name, reason in series.left_out.items())
    return Finding(weakest(list(gaps.values()), above=True), rows, tuple(controls), note)


# ---------------------------------------------------------------- the family

FAMILY: tuple[tuple[ClaimFunction, tuple[str, ...]], ...] = (
    (worst_case, ("density", "trials")),
    (syntactic_drop, ("support",)),
    (semantic_against_syntactic, ("support",)),
    (semantic_drop, ("support",)),
    (log_linear, ("scaling",)),
    (open_against_forced, ("support",)),
    (syntactic_structure, ("support",)),
    (semantic_structure, ("support",)),
    (best_predictor, ("support",)),
    (recombination, ("support",)),
    (catching_up, ("density",)),
    (headroom, ("support",)),
    (scale_against_wall, ("scaling",)),
    (every_grammar, ("support",)),
    (every_variant, ("support",)),
    (guided_search, ("search-results", "search-setups")),
    (search_against_compute, ("search-scaling",)),
    (wall_moved, ("search-rounds", "search-round-costs")),
)
"""All claims, and the tables they read: results of a group with the tags of their trials, the trials, or contests."""


def family_claims(tables: Mapping[str, pd.DataFrame]) -> list[Claim]:
    """Every claim of the family, for `claims_table`; a claim whose tables are missing says so.

    Parameters
    ----------
    tables
        Results with tags by group (density, support, scaling); trials, one row each; tables of the contests.
    """
    return [claim_or_reason(function, *(tables.get(n, pd.DataFrame()) for n in names)) for function, names in FAMILY]


def judged(
    tables: StudyTables, *, searches: Mapping[str, pd.DataFrame] | None = None, exploratory: bool = False
) -> pd.DataFrame:
    """Every claim on a study, with one verdict each; see `claims_table` for the columns.

    Parameters
    ----------
    tables
        Of the study.
    searches
        Tables of the contests between model and search by name (``search-results``, ``search-setups``,
        ``search-scaling``, ``search-rounds``, ``search-round-costs``); without one its claim is undecided.
    exploratory
        Mark all verdicts as exploratory.
    """
    read = {group: tables.table(group) for group in tables.results} | {"trials": tables.trials}
    return claims_table(family_claims({**(searches or {}), **read}), exploratory=exploratory)
