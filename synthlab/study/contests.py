"""Contests between the model, search, and both together, on equal terms.

Every solver sees the grid outputs of a task and submits one program. What it spends is written down on every axis,
until its program was found; what it needed before the first task stands apart.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from synthlab.assessment.tasks import Tasks, tasks_by_part
from synthlab.presets import Preset
from synthlab.search.best_first import BestFirst
from synthlab.search.budget import Budget
from synthlab.search.completion import Completion
from synthlab.search.edits import Edits
from synthlab.search.library import Library
from synthlab.search.model_costs import ModelCosts
from synthlab.search.portfolio import Portfolio
from synthlab.search.problem import INTERRUPTED, Problem, Solver
from synthlab.search.symbolic import Enumeration, LibraryLookup
from synthlab.splits.split import Split
from synthlab.store import Carrier, Store, content_key
from synthlab.study.designs import root_trial, scaling_trials
from synthlab.study.solvers import solve
from synthlab.study.trials import Trial, draw_split, spaces_read
from synthlab.study.workspace import Workspace
from synthlab.universe.corpus import Corpus
from synthlab.universe.sampling import PCFG

if TYPE_CHECKING:
    from synthlab.learning.run import Run

MODEL, SYMBOLIC, GUIDED = "model", "symbolic", "guided"
UNIVERSE = "universe"
PARTS = ("matched_id", "open", "matched_forced")
SCALING_PARTS = ("id", "forced")
SOURCES_SCHEMA = 1
"""Version of the solvers: contests of another one are held again."""
Entrant = tuple[str, Solver]


@dataclass(frozen=True, eq=False)
class Contest(Carrier):
    """Outcomes of one contest.

    Attributes
    ----------
    description
        What decides it.
    results
        One row per part, method and task (columns of `solvers.solve`, and part and kind).
    setups
        One row per method: what it spent before the first task.
    """

    stage: ClassVar[str] = "contest"
    schema: ClassVar[int] = 1

    description: dict[str, Any]
    results: pd.DataFrame
    setups: pd.DataFrame

    @property
    def identity(self) -> dict[str, Any]:
        return self.description

    def payload(self) -> dict[str, pd.DataFrame]:
        return {"results": self.results, "setups": self.setups}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        return cls(identity, payload["results"], payload["setups"])

    def frame(self) -> pd.DataFrame:
        return self.results

    @classmethod
    def held(
        cls, description: dict[str, Any], parts: Mapping[str, Tasks], entrants: Sequence[Entrant], budget: Budget, *,
        progress: bool = False,
    ) -> Self:  # fmt: skip
        """Let every entrant work on every part."""
        from tqdm.auto import tqdm

        tables, setups = [], []
        sample = Problem.of(next(iter(parts.values())), 0)
        for _, solver in entrants:
            solver.solve(sample, Budget(seconds=min(budget.seconds, 0.2)))  # compiled before anything is timed
        for kind, solver in (bar := tqdm(entrants, desc="contest", disable=not progress)):
            bar.set_postfix_str(solver.name)
            for part, tasks in parts.items():
                tables.append(solve(solver, tasks, budget).assign(part=part, kind=kind))
                if (tables[-1]["stopped"] == INTERRUPTED).any():
                    raise KeyboardInterrupt  # half a contest is no result
            setups.append({"method": solver.name, "kind": kind, **asdict(solver.setup)})
        return cls(description, pd.concat(tables, ignore_index=True), pd.DataFrame(setups))


# ---------------------------------------------------------------- tasks of the universe


def universe_contest(preset: Preset, workspace: Workspace, seed: int, *, progress: bool = False) -> Contest:
    """All methods on ID, open and forced tasks of the split that holds out the preset's first region."""
    trial, asked = root_trial(preset, seed), preset.contests
    names = ("seconds", "num_tasks", "num_candidates", "library", "completion")
    settings = {name: getattr(asked, name) for name in names}
    description = {"arena": UNIVERSE, "trial": trial.key, "solvers": SOURCES_SCHEMA, **settings}

    def work() -> Contest:
        corpus, split, run = trained(workspace, trial)
        parts = {n: t.sample(asked.num_tasks, seed) for n, t in tasks_by_part(corpus, split).items() if n in PARTS}
        known = tasks_by_part(corpus, split)["id"].sample(asked.num_tasks, seed + 1)
        entrants = universe_entrants(preset, corpus, split, run, known, seed)
        return Contest.held(description, parts, entrants, Budget(seconds=asked.seconds), progress=progress)

    return cached(workspace.store, description, work)


def universe_entrants(
    preset: Preset, corpus: Corpus, split: Split, run: Run, validation: Tasks, seed: int
) -> list[Entrant]:
    """Model, symbolic search and both together, for tasks of an enumerated universe.

    Parameters
    ----------
    validation
        ID tasks on which the temperature of sampling is tuned.
    """
    from synthlab.search.filtering import Filtered
    from synthlab.study.proposers import ModelProposer, tuned_proposer

    asked, grammar = preset.contests, corpus.grammar
    num = asked.num_candidates
    beam = ModelProposer(run, how="beam")
    distinct = tuned_proposer(run, validation, num_samples=num, how="distinct", seed=seed)
    pcfg = PCFG.fit(grammar, corpus.prefix[split.targets])
    small = Library.build(grammar, asked.completion, corpus.measure)
    completion = Completion(small, beam, num, name="hole completion")
    return [
        (MODEL, Filtered(beam, 1, name="model, greedy")),
        (MODEL, Filtered(beam, num, name="model, beam")),
        (MODEL, Filtered(distinct, num, name="model, distinct samples")),
        (SYMBOLIC, Enumeration()),
        (SYMBOLIC, BestFirst(pcfg)),
        (SYMBOLIC, LibraryLookup(Library.build(grammar, asked.library, corpus.measure))),
        (SYMBOLIC, Completion(small, None, num, name="hole completion of random programs")),
        (GUIDED, ModelCosts(beam, num, pcfg)),
        (GUIDED, completion),
        (GUIDED, Edits(beam, num, rounds=20, seed=seed, name="edits")),
        (GUIDED, Portfolio([completion, BestFirst(pcfg)], name="portfolio")),
    ]


# ---------------------------------------------------------------- the scaling grid


def scaling_contest(preset: Preset, workspace: Workspace, trial: Trial) -> pd.DataFrame:
    """A model of the scaling grid, alone and with its holes completed, on the same tasks, with tags of its trial."""
    from synthlab.search.filtering import Filtered
    from synthlab.study.proposers import ModelProposer

    asked = preset.contests
    names = ("scaling_candidates", "scaling_tasks", "completion")
    settings = {name: getattr(asked, name) for name in names}
    description = {"arena": "scaling", "trial": trial.key, "solvers": SOURCES_SCHEMA, **settings}

    def work() -> Contest:
        corpus, split, run = trained(workspace, trial)
        every = tasks_by_part(corpus, split)
        parts = {name: every[name].sample(asked.scaling_tasks) for name in SCALING_PARTS if name in every}
        beam, num = ModelProposer(run, how="beam"), asked.scaling_candidates
        small = Library.build(corpus.grammar, asked.completion, corpus.measure)
        entrants = [
            (MODEL, Filtered(beam, num, name="model, beam")),
            (GUIDED, Completion(small, beam, num, name="hole completion")),
        ]
        cost = {name: run.cost[name] for name in ("parameters", "flops")}
        held = Contest.held(description, parts, entrants, Budget(seconds=np.inf))
        return Contest(description, held.results.rename(columns={"flops": "test_flops"}).assign(**cost), held.setups)

    found = cached(workspace.store, description, work).results
    tags = {name: value for name, value in trial.tags.items() if name != "group"}
    return found.assign(trial=trial.key, model=trial.model.name, **tags)


def scaling_contests(preset: Preset, workspace: Workspace, *, progress: bool = False) -> pd.DataFrame:
    """All models of the scaling grid, of all seeds."""
    from tqdm.auto import tqdm

    trials = [trial for seed in preset.seeds for trial in scaling_trials(preset, workspace, seed)]
    bar = tqdm(trials, desc="scaling with search", disable=not progress)
    return pd.concat([scaling_contest(preset, workspace, trial) for trial in bar], ignore_index=True)


# ---------------------------------------------------------------- shared


def trained(workspace: Workspace, trial: Trial) -> tuple[Corpus, Split, Run]:
    """Universe, split and run of a trial: loaded, or trained now."""
    from synthlab.learning.evaluation import train_cached

    corpus = workspace.corpus(trial.universe)
    spaces = workspace.spaces(trial.universe, spaces_read(trial.kind, trial.settings))
    split = draw_split(corpus, spaces, workspace.store, trial.kind, trial.settings)
    run = train_cached(corpus, split, trial.model, trial.training, store=workspace.store, progress=False)
    if not run.finished:
        raise KeyboardInterrupt
    return corpus, split, run


def cached(store: Store, description: dict[str, Any], work: Callable[[], Contest]) -> Contest:
    """Load a contest, or hold it and save it."""
    key = content_key(Contest.stage, Contest.schema, description)
    return store.cached(Contest, key, work)
