"""Ctrl-C at random moments into everything that takes long: `python tests/soak/interrupts.py --runs 500`.

Whatever is interrupted goes on in the same process, like a notebook, up to three times, half of them by an impatient
user. It must end with what undisturbed work finds, in a store that verifies.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))

from faults import deeds
from faults.children import Child, shared

from synthlab import durable
from synthlab.store import Store

_AGAIN = (0.0005, 0.003, 0.01, 0.03, 0.1)
"""Seconds after which somebody presses Ctrl-C again."""


def interrupt(child: Child, seconds: float, generator: np.random.Generator) -> None:
    """Up to three times while the work takes as long as it should."""
    for number in range(3):
        child.await_file(f"begins-{number}")
        time.sleep(generator.uniform(0, 0.9) * seconds)
        child.signal(signal.SIGINT)
        if generator.random() < 0.5:
            time.sleep(generator.choice(_AGAIN))
            child.signal(signal.SIGINT)
        time.sleep(0.1)
        if not (child.folder / f"begins-{number + 1}").exists():
            return


def require_same(child: Child, calm: Child, status: int, store: Path) -> None:
    """Refuse work that failed, found something else, or left a store that does not verify.

    A second Ctrl-C can come while the first one tidies up: what is staged then is named, and never read.
    """
    if status or child.found["found"] != calm.found["found"]:
        sys.exit(f"status {status}, {child.found} instead of {calm.found}:\n{child.printed}")
    if problems := [p for p in Store(store).verify() if not durable.is_staged(p.path)]:
        sys.exit(f"the store does not verify: {problems}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    children, generator, total = shared(), np.random.default_rng(options.seed), 0
    names, calm = [work.__name__ for work in deeds.WORK], {}
    with tempfile.TemporaryDirectory() as root:
        for name in names:
            status, calm[name] = children.run("worked", store=Path(root) / name, what=name)
            require_same(calm[name], calm[name], status, Path(root) / name)
        for run in tqdm(range(options.runs), unit="run"):
            name, store = names[run % len(names)], Path(root) / str(run)
            child = children.start("worked", store=store, what=name)
            interrupt(child, calm[name].found["seconds"], generator)
            require_same(child, calm[name], child.wait(), store)
            total += child.found["interrupted"]
            shutil.rmtree(store)
    print(f"{options.runs} runs were interrupted {total} times, and found what undisturbed ones find")


if __name__ == "__main__":
    main()
