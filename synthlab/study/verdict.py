"""From a held-out region to a verdict: train a small model, test it inside and outside the support, and let search
work on the same tasks at equal total cost (`study.equal_cost`).

A verdict is exploratory: one seed, one split, one short run. What is done is kept: the run goes on from its
checkpoints, a finished verdict is loaded. Other processes follow it through `study.verdict_progress`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import reduce
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd

from synthlab.assessment.metrics import difference, estimate
from synthlab.assessment.tasks import Tasks, tasks_of
from synthlab.durable import exclusive
from synthlab.errors import ConfigurationError, SplitError
from synthlab.presets import NETWORKS, RUN_SCHEMA, ModelConfig, Preset, TrainingConfig
from synthlab.spaces.space import Space
from synthlab.splits.audit import audit_corpus
from synthlab.splits.split import Split
from synthlab.store import Carrier, Store, content_key
from synthlab.study.equal_cost import GREEDY, MODEL, SEARCH, Answers, model_answers, search_answers
from synthlab.study.verdict_progress import AUDITING, SOLVING, TRAINING, Diary, diary, progress_folder
from synthlab.universe.corpus import Corpus

if TYPE_CHECKING:
    from synthlab.learning.run import Run

NUM_TASKS, SECONDS_A_TASK, NUM_CANDIDATES, NUM_CHECKS = 100, 2.0, 8, 8
MATCHED = ("matched_id", "matched_forced")


def verdict_settings(preset: Preset, *, steps: int | None = None, seed: int = 0) -> tuple[ModelConfig, TrainingConfig]:
    """Model and training of a verdict: those of the preset's many short runs, looked at more often.

    Parameters
    ----------
    preset
        `quick` takes a minute or two on two cores.
    steps, seed
        Of the training; the preset's number of steps by default.
    """
    length = preset.short.num_steps if steps is None else steps
    return preset.model, replace(preset.short, num_steps=length, num_checks=min(NUM_CHECKS, length), seed=seed)


@dataclass(frozen=True, eq=False)
class Verdict(Carrier):
    """What a model and search solve of a split's tests, and what that took.

    Attributes
    ----------
    description
        What decides it.
    about
        What is told of it: what is tested, joint_shift, model, steps, training_seconds (checks included), trained_here
        (in this session, from the first step), device.
    parts
        One row per test set and solver: part, solver, kind, solved (share), low, high (95 %), num_tasks, mean_leaves.
        The first solver is the greedy model, the first of kind ``search`` the one that is compared.
    sizes
        Items and shares of every minimal size in training and every whole test set (`Split.histogram`).
    costs
        One row per solver: what it spent (`equal_cost.Bill`), num_tasks (each class once), and share_of_allowed.
    results
        One row per part, class and solver: part, class_id, leaves, weight, solver, kind, solved, on_grid.
    history
        Of the training: step, name, value.
    """

    stage: ClassVar[str] = "verdict"
    schema: ClassVar[int] = 1

    description: dict[str, Any]
    about: dict[str, Any]
    parts: pd.DataFrame
    sizes: pd.DataFrame
    costs: pd.DataFrame
    results: pd.DataFrame
    history: pd.DataFrame

    @staticmethod
    def describe(
        split_key: str, model: ModelConfig, training: TrainingConfig, num_tasks: int = NUM_TASKS
    ) -> dict[str, Any]:
        """Identity of a verdict before it is reached."""
        described = {
            "split": split_key, "model": asdict(model), "training": asdict(training), "run_schema": RUN_SCHEMA,
            "num_tasks": num_tasks, "seconds_a_task": SECONDS_A_TASK, "num_candidates": NUM_CANDIDATES,
        }  # fmt: skip
        if model.network in NETWORKS:
            return described
        from synthlab.learning.networks import network_identity  # asked only then: it loads torch

        return described | {"network_source": network_identity(model)}

    @property
    def identity(self) -> dict[str, Any]:
        return self.description

    def payload(self) -> dict[str, Any]:
        tables = {name: getattr(self, name) for name in ("parts", "sizes", "costs", "results", "history")}
        return tables | {"about": json.dumps(self.about).encode()}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        return cls(identity, json.loads(payload.pop("about")), **payload)

    def frame(self) -> pd.DataFrame:
        return self.parts

    @property
    def opponent(self) -> str:
        """Name of the search that is compared with the model."""
        return str(self.parts.loc[self.parts["kind"] == SEARCH, "solver"].iloc[0])

    def __str__(self) -> str:
        """The verdict in one line, with its hedge."""
        about = self.about
        shift = ", joint shift" if about["joint_shift"] else ""
        best = next(name for name in self.parts.loc[self.parts["kind"] == MODEL, "solver"] if name != GREEDY)
        return (
            f"{about['what']}. Model {about['model']}, greedy: {self._shares(GREEDY)}{self._drop()}; first of "
            f"{NUM_CANDIDATES} candidates right on the grid: {self._shares(best, ends=False)}. "
            f"Search ({self.opponent}): {self._shares(self.opponent)}. {self._seconds()}. "
            f"Exploratory: one seed, one split, one run of {about['steps']:,} steps{shift}."
        )

    def _shares(self, solver: str, *, ends: bool = True) -> str:
        rows = self.parts[(self.parts["solver"] == solver) & ~self.parts["part"].isin(MATCHED)]
        shares = [f"{r.part} {r.solved:.0%}" + f" [{r.low:.0%}, {r.high:.0%}]" * ends for r in rows.itertuples()]
        return ", ".join(shares)

    def _drop(self) -> str:
        """How far the greedy model falls between tests that are alike in size, degree and number of texts."""
        rows = self.results[self.results["solver"] == GREEDY]
        first, second = (rows[rows["part"] == part] for part in MATCHED)
        if first.empty or second.empty:
            return ""
        gap = difference(first, second).points
        return f" (matched: {100 * gap.value:+.0f} points [{100 * gap.low:+.0f}, {100 * gap.high:+.0f}])"

    def _seconds(self) -> str:
        costs = self.costs.set_index("solver")
        model, search = costs.loc[GREEDY], costs.loc[self.opponent]
        when = "" if self.about["trained_here"] else f", measured earlier on {self.about['device']}"
        return (
            f"Seconds: model {model['total_seconds']:.1f} ({model['setup_seconds']:.1f} of training{when}), "
            f"search {search['total_seconds']:.1f} of the same {search['allowed_seconds']:.1f}"
        )

    def __repr__(self) -> str:
        return f"Verdict({self})"


def verdict_key(split_key: str, model: ModelConfig, training: TrainingConfig, num_tasks: int = NUM_TASKS) -> str:
    """Key under which a verdict is stored, and its progress."""
    return content_key(Verdict.stage, Verdict.schema, Verdict.describe(split_key, model, training, num_tasks))


# ---------------------------------------------------------------- reaching it


def hold_verdict(
    corpus: Corpus, split: Split, spaces: Mapping[str, Space] | None = None, *, store: Store, model: ModelConfig,
    training: TrainingConfig, tasks: int = NUM_TASKS, progress: bool = True,
    watch: Callable[[pd.DataFrame], None] | None = None,
) -> Verdict:  # fmt: skip
    """Load a verdict of these settings, or reach it now, going on where an earlier call was cut off.

    Parameters
    ----------
    corpus, split
        The universe, and what is trained on and tested.
    spaces
        Those of a region that is cut in them: the audit then asks them again.
    store
        Where run, verdict and progress are kept.
    model, training
        What is trained, and how; see `verdict_settings`.
    tasks
        Drawn of every test set, for model and search alike; a class that is in several is asked once.
    progress, watch
        As in `learning.training.train`.

    Raises
    ------
    SplitError
        If the split leaks.
    ConfigurationError
        For fewer than one task.
    InUseError
        If another process is at this verdict.
    """
    if tasks < 1:
        raise ConfigurationError(f"{tasks} tasks of every part: ask for at least one")
    described, key = Verdict.describe(split.key, model, training, tasks), verdict_key(split.key, model, training, tasks)
    if store.has(Verdict.stage, key):
        return Verdict.load(store, key)
    folder = progress_folder(store, key)
    with exclusive(folder), diary(folder) as kept:
        kept.say(AUDITING)
        audit_corpus(split, corpus, spaces).require()
        run, cpu = _trained(corpus, split, model, training, store, kept, progress=progress, watch=watch)
        verdict = _judged(corpus, split, run, cpu, tasks, described, kept)
        verdict.save(store)
    return verdict


def _trained(
    corpus: Corpus, split: Split, model: ModelConfig, training: TrainingConfig, store: Store, kept: Diary,
    **options: Any,
) -> tuple[Run, float]:  # fmt: skip
    """The finished run, and the processor's seconds of its training; NaN unless all of it happened here."""
    from synthlab.learning.evaluation import train_cached
    from synthlab.learning.run import Run, run_key
    from synthlab.learning.training import run_folder

    folder = run_folder(corpus, split, model, training, store)
    fresh = not store.has(Run.stage, run_key(corpus, split, model, training)) and not folder.exists()
    kept.say(TRAINING, run=str(folder), steps=training.num_steps)
    start = time.process_time()
    run = train_cached(corpus, split, model, training, store=store, **options)
    if not run.finished:
        raise KeyboardInterrupt
    return run, time.process_time() - start if fresh else np.nan


def _judged(
    corpus: Corpus, split: Split, run: Run, training_cpu: float, num: int, described: dict[str, Any], kept: Diary
) -> Verdict:
    drawn = draw_tasks(split, num, run.training.seed)
    if not drawn:
        raise SplitError("the split has no test tasks: draw it again")
    tasks = tasks_of(corpus, reduce(np.union1d, drawn.values()))
    kept.say(SOLVING, tasks=len(tasks))
    answers = model_answers(run, tasks, NUM_CANDIDATES, training_cpu)
    answers += search_answers(tasks, answers[0].bill.total, SECONDS_A_TASK, run.training.seed)
    results = _results(drawn, tasks, answers)
    held_out = split.settings.get("region_text")
    about = {
        "what": f"Held out: {held_out}" if held_out else f"A {split.kind} split", "joint_shift": split.joint_shift,
        "model": run.model_config.name, "steps": run.steps_done, "training_seconds": run.cost["seconds"],
        "trained_here": bool(np.isfinite(training_cpu)), "device": run.cost["device"],
    }  # fmt: skip
    tables = _parts(results), split.histogram(corpus), _costs(answers, len(tasks)), results
    return Verdict(described, about, *tables, run.history)


def draw_tasks(split: Split, num: int, seed: int) -> dict[str, np.ndarray]:
    """Class ids of at most `num` tasks of every test set that is not empty; matched pairs stay pairs."""
    draws = {
        part: ids[np.random.default_rng([seed, 20]).permutation(len(ids))[:num]] for part, ids in split.tests.items()
    }
    return {part: ids for part, ids in draws.items() if len(ids)}


def _results(drawn: Mapping[str, np.ndarray], tasks: Tasks, answers: list[Answers]) -> pd.DataFrame:
    """Every part's rows of every solver's answers."""
    tables = []
    for part, ids in drawn.items():
        unique, weight = np.unique(ids, return_counts=True)
        rows = np.searchsorted(tasks.class_id, unique)
        fixed = {"part": part, "class_id": unique, "leaves": tasks.class_leaves[rows], "weight": weight}
        tables += [
            pd.DataFrame(fixed | {"solver": a.solver, "kind": a.kind, "solved": a.solved[rows]}).assign(
                on_grid=a.on_grid[rows]
            )
            for a in answers
        ]
    return pd.concat(tables, ignore_index=True)


def _parts(results: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for (part, solver, kind), group in results.groupby(["part", "solver", "kind"], sort=False):
        found = estimate(group)
        mean = float(np.average(group["leaves"], weights=group["weight"]))
        rows.append((part, solver, kind, found.value, found.low, found.high, found.num_tasks, mean))
    return pd.DataFrame(rows, columns=["part", "solver", "kind", "solved", "low", "high", "num_tasks", "mean_leaves"])


def _costs(answers: list[Answers], num_tasks: int) -> pd.DataFrame:
    rows = [
        {
            "solver": a.solver, "kind": a.kind, "setup_seconds": a.bill.setup_seconds, "task_seconds": a.bill.seconds,
            "total_seconds": a.bill.total, "allowed_seconds": a.bill.allowed, "setup_cpu_seconds": a.bill.setup_cpu,
            "task_cpu_seconds": a.bill.cpu, "num_tasks": num_tasks, "num_skipped": a.bill.num_skipped,
            "device": a.bill.device,
        }
        for a in answers
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(share_of_allowed=table["total_seconds"] / table["allowed_seconds"])
