"""What a study would take before it starts: runs, floating-point operations, minutes and memory."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import get_grammar
from synthlab.presets import NETWORKS
from synthlab.study.study import DONE, Study
from synthlab.study.trials import Trial
from synthlab.study.workspace import Workspace

if TYPE_CHECKING:
    from synthlab.learning.networks import Synthesizer

_WEIGHT_BYTES = 16  # weight, gradient and two moments of Adam in 32 bits
_TIMED_ROWS, _TIMED_STEPS = 32, 3


def plan(study: Study, workspace: Workspace, *, flops_per_second: float | None = None) -> pd.DataFrame:
    """What every trial costs to train; nothing is drawn or trained for it.

    Parameters
    ----------
    study, workspace
        What would run, and where its results would be.
    flops_per_second
        Rate of the machine that would run it. By default a few small steps of every model are timed on this one;
        drawing splits and decoding are not counted. A model whose weights alone do not fit is not made: its FLOPs are
        estimated as 6 per weight and token (Kaplan et al., 2020), and its minutes are unknown (NaN) without a rate.

    Returns
    -------
    pandas.DataFrame
        `Study.status`, and parameters, flops (training), minutes (training, of one worker; 0 for what is done),
        memory_mb (`training_bytes`), and fits, whether that is free on this device.

    Raises
    ------
    ConfigurationError
        For a rate that is not positive.
    """
    if flops_per_second is not None and not 0 < flops_per_second < np.inf:
        raise ConfigurationError(f"{flops_per_second} operations a second: use a positive rate")
    free = _free_bytes()
    table, rows, known = study.status(workspace.store), [], dict[tuple[object, ...], tuple[int, int, float]]()
    for trial in study.trials:
        kind = (trial.model, trial.universe, trial.training.batch_size)
        if kind not in known:
            known[kind] = _of_one_step(trial, flops_per_second, free)
        parameters, flops, seconds = known[kind]
        steps, needed = trial.training.num_steps, training_bytes(trial, parameters)
        rows.append((parameters, flops * steps, seconds * steps / 60, round(needed / 1e6), needed <= free))
    costs = pd.DataFrame(rows, columns=["parameters", "flops", "minutes", "memory_mb", "fits"])
    costs["minutes"] = costs["minutes"].where(table["state"] != DONE, 0.0)
    return pd.concat([table, costs], axis=1)


def training_bytes(trial: Trial, num_parameters: int) -> int:
    """Memory of a training step: weights with their optimizer, and activations kept for the backward pass.

    Activations of a layer take s b h (34 + 5 a s / h) bytes in 16 bits for b sequences of s tokens, width h and a
    heads (Korthikanti et al., MLSys 2023, equation 1), twice that in 32 bits; logits and their gradient come
    on top. An estimate: what the allocator does beside it is not in it.
    """
    model, batch, shape = trial.model, trial.training.batch_size, _small(trial).shape
    length, bytes_each = shape.num_patches + shape.max_tokens, 1 if _on_gpu() else 2
    layers = model.layers * (2 if model.network == "encoder-decoder" else 1)
    per_layer = length * batch * model.width * (34 + 5 * model.heads * length / model.width) * bytes_each
    logits = 8 * batch * shape.max_tokens * shape.vocabulary
    return int(_WEIGHT_BYTES * num_parameters + layers * per_layer + logits)


def _small(trial: Trial) -> Synthesizer:
    """A small model that reads and writes what the model of a trial does."""
    return _made(replace(trial, model=replace(trial.model, width=8, heads=2, layers=1, network=NETWORKS[0])), "cpu")


def _made(trial: Trial, device: str) -> Synthesizer:
    """The model of a trial, at the cost of nobody's random numbers; on the device ``meta`` it takes no memory."""
    import torch

    from synthlab.learning.networks import Synthesizer

    grammar, universe = get_grammar(trial.universe.grammar), trial.universe
    with torch.random.fork_rng(devices=[]), torch.device(device):
        return Synthesizer(trial.model, grammar, universe.max_size, universe.measure)


def _of_one_step(trial: Trial, flops_per_second: float | None, free: int) -> tuple[int, int, float]:
    """Parameters, FLOPs and seconds of a step of a full batch."""
    from synthlab.learning.costs import step_flops

    num = sum(p.numel() for p in _made(trial, "meta").parameters())
    if _WEIGHT_BYTES * num > free:
        shape = _small(trial).shape
        flops = 6 * num * (shape.num_patches + shape.max_tokens) * trial.training.batch_size
        return num, flops, flops / (flops_per_second or np.nan)
    model = _made(trial, "cpu")
    flops = step_flops(model, trial.training.batch_size)
    if flops_per_second is not None:
        return num, flops, flops / flops_per_second
    return num, flops, _timed(model, trial.training.batch_size)


def _timed(model: Synthesizer, batch_size: int) -> float:
    """Seconds of a step of a full batch, from the fastest of a few with at most 32 rows."""
    import torch
    from torch.nn import functional as F

    from synthlab.learning.evaluation import placed

    model, rows, shape = placed(model).train(), min(batch_size, _TIMED_ROWS), model.shape
    device = next(model.parameters()).device
    seen = torch.zeros(rows, shape.num_patches, shape.patch_features, device=device)
    tokens = torch.zeros(rows, shape.max_tokens, dtype=torch.long, device=device)
    seconds = []
    for _ in range(_TIMED_STEPS):
        start = time.perf_counter()
        loss = F.cross_entropy(model(seen, tokens).flatten(0, 1), tokens.flatten())
        loss.backward()
        loss.item()
        seconds.append(time.perf_counter() - start)
    return min(seconds) * batch_size / rows


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _free_bytes() -> int:
    import torch

    from synthlab.learning.costs import free_bytes

    return free_bytes(torch.device("cuda" if _on_gpu() else "cpu"))


def summary(table: pd.DataFrame, workers: int = 1) -> str:
    """A plan in one line: runs, operations, minutes, memory, and what would not fit."""
    todo = table[table["state"] != DONE]
    text = (
        f"{len(todo):,} of {len(table):,} trials to run, {todo['flops'].sum():.2e} FLOPs, "
        f"{todo['minutes'].sum() / workers:,.0f} minutes of training with {workers} at a time, "
        f"up to {todo['memory_mb'].max() if len(todo) else 0:,.0f} MB each"
    )
    fits = todo["fits"].astype(bool)
    if not fits.all():
        bad = todo[~fits].iloc[0]
        text += f"; {int((~fits).sum())} would not fit this device ({bad['model']}): lower batch_size or width"
    return text
