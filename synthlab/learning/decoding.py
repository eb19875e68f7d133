"""Writing programs: greedy or by temperature, with a cache of keys and values."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD
from synthlab.learning.encoding import check_outputs, row_features
from synthlab.learning.model import Synthesizer

_ROWS_AT_ONCE = 4096


@torch.inference_mode()
def decode(
    model: Synthesizer,
    tasks: Tasks,
    *,
    num_samples: int = 1,
    temperature: float = 0.0,
    seed: int = 0,
    first_token: int | None = None,
) -> Candidates:
    """Let the model write programs for tasks; it sees the grid outputs only.

    Parameters
    ----------
    model
        In evaluation mode on any device.
    tasks
        What to solve.
    num_samples
        Independent samples per task; with temperature 0 only 1 makes sense.
    temperature
        0 for greedy, else the logits are divided by it.
    seed
        Of the sampling.
    first_token
        Give the root away: every program starts with this token, whatever the model would write.

    Raises
    ------
    ConfigurationError
        For a negative temperature, or several greedy samples.
    """
    if temperature < 0 or (temperature == 0 and num_samples != 1) or num_samples < 1:
        raise ConfigurationError(
            f"{num_samples} samples at temperature {temperature}: greedy gives one, sampling needs > 0"
        )
    device = next(model.parameters()).device
    check_outputs(tasks.outputs)
    outputs = torch.from_numpy(tasks.outputs.astype(np.float64)).to(device)
    arities = torch.from_numpy(tasks.grammar.arities).to(device)
    generator = torch.Generator(device=device).manual_seed(seed)
    task = np.repeat(np.arange(len(tasks)), num_samples)
    written, scores = [], []
    for start in range(0, len(task), _ROWS_AT_ONCE):
        rows = row_features(
            outputs[torch.from_numpy(task[start : start + _ROWS_AT_ONCE]).to(device)], tasks.grammar.grid
        )
        tokens, score = _write(model, rows, arities, temperature, generator, first_token)
        written.append(tokens.to(torch.uint8).cpu().numpy())
        scores.append(score.double().cpu().numpy())
    rank = np.tile(np.arange(num_samples), len(tasks))
    return Candidates(task, rank, np.concatenate(written), np.concatenate(scores))


def _write(
    model: Synthesizer,
    rows: Tensor,
    arities: Tensor,
    temperature: float,
    generator: torch.Generator,
    first_token: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Tokens (B, L) and summed log-probabilities (B,); a program ends when no operand is missing."""
    logits, cache = model.start(rows)
    tokens = torch.full((len(rows), model.max_tokens), PAD, device=rows.device, dtype=torch.long)
    score = torch.zeros(len(rows), device=rows.device)
    missing = torch.ones(len(rows), device=rows.device, dtype=torch.long)
    for position in range(model.max_tokens):
        log_probability = logits.float().log_softmax(dim=-1)
        if temperature == 0:
            chosen = log_probability.argmax(dim=-1)
        else:
            chosen = torch.multinomial((log_probability / temperature).softmax(dim=-1), 1, generator=generator)[:, 0]
        if position == 0 and first_token is not None:
            chosen = torch.full_like(chosen, first_token)
        is_open = missing > 0
        tokens[:, position] = torch.where(is_open, chosen, PAD)
        score += torch.where(is_open, log_probability.gather(1, chosen[:, None])[:, 0], 0.0)
        missing += torch.where(is_open, arities[chosen] - 1, 0)
        if position + 1 == model.max_tokens or not bool((missing > 0).any()):
            break
        logits, cache = model.step(chosen, position, cache)
    return tokens, score


@torch.inference_mode()
def first_token_probabilities(model: Synthesizer, tasks: Tasks) -> np.ndarray:
    """Probability of every token as the root of the answer, per task (T, V)."""
    check_outputs(tasks.outputs)
    outputs = torch.from_numpy(tasks.outputs.astype(np.float64)).to(next(model.parameters()).device)
    logits, _ = model.start(row_features(outputs, tasks.grammar.grid))
    return logits.double().softmax(dim=-1).cpu().numpy()
