"""Short runs that tests cut off, and a run in a process of its own that can be killed."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

from synthlab.learning import training
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.store import Store

MODEL = ModelConfig(width=16, layers=1)
SHORT = TrainingConfig(num_steps=60, batch_size=32, learning_rate=4e-3, num_checks=3)
LONGER = replace(SHORT, num_steps=110, num_checks=2)


def run(corpus, split, folder, config=SHORT, model=MODEL, **options):
    """Train in this process, with a store of its own."""
    return training.train(corpus, split, model, config, store=Store(folder), progress=False, **options)


def spy(monkeypatch, *, at=None, do=None):
    """Record the batch of every step; do something before the step of a number (1 is the first)."""
    seen, original = [], training.program_loss

    def watched(model, data, fetched, *others):
        seen.append(fetched.items.tolist())
        if len(seen) == at:
            do()
        return original(model, data, fetched, *others)

    monkeypatch.setattr(training, "program_loss", watched)
    return seen


def checkpoints(folder):
    """Every file that a run under way keeps."""
    return [p for p in folder.rglob("*") if p.is_file() and "checkpoints" in p.parts]


CHILD = """
import json, os, signal, sys
from dataclasses import replace
from pathlib import Path
from synthlab.learning import training
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.split import Split
from synthlab.store import Store
from synthlab.universe.corpus import Corpus

about = json.loads(sys.argv[1])
store = Store(about["store"])
corpus, split = Corpus.load(store, about["corpus"]), Split.load(store, about["split"])
original, seen = training.program_loss, []

def watched(*arguments):
    seen.append(1)
    if len(seen) == about["kill_at"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments)

training.program_loss = watched
run = training.train(
    corpus, split, ModelConfig(**about["model"]), TrainingConfig(**about["training"]), store=store, progress=False
)
run.save(store)
print(json.dumps({"key": run.key, "steps_here": len(seen)}))
"""


def in_child(corpus, split, folder, config, model=MODEL, kill_at=0):
    """Train in a fresh process; returns its exit status and what it printed."""
    store = Store(folder)
    about = {
        "store": str(folder), "corpus": corpus.save(store), "split": split.save(store), "kill_at": kill_at,
        "model": asdict(model), "training": asdict(config),
    }  # fmt: skip
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(about)], capture_output=True, text=True,
        cwd=Path(__file__).resolve().parents[2], env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    return answer.returncode, answer.stdout, answer.stderr
