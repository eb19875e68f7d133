"""Which distance predicts failure: how well a property of a task ranks the tasks of a region that it has not seen."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy.sparse import csr_array

from synthlab.assessment import metrics
from synthlab.assessment.bootstrap import Draws, Trials, trial_replicates
from synthlab.errors import ConfigurationError
from synthlab.study.evidence import evidence, interval, weakest
from synthlab.study.samples import RAW, levels_of, main_grammar, support_rows
from synthlab.study.verdicts import Control, Finding, claim

BASELINE = "leaves"
PREDICTORS = (
    "syntactic_distance", "semantic_distance", "shape_distance", "edit_distance", "novel_compounds", "log_probability",
    BASELINE,
)  # fmt: skip
"""Properties of a task or of the answer to it; `BASELINE` is what the others have to beat."""
_ALL, _FORCED = "all", "forced"
_SHARE_OF_REPLICATES = 2
_MOST_PLACES = 512


def predictor_table(table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """How well each predictor ranks tasks by failure, in regions that did not decide its direction.

    Parameters
    ----------
    table
        Results of group support with details; predictors that it lacks, or that are NaN for some task, are left out.
    seed
        Of the bootstrap.

    Returns
    -------
    pandas.DataFrame
        predictor; auc, low, high: chance that a failed task of a trial has more of it than a solved one (or less,
        if that is so in the other regions), mean over trials, ID and forced tasks together; forced_auc, forced_low,
        forced_high: among forced tasks alone; direction ("more" or "less" of it means failure, over all regions).
    """
    _, found = _scored(table, seed)
    rows = []
    for name in dict.fromkeys(name for _, name in found):
        every, forced = (interval(found[among, name][0], (0, 1)) for among in (_ALL, _FORCED))
        rows.append((
            name, every.value, every.low, every.high, forced.value, forced.low, forced.high, found[_ALL, name][1]
        ))  # fmt: skip
    columns = ["predictor", "auc", "low", "high", "forced_auc", "forced_low", "forced_high", "direction"]
    return pd.DataFrame(rows, columns=columns).sort_values("auc", ascending=False, ignore_index=True)


@claim("C6", "One property of a task predicts failure better than all others", "AUC", 0.0, above=True)
def best_predictor(table: pd.DataFrame) -> Finding:
    """AUC of the best predictor minus that of the second best, in held-out regions of group support."""
    rows, found = _scored(table, seed=0)
    scores = {name: draws for (among, name), (draws, _) in found.items() if among == _ALL}
    best, *others = sorted(scores, key=lambda name: -scores[name].value)
    if not others:
        raise ConfigurationError(f"{best} is the only predictor: measure the trials with details")
    controls: list[Control] = [(name, interval(scores[name], (0, 1))) for name in (best, *others)]
    if BASELINE in others:
        controls.append((f"{best} - {BASELINE}", interval(scores[best] - scores[BASELINE])))
    among_forced = {name: found[_FORCED, name][0] for name in scores}
    leader = max(among_forced, key=lambda name: among_forced[name].value)
    controls.append((f"best among forced tasks alone: {leader}", interval(among_forced[leader], (0, 1))))
    proof = weakest([evidence(scores[best] - scores[name], 0.0) for name in others], above=True)
    return Finding(proof, rows, tuple(controls), f"the best is {best}, the second {others[0]}")


def _scored(table: pd.DataFrame, seed: int) -> tuple[pd.DataFrame, dict[tuple[str, str], tuple[Draws, str]]]:
    """Rows, and by (tasks, predictor) its oriented AUC and its direction over all regions."""
    rows = support_rows(main_grammar(table), RAW, needed=("region",))
    names = [name for name in PREDICTORS if name in rows and rows[name].notna().all()]
    if not names:
        raise ConfigurationError("the results have no property of tasks: measure the trials with details")
    kept = [g.reset_index(drop=True) for _, g in rows.groupby("trial") if g["solved"].nunique() == 2]
    regions = [str(g["region"].iloc[0]) for g in kept]
    if len(set(regions)) < 2:
        raise ConfigurationError("a direction learned elsewhere needs two regions with failure and success: train more")

    def of_trial(group: pd.DataFrame, draw: Callable[[int], np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
        return _aucs(group, names, draw)

    num = max(1, metrics.NUM_REPLICATES // _SHARE_OF_REPLICATES)
    trials = trial_replicates(kept, levels_of(rows), of_trial, num_replicates=num, seed=seed)
    rows = pd.concat(kept, ignore_index=True)
    return rows, {key: _oriented(trials, regions, key, rows["class_id"].nunique()) for key in trials.found[0]}


def _aucs(
    group: pd.DataFrame, names: list[str], draw: Callable[[int], np.ndarray]
) -> dict[tuple[str, str], np.ndarray]:
    """AUC of every predictor in every replicate of a trial, among all and among forced tasks."""
    order = np.argsort((group["part"] == "forced").to_numpy(), kind="stable")  # ID, then forced
    group = group.iloc[order]
    num_id = int((group["part"] == "id").sum())
    counts = np.concatenate([draw(num_id), draw(len(group) - num_id)], axis=1).T.astype(np.float32, order="C")
    failed = ~group["solved"].to_numpy(bool)
    return {
        (among, name): weighted_auc(group[name].to_numpy(float)[start:], failed[start:], counts[start:])
        for name in names
        for among, start in ((_ALL, 0), (_FORCED, num_id))
    }


def weighted_auc(values: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Chance that a positive item has a larger value than another one, ties counting half (Mann and Whitney, 1947).

    Of more than 512 different values, neighbours share one of 512 ranks.

    Parameters
    ----------
    values, positive
        Values and labels of n items; infinite values are ranked like others.
    counts
        How often each item counts (n, R).

    Returns
    -------
    numpy.ndarray
        (R,), NaN where one of the groups is empty.
    """
    places = np.unique(values, return_inverse=True)[1]
    if places.max(initial=0) >= _MOST_PLACES:
        places = np.unique(pd.Series(values).rank() * _MOST_PLACES // (len(values) + 1), return_inverse=True)[1]
    num, items = int(places.max(initial=0)) + 1, np.arange(len(values))
    chosen = csr_array((np.ones(len(values), counts.dtype), (places + num * positive, items)), (2 * num, len(values)))
    no, yes = np.split(chosen @ counts, 2)
    below = np.cumsum(no, axis=0, dtype=float)
    wins, pairs = ((below - no / 2) * yes).sum(axis=0), yes.sum(axis=0, dtype=float) * below[-1]
    return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1), np.nan)


def _oriented(trials: Trials, regions: list[str], key: tuple[str, str], num_tasks: int) -> tuple[Draws, str]:
    """Mean AUC with the direction of every region as in the others, and the direction over all."""
    known = np.array([trial[key][0] for trial in trials.found]) - 0.5
    turned = []
    for region, trial in zip(regions, trials.found, strict=True):
        elsewhere = np.nansum(known[[other != region for other in regions]])
        turned.append({key: trial[key] if elsewhere >= 0 else 1 - trial[key]})
    draws = Trials(turned, trials.times, trials.num_groups).mean(key, num_tasks)
    return draws, "more" if np.nansum(known) >= 0 else "less"
