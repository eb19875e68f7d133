"""Solvers against each other on the same tasks, at equal budgets: who is ahead of the best of all others.

Tasks are drawn at once for all that were asked them. That the best of several opponents is chosen on the tasks that
judge it is part of every replicate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from synthlab.assessment import metrics
from synthlab.assessment.bootstrap import Draws, Resampled, resample
from synthlab.errors import ConfigurationError
from synthlab.search.problem import SPENT
from synthlab.study.evidence import Evidence, evidence, mapped, weakest
from synthlab.study.samples import share

COMMAND = "python -m synthlab contest quick"
MODEL, SYMBOLIC = "model", "symbolic"
AXES = ("seconds", "tested")
TASK = ("seed", "leaves", "class_id")
"""What tells tasks beyond the universe apart: their class ids begin anew with every seed and size."""
BUDGET_SECONDS = 1.0
_EARLY = 0.1


def require(table: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Refuse tables that are empty or lack columns, with the command that makes them.

    Raises
    ------
    ConfigurationError
        Naming what is missing.
    """
    if table.empty:
        raise ConfigurationError(f"no results of {what}: run `{COMMAND}`")
    missing = [c for c in columns if c not in table]
    if missing:
        raise ConfigurationError(f"the results of {what} lack {', '.join(missing)}: run `{COMMAND}`")


def wide(rows: pd.DataFrame, keys: Sequence[str], columns: str | Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Values by those of `columns`, one row for every value of the keys that has all of them.

    Raises
    ------
    ConfigurationError
        If there are several rows of one.
    """
    across = [columns] if isinstance(columns, str) else [*columns]
    if rows.duplicated([*keys, *across]).any():
        raise ConfigurationError(f"several rows of one {', '.join([*keys, *across])}: give every contest once")
    table = rows.pivot_table(index=[*keys], columns=across, values=[*values], aggfunc="first")
    complete = table.shape[1] == len(values) * len(rows.drop_duplicates(across))  # what no row has is no column
    return table.dropna() if complete else table.iloc[:0]


def by_seed(units: pd.DataFrame, values: np.ndarray) -> Resampled:
    """Sums of columns (n, C) by seed, under the bootstrap of seeds and of what was asked in them."""
    return resample(units, values.astype(float), ["seed"], num_replicates=metrics.NUM_REPLICATES)


@dataclass(frozen=True, eq=False)
class Race:
    """One method and its opponents on the same tasks.

    Attributes
    ----------
    tasks
        Seed, leaves and class of every task (n).
    methods, kinds
        Names and kinds (M); the method that is judged comes first.
    solved, cut
        Whether a task was solved, and whether its search was stopped by the budget (n, M).
    spent
        By axis, what was spent (n, M).
    num_left_out
        Tasks that not all methods were asked.
    """

    tasks: pd.DataFrame
    methods: tuple[str, ...]
    kinds: tuple[str, ...]
    solved: np.ndarray
    cut: np.ndarray
    spent: Mapping[str, np.ndarray]
    num_left_out: int = 0

    @classmethod
    def of(cls, rows: pd.DataFrame, judged: str) -> Race:
        """A method against all models and symbolic searches.

        Parameters
        ----------
        rows
            One row per task and method: `TASK`, method, kind, solved, stopped, and the axes.
        judged
            Name of the method.

        Raises
        ------
        ConfigurationError
            If it, all models or all symbolic searches are missing, or no task was asked of all.
        """
        rows = rows[(rows["method"] == judged) | rows["kind"].isin((MODEL, SYMBOLIC))]
        kinds = rows.drop_duplicates("method").set_index("method")["kind"]
        others = set(kinds.drop(judged, errors="ignore"))
        absent = [] if judged in kinds else [repr(judged)]
        absent += [f"a {kind} solver" for kind in (MODEL, SYMBOLIC) if kind not in others]
        if absent:
            raise ConfigurationError(f"no results of {' and '.join(absent)} to compare: run `{COMMAND}`")
        methods = [judged, *(m for m in kinds.index if m != judged)]
        table = wide(rows.assign(cut=rows["stopped"] == SPENT), TASK, "method", ["solved", "cut", *AXES])
        if table.empty:
            raise ConfigurationError(f"no task was asked of all methods, with its costs: run `{COMMAND}`")
        by = {name: table[name][methods].to_numpy(float) for name in ("solved", "cut", *AXES)}
        return cls(
            table.index.to_frame(index=False), tuple(methods), tuple(kinds[methods]), by["solved"] > 0, by["cut"] > 0,
            {axis: by[axis] for axis in AXES}, len(rows.drop_duplicates([*TASK])) - len(table),
        )  # fmt: skip

    def with_setups(self, setups: pd.DataFrame) -> Race:
        """The same race, where every task bears an equal share of what was spent before the first task of its seed.

        Raises
        ------
        ConfigurationError
            If the table (seed, method, programs, lookups, seconds) is empty or lacks columns.
        """
        require(setups, ["seed", "method", "programs", "lookups", "seconds"], "preparations")
        spent = setups.assign(tested=setups["programs"] + setups["lookups"])
        whole = spent.pivot_table(index="seed", columns="method", values=[*AXES], aggfunc="sum")
        num = self.tasks.groupby("seed")["class_id"].transform("size").to_numpy(float)[:, None]

        def share_of(axis: str) -> np.ndarray:
            of_task = pd.DataFrame(whole[axis]).reindex(index=self.tasks["seed"], columns=[*self.methods])
            return np.asarray(of_task.fillna(0.0).to_numpy(float) / num)

        return replace(self, spent={axis: self.spent[axis] + share_of(axis) for axis in AXES})

    # ------------------------------------------------------------ budgets

    def budgets(self) -> dict[str, float]:
        """A second, or what searches were given if it was less; and the tests of the strongest symbolic one in it.

        Nine in ten of its searches that fail in that time make so many tests: it is hardly ever the clock that stops
        it before, and it does about as well with so many tests as in that time.
        """
        seconds = BUDGET_SECONDS
        if self.cut.any():
            seconds = min(seconds, float(np.median(self.spent["seconds"][self.cut])))
        failed = ~self.within("seconds", seconds)
        afforded = {m: self._afforded(m, failed) for m in self.of_kind(SYMBOLIC)}
        strongest = min(afforded, key=lambda m: (failed[:, m].sum(), -afforded[m]))
        return {"seconds": seconds, "tested": max(1.0, afforded[strongest])}

    def _afforded(self, method: int, failed: np.ndarray) -> float:
        """Tests that nearly all failed searches of a method make; the most it ever makes if none failed."""
        tests, some = self.spent["tested"][:, method], failed[:, method]
        return float(np.quantile(tests[some], _EARLY, method="lower") if some.any() else tests.max())

    def shared_tests(self, tests: float) -> float:
        """At most so many tests that no symbolic search was stopped by its budget before, in nine of ten cases."""
        stopped = [m for m in self.of_kind(SYMBOLIC) if self.cut[:, m].any()]
        return max(1.0, min([tests, *(self._afforded(m, self.cut) for m in stopped)]))

    def starved(self, axis: str, budget: float) -> list[int]:
        """Methods that were stopped before this budget on most tasks that they do not solve within it."""
        early = (self.cut & (self.spent[axis] < budget)).sum(axis=0)
        return np.flatnonzero(2 * early > (~self.within(axis, budget)).sum(axis=0)).tolist()

    def of_kind(self, kind: str) -> list[int]:
        """Opponents of a kind."""
        return [m for m, k in enumerate(self.kinds) if k == kind and m > 0]

    def within(self, axis: str, budget: float) -> np.ndarray:
        """Whether a task was solved at no more than a cost (n, M)."""
        return self.solved & (self.spent[axis] <= budget)

    # ------------------------------------------------------------ who is ahead

    def _sums(self, axis: str, budget: float) -> Resampled:
        """Tasks, and those solved by each method, over all seeds: columns 0 and 1 + m of a single group."""
        solved = self.within(axis, budget)
        sums = by_seed(self.tasks, np.column_stack([np.ones(len(solved)), solved]))
        one, all_, rows = (s.sum(axis=1, keepdims=True) for s in (sums.observed, sums.replicates, sums.within))
        return replace(sums, groups=sums.groups.iloc[:1], observed=one, replicates=all_, within=rows)

    def shares(self, axis: str, budget: float) -> list[Draws]:
        """Share of tasks that each method solves within a budget."""
        sums, everyone = self._sums(axis, budget), np.ones(1, dtype=bool)
        return [share(sums, everyone, 0, 1 + m, len(self.tasks), m) for m in range(len(self.methods))]

    def ahead(self, axis: str, budget: float, bound: float) -> Evidence:
        """Logarithm of the ratio of solved tasks to those of the best opponent, held against that of a bound.

        What holds it up is its distance to the best opponent of every replicate. Since the luckiest of many looks
        better than it is, what refutes it is held against each opponent alone, corrected for their number. Half a
        task is added to every count, in replicates as a draw of Jeffreys' prior of a rate, Gamma(1/2): that no task
        was solved does not show that none can be.
        """
        sums, generator = self._sums(axis, budget), np.random.default_rng(0)
        drawn = {name: getattr(sums, name) for name in ("replicates", "within")}
        counts = replace(
            sums, observed=sums.observed + 0.5, **{n: s + generator.gamma(0.5, size=s.shape) for n, s in drawn.items()}
        )  # fmt: skip

        def against(opponents: slice) -> Evidence:
            logs = counts.draws(
                lambda s: np.log(s[:, 0, 1]) - np.log(s[:, 0, opponents].max(axis=1)), len(self.tasks)
            )  # fmt: skip
            return evidence(logs, float(np.log(bound)))

        best = against(slice(2, None))
        each = weakest([against(slice(c, c + 1)) for c in range(2, 1 + len(self.methods))], above=True)
        return replace(best, estimate=replace(best.estimate, high=each.estimate.high), p_below=each.p_below)

    def ratio(self, places: Sequence[tuple[str, float]], bound: float) -> Evidence:
        """The smallest ratio of solved tasks over several axes with their budgets: all have to lie above the bound."""
        return mapped(weakest([self.ahead(*place, bound) for place in places], above=True), np.exp)
