"""Writing programs: greedy, by samples with or without replacement, or by beam search, with a cache of keys and values.

All shapes are fixed for a block of rows, so that one compiled step or CUDA graph serves every token. Samples
are a pure function of (seed, outputs, sample), samples without replacement of (seed, outputs): they depend
neither on the size of the blocks nor on what is drawn beside them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from synthlab.assessment.tasks import Candidates, Tasks
from synthlab.errors import ConfigurationError
from synthlab.interrupts import uninterrupted
from synthlab.language.grammar import PAD
from synthlab.learning.batches import scrambled
from synthlab.learning.beams import Beams, DrawnBeams, grown_keys, gumbel
from synthlab.learning.continuations import Continuations, State
from synthlab.learning.model import Cache
from synthlab.learning.networks import Synthesizer

_ROWS_AT_ONCE = {"cpu": 1024, "cuda": 16384}
_COLDEST = 1e-6


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
    distinct
        Draw `beam` different texts, a sample without replacement at the temperature, and keep the first
        `num_samples`: stochastic beam search (Kool et al., ICML 2019). A wider beam begins with the same texts.
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
    distinct: bool = False
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
        if self.distinct and not (self.beam and self.temperature):
            raise ConfigurationError("distinct texts are drawn in a beam: give beam, and a temperature over 0")
        warm_beam = self.temperature and not self.distinct
        if self.beam and (self.beam < self.num_samples or warm_beam or self.top_p < 1):
            raise ConfigurationError(
                f"a beam of {self.beam} gives at most so many candidates, and has no temperature or top_p; "
                "set distinct to draw different texts at a temperature"
            )


@dataclass
class Work:
    """What writing takes, counted as it goes on.

    Attributes
    ----------
    tokens
        Tokens written, end tokens included. Every text of a beam grows by one at a step until it ends: texts that
        are given up later count, and what texts share is written once.
    reads, steps
        Rows whose outputs were read, and rows times steps of the network after that, as they are computed: with
        rows that have ended, or that only fill a block.
    """

    tokens: int = 0
    reads: int = 0
    steps: int = 0


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
    model, rows_at_once, compiled
        As in `write_programs`.
    tasks
        What to solve.
    settings, **changes
        How, as `Decoding` or as its fields.

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
    prefix, found = write_programs(model, tasks.outputs, settings, rows_at_once=rows_at_once, compiled=compiled)
    num, (task, rank) = len(tasks) * settings.num_samples, np.indices(found.shape)
    return Candidates(
        task.ravel(), rank.ravel(), prefix.reshape(num, prefix.shape[2]), found.ravel(), independent=not settings.beam
    )


@torch.inference_mode()
def write_programs(
    model: Synthesizer, outputs: np.ndarray, settings: Decoding, *, rows_at_once: int | None = None,
    compiled: bool | str = False, work: Work | None = None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Let a model write programs for outputs.

    Parameters
    ----------
    model
        In evaluation mode, on any device; on a GPU it decodes in bfloat16.
    outputs
        On the grid (B, G).
    settings
        How.
    rows_at_once, compiled
        Programs written side by side; and whether to compile the step (or the name of a backend of
        `torch.compile`), which pays for very many programs only.
    work
        What writing takes is added to it.

    Returns
    -------
    tuple
        Prefix tokens (B, n, L), uint8, padded with `PAD`, n = `num_samples` in order of rank; and
        log-probabilities (B, n) of the model's own distribution: minus infinity, and no token, where a beam has
        fewer texts. What is no program has no tokens, or those written in prefix notation.

    Raises
    ------
    ConfigurationError
        For a first token that is none, or outputs that overflow the encoding.
    """
    if not 0 <= (settings.first_token or 0) < model.shape.vocabulary:
        raise ConfigurationError(f"first token {settings.first_token}: there are {model.shape.vocabulary}")
    writer = _Writer(_for_inference(model), settings, compiled, work or Work())
    texts, scores = writer.all_texts(model.look(outputs), rows_at_once)
    # unfinished prefix texts stay readable; those of other notations have no prefix form
    written = texts.reshape(scores.size, texts.shape[2])
    prefix = written if model.notation.end is None else model.notation.decode(written)
    return prefix.reshape(*scores.shape, prefix.shape[1]), scores


def decoding_flops(model: Synthesizer) -> tuple[int, int]:
    """Floating-point operations per row: of reading outputs up to the first token, and of every token after it.

    Counted as those of a training step are (`costs.step_flops`), attention to the whole cache included. With a
    cache, reading and the tokens of the longest text add up to one forward pass over it: a third of what a
    training step spends on one program, which has no gradient of the outputs to compute.
    """
    shape, model = model.shape, copy.deepcopy(model).cpu().float()
    rows = 2  # of one, some products would be counted by other rules
    seen = torch.zeros(rows, shape.num_patches, shape.patch_features)
    tokens, place = torch.zeros(rows, dtype=torch.long), torch.zeros(1, dtype=torch.long)
    reading, writing = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with uninterrupted(), torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        with reading:
            _, cache = model.start(seen)
        with writing:
            if shape.max_tokens > 1:
                model.step(tokens, place, cache)
    return reading.get_total_flops() // rows, writing.get_total_flops() // rows


def _for_inference(model: Synthesizer) -> Synthesizer:
    """The model itself, or a copy in bfloat16 on a GPU."""
    if next(model.parameters()).device.type != "cuda":
        return model
    return copy.deepcopy(model).to(torch.bfloat16)


class _Writer:
    """One model with one way of decoding, block by block."""

    def __init__(self, model: Synthesizer, settings: Decoding, compiled: bool | str, work: Work) -> None:
        parameter = next(model.parameters())
        self.model, self.settings, self.work = model, settings, work
        self.device, self.dtype = parameter.device, parameter.dtype
        self.max_tokens = model.shape.max_tokens
        largest = model.max_size if settings.max_size is None else min(settings.max_size, model.max_size)
        self.rules = Continuations(
            model.notation, self.max_tokens, max_size=largest, measure=model.measure, device=self.device
        )
        self.run_step: Callable[[Tensor, Tensor, Cache], tuple[Tensor, Cache]] = model.step
        if compiled:
            backend = compiled if isinstance(compiled, str) else "inductor"
            self.run_step = torch.compile(model.step, backend=backend, dynamic=False)

    def all_texts(self, outputs: Tensor, rows_at_once: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Tokens (T, n, L), uint8, and log-probabilities (T, n) for outputs (T, G) of any number."""
        beam, num = self.settings.beam, self.settings.num_samples
        limit = rows_at_once or _ROWS_AT_ONCE["cuda" if self.device.type == "cuda" else "cpu"]
        copies = 1 if beam else num
        asked = np.repeat(np.arange(len(outputs)), copies)
        block = min(max(1, limit // max(1, beam)), max(1, len(asked)))
        texts = np.empty((len(asked), num // copies, self.max_tokens), dtype=np.uint8)
        scores = np.empty(texts.shape[:2])
        for start in range(0, len(asked), block):
            rows = np.arange(start, start + block)
            chosen = torch.from_numpy(asked[np.minimum(rows, len(asked) - 1)]).to(self.device)  # the last is full, too
            sample = torch.from_numpy(rows % copies).to(self.device)
            found = self.beam(outputs[chosen]) if beam else self.write(outputs[chosen], sample)
            kept = slice(start, min(start + block, len(asked)))
            tokens, score, num_written = (values[: kept.stop - start].cpu() for values in found)
            texts[kept], scores[kept] = tokens.numpy(), score.double().numpy()
            self.work.tokens += int(num_written.sum())
        return texts.reshape(len(outputs), num, self.max_tokens), scores.reshape(len(outputs), num)

    def start(self, outputs: Tensor) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the first token, and the cache to continue from."""
        self.work.reads += len(outputs)
        return self.model.start(self.model.read(outputs).to(self.dtype))

    def step(self, tokens: Tensor, position: int, cache: Cache) -> tuple[Tensor, Cache]:
        """Logits (B, V) of the token after those at a position."""
        self.work.steps += len(tokens)
        return self.run_step(tokens, torch.tensor([position], device=self.device), cache)

    def write(self, outputs: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One text a row: tokens (B, 1, L), summed log-probabilities (B, 1), number of tokens (B,)."""
        drawn = self._keys(outputs, sample) if self.settings.temperature else sample
        logits, cache = self.start(outputs)
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
            logits, cache = self.step(chosen, position, cache)
        return tokens[:, None].to(torch.uint8), score[:, None], (tokens != PAD).sum(dim=1)

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
        return (scaled + gumbel(grown_keys(drawn, position, scaled.shape[1], settings.seed))).argmax(dim=-1)

    def _keys(self, outputs: Tensor, sample: Tensor) -> Tensor:
        """A number per row (B,) that depends on the outputs shown, the seed and the sample alone."""
        key = torch.zeros_like(sample)
        for column in (outputs + 0.0).view(torch.int64).unbind(dim=1):  # plus 0, so that -0 is 0
            key = scrambled(key + column, self.settings.seed)
        return scrambled(key + sample, self.settings.seed)

    def beam(self, outputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Texts of a task (B, n, L), best first, their log-probabilities (B, n), tokens of all its beams (B,)."""
        num, width = len(outputs), self.settings.beam
        logits, cache = self.start(outputs)
        logits, *cache = (kept.repeat_interleave(width, dim=0) for kept in (logits, *cache))
        beams = self._beams(outputs)
        state = self.rules.start(num * width)
        tokens = torch.full((num * width, self.max_tokens), PAD, device=self.device)
        base = torch.arange(num, device=self.device)[:, None] * width
        num_written = torch.zeros(num, dtype=torch.long, device=self.device)
        for position in range(self.max_tokens):
            grown = self._extensions(logits.float().log_softmax(dim=-1), state, position)
            best = beams.extend(grown.view(num, width, -1), position)
            parent = (base + best // grown.shape[1]).flatten()
            chosen = (best % grown.shape[1]).flatten()
            state = tuple(kept.index_select(0, parent) for kept in state)
            ended = self.rules.finished(state)
            tokens = tokens.index_select(0, parent)
            tokens[:, position] = torch.where(ended, PAD, chosen)
            num_written += (beams.exist & ~ended.view(num, width)).sum(dim=1)
            state = self.rules.advance(state, chosen)
            if position + 1 == self.max_tokens or bool(self.rules.finished(state).all()):
                break
            cache = [kept.index_select(0, parent) for kept in cache]
            logits, cache = self.step(chosen, position, cache)
        found = tokens.view(num, width, -1).masked_fill(~beams.exist[..., None], PAD)  # fewer texts than beams
        kept = self.settings.num_samples
        return found[:, :kept].to(torch.uint8), beams.score[:, :kept], num_written

    def _beams(self, outputs: Tensor) -> Beams:
        settings = self.settings
        first = torch.zeros(len(outputs), dtype=torch.long, device=self.device)
        if settings.distinct:
            return DrawnBeams(self._keys(outputs, first), settings.beam, settings.temperature, settings.seed)
        return Beams(len(outputs), settings.beam, self.device)

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
