"""Expert iteration: what search finds on practice tasks trains the model again; does that move the wall?

Search is the expert and the model the apprentice (Anthony et al. 2017; so grows the data of ReST, Gulcehre et al.
2023, and that of wake and sleep in DreamCoder, Ellis et al. 2021). Classes of a support split's tests are halved by
size: search practices on one half, the other half stays a test and no text of it is ever trained on. Every model is
trained from scratch by the same number of steps; the placebo of a round has its seed, and so the weights that it begins
with and the number of steps, but the old training programs.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from synthlab.assessment.correctness import check
from synthlab.assessment.metrics import difference, weighted_mean
from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.search.budget import Budget
from synthlab.search.problem import INTERRUPTED, Problem, Solver
from synthlab.splits.audit import audit_corpus
from synthlab.splits.split import Split
from synthlab.store import Carrier, Store, content_key
from synthlab.study.practice import Practice, answered, check_share, draw_practice, practice_split, teachable
from synthlab.study.trials import Outcomes
from synthlab.universe.corpus import Corpus

if TYPE_CHECKING:
    from synthlab.learning.run import Run

ITERATED, PLACEBO = "expert iteration", "placebo"
PARTS = ("forced", "id")
_SEEDS_APART = 1000
"""Between the seeds of two rounds, so that studies of neighboring seeds share none."""
_COUNTS = ("practiced", "found", "right", "added", "inside", "num_train")
_SPENT = ("search_seconds", "tested", "tokens", "search_flops", "setup_seconds", "setup_flops")
_COLUMNS = ["round", "arm", "part", "class_id", "leaves", "found", "solved", "status"]


class Searches(Outcomes):
    """What one round of search answered.

    Attributes
    ----------
    description
        Everything that decides it but the clock.
    results
        One row per practice task: the columns of `practice.answered`.
    cost
        One row: search_seconds of the whole round on the clock, the sums of tested, tokens and flops, and
        setup_seconds and setup_flops as the solver reports them.
    """

    stage: ClassVar[str] = "practice"
    schema: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class ExpertIteration(Carrier):
    """Outcomes and costs of every round, 0 being the model before.

    Attributes
    ----------
    description
        Everything that decides it but the clock.
    results
        One row per round, arm, part and class: round, arm (expert iteration, placebo), part (a test set, or
        "practice " and the one that its tasks were taken from), class_id, leaves, found (of practice tasks: search
        has found it by that round), solved (greedy answer, pass@1), status. Both arms share round 0.
    costs
        One row per round and arm: round, arm, practiced and found (practice tasks), right (found ones that are
        the same function), added (programs, each counted once), inside (added ones in the held-out region),
        num_train (items, repeated ones included), search_seconds (on the clock), tested, tokens, search_flops,
        steps, training_seconds, training_flops; seconds and flops of both up to that round. Apart stand
        setup_seconds and setup_flops of the solver: those of a guided one are a training that the table holds.
    searches
        One row per round and practice task searched: round, part, and the columns of `Searches.results`.
    """

    stage: ClassVar[str] = "expert-iteration"

    description: dict[str, Any]
    results: pd.DataFrame
    costs: pd.DataFrame
    searches: pd.DataFrame

    @property
    def identity(self) -> dict[str, Any]:
        return self.description

    def payload(self) -> dict[str, pd.DataFrame]:
        return {"results": self.results, "costs": self.costs, "searches": self.searches}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        return cls(identity, **payload)

    def frame(self) -> pd.DataFrame:
        return self.results

    def gains(self) -> pd.DataFrame:
        """Expert iteration minus placebo on the same classes.

        Returns
        -------
        pandas.DataFrame
            One row per round and part: round, part, placebo and iterated (pass@1), points (the difference), low, high
            (95 %, paired bootstrap over classes: what other classes would do, not other trainings), num_tasks.
        """
        rows = []
        for (number, part), group in self.results.groupby(["round", "part"], sort=False):
            placebo, iterated = (group[group["arm"] == arm] for arm in (PLACEBO, ITERATED))
            gap = difference(placebo, iterated).points
            means = weighted_mean(placebo), weighted_mean(iterated)
            rows.append((number, part, *means, gap.value, gap.low, gap.high, gap.num_tasks))
        return pd.DataFrame(
            rows, columns=["round", "part", "placebo", "iterated", "points", "low", "high", "num_tasks"]
        )


def expert_iteration(
    corpus: Corpus, split: Split, model: ModelConfig, training: TrainingConfig,
    solver_of: Solver | Callable[[Run], Solver], budget: Budget, *, store: Store, rounds: int = 3, seed: int = 0,
    share: float = 0.1, parts: Sequence[str] = PARTS, progress: bool = False, **trainer_flags: Any,
) -> ExpertIteration:  # fmt: skip
    """Alternate search and training; every step that was done before is loaded.

    Parameters
    ----------
    corpus, split
        The universe and a support split of it, whose training programs every model is taught.
    model, training
        What is trained in every round, and how.
    solver_of
        One solver, which searches once, or what makes a solver from the newest model, which is then asked for all
        tasks without a program. Solvers of one name and model are taken for one.
    budget
        Of the search for one task.
    rounds
        Rounds of search and training after the first training.
    seed
        Decides which classes are practiced.
    share
        Of every batch that is found programs, repeated as often as it takes; each of them is taught once at least.
    parts
        Tests whose classes are halved; they may not overlap.
    store, progress, **trainer_flags
        Where splits, searches and runs are kept; the others as in `learning.training.train`.

    Raises
    ------
    ConfigurationError, SplitError
        For settings out of range, a split that cannot be practiced on (`draw_practice`), or one that leaks.
    KeyboardInterrupt
        If a search or a training was interrupted; finished steps are kept.
    """
    if rounds < 1:
        raise ConfigurationError(f"{rounds} rounds: use at least one")
    check_share(share)
    practice, flags = draw_practice(corpus, split, parts, seed), {"progress": progress, **trainer_flags}
    lab = _Rounds(corpus, split, model, training, practice, budget, share, store, flags)
    before = lab.trained(split, 0)
    first = solver_of if isinstance(solver_of, Solver) else solver_of(before)
    description = {
        "run": before.key, "practice": practice.identity, "share": share, "budget": asdict(budget), "rounds": rounds,
        "solver": first.name, "fixed": first is solver_of, "schemas": [Split.schema, Searches.schema],
    }  # fmt: skip

    def work() -> ExpertIteration:
        audit_corpus(split, corpus).require()  # also where its model was trained before
        lab.note(0, {ITERATED: before, PLACEBO: before}, {})
        run = before
        for number in range(1, rounds + 1):
            solver = first if number == 1 or isinstance(solver_of, Solver) else solver_of(run)
            run = lab.step(number, solver, None if first is solver_of else run)
        return lab.outcome(description)

    key = content_key(ExpertIteration.stage, ExpertIteration.schema, description)
    return store.cached(ExpertIteration, key, work)


@dataclass
class _Rounds:
    """Settings of a study, and what its rounds have found so far: classes solved, programs taught."""

    corpus: Corpus
    split: Split
    model: ModelConfig
    training: TrainingConfig
    practice: Practice
    budget: Budget
    share: float
    store: Store
    flags: Mapping[str, Any]
    solved: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    taught: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    answers: list[pd.DataFrame] = field(default_factory=list)
    costs: list[dict[str, Any]] = field(default_factory=list)
    searches: list[pd.DataFrame] = field(default_factory=list)

    def trained(self, split: Split, number: int) -> Run:
        """The model of a round; models of one round differ in their training programs alone."""
        from synthlab.learning.evaluation import train_cached

        training = replace(self.training, seed=self.training.seed + _SEEDS_APART * number)
        run = train_cached(self.corpus, split, self.model, training, store=self.store, **self.flags)
        if not run.finished:
            raise KeyboardInterrupt
        return run

    def step(self, number: int, solver: Solver, newest: Run | None) -> Run:
        """Search, train and measure; `newest` is the model that the solver was made from, None for a fixed solver."""
        asked = np.setdiff1d(self.practice.practiced, self.solved)
        if newest is None and number > 1:  # again it would find the same
            asked = asked[:0]
        search = self.searched(solver, newest, asked)
        hits = search.results[search.results["found"]]
        self.solved = np.union1d(self.solved, hits["class_id"])
        added = np.setdiff1d(hits["program_id"], self.taught)
        added = added[teachable(self.corpus, self.split, self.practice, added)]
        self.taught, split = np.union1d(self.taught, added), self.split
        if len(self.taught):
            split = practice_split(self.corpus, self.split, self.practice, self.taught, self.share)
            split.save(self.store)
        runs = {ITERATED: self.trained(split, number), PLACEBO: self.trained(self.split, number)}
        counts = {
            "practiced": len(asked), "found": len(hits), "right": int(hits["right"].sum()), "added": len(added),
            "inside": int(self.split.held_out(self.corpus.num_programs)[added].sum()), "num_train": len(split.train),
        }  # fmt: skip
        self.searches.append(search.results.assign(round=number))
        self.note(number, runs, counts | search.cost.to_dict("records")[0])
        return runs[ITERATED]

    def searched(self, solver: Solver, newest: Run | None, classes: np.ndarray) -> Searches:
        """Answers of a solver to some classes."""
        description = {
            "practice": self.practice.identity, "solver": solver.name, "budget": asdict(self.budget),
            "classes": hashlib.sha256(classes.tobytes()).hexdigest(), "run": newest.key if newest else None,
        }  # fmt: skip

        def work() -> Searches:
            tasks, start = tasks_of(self.corpus, classes), time.perf_counter()
            problems = [Problem.of(tasks, row) for row in range(len(tasks))]
            results = solver.solve_all(problems, self.budget) if problems else []
            seconds = time.perf_counter() - start
            if any(result.stopped == INTERRUPTED for result in results):
                raise KeyboardInterrupt
            records, setup = answered(tasks, results), solver.setup
            spent = (seconds, *records[["tested", "tokens", "flops"]].sum(), setup.seconds, setup.flops)
            return Searches(description, records, pd.DataFrame([dict(zip(_SPENT, spent, strict=True))]))

        key = content_key(Searches.stage, Searches.schema, description)
        return self.store.cached(Searches, key, work)

    def note(self, number: int, runs: Mapping[str, Run], spent: Mapping[Any, Any]) -> None:
        """Measure the models of a round and write down what they took; placebos spend nothing on search."""
        parts = self.practice.tests | {f"practice {part}": ids for part, ids in self.practice.classes.items()}
        nothing = dict.fromkeys(_COUNTS + _SPENT, 0) | {"num_train": len(self.split.train)}
        for arm, run in runs.items():
            answers = _answers(run, self.corpus, parts).assign(round=number, arm=arm)
            self.answers.append(answers.assign(found=answers["class_id"].isin(self.solved))[_COLUMNS])
            cost = {f"training_{what}": run.cost[what] for what in ("seconds", "flops")}
            own = spent if arm == ITERATED else {}
            self.costs.append({"round": number, "arm": arm, **nothing, **own, "steps": run.steps_done, **cost})

    def outcome(self, description: dict[str, Any]) -> ExpertIteration:
        """All rounds together."""
        costs, searches = pd.DataFrame(self.costs), pd.concat(self.searches, ignore_index=True)
        for what in ("seconds", "flops"):
            spent = costs[f"search_{what}"] + costs[f"training_{what}"]
            costs[what] = spent.groupby(costs["arm"]).cumsum()
        part_of = {int(i): part for part, ids in self.practice.classes.items() for i in ids}
        searches.insert(0, "part", searches["class_id"].map(part_of))
        searches.insert(0, "round", searches.pop("round"))
        return ExpertIteration(description, pd.concat(self.answers, ignore_index=True), costs, searches)


def _answers(run: Run, corpus: Corpus, parts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Greedy answers of a model: class_id, leaves, solved, status, part; among others."""
    from synthlab.learning.decoding import decode
    from synthlab.learning.evaluation import placed

    tasks = tasks_of(corpus, np.unique(np.concatenate(list(parts.values()))))
    table = check(tasks, decode(placed(run.model()), tasks, max_size=corpus.max_size)).frame()
    frames = [table[table["class_id"].isin(ids)].assign(part=part) for part, ids in parts.items()]
    return pd.concat(frames, ignore_index=True)
