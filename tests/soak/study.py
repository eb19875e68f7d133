"""A study of many tiny runs that is killed and interrupted again and again: `python tests/soak/study.py --runs 200`.

Its tables must equal those of a study that nothing happened to, to the last bit but for the clock's columns, the
store must verify, and the memory of the undisturbed process must not grow with the number of runs.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import torch
from tqdm import tqdm

from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings
from synthlab.store import Store
from synthlab.study.execution import Job, run_jobs
from synthlab.study.study import Study
from synthlab.study.trials import Outcomes, Trial
from synthlab.study.workspace import Universe, Workspace

CLOCK = ["seconds", "tokens_per_second"]
MOST_GROWTH = 1.05
"""Resident memory over the last quarter of the runs, against the first quarter; the first runs, which load, aside."""
_LOADING = 5


def study(runs: int) -> Study:
    """Runs of a dozen steps on the 3-leaf universe, one per seed."""
    settings = support_settings(Region(rule="root", root="*"), num_test=30, reserved=0.25)
    model = ModelConfig(width=8, layers=1, heads=2)
    trials = (
        Trial(
            tags={"group": "soak", "region": "product", "seed": seed}, universe=Universe(max_size=3), kind="support",
            settings=settings, model=model,
            training=TrainingConfig(num_steps=12, batch_size=32, learning_rate=1e-2, num_checks=1, seed=seed),
        )
        for seed in range(runs)
    )  # fmt: skip
    return Study("soak", tuple(trials))


# ---------------------------------------------------------------- undisturbed


def undisturbed(root: Path, runs: int) -> list[int]:
    """Run the study in this process; its resident bytes after every run."""
    workspace, process, sizes = Workspace(Store(root)), psutil.Process(), list[int]()
    jobs = [Job.of(trial, str(root), None) for trial in study(runs).trials]
    found = run_jobs(jobs, workspace, executor=None, workers=1, progress=False)
    for _job, outcome in tqdm(found, total=runs, desc="undisturbed"):
        if outcome["state"] != "done":
            raise SystemExit(f"a run failed: {outcome}")
        sizes.append(process.memory_info().rss)
    return sizes


def growth(sizes: list[int]) -> tuple[float, float]:
    """Last quarter against first (medians), and bytes a run by least squares; runs that load libraries are left out."""
    settled = np.array(sizes[min(_LOADING, len(sizes) // 2) :], dtype=float)
    quarter = max(1, len(settled) // 4)
    ratio = float(np.median(settled[-quarter:]) / np.median(settled[:quarter]))
    slope = np.polyfit(np.arange(len(settled)), settled, 1)[0] if len(settled) > 1 else 0.0
    return ratio, float(slope)


# ---------------------------------------------------------------- disturbed


@dataclass
class Blows:
    """What happened to the child processes of a disturbed study."""

    killed: int = 0
    interrupted: int = 0
    starting: int = 0


def disturbed(root: Path, runs: int, kills: int, seed: int) -> Blows:
    """Start the study again and again, ending all but the last process at a random moment."""
    generator, blows, store = np.random.default_rng(seed), Blows(), Store(root)
    pace = max(1, runs // max(1, kills))  # so that the blows are spread over the study
    with tqdm(total=runs, desc="disturbed") as bar:
        for _ in range(3 * kills):  # some blows come when a child is done already
            if blows.killed + blows.interrupted == kills or _done(store) == runs:
                break
            child = _start(root, runs)
            before = _done(store)
            if generator.random() < 0.25:  # while it imports and looks around
                starting = True
                time.sleep(generator.uniform(0, 2))
            else:
                starting = False
                wanted = before + int(generator.integers(0, pace + 1))
                _await(lambda wanted=wanted: _done(store) > wanted, child)
                time.sleep(generator.uniform(0, 0.2))
            number = signal.SIGKILL if generator.random() < 0.6 else signal.SIGINT
            hit = child.poll() is None
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)
            child.wait()
            blows.starting += hit and starting
            blows.killed += hit and number == signal.SIGKILL
            blows.interrupted += hit and number == signal.SIGINT
            bar.update(_done(store) - bar.n)
        child = _start(root, runs)
        _await(lambda: bar.update(_done(store) - bar.n) and False, child)
        if child.wait():
            raise SystemExit(f"the last process failed with {child.returncode}")
        bar.update(_done(store) - bar.n)
    return blows


def _start(root: Path, runs: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--child", str(root), "--runs", str(runs)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive", "SYNTHLAB_WORKERS": "1"}
    with (root.parent / "child.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def _await(condition, child: subprocess.Popen[bytes]) -> None:
    while child.poll() is None and not condition():
        time.sleep(0.02)


def _done(store: Store) -> int:
    return len(list((store.root / Outcomes.stage).glob("*-*/manifest.json")))


# ---------------------------------------------------------------- verdict


def differences(one: Path, other: Path, runs: int) -> list[str]:
    """What two stores of the study say differently, and what is wrong with them; nothing if all is well."""
    wrong = [f"verify: {line}" for root in (one, other) for line in Store(root).verify()]
    tables = [study(runs).tables(Store(root)) for root in (one, other)]
    pairs = {
        "results": [t.results["soak"] for t in tables],
        "trials": [t.trials.drop(columns=CLOCK) for t in tables],
        "failures": [t.failures for t in tables],
    }
    for name, (first, second) in pairs.items():
        try:
            pd.testing.assert_frame_equal(first, second, check_exact=True)
        except AssertionError as error:
            wrong.append(f"{name}: {' '.join(str(error).split())[:200]}")
    if len(tables[0].trials) != runs:
        wrong.append(f"{len(tables[0].trials)} of {runs} runs are there")
    left = [str(p) for p in other.rglob("running.json")]
    return wrong + [f"left behind: {name}" for name in left]


def soak(folder: Path, runs: int, kills: int, seed: int) -> list[str]:
    """Run both studies and print a summary; what is wrong, line by line."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    sizes = undisturbed(folder / "calm", runs)
    (ratio, slope), middle = growth(sizes), time.perf_counter()
    blows = disturbed(folder / "rough", runs, kills, seed)
    wrong = differences(folder / "calm", folder / "rough", runs)
    if ratio > MOST_GROWTH:
        wrong.append(f"memory grew to {ratio:.3f} of what it was, {slope / 1e3:.1f} kB a run")
    summary = {
        "runs": runs,
        "killed / interrupted": f"{blows.killed} / {blows.interrupted} ({blows.starting} while starting)",
        "seconds undisturbed / disturbed": f"{middle - start:.0f} / {time.perf_counter() - middle:.0f}",
        "resident MB first / last / most": " / ".join(f"{s / 1e6:.0f}" for s in (sizes[0], sizes[-1], max(sizes))),
        "last quarter / first quarter": f"{ratio:.4f} (at most {MOST_GROWTH})",
        "kB a run": f"{slope / 1e3:.1f}",
        "tables and store": "; ".join(wrong) or "equal to the last bit, verified",
    }
    print("\n" + "\n".join(f"{name:34}{value}" for name, value in summary.items()))
    return wrong


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--kills", type=int, help="a fifth of the runs by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="keep the stores")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        torch.set_num_threads(1)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        study(options.runs).run(Workspace(Store(options.child)), workers=1, progress=False)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    kills = max(1, options.runs // 5) if options.kills is None else options.kills
    try:
        return int(bool(soak(folder, options.runs, kills, options.seed)))
    finally:
        if options.keep:
            print(folder)
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
