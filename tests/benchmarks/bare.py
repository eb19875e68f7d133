"""Bare PyTorch to compare with: a training loop without Lightning, and greedy decoding without a cache."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from synthlab.assessment.tasks import Tasks
from synthlab.language.grammar import PAD
from synthlab.learning.batches import Order, training_data
from synthlab.learning.encoding import IGNORED, token_targets
from synthlab.learning.networks import Synthesizer
from synthlab.learning.training import new_optimizer
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus

LOGGED = 10
"""Synthlab notes the loss of the first step and of every tenth; so does the bare loop, and both must agree."""


def synchronise(device: torch.device) -> None:
    """Wait for what was asked of a GPU, so that a clock sees it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class BareLoop:
    """The run that `learning.training.train` makes of the same settings: same weights, batches and precision."""

    def __init__(
        self, corpus: Corpus, split: Split, model: ModelConfig, training: TrainingConfig, device: torch.device,
        compiled: bool,
    ) -> None:  # fmt: skip
        torch.manual_seed(training.seed)
        self.model = Synthesizer(model, corpus.grammar, corpus.max_size, corpus.measure)
        self.data = training_data(corpus, split, self.model, seed=training.seed).to(device)
        self.model.to(device)
        if compiled:
            self.model.network.compile(dynamic=False)
        self.device, self.clip = device, training.clip
        self.order = Order(len(self.data), training.batch_size, training.num_steps, training.seed)
        self.places = self.order.places()
        self.optimizer = new_optimizer(self.model, training)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, training.rate)
        self.losses: dict[int, Tensor] = {}
        self.step = 0

    def run(self, num_steps: int) -> float:
        """Seconds of the next steps."""
        synchronise(self.device)
        start = time.perf_counter()
        for _ in range(num_steps):
            self._train(next(self.places))
        synchronise(self.device)
        return time.perf_counter() - start

    def _train(self, place: Any) -> None:
        patches, text = self.data.batch(place)
        targets = token_targets(text)
        self.optimizer.zero_grad()
        on_gpu = self.device.type == "cuda"
        with torch.autocast("cuda", torch.bfloat16) if on_gpu else contextlib.nullcontext():
            logits = self.model(patches, targets.clamp(min=0))
            loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        self.schedule.step()
        self.step += 1
        if self.step == 1 or self.step % LOGGED == 0:
            self.losses[self.step] = loss.detach()


# ---------------------------------------------------------------- decoding


@torch.inference_mode()
def decode_without_cache(model: Synthesizer, tasks: Tasks, rows_at_once: int) -> np.ndarray:
    """Greedy programs (T, L), with a forward pass over the grid and all tokens for every token."""
    dtype, outputs = next(model.parameters()).dtype, model.look(tasks.outputs)
    blocks = [_greedy(model, model.read(part).to(dtype)) for part in outputs.split(rows_at_once)]
    return torch.cat(blocks).to(torch.uint8).cpu().numpy()


def _greedy(model: Synthesizer, patches: Tensor) -> Tensor:
    """Tokens (B, L) of prefix texts: a text ends where no operand is open, and all end with the last of them."""
    arities = torch.from_numpy(model.grammar.arities.astype(np.int64)).to(patches.device)
    tokens = torch.full((len(patches), model.shape.max_tokens), PAD, device=patches.device)
    num_open = torch.ones(len(patches), dtype=torch.long, device=patches.device)
    for position in range(model.shape.max_tokens):
        chosen = model(patches, tokens)[:, position].argmax(dim=-1)
        ended = num_open == 0
        tokens[:, position] = torch.where(ended, PAD, chosen)
        num_open = torch.where(ended, 0, num_open + arities[chosen] - 1)
        if bool((num_open == 0).all()):
            break
    return tokens


@torch.inference_mode()
def widest_tie(model: Synthesizer, tasks: Tasks, expected: np.ndarray, found: np.ndarray) -> tuple[int, float]:
    """How many rows differ, and by how much the logits of the two tokens do where a row first differs, at most."""
    rows = np.flatnonzero((expected != found).any(axis=1))
    if not len(rows):
        return 0, 0.0
    outputs, text = model.look(tasks.outputs[rows]), torch.from_numpy(expected[rows].astype(np.int64))
    first = torch.from_numpy((expected[rows] != found[rows]).argmax(axis=1)).to(outputs.device)
    logits = model(model.read(outputs).to(next(model.parameters()).dtype), text.to(outputs.device)).float()
    place, number = first[:, None], torch.arange(len(rows), device=outputs.device)
    pair = [torch.from_numpy(t[rows].astype(np.int64)).to(outputs.device).gather(1, place)[:, 0]
            for t in (expected, found)]  # fmt: skip
    if any(bool((tokens == PAD).any()) for tokens in pair):
        return len(rows), np.inf  # texts that end at different places differ in more than a tie
    ours, theirs = (logits[number, first, tokens] for tokens in pair)
    return len(rows), float((ours - theirs).abs().max())
