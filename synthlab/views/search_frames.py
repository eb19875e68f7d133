"""Tables behind the figures of contests between model, search and both; intervals are those of the claims.

They read what `study.search_study` makes. A task counts as solved within a budget if it is solved and what it cost on
that axis, until its program was found, is no more than the budget. A method that ran into the limit of another axis
before may have solved more with more: its share is then a lower bound.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from synthlab.assessment import metrics
from synthlab.assessment.bootstrap import resample
from synthlab.assessment.metrics import Estimate
from synthlab.errors import ConfigurationError
from synthlab.search.problem import SPENT
from synthlab.study.contests import GUIDED, MODEL, SYMBOLIC
from synthlab.study.evidence import interval
from synthlab.study.samples import levels_of, main_grammar, require_columns, share
from synthlab.views.study_frames import means

KINDS = (MODEL, SYMBOLIC, GUIDED)
"""Kinds of methods, in the order of figures."""
AXES = ("seconds", "tested")
_PARTS = ("matched_id", "id", "open", "matched_forced", "forced")
_COSTS = ("seconds", "programs", "lookups", "tokens", "flops")
_CONTEST = ["seed", "grammar", "arena"]

# ---------------------------------------------------------------- rows


def arena_rows(results: pd.DataFrame, arena: str, grammar: str | None = None) -> pd.DataFrame:
    """Rows of one arena and grammar (the main one by default), in which no two functions share a class id.

    Raises
    ------
    ConfigurationError
        If there are none.
    """
    require_columns(results, [*_CONTEST, "part", "method", "kind", "class_id", "leaves", "solved", *AXES])
    rows = results[results["arena"] == arena]
    rows = main_grammar(rows) if grammar is None else rows[rows["grammar"] == grammar]
    if rows.empty:
        held = results[["arena", "grammar"]].drop_duplicates().agg(" of ".join, axis=1)
        asked = f"{arena} of {grammar or 'any grammar'}"
        raise ConfigurationError(f"no contest was held in the arena {asked}: choose from {', '.join(held)}")
    return _told_apart(rows)


def _told_apart(rows: pd.DataFrame) -> pd.DataFrame:
    """Ids below 0, which count down anew in every seed and size, replaced by ids of their own."""
    number = rows.groupby(["grammar", "seed", "leaves", "class_id"]).ngroup()
    return rows.assign(class_id=rows["class_id"].where(rows["class_id"] >= 0, -2 - number))


def with_setups(results: pd.DataFrame, setups: pd.DataFrame) -> pd.DataFrame:
    """Results with an equal share of what each method spent before the first task inside the cost of every task.

    What is shared is the setup of a seed, grammar and arena, over all tasks that the method was asked there.

    Raises
    ------
    ConfigurationError
        If a method has no setup, or several.
    """
    keys = [*_CONTEST, "method"]
    before = setups.set_index(keys)[list(_COSTS)]
    if before.index.has_duplicates:
        raise ConfigurationError(f"two setups of {before.index[before.index.duplicated()][0]}: keep one of them")
    asked = pd.MultiIndex.from_frame(results[keys])
    if missing := sorted(set(asked) - set(before.index)):
        raise ConfigurationError(f"no setup of {missing[0]}: take results and setups of the same contests")
    num = results.groupby(keys)["class_id"].transform("size").to_numpy()
    each = before.loc[asked].set_axis(results.index).div(num, axis=0)
    inside = {cost: results[cost] + each[cost] for cost in _COSTS}
    return results.assign(**inside, tested=inside["programs"] + inside["lookups"])


def compared_tasks(rows: pd.DataFrame) -> pd.DataFrame:
    """Every task once a seed, whoever worked on it: what sizes are counted of."""
    names = [c for c in (*_CONTEST, "part", "leaves", "class_id") if c in rows]
    return in_order(rows[names].drop_duplicates(ignore_index=True))


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows whose parts are categories from ID to forced, others after them."""
    present = list(dict.fromkeys(rows["part"]))
    parts = [p for p in _PARTS if p in present] + [p for p in present if p not in _PARTS]
    return rows.assign(part=pd.Categorical(rows["part"], parts))


def contest_note(rows: pd.DataFrame, seconds: float | None = None, *, setup_inside: bool | None = None) -> str:
    """What is behind a figure: seeds, functions, the budget of a task, whether setup is inside; None for no word."""
    seeds, num = rows["seed"].nunique(), rows["class_id"].nunique()
    notes = [f"95 % intervals over {'seeds and ' * (seeds > 1)}functions"]
    notes += [f"{seeds} seed{'s' * (seeds != 1)}, {num:,} functions"]
    notes += [] if seconds is None else [f"{seconds:g} s a task"]
    if setup_inside is not None:
        notes += [f"setup (training, libraries) {'shared over tasks' if setup_inside else 'not inside'}"]
    return "; ".join(notes)


def methods_of(rows: pd.DataFrame, leader: str | None = None) -> pd.DataFrame:
    """Methods by kind, the leading one of a kind first.

    Parameters
    ----------
    rows
        Of one arena.
    leader
        Method that leads its kind, since it was named before the contest: the best of several on the same tasks is
        flattered. In other kinds the one leads that solves most; of several that do, the fastest.

    Returns
    -------
    pandas.DataFrame
        method, kind, leads.
    """
    table = rows.groupby(["kind", "method"], as_index=False).agg(solved=("solved", "mean"), seconds=("seconds", "mean"))
    table = table.assign(rank=table["kind"].map(KINDS.index), other=table["method"] != leader)
    table = table.sort_values(["rank", "other", "solved", "seconds"], ascending=[True, True, False, True])
    return table.assign(leads=~table["kind"].duplicated())[["method", "kind", "leads"]].reset_index(drop=True)


# ---------------------------------------------------------------- solved within a budget


def solved_curves(
    rows: pd.DataFrame, axes: Sequence[str] = AXES, *, leader: str | None = None, num_points: int = 60
) -> pd.DataFrame:
    """Share solved within a budget, by axis and method.

    Parameters
    ----------
    rows
        Of one arena (`arena_rows`).
    axes
        Columns of costs.
    leader
        As in `methods_of`.
    num_points
        Budgets per axis, spaced evenly on a log scale.

    Returns
    -------
    pandas.DataFrame
        axis, method, kind, leads (as of `methods_of`), budget, value, low, high, num_tasks. A line ends at the most
        that its method spent on a task.
    """
    methods, tables = methods_of(rows, leader), []
    for axis in axes:
        limits = _limits(rows[axis], num_points)
        for method, kind, leads in methods.itertuples(index=False):
            own = rows[rows["method"] == method]
            spent = max(float(own[axis].max()), limits[0])
            line = _line(own, axis, np.append(limits[limits < spent], spent))
            tables.append(line.assign(axis=axis, method=method, kind=kind, leads=leads))
    names = ["axis", "method", "kind", "leads", "budget", "value", "low", "high", "num_tasks"]
    return pd.concat(tables, ignore_index=True)[names]


def _limits(costs: pd.Series, num: int) -> np.ndarray:
    """Budgets from the smallest cost above 0 to the largest cost."""
    known = costs[costs > 0]
    if known.empty:
        raise ConfigurationError(f"nothing was spent on the axis {costs.name}: choose another one")
    return np.geomspace(known.min(), known.max(), num)


def _line(rows: pd.DataFrame, axis: str, limits: np.ndarray) -> pd.DataFrame:
    """Shares of one method within limits, all of one bootstrap."""
    within = rows["solved"].to_numpy(bool)[:, None] & (rows[axis].to_numpy()[:, None] <= limits)
    steps, place = np.unique(within, axis=1, return_inverse=True)  # between two solved tasks nothing changes
    values = np.column_stack([np.ones(len(rows)), steps])
    sums = resample(rows, values, levels_of(rows), num_replicates=metrics.NUM_REPLICATES)
    every, num = np.ones(len(sums.groups), dtype=bool), rows["class_id"].nunique()
    found = [interval(share(sums, every, 0, 1 + k, num, 0), (0.0, 1.0)) for k in range(steps.shape[1])]
    return estimates(found).iloc[place.ravel()].reset_index(drop=True).assign(budget=limits)


def estimates(found: Sequence[Estimate]) -> pd.DataFrame:
    """Estimates as rows: value, low, high, num_tasks."""
    rows = [(e.value, e.low, e.high, e.num_tasks) for e in found]
    return pd.DataFrame(rows, columns=["value", "low", "high", "num_tasks"])


def solved_by_part(rows: pd.DataFrame, seconds: float = 1.0) -> pd.DataFrame:
    """Share solved within a time by part and method: part, method, kind, value, low, high, num_tasks."""
    within = rows.assign(within=rows["solved"] & (rows["seconds"] <= seconds))
    found = means(within, ["part", "method", "kind"], "within")
    return in_order(found.rename(columns={"pass_at_1": "value"}))


def equal_budget_table(
    results: pd.DataFrame, setups: pd.DataFrame, seconds: float = 1.0, tested: int = 10_000
) -> pd.DataFrame:
    """Who solves how much for the same price, by arena, part and method.

    Parameters
    ----------
    results, setups
        Of all contests.
    seconds, tested
        Prices a task: wall-clock time, and programs executed or decided by a look-up.

    Returns
    -------
    pandas.DataFrame
        grammar (where there are several), arena, part, kind, method; shares of the tasks solved for either price,
        without what was spent before the first task and with an equal share of it inside (`with_setups`); cut short
        (share of tasks given up for another limit before so many programs were tested: they might have been solved);
        medians of what a solved task cost until found; tasks. Rounded.
    """
    require_columns(results, [*_CONTEST, "part", "kind", "method", "class_id", "solved", "stopped", *_COSTS])
    inside = with_setups(results, setups)
    prices = {f"{seconds:g} s": ("seconds", seconds), f"{tested:,} tested": ("tested", tested)}
    columns = {}
    for name, (axis, limit) in prices.items():
        columns[f"solved, {name}"] = results["solved"] & (results[axis] <= limit)
        columns[f"{name}, setup inside"] = results["solved"] & (inside[axis] <= limit)
    unsolved = ~results["solved"] & (results["stopped"] == SPENT) & (results["tested"] < tested)
    columns["cut short"] = unsolved
    until = {f"median {axis} until found": results[axis].where(results["solved"]) for axis in AXES}
    by = [*_CONTEST[1:], "part", "kind", "method"]
    grouped = results[by].assign(**columns, **until, tasks=1).groupby(by, sort=False)
    table = pd.concat([grouped[list(columns)].mean().round(3), grouped[list(until)].median()], axis=1)
    table = table.assign(tasks=grouped["tasks"].sum()).round(dict.fromkeys(until, 4)).reset_index()
    first = [np.asarray(pd.factorize(table[c])[0]) for c in ("part", "arena", "grammar")]  # as they come
    table = table.iloc[np.lexsort([table["kind"].map(KINDS.index).to_numpy(), *first])].reset_index(drop=True)
    return table if len(set(table["grammar"])) > 1 else table.drop(columns="grammar")
