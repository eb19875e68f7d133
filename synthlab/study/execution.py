"""Trials on an executor: one after the other, in processes, or on other machines; nothing is lost when time is up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from joblib import cpu_count

from synthlab.deadline import limited
from synthlab.errors import ArtifactError, ConfigurationError, SynthlabError
from synthlab.language.grammar import get_grammar, register
from synthlab.presets import NETWORKS
from synthlab.store import Store
from synthlab.study.trials import Trial, run_trial
from synthlab.study.workspace import Workspace
from synthlab.universe.sharding import packed, unpacked

WORKERS = "SYNTHLAB_WORKERS"
"""Environment variable: how many trials run at a time."""
_ONE_AT_A_TIME = threading.Lock()
"""Threads of one process take turns: PyTorch's random numbers and flags are of the process."""


@dataclass(frozen=True)
class Job:
    """One trial for a worker.

    Parameters
    ----------
    trial, root, stop_at
        What to run, the folder of the store, and until when (seconds since the epoch).
    grammar
        The language of the trial, pickled by value because its operators may be functions of the user's notebook.
    """

    trial: Trial
    root: str
    stop_at: float | None
    grammar: bytes

    @classmethod
    def of(cls, trial: Trial, root: str, stop_at: float | None) -> Job:
        """Job of a trial."""
        return cls(trial, root, stop_at, packed(get_grammar(trial.universe.grammar)))


def run_jobs(
    jobs: Sequence[Job], workspace: Workspace, *, executor: Executor | None, workers: int | None, progress: bool
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run jobs in order, as many at a time as there are workers; yields each with its outcome when it ends.

    Outcomes have a state (done, failed, interrupted) and, if failed, reason, refused and seconds. Jobs that
    would begin when time is up are not begun.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C.
    ConfigurationError
        For fewer than one worker, or if the system ended a worker's process.
    """
    if not jobs:
        return  # results that are there need no PyTorch
    from tqdm.auto import tqdm

    num = _num_workers(workers)
    with tqdm(total=len(jobs), desc="trials", disable=not progress) as bar:
        at_home = any(job.trial.model.network not in NETWORKS for job in jobs)  # registered in this process only
        in_turn = executor is None and (num == 1 or len(jobs) < 2 or at_home)
        found = _in_turn(jobs, workspace) if in_turn else _side_by_side(jobs, executor, num)
        for job, outcome in found:
            bar.set_postfix_str(str(job.trial), refresh=False)
            bar.update(outcome["state"] != "interrupted")
            yield job, outcome


def _num_workers(workers: int | None) -> int:
    if workers is None and os.environ.get(WORKERS, "").isdecimal():
        workers = int(os.environ[WORKERS])
    if workers is None:
        import torch

        workers = 1 if torch.cuda.is_available() else cpu_count()
    if workers < 1:
        raise ConfigurationError(f"{workers} workers: use at least 1")
    return workers


def _in_turn(jobs: Sequence[Job], workspace: Workspace) -> Iterator[tuple[Job, dict[str, Any]]]:
    for job in jobs:
        if _is_over(job):
            return
        outcome = _attempt(job, workspace)
        if outcome["state"] == "interrupted" and not _is_over(job):
            raise KeyboardInterrupt
        yield job, outcome


def _side_by_side(jobs: Sequence[Job], executor: Executor | None, num: int) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Never more jobs under way than workers, so that those that wait can still be left out."""
    own = None if executor is not None else _processes(min(num, len(jobs)))
    threads = max(1, cpu_count() // num) if own is not None else None
    pending: dict[Future[dict[str, Any]], Job] = {}
    waiting = list(reversed(jobs))
    try:
        while waiting or pending:
            while waiting and len(pending) < num and not _is_over(waiting[-1]):
                job = waiting.pop()
                pending[(executor or own).submit(work, job, threads)] = job  # type: ignore[union-attr]
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                job = pending.pop(future)
                outcome = _answer(future)
                if outcome["state"] == "interrupted" and not _is_over(job):
                    raise KeyboardInterrupt
                yield job, outcome
    except BrokenExecutor as error:
        raise ConfigurationError(
            "a worker is gone, perhaps for lack of memory: run again with fewer workers; what was finished is kept"
        ) from error
    finally:
        for future in pending:
            future.cancel()
        if own is not None:
            own.shutdown(wait=True, cancel_futures=True)


def _answer(future: Future[dict[str, Any]]) -> dict[str, Any]:
    """What a worker found; one that is gone takes no other trial with it."""
    try:
        return future.result()
    except BrokenExecutor:
        raise
    except Exception as error:
        return _failed(_in_one_line(error), False, time.perf_counter())


def _processes(num: int) -> ProcessPoolExecutor:
    """Fresh processes: PyTorch's threads and CUDA do not survive a fork."""
    import multiprocessing

    return ProcessPoolExecutor(num, mp_context=multiprocessing.get_context("spawn"))


def work(job: Job, threads: int | None = None) -> dict[str, Any]:
    """Run one job in a worker; what it found is in the store, and the answer says how it went."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    register(unpacked(job.grammar))
    with _ONE_AT_A_TIME:
        # time may be up before it is this thread's turn
        return {"state": "interrupted"} if _is_over(job) else _attempt(job, _opened(job.root))


@lru_cache(maxsize=1)
def _opened(root: str) -> Workspace:
    return Workspace(Store(root))


def _attempt(job: Job, workspace: Workspace) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        with limited(job.stop_at):
            run_trial(workspace, job.trial)
    except KeyboardInterrupt:
        return {"state": "interrupted"}
    except SynthlabError as error:
        refused = not isinstance(error, ArtifactError)  # a store can be mended, settings must be changed
        return _failed(str(error), refused, start)
    except Exception as error:  # one trial that breaks must not take the study with it
        return _failed(_in_one_line(error), False, start)
    return {"state": "done"}


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _failed(reason: str, refused: bool, start: float) -> dict[str, Any]:
    return {"state": "failed", "reason": reason, "refused": refused, "seconds": time.perf_counter() - start}


def _is_over(job: Job) -> bool:
    return job.stop_at is not None and time.time() >= job.stop_at
