"""Claims about search: what a guide is worth, what search is worth in compute, and whether what it finds teaches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd

from synthlab.assessment.bootstrap import Draws
from synthlab.assessment.metrics import Estimate
from synthlab.errors import ConfigurationError
from synthlab.study.evidence import evidence, interval
from synthlab.study.gains import ALONE, COMPLETED, Grid
from synthlab.study.races import AXES, COMMAND, MODEL, SYMBOLIC, TASK, Race, by_seed, require, wide
from synthlab.study.samples import main_grammar, require_signal
from synthlab.study.verdicts import Control, Finding, claim, optional

GUIDED = "meet in the middle, guided"
"""The guided method that is judged: named beforehand, since the best of several on these tasks is a lucky one."""
UNLEARNED = "meet in the middle, small rests first"
"""The same search in an order that needs no learning: what is left against it is what learning adds."""
TIMES_BETTER, MEANT_HARD, FACTORS = 1.5, 0.3, (0.25, 0.5, 2.0)
ITERATED, PLACEBO = "expert iteration", "placebo"
_LARGER = "larger"

# ---------------------------------------------------------------- C13: beyond the universe


@claim(
    "C13", "On tasks beyond the universe, a guided search solves at least 1.5 times what the better of model and "
    "symbolic search solves, at equal wall-clock and at equal programs tested", "ratio", TIMES_BETTER, above=True,
)  # fmt: skip
def guided_search(table: pd.DataFrame, setups: pd.DataFrame | None = None) -> Finding:
    """Tasks solved by `GUIDED` over those of the best model or symbolic search, on the axis where that is smallest.

    Opponents are all of them, in every replicate (`Race.ahead`); budgets are those of `Race.budgets`. What was spent
    before the first task (`setups`) lies outside the budgets; a control shares it among the tasks.
    """
    require(table, [*TASK, "arena", "method", "kind", "solved", "stopped", *AXES], "contests")
    every = table[table["arena"] == _LARGER]
    require(every, [], "contests beyond the universe")
    rows = main_grammar(every)
    race = Race.of(rows, GUIDED)
    budgets = race.budgets()
    require_signal(dict(zip(race.methods, race.shares("seconds", budgets["seconds"]), strict=True)))
    controls = [c for place in budgets.items() for c in _shares(race, *place)]
    if setups is not None and not setups.empty:
        own = setups[(setups["arena"] == _LARGER) & setups["grammar"].isin(rows["grammar"].unique())]
        controls += optional("ratio with preparation", partial(_prepared, race, own, budgets))
    controls += _other_budgets(race, budgets)
    for name in sorted(set(every.get("grammar", ())) - set(rows.get("grammar", ()))):
        controls += optional(f"ratio in grammar {name}", partial(_ratio_of, every[every["grammar"] == name]))
    unlearned, remark = _without_learning(rows, budgets)
    tags = {"class_id": rows.groupby([*TASK]).ngroup(), "trial": rows.groupby(["seed", "method"]).ngroup()}
    found = race.ratio([*budgets.items()], TIMES_BETTER)
    note = "; ".join(filter(None, [remark, _caveats(race, budgets)]))
    return Finding(found, rows.assign(**tags), (*controls, *unlearned), note)


def _without_learning(rows: pd.DataFrame, budgets: Mapping[str, float]) -> tuple[tuple[Control, ...], str]:
    """The ratio if the order that learns nothing is an opponent too, and what that solves; none where it is missing."""
    unlearned = rows["method"] == UNLEARNED
    if not unlearned.any():
        return (), ""
    harder = rows.assign(kind=rows["kind"].mask(unlearned, SYMBOLIC))
    ratio = optional(f"ratio if {UNLEARNED} counts as symbolic", partial(_ratio_of, harder, budgets))
    solved = rows["solved"].astype(bool) & (rows["seconds"] <= budgets["seconds"])
    return ratio, f"{UNLEARNED}, which learns nothing, solves {solved[unlearned].mean():.0%}"


def _amount(axis: str, budget: float) -> str:
    return f"{budget:.3g} s" if axis == "seconds" else f"{budget:,.0f} tests"


def _shares(race: Race, axis: str, budget: float) -> list[Control]:
    """Share of tasks solved within a budget: by the guided search, the strongest opponents, and all in one line."""
    solved, place = race.shares(axis, budget), _amount(axis, budget)
    best = [max(race.of_kind(kind), key=lambda m: solved[m].value) for kind in (SYMBOLIC, MODEL)]
    found: list[Control] = [(f"{race.methods[m]} in {place}", interval(solved[m], (0, 1))) for m in (0, *best)]
    order = sorted(range(len(solved)), key=lambda m: -solved[m].value)
    return [*found, (f"all in {place}:", " | ".join(f"{race.methods[m]} {solved[m].value:.0%}" for m in order))]


def _prepared(race: Race, setups: pd.DataFrame, budgets: Mapping[str, float]) -> Estimate:
    return race.with_setups(setups).ratio([*budgets.items()], TIMES_BETTER).estimate


def _ratio_of(rows: pd.DataFrame, budgets: Mapping[str, float] | None = None) -> Estimate:
    """The ratio on other rows; at the budgets of their own tasks unless others are given."""
    race = Race.of(rows, GUIDED)
    return race.ratio([*(budgets or race.budgets()).items()], TIMES_BETTER).estimate


def _other_budgets(race: Race, budgets: Mapping[str, float]) -> list[Control]:
    """The smallest ratio at other budgets that searches were given, and at tests that all symbolic ones make."""
    places = [(axis, factor * budget) for axis, budget in budgets.items() for factor in FACTORS]
    fair = {0, *race.of_kind(SYMBOLIC)}
    places = [at for at in places if at[1] < budgets[at[0]] or not fair & set(race.starved(*at))]
    label = f"smallest ratio in {', '.join(_amount(*place) for place in places)}"
    found: list[Control] = [(label, race.ratio(places, TIMES_BETTER).estimate)]
    fewer = race.shared_tests(budgets["tested"])
    if fewer < budgets["tested"]:
        ratio = race.ratio([("tested", fewer)], TIMES_BETTER).estimate
        found.append((f"ratio in {fewer:,.0f} tests, which all symbolic searches make", ratio))
    return found


def _caveats(race: Race, budgets: Mapping[str, float]) -> str:
    """What to know: tasks that are not hard, searches that never got their tests, tasks left out."""
    symbolic = race.within("seconds", budgets["seconds"])[:, race.of_kind(SYMBOLIC)].mean(axis=0).max()
    starved = [race.methods[m] for m in race.starved("tested", budgets["tested"])]
    notes = [f"symbolic search solves {symbolic:.0%}: these tasks are not beyond it"] if symbolic > MEANT_HARD else []
    if starved:
        notes.append(f"out of time before {budgets['tested']:,.0f} tests: {' | '.join(starved)}")
    if race.num_left_out:
        notes.append(f"{race.num_left_out} tasks left out that not all methods were asked")
    return "; ".join(notes)


# ---------------------------------------------------------------- C14: search against compute


@claim("C14", "Search is worth more than ten times the training compute", "points", 0.0, above=True)
def search_against_compute(table: pd.DataFrame) -> Finding:
    """Gain of `COMPLETED` over `ALONE` on the same ID tasks, minus what ten times the compute gains `ALONE`.

    Gains are averaged over the models of the grid. What a decade gains is the least-squares slope on the logarithm of
    the whole compute: training, and all tasks of the part. Both read the same number of the model's proposals, so
    that its test FLOPs are equal; seconds and tests that search adds to them are controls.
    """
    require(table, ["trial", "seed", "part", "class_id", "method", "solved", "flops"], "the scaling grid with search")
    rows = main_grammar(table)
    grid = Grid.of(rows, "id")
    controls: list[Control] = [
        ("gain of search", interval(grid.gain())), ("points per decade, model alone", interval(grid.slope(0))),
        ("points per decade, with search", interval(grid.slope(1))),
        ("difference of these slopes", interval(grid.slope(1) - grid.slope(0))),
        ("gain of search at the median compute", interval(grid.shift())),
    ]  # fmt: skip
    for part in sorted(set(rows["part"]) - {"id"}):
        controls += optional(f"{part}: gain minus a decade's", partial(_of_part, rows, part, "advantage"))
        controls += optional(f"{part}: gain of search", partial(_of_part, rows, part, "gain"))
    return Finding(evidence(grid.advantage(), 0.0), grid.rows, (*controls, *_test_costs(grid.rows)))


def _of_part(rows: pd.DataFrame, part: str, what: str) -> Estimate:
    return interval(getattr(Grid.of(rows, part), what)())


def _test_costs(rows: pd.DataFrame) -> list[Control]:
    """What a task costs with search and alone, on the mean."""
    names = {"seconds": "seconds", "tested": "programs tested", "test_flops": "test FLOPs"}
    means = rows.groupby("method")[[name for name in names if name in rows]].mean()
    alone, search = means.loc[ALONE], means.loc[COMPLETED]
    return [(f"{names[n]} a task with search", f"{search[n]:.3g}, alone {alone[n]:.3g}") for n in names if n in means]


# ---------------------------------------------------------------- C15: learning from search


@claim("C15", "Learning from what search finds moves the wall", "points", 0.0, above=True)
def wall_moved(table: pd.DataFrame, costs: pd.DataFrame | None = None) -> Finding:
    """Change of pass@1 on forced tasks from round 0 to the last one, minus that of the placebo.

    The placebo trains as long on the old programs alone, so that what it changes is luck. `costs` has one row per
    seed, arm and round, where flops are those up to that round (`ExpertIteration.costs`).
    """
    require(table, ["seed", "arm", "round", "part", "class_id", "solved"], "expert iteration")
    rows, last, note = _last_round(main_grammar(table))
    forced = _Changes.of(rows, "forced", last)
    require_signal(forced.shares)
    controls: list[Control] = [(f"forced, {arm}:", _by_round(rows, arm)) for arm in (ITERATED, PLACEBO)]
    controls += [("forced, change of the placebo", interval(forced.placebo))]
    for part in sorted(set(rows["part"]) - {"forced"}):
        controls += optional(f"{part}, against the placebo", partial(_change, rows, part, last, "net"))
        controls += optional(f"{part}, change", partial(_change, rows, part, last, "iterated"))
    if costs is not None and not costs.empty:
        controls += _round_costs(costs[costs["arm"] == ITERATED])
    counted = rows[rows["part"] == "forced"]
    counted = counted.assign(trial=counted.groupby(["seed", "arm", "round"]).ngroup())
    return Finding(evidence(forced.net, 0.0), counted, tuple(controls), note)


def _last_round(rows: pd.DataFrame) -> tuple[pd.DataFrame, int, str]:
    """Rows of the seeds that reached the last round in both arms, that round, and which seeds did not."""
    later = rows[(rows["round"] > 0) & rows["arm"].isin((ITERATED, PLACEBO))]
    reached = later.pivot_table(index="seed", columns="arm", values="round", aggfunc="max")
    absent = [arm for arm in (ITERATED, PLACEBO) if arm not in reached]
    if absent:
        raise ConfigurationError(f"no round after the first training in arm {absent[0]!r}: run `{COMMAND}`")
    both = reached.min(axis=1, skipna=False).dropna()
    if both.empty:
        raise ConfigurationError(f"no seed has both {ITERATED!r} and {PLACEBO!r}: run `{COMMAND}`")
    last = int(both.max())
    left_out = sorted(set(rows["seed"]) - set(both.index[both == last]))
    note = f"round {last} not reached in seed {', '.join(map(str, left_out))}" if left_out else ""
    return rows[~rows["seed"].isin(left_out)], last, note


@dataclass(frozen=True, eq=False)
class _Changes:
    """Success by arm before and after, what changed in expert iteration and in the placebo, and their difference."""

    shares: dict[str, Draws]
    iterated: Draws
    placebo: Draws
    net: Draws

    @classmethod
    def of(cls, rows: pd.DataFrame, part: str, last: int) -> _Changes:
        """Of the classes of a part that both arms were asked before and after."""
        rows = rows[(rows["part"] == part) & rows["round"].isin((0, last)) & rows["arm"].isin((ITERATED, PLACEBO))]
        first = rows[rows["round"] == 0]
        if not (first["arm"] == PLACEBO).any():  # both arms begin with the same model
            rows = pd.concat([rows, first.assign(arm=PLACEBO)], ignore_index=True)
        order = [(arm, number) for arm in (ITERATED, PLACEBO) for number in (0, last)]
        table = wide(rows, ["seed", "class_id"], ["arm", "round"], ["solved"]).get("solved", pd.DataFrame())
        if table.empty or not set(order) <= set(table):
            raise ConfigurationError(f"no {part} tasks of both arms, before and after: run `{COMMAND}`")
        units = table.index.to_frame(index=False)
        sums = by_seed(units, np.column_stack([np.ones(len(units)), table[order].to_numpy(float)]))

        def mean(*signs: int) -> Draws:
            total = sums.draws(lambda s: s[:, :, 1:].sum(axis=1) @ np.array(signs), units["class_id"].nunique())
            return total / sums.draws(lambda s: s[:, :, 0].sum(axis=1), 0)

        shares = {f"{arm}, round {n}": mean(*(int(i == k) for i in range(4))) for k, (arm, n) in enumerate(order)}
        return cls(shares, mean(-1, 1, 0, 0), mean(0, 0, -1, 1), mean(-1, 1, 1, -1))


def _change(rows: pd.DataFrame, part: str, last: int, what: str) -> Estimate:
    return interval(getattr(_Changes.of(rows, part, last), what))


def _by_round(rows: pd.DataFrame, arm: str) -> str:
    """Success on forced tasks, round by round."""
    own = rows[(rows["part"] == "forced") & (rows["arm"] == arm)]
    return ", ".join(
        f"{solved:.1%} in round {number}" for number, solved in own.groupby("round")["solved"].mean().items()
    )


def _round_costs(costs: pd.DataFrame) -> list[Control]:
    """How much of the practice was found, and what searching and training took, summed over seeds."""
    found: list[Control] = []
    asked = next((name for name in ("searched", "practiced") if name in costs), "")
    if asked and "found" in costs:
        num = int(costs.groupby("seed")[asked].max().sum())  # later rounds are asked for what is left
        found.append(("practice tasks found", f"{costs['found'].sum() / max(1, num):.0%} of {num:,}"))
    if {"added", "inside"} <= set(costs):
        inside = f"{costs['inside'].sum():,} of them in the held-out region"
        found.append(("programs added", f"{costs['added'].sum():,}, {inside}"))
    if "search_seconds" in costs:
        found.append(("seconds of search", f"{costs['search_seconds'].sum():.3g}"))
    if "flops" in costs:
        found.append(("FLOPs of search and training", f"{costs.groupby('seed')['flops'].max().sum():.3g}"))
    return found
