"""A grid of trials as a value: planned before it starts, resumable anywhere, run in slices and on many machines.

Every finished trial is an artifact of its own and every failed one leaves its reason, so that a study that is cut
off, or changed, or spread over machines, is always the sum of what was done.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import warnings
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import pandas as pd

from synthlab.durable import write_atomically
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.store import Carrier, Store
from synthlab.study.execution import Job, run_jobs
from synthlab.study.tables import StudyTables
from synthlab.study.trials import Measures, Outcomes, Trial
from synthlab.study.workspace import Workspace

DONE, FAILED, OPEN = "done", "failed", "open"
_TAKEN = {"trial", "state", "reason"}


@dataclass(frozen=True, eq=False)
class _Register(Carrier):
    """Which trials a study consisted of when it was last run."""

    stage: ClassVar[str] = "study"
    schema: ClassVar[int] = 1

    name: str
    keys: tuple[str, ...]

    @property
    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "keys": list(self.keys)}

    def payload(self) -> dict[str, Any]:
        return {"trials": self.frame()}

    @classmethod
    def restore(cls, identity: dict[str, Any], payload: dict[str, Any]) -> Self:
        return cls(identity["name"], tuple(identity["keys"]))

    def frame(self) -> pd.DataFrame:
        return pd.DataFrame({"trial": list(self.keys)})


@dataclass(frozen=True)
class Study:
    """Trials in order of importance, so that what is done at any time is a result.

    Parameters
    ----------
    name
        Under which it is remembered.
    trials
        All of them; two trials of one key are refused.

    Raises
    ------
    ConfigurationError
        If it has no trials, one of them twice, or one without a group or with a tag that is a column already.
    """

    name: str
    trials: tuple[Trial, ...]

    def __post_init__(self) -> None:
        keys = [trial.key for trial in self.trials]
        if not keys:
            raise ConfigurationError(f"study {self.name!r} has no trials: give it at least one")
        if len(set(keys)) < len(keys):
            twice = next(t for t, key in zip(self.trials, keys, strict=True) if keys.count(key) > 1)
            raise ConfigurationError(f"study {self.name!r} holds a trial twice ({twice}): leave one out")
        for tags in (trial.tags for trial in self.trials):
            if "group" not in tags or _TAKEN & tags.keys():
                raise ConfigurationError(
                    f"tags {', '.join(tags) or 'none'}: every trial needs a group, and {', '.join(sorted(_TAKEN))} are "
                    "columns already"
                )

    def of(self, *groups: str) -> Study:
        """The trials of some groups.

        Raises
        ------
        ConfigurationError
            For a group that it does not have.
        """
        known = list(dict.fromkeys(str(t.tags.get("group")) for t in self.trials))
        unknown = [g for g in groups if g not in known]
        if unknown:
            raise ConfigurationError(f"study {self.name!r} has no group {unknown[0]!r}: choose from {', '.join(known)}")
        return Study(self.name, tuple(t for t in self.trials if t.tags.get("group") in groups))

    def frame(self) -> pd.DataFrame:
        """Trials with their tags: trial (its key), model, and a column per tag."""
        return pd.DataFrame([{"trial": t.key, "model": t.model.name, **t.tags} for t in self.trials])

    def status(self, store: Store) -> pd.DataFrame:
        """What was done: `frame` with state (done, failed, open) and reason."""
        reasons = {t.key: failure(store, t.key) for t in self.trials}
        table = self.frame()
        table["state"] = [
            DONE if store.has(Outcomes.stage, key) else FAILED if reasons[key] else OPEN for key in table["trial"]
        ]
        found = [str(reasons[key].get("reason", "")) for key in table["trial"]]
        return table.assign(reason=pd.Series(found, dtype=str).where(table["state"] != DONE, ""))

    def tables(self, store: Store) -> StudyTables:
        """Tables of what was done so far.

        Raises
        ------
        ArtifactError
            If outcomes are damaged, or have other columns than those of another trial that was asked the same.
        """
        status = self.status(store)
        tags = status.drop(columns=["state", "reason"])
        rows, results = [], dict[str, list[pd.DataFrame]]()
        asked, columns = {trial.key: trial.measures for trial in self.trials}, dict[Measures, list[str]]()
        for tag in tags[status["state"] == DONE].to_dict("records"):
            outcome = Outcomes.load(store, tag["trial"])
            _require_columns(outcome, columns.setdefault(asked[tag["trial"]], list(outcome.results.columns)))
            rows.append({**tag, **outcome.cost.iloc[0].to_dict()})
            results.setdefault(str(tag["group"]), []).append(outcome.results.assign(trial=tag["trial"]))
        failures = tags.assign(reason=status["reason"])[status["state"] == FAILED].reset_index(drop=True)
        trials = pd.DataFrame(rows) if rows else tags.iloc[:0]
        return StudyTables(trials, {g: pd.concat(found, ignore_index=True) for g, found in results.items()}, failures)

    def run(
        self, workspace: Workspace, *, executor: Executor | None = None, workers: int | None = None,
        minutes: float | None = None, retry: bool = False, progress: bool = True,
    ) -> StudyTables:  # fmt: skip
        """Run what is not done yet, in order.

        Parameters
        ----------
        workspace
            Where universes, splits, runs and outcomes are kept.
        executor, workers
            Where trials run, and how many at a time: on a CPU one process per core unless told otherwise, on a
            GPU one after the other in this process. An executor of other machines must see the same store; threads of
            one process take turns, for its random numbers are one. Networks of one's own stay in this process.
        minutes
            Time limit of this slice. A run that is cut off keeps its checkpoint, and the next slice goes on. In an
            executor's threads trainings end between two steps, and whatever else has begun is finished.
        retry
            Try again also what was refused before for a reason that lies in its settings.
        progress
            Show a progress bar.

        Returns
        -------
        StudyTables
            Of all that is done, in this slice or before.

        Raises
        ------
        KeyboardInterrupt
            After Ctrl-C; what was finished is kept.
        """
        if minutes is not None and not minutes > 0:
            raise ConfigurationError(f"a slice of {minutes} minutes: use a positive number")
        store = workspace.store
        self._note(store)
        status = self.status(store).set_index("trial")
        waiting = [
            trial
            for trial in self.trials
            if status["state"][trial.key] != DONE
            and not (failure(store, trial.key).get("refused", False) and not retry)
        ]
        stop_at = None if minutes is None else time.time() + 60 * minutes
        jobs = [Job.of(trial, str(store.root), stop_at) for trial in waiting]
        for job, outcome in run_jobs(jobs, workspace, executor=executor, workers=workers, progress=progress):
            _remember(store, job.trial, outcome)
        return self.tables(store)

    def _note(self, store: Store) -> None:
        """Remember the trials by group; say so if finished ones have dropped out since."""
        for group in dict.fromkeys(str(t.tags.get("group")) for t in self.trials):
            name = _register_name(self.name, group)
            keys = tuple(t.key for t in self.trials if str(t.tags.get("group")) == group)
            if name in store.names(_Register.stage):
                before = _Register.load(store, name).keys
                dropped = [k for k in before if k not in keys and store.has(Outcomes.stage, k)]
                if dropped:
                    warnings.warn(
                        f"the study '{self.name}-{group}' has changed: {len(dropped)} of its {len(before)} trials were "
                        "finished and belong to it no longer; they stay in the store and out of its tables",
                        stacklevel=3,
                    )
            store.name(_Register(name, keys), name)


def _register_name(study: str, group: str) -> str:
    """Name of a register; what the store would refuse, or mix up with another, becomes a hash."""
    name = f"{study}-{group}"
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name)
    return name if plain else f"study-{hashlib.sha256(name.encode()).hexdigest()[:16]}"


# ---------------------------------------------------------------- failures


def failure(store: Store, key: str) -> dict[str, Any]:
    """Why a trial failed when it was last tried: reason, refused (by its settings), seconds; empty if it did not."""
    path = _failure_path(store, key)
    try:
        note = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError, RecursionError):
        note = {}  # half a note is no note: the trial is tried again
    return note if isinstance(note, dict) else {}


def _remember(store: Store, trial: Trial, outcome: dict[str, Any]) -> None:
    path = _failure_path(store, trial.key)
    if outcome["state"] == FAILED:
        path.parent.mkdir(parents=True, exist_ok=True)
        note = {k: outcome[k] for k in ("reason", "refused", "seconds")}
        write_atomically(path, json.dumps({**note, "tags": dict(trial.tags)}, default=str).encode())
    elif outcome["state"] == DONE and path.exists():
        path.unlink()


def _failure_path(store: Store, key: str) -> Path:
    return store.root / "failures" / f"{key}.json"


def _require_columns(outcome: Outcomes, columns: list[str]) -> None:
    """Refuse to stack a table of other columns, which would fill what it lacks with nothing."""
    differing = set(outcome.results.columns).symmetric_difference(columns)
    if differing:
        raise ArtifactError(
            f"outcomes {outcome.key} differ from those of other trials in the columns {', '.join(sorted(differing))}: "
            "delete them and run the study again"
        )
