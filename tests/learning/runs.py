"""Short runs that tests cut off."""

from dataclasses import replace

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
