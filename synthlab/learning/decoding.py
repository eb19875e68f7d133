"""Writing programs: greedy, by independent samples, or by beam search, with a cache of keys and values.

All shapes are fixed for a block of rows, so that one compiled step or CUDA graph serves every token. Samples
are a pure function of (seed, outputs, sample): they depend neither on the size of the blocks nor on what is
drawn beside them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD
from synthlab.learning.batches import scrambled
from synthlab.learning.continuations import Continuations, State
from synthlab.learning.model import Cache
from synthlab.learning.networks import Synthesizer

_ROWS_AT_ONCE = {"cpu": 1024, "cuda": 16384}
_UNIFORM_BITS, _COLDEST = 53, 1e-6


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How programs are written.

    Parameters
    ----------
    num_samples
        Candidates a task.
    temperature
        0 for greedy (one candidate), else the logits are divided by it.
    top_p
        Sample from the fewest tokens that hold this probability (Holtzman et al., 2020).
    beam
        Search the `num_samples` likeliest texts in a beam of at least so many, instead of sampling.
    grammatical
        Only tokens from which a complete program within the size bound can still be reached.
    max_size
        The bound, if it is not all that the model has room for.
    first_token
        Give the first token away: every program starts with it, whatever the model would write.
    seed
        Of the samples.

    Raises
    ------
    ConfigurationError
        For settings that contradict each other.
    """

    num_samples: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    beam: int = 0
    grammatical: bool = False
    max_size: int | None = None
    first_token: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        greedy = self.temperature == 0 and not self.beam
        warm = self.temperature == 0 or _COLDEST <= self.temperature < float("inf")
        if not warm or self.num_samples < 1 or (greedy and self.num_samples != 1):
            raise ConfigurationError(
                f"{self.num_samples} samples at temperature {self.temperature}: greedy gives one, sampling needs > 0"
            )
        if not 0 < self.top_p <= 1:
            raise ConfigurationError(f"top_p {self.top_p}: use a share of the probability in (0, 1]")
        if self.beam and (self.beam < self.num_samples or self.temperature or self.top_p < 1):
            raise ConfigurationError(
                f"a beam of {self.beam} gives at most so many candidates, and has no temperature or top_p"
            )


@torch.inference_mode()
def decode(
    model: Synthesizer,
    tasks: Tasks,
    settings: Decoding | None = None,
    *,
    rows_at_once: int | None = None,
    compiled: bool | str = False,
    **changes: Any,
) -> Candidates:
    """Let a model write programs for tasks; it sees the grid outputs only.

    Parameters
    ----------
    model
        In evaluation mode, on any device; on a GPU it decodes in bfloat16.
    tasks
        What to solve.
    settings, **changes
        How, as `Decoding` or as its fields.
    rows_at_once, compiled
        Programs written side by side; and whether to compile the step (or the name of a backend of
        `torch.compile`), which pays for very many programs only.

    Returns
    -------
    Candidates
        `num_samples` a task, in order of rank; log-probabilities are those of the model's own distribution
        over all tokens, whatever the temperature or the mask. Candidates of a beam are not independent.

    Raises
    ------
    ConfigurationError
        For settings that contradict each other, or outputs that overflow the encoding.
    """
    settings = replace(settings or Decoding(), **changes)
    if not 0 <= (settings.first_token or 0) < model.shape.vocabulary:
        raise ConfigurationError(f"first token {settings.first_token}: there are {model.shape.vocabulary}")
    writer = _Writer(_for_inference(model), settings, compiled)
    outputs = model.look(tasks.outputs)
    beam = max(1, settings.beam)
    limit = rows_at_once or _ROWS_AT_ONCE[outputs.device.type if outputs.device.type == "cuda" else "cpu"]
    copies = 1 if settings.beam else settings.num_samples
    asked = np.repeat(np.arange(len(tasks)), copies)
    block = min(max(1, limit // beam), max(1, len(asked)))
    texts, scores = [], []
    for start in range(0, len(asked), block):
        rows = np.arange(start, start + block)
        chosen = torch.from_numpy(asked[np.minimum(rows, len(asked) - 1)]).to(outputs.device)  # the last block is full
        sample = torch.from_numpy(rows % copies).to(outputs.device)
        tokens, score = writer.beam(outputs[chosen]) if settings.beam else writer.write(outputs[chosen], sample)
        kept = min(block, len(asked) - start)
        texts.append(tokens[:kept].flatten(0, -2).to(torch.uint8).cpu().numpy())
        scores.append(score[:kept].flatten().double().cpu().numpy())
    num = settings.num_samples
    written = np.concatenate(texts) if texts else np.empty((0, model.shape.max_tokens), dtype=np.uint8)
    # unfinished prefix texts stay readable; those of other notations have no prefix form
    prefix = written if model.notation.end is None else model.notation.decode(written)
    found = np.concatenate(scores) if scores else np.empty(0)
    rank = np.tile(np.arange(num), len(tasks))
    return Candidates(np.repeat(np.arange(len(tasks)), num), rank, prefix, found, independent=not settings.beam)


def _for_inference(model: Synthesizer) -> Synthesizer:
    """The model itself, or a copy in bfloat16 on a GPU."""
    if next(model.parameters()).device.type != "cuda":
        return model
    return copy.deepcopy(model).to(torch.bfloat16)


class _Writer:
    """One model with one way of decoding, block by block."""

    def __init__(self, model: Synthesizer, settings: Decoding, compiled: bool | str) -> None:
        parameter = next(model.parameters())
        self.model, self.settings = model, settings
        self.device, self.dtype = parameter.device, parameter.dtype
        self.max_tokens = model.shape.max_tokens
        largest = model.max_size if settings.max_size is None else min(settings.max_size, model.max_size)
        self.rules = Continuations(
            model.notation, self.max_tokens, max_size=largest, measure=model.measure, device=self.device
        )
        self.step: Callable[[Tensor, Tensor, Cache], tuple[Tensor, Cache]] = model.step
        if compiled:
            backend = compiled if isinstance(compiled, str) else "inductor"
            self.step = torch.compile(model.step, backend=backend, dynamic=False)

    def read(self, outputs: Tensor) -> Tensor:
        return self.model.read(outputs).to(self.dtype)

    def write(self, outputs: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) and summed log-probabilities (B,), one text a row."""
        drawn = self._keys(outputs, sample) if self.settings.temperature else sample
        logits, cache = self.model.start(self.read(outputs))
        state = self.rules.start(len(outputs))
        tokens = torch.full((len(outputs), self.max_tokens), PAD, device=self.device)
        score = torch.zeros(len(outputs), device=self.device)
        for position in range(self.max_tokens):
            log_probability = logits.float().log_softmax(dim=-1)
            chosen = self._choose(log_probability, state, position, drawn)
            ended = self.rules.finished(state)
            tokens[:, position] = torch.where(ended, PAD, chosen)
            score += torch.where(ended, 0.0, log_probability.gather(1, chosen[:, None])[:, 0])
            state = self.rules.advance(state, chosen)
            if position + 1 == self.max_tokens or bool(self.rules.finished(state).all()):
                break
            logits, cache = self.step(chosen, torch.tensor([position], device=self.device), cache)
        return tokens, score

    def _choose(self, log_probability: Tensor, state: State, position: int, drawn: Tensor) -> Tensor:
        settings = self.settings
        if position == 0 and settings.first_token is not None:
            return torch.full_like(drawn, settings.first_token)
        if settings.grammatical:
            log_probability = log_probability.masked_fill(~self.rules.allowed(state, position), -torch.inf)
        if settings.temperature == 0:
            return log_probability.argmax(dim=-1)
        scaled = log_probability / settings.temperature
        if settings.top_p < 1:
            scaled = nucleus(scaled, settings.top_p)
        return (scaled + self._gumbel(drawn, position, scaled.shape[1])).argmax(dim=-1)

    def _keys(self, outputs: Tensor, sample: Tensor) -> Tensor:
        """A number per row (B,) that depends on the outputs shown, the seed and the sample alone."""
        key = torch.zeros_like(sample)
        for column in (outputs + 0.0).view(torch.int64).unbind(dim=1):  # plus 0, so that -0 is 0
            key = scrambled(key + column, self.settings.seed)
        return scrambled(key + sample, self.settings.seed)

    def _gumbel(self, drawn: Tensor, position: int, vocabulary: int) -> Tensor:
        """Gumbel noise (B, V): the largest of logits plus it is a draw from their softmax."""
        token = torch.arange(vocabulary, device=self.device)
        key = scrambled(drawn, position)[:, None] + token
        draw = scrambled(key, self.settings.seed) >> (62 - _UNIFORM_BITS)
        uniform = (draw.double() + 0.5) / 2.0**_UNIFORM_BITS
        return -(-uniform.log()).log()

    def beam(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest texts found (B, n, L), and their log-probabilities (B, n), best first."""
        num, width = len(outputs), self.settings.beam
        logits, cache = self.model.start(self.read(outputs))
        cache = [kept.repeat_interleave(width, dim=0) for kept in cache]
        log_probability = logits.float().log_softmax(dim=-1).repeat_interleave(width, dim=0)
        state = self.rules.start(num * width)
        tokens = torch.full((num * width, self.max_tokens), PAD, device=self.device)
        score = torch.full((num, width), -torch.inf, device=self.device)
        score[:, 0] = 0.0  # all beams of a task are alike: one of them starts
        base = torch.arange(num, device=self.device)[:, None] * width
        for position in range(self.max_tokens):
            grown = self._extensions(log_probability, state, position)
            score, best = (score[..., None] + grown.view(num, width, -1)).flatten(1).topk(width, dim=1)
            parent = (base + best // grown.shape[1]).flatten()
            chosen = (best % grown.shape[1]).flatten()
            state = tuple(kept.index_select(0, parent) for kept in state)
            ended = self.rules.finished(state)
            tokens = tokens.index_select(0, parent)
            tokens[:, position] = torch.where(ended, PAD, chosen)
            state = self.rules.advance(state, chosen)
            if position + 1 == self.max_tokens or bool(self.rules.finished(state).all()):
                break
            cache = [kept.index_select(0, parent) for kept in cache]
            logits, cache = self.step(chosen, torch.tensor([position], device=self.device), cache)
            log_probability = logits.float().log_softmax(dim=-1)
        kept = self.settings.num_samples
        found = tokens.view(num, width, -1).masked_fill(score.isneginf()[..., None], PAD)  # fewer texts than beams
        return found[:, :kept], score[:, :kept]

    def _extensions(self, log_probability: Tensor, state: State, position: int) -> Tensor:
        """Log-probability that every token adds to a beam (B x W, V); an ended one goes on in one way, for free."""
        first = self.settings.first_token
        if self.settings.grammatical:
            log_probability = log_probability.masked_fill(~self.rules.allowed(state, position), -torch.inf)
        if position == 0 and first is not None:
            others = torch.arange(log_probability.shape[1], device=self.device) != first
            log_probability = log_probability.masked_fill(others, -torch.inf)
        free = torch.full_like(log_probability[:1], -torch.inf)
        free[:, 0] = 0.0
        return torch.where(self.rules.finished(state)[:, None], free, log_probability)


def nucleus(log_probability: Tensor, top_p: float) -> Tensor:
    """Logits (B, V) without the least likely tokens beyond a share of the probability; the likeliest always stays."""
    values, order = log_probability.softmax(dim=-1).sort(dim=-1, descending=True)
    before = values.cumsum(dim=-1) - values
    dropped = torch.zeros_like(before, dtype=torch.bool).scatter(1, order, before >= top_p)
    return log_probability.masked_fill(dropped, -torch.inf)


@torch.inference_mode()
def first_token_probabilities(model: Synthesizer, tasks: Tasks) -> np.ndarray:
    """Probability of every token as the first of the answer, per task (T, V)."""
    logits, _ = model.start(model.read(model.look(tasks.outputs)))
    return logits.double().softmax(dim=-1).cpu().numpy()
