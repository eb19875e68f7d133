"""Tables that the figures of density and scaling trials draw, and what is behind a figure; intervals as of claims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment.metrics import mean_draws
from synthlab.errors import ConfigurationError
from synthlab.splits.density import REGIMES
from synthlab.study.evidence import interval
from synthlab.study.laws import SUCCESS, Runs
from synthlab.study.samples import RegimeScores, levels_of, main_grammar, regime_scores, require_columns, weights_of
from synthlab.views import theme

MEAN, WORST = "mean of tests", "worst test"
_AS_SAMPLED = "as sampled"


def means(
    rows: pd.DataFrame, by: Sequence[str], value: str = "solved", limits: tuple[float, float] = (0.0, 1.0)
) -> pd.DataFrame:
    """Mean of a column per group of rows, with intervals as those of claims: over regions, seeds and classes.

    Returns
    -------
    pandas.DataFrame
        Columns of `by`, then pass_at_1, low, high, num_tasks.
    """
    found = []
    for key, group in rows.groupby(list(by), sort=False, observed=True):
        one = interval(mean_draws(group, value, levels_of(group)), limits)
        found.append((*key, one.value, one.low, one.high, one.num_tasks))
    return pd.DataFrame(found, columns=[*by, "pass_at_1", "low", "high", "num_tasks"])


# ---------------------------------------------------------------- density


def density_summary(table: pd.DataFrame) -> pd.DataFrame:
    """pass@1 of every training regime on every test regime, as the study usually trains: policy, cells, programs.

    Returns
    -------
    pandas.DataFrame
        train_regime, test_regime, pass_at_1, low, high, num_tasks.
    """
    require_columns(table, ["regime", "policy", "num_cells", "num_train", "part", "class_id", "solved"])
    rows = usual_density(table)
    rows = rows.rename(columns={"regime": "train_regime", "part": "test_regime"})
    found = means(rows, ["train_regime", "test_regime"])
    places = [found[c].map(REGIMES.index) for c in ("train_regime", "test_regime")]
    return found.iloc[np.lexsort(places[::-1])].reset_index(drop=True)


def usual_density(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the density trials that differ in nothing but regime and seed."""
    rows = main_grammar(table)
    rows = rows[rows["policy"] == _AS_SAMPLED]
    for tag in ("num_cells", "num_train", "model"):
        rows = rows[rows[tag] == _most_trials(rows, tag)]
    return rows


def _most_trials(rows: pd.DataFrame, tag: str) -> Any:
    """The value of a tag that most trials have."""
    return rows.groupby(tag)["trial"].nunique().idxmax()


def worst_cases(table: pd.DataFrame) -> pd.DataFrame:
    """Worst case over test regimes of every way to draw and to write training programs.

    Returns
    -------
    pandas.DataFrame
        label, regime, policy, value, low, high, worst (the test regime on which it is). Numbers of cells and of
        programs are named where they are not the usual ones.
    """
    scores, usual, rows = regime_scores(table), usual_density(table).iloc[0], []
    for arm, tags in enumerate(scores.arms.to_dict("records")):
        odd = [f"{tags['policy']} targets"] * (tags["policy"] != _AS_SAMPLED)
        for name, what in (("num_cells", "cells"), ("num_train", "programs")):
            odd += [f"{float(tags[name]):,.0f} {what}"] * bool(float(tags[name]) != usual[name])
        found, by_test = interval(scores.worst(arm), (0.0, 1.0)), _test_scores(scores, arm)
        label = ", ".join([tags["regime"], *odd])
        rows.append(
            (label, tags["regime"], tags["policy"], found.value, found.low, found.high, by_test.idxmin(), len(odd))
        )
    names = ["label", "regime", "policy", "value", "low", "high", "worst", "odd"]
    table = pd.DataFrame(rows, columns=names)
    order = np.lexsort([table["odd"], table["regime"].map(REGIMES.index)])
    return table.drop(columns="odd").iloc[order].reset_index(drop=True)


def _test_scores(scores: RegimeScores, arm: int) -> pd.Series:
    """pass@1 of an arm by test regime."""
    sums = pd.DataFrame(scores.sums.observed[0][:, 2 * arm : 2 * arm + 2], columns=["all", "right"])
    totals = sums.groupby(scores.sums.groups["part"].to_numpy()).sum()
    return totals["right"] / totals["all"]


def data_sizes(table: pd.DataFrame) -> pd.DataFrame:
    """Scores by regime and number of training programs, of targets as sampled and the usual number of cells.

    Returns
    -------
    pandas.DataFrame
        score (`MEAN` of tests, `WORST` test), regime, num_train, value, low, high.

    Raises
    ------
    ConfigurationError
        If there is one number of programs alone.
    """
    rows = main_grammar(table)
    require_columns(rows, ["regime", "policy", "num_cells", "num_train"])
    rows = rows[rows["policy"] == _AS_SAMPLED]
    rows = rows[rows["num_cells"] == _most_trials(rows, "num_cells")]
    if rows["num_train"].nunique() < 2:
        raise ConfigurationError("all trials have one number of training programs: run those of `random_sizes`")
    scores, found = regime_scores(rows), []
    for name, of in ((MEAN, scores.mean), (WORST, scores.worst)):
        for arm, tags in enumerate(scores.arms.to_dict("records")):
            one = interval(of(arm), (0.0, 1.0))
            found.append((name, tags["regime"], int(float(tags["num_train"])), one.value, one.low, one.high))
    frame = pd.DataFrame(found, columns=["score", "regime", "num_train", "value", "low", "high"])
    regimes = [r for r in REGIMES if r in set(frame["regime"])]
    return frame.assign(regime=pd.Categorical(frame["regime"], regimes)).sort_values(["score", "regime", "num_train"])


# ---------------------------------------------------------------- scaling


def scaling_rows(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of the scaling trials of one number of training programs: of every seed's numbers, the middle one."""
    rows = main_grammar(table)
    require_columns(rows, ["seed", "num_train", "model", "flops", "part"])
    middle = rows.groupby("seed")["num_train"].agg(lambda found: sorted(set(found))[len(set(found)) // 2])
    return rows[rows["num_train"] == rows["seed"].map(middle)]


def scaling_points(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """A metric of every model and part, over seeds.

    Parameters
    ----------
    rows
        From `scaling_rows`.
    metric
        ``success`` or ``loss`` (of `study.laws`).

    Returns
    -------
    pandas.DataFrame
        part, model, flops, value, low, high, held_out (whether its compute is one of the largest, which judge laws).
    """
    value, limits = ("solved", (0.0, 1.0)) if metric == SUCCESS else ("test_loss", (0.0, np.inf))
    known = rows.dropna(subset=[value])
    found = means(known, ["part", "model", "flops"], value, limits).rename(columns={"pass_at_1": "value"})
    flops = found["flops"].to_numpy(float)
    held = Runs(flops, np.zeros((1, len(flops))), np.ones((1, len(flops)))).held_out
    return found.assign(held_out=held).drop(columns="num_tasks")


# ---------------------------------------------------------------- what is behind a figure


def counts_note(rows: pd.DataFrame) -> str:
    """Which model, and how many seeds, regions and functions are behind a figure."""
    return _told(rows, _counts(rows))


def evidence_note(rows: pd.DataFrame) -> str:
    """What 95 % intervals are over, and `counts_note`."""
    counts = _counts(rows)
    over = [f"{name}s" for name, number in counts.items() if number > 1] or ["functions"]
    listed = " and ".join([*([", ".join(over[:-1])] if len(over) > 1 else []), over[-1]])
    return f"95 % intervals over {listed}; {_told(rows, counts)}"


def _counts(rows: pd.DataFrame) -> dict[str, int]:
    names = {"seed": "seed", "region": "region", "class_id": "function"}
    return {name: int(rows[column].nunique()) for column, name in names.items() if column in rows}


def _told(rows: pd.DataFrame, counts: Mapping[str, int]) -> str:
    models = list(rows["model"].unique()) if "model" in rows else []
    numbers = [f"{number:,} {name}{'s' * (number != 1)}" for name, number in counts.items()]
    return ", ".join([f"model {models[0]}"] * (len(models) == 1) + numbers)


def by_regime(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the main grammar whose parts are test regimes, with these in their usual order."""
    rows = main_grammar(rows)
    present = [r for r in REGIMES if r in set(rows["part"])]
    return rows.assign(part=pd.Categorical(rows["part"], present))


def by_part(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of a support table, with parts in their usual order."""
    return rows.assign(part=pd.Categorical(rows["part"], theme.order(rows["part"])))


def size_shares(rows: pd.DataFrame) -> pd.DataFrame:
    """Share of each minimal size among the tasks of every part, each task as often as tests drew it.

    Returns
    -------
    pandas.DataFrame
        part, leaves, number, share.
    """
    require_columns(rows, ["part", "leaves"])
    table = rows.assign(number=weights_of(rows).astype(int)).groupby(["part", "leaves"], observed=True)["number"].sum()
    frame = table.reset_index()
    return frame.assign(share=frame["number"] / frame.groupby("part", observed=True)["number"].transform("sum"))
