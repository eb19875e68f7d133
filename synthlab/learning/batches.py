"""Training data: on the device, or streamed where it does not fit; a pure function of (seed, epoch, step)."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from synthlab.errors import SplitError
from synthlab.language.grammar import PAD
from synthlab.language.interpreter import grid_outputs
from synthlab.learning.encoding import check_outputs
from synthlab.learning.networks import Synthesizer
from synthlab.splits.split import RANDOM_TEXT, Split, learned_texts
from synthlab.universe.corpus import Corpus
from synthlab.universe.counting import unrank

_PATCHES_KEPT = 1 << 26
_WHOLE = (torch.int16, torch.int32)


class Place(NamedTuple):
    """One step of a run: its number, its epoch, and the items of the whole batch (B,), int64."""

    step: int
    epoch: int
    items: Tensor


class Order:
    """The items of every step.

    Each epoch is a permutation drawn from (seed, epoch); the last incomplete batch is dropped, so a step's
    batch never depends on where a run was resumed.
    """

    def __init__(self, num_items: int, batch_size: int, num_steps: int, seed: int) -> None:
        self.num_items, self.seed, self.num_steps = num_items, seed, num_steps
        self.batch_size = min(batch_size, num_items)

    def __len__(self) -> int:
        return self.num_steps

    def places(self, first_step: int = 0) -> Iterator[Place]:
        """Steps from a first one on."""
        per_epoch = self.num_items // self.batch_size
        current, permutation = -1, torch.empty(0)
        for step in range(first_step, self.num_steps):
            epoch, place = divmod(step, per_epoch)
            if epoch != current:
                mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]
                permutation = torch.randperm(self.num_items, generator=torch.Generator().manual_seed(int(mixed)))
                current = epoch
            yield Place(step, epoch, permutation[place * self.batch_size : (place + 1) * self.batch_size])


class Data(nn.Module, abc.ABC):
    """Training items as a module: what it holds moves with the module that owns it.

    Several processes share every batch: each gets the texts of all of it, since all weigh the loss, and the
    outputs of its own share.
    """

    streams = False

    @abc.abstractmethod
    def __len__(self) -> int:
        """Number of items."""

    @abc.abstractmethod
    def fetch(self, place: Place, share: slice) -> Any:
        """What the host prepares for a step; of a data set that streams, in a thread of its own."""

    @abc.abstractmethod
    def batch(self, fetched: Any, share: slice) -> tuple[Tensor, Tensor]:
        """Patches (B', R, F) of a share of a batch, and tokens (B, L) of all of it, on the device."""


class DeviceData(Data):
    """Texts and outputs as buffers on the device, where patches are computed.

    Parameters
    ----------
    model
        Whose encoding and notation are used.
    texts
        Prefix texts to learn (Q, L), uint8.
    groups
        Texts of item k are the rows groups[k] to groups[k + 1] of `texts` (M + 1,); one of them is drawn by
        (seed, epoch, item) where there are several. None for one text an item.
    rows, outputs
        Which row of the outputs (C, G) every item shows (M,).
    seed
        Of the draw of texts.

    Whole outputs are kept in the smallest type that holds them, and patches of few outputs are computed once.
    """

    def __init__(
        self,
        model: Synthesizer,
        texts: np.ndarray,
        rows: np.ndarray,
        outputs: np.ndarray,
        *,
        groups: tuple[np.ndarray, np.ndarray] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_outputs(outputs)
        self.read, self.seed = model.read, seed
        self.texts: Tensor
        self.rows: Tensor
        self.outputs: Tensor
        self._keep("texts", torch.from_numpy(written(model, texts)))
        self._keep("rows", torch.from_numpy(rows.astype(np.int32)))
        self._keep("outputs", _smallest(torch.from_numpy(outputs.astype(np.float64))))
        self.draws = groups is not None
        self.first: Tensor
        self.counts: Tensor
        if groups is not None:
            self._keep("first", torch.from_numpy(groups[0].astype(np.int64)))
            self._keep("counts", torch.from_numpy(groups[1].astype(np.int64)))
        shape = model.shape
        few = len(outputs) * shape.num_patches * shape.patch_features <= _PATCHES_KEPT
        self._patches = self.read(self.outputs) if few else None

    def _keep(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value, persistent=False)

    def __len__(self) -> int:
        return len(self.rows)

    def fetch(self, place: Place, share: slice) -> Place:
        """Nothing to prepare."""
        return place

    def batch(self, fetched: Place, share: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Patches of a share of a batch, and tokens of all of it."""
        device = self.rows.device
        items = fetched.items.to(device, non_blocking=True)
        rows = self.rows[items[share]].long()
        if self._patches is None:
            return self.read(self.outputs[rows]), self.texts[self._chosen(items, fetched.epoch)]
        self._patches = self._patches.to(device)
        return self._patches[rows], self.texts[self._chosen(items, fetched.epoch)]

    def _chosen(self, items: Tensor, epoch: int) -> Tensor:
        """Row of the text that every item shows in an epoch."""
        if not self.draws:
            return items
        draw = scrambled(items, self.seed, epoch)
        return self.first[items] + draw % self.counts[items]

    @property
    def num_bytes(self) -> int:
        """Bytes on the device, kept patches aside."""
        return sum(b.numel() * b.element_size() for b in self.buffers())


class StreamedData(Data):
    """Texts and outputs made anew for every batch from ids alone, one batch ahead of the device.

    Needs 16 bytes of host memory an item, or none where the ids are memory-mapped: texts are unranked and
    outputs computed when they are due. Batches are those of `DeviceData`.

    Parameters
    ----------
    model
        Whose grammar, encoding and notation are used.
    targets
        Id of the text to learn of every item (M,).
    shown
        Id of a text of the same function, whose outputs are shown (M,): the minimal one, so that all agree.
    max_size, measure
        Of the universe that the ids belong to.
    """

    streams = True

    def __init__(
        self, model: Synthesizer, targets: np.ndarray, shown: np.ndarray, max_size: int, measure: str = "leaves"
    ) -> None:
        super().__init__()
        self.read, self.written, self.grammar = model.read, functools.partial(written, model), model.grammar
        self.targets, self.shown, self.max_size, self.measure = targets, shown, max_size, measure

    def __len__(self) -> int:
        return len(self.targets)

    def fetch(self, place: Place, share: slice) -> tuple[Tensor, Tensor]:
        """Outputs of a share, and tokens of the whole batch, on the host."""
        items = place.items.numpy()
        outputs = grid_outputs(self.grammar, self._texts(self.shown[items[share]]))
        check_outputs(outputs)
        tokens = torch.from_numpy(self.written(self._texts(self.targets[items])))
        return torch.from_numpy(outputs.astype(np.float64)), tokens

    def _texts(self, ids: np.ndarray) -> np.ndarray:
        return unrank(self.grammar, np.asarray(ids), self.max_size, self.measure)

    def batch(self, fetched: tuple[Tensor, Tensor], share: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Patches of a share of a batch, and tokens of all of it."""
        outputs, tokens = fetched
        return self.read(outputs), tokens


class Batches:
    """What a training loop iterates over: every remaining step, fetched."""

    def __init__(self, data: Data, order: Order, first_step: int = 0, share: slice = slice(None)) -> None:
        self.data, self.order, self.first_step, self.share = data, order, first_step, share

    def __len__(self) -> int:
        # of the whole run: Lightning compares it with the number of batches since step 0, also after a resume
        return len(self.order)

    def __iter__(self) -> Iterator[Any]:
        fetched = (lambda place: self.data.fetch(place, self.share)), self.order.places(self.first_step)
        return _ahead(*fetched) if self.data.streams else map(*fetched)


def _ahead(fetch: Callable[[Place], Any], places: Iterator[Place]) -> Iterator[Any]:
    """Fetched steps in order, the next one always under way."""
    with ThreadPoolExecutor(1) as pool:
        waiting = None
        for place in places:
            following = pool.submit(fetch, place)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()


def scrambled(items: Tensor, *keys: int) -> Tensor:
    """Pseudo-random whole numbers in 0..2^62-1 that depend on every item and key alone, on any device.

    Two rounds of the finalizer of MurmurHash3 a key; int64 products wrap.
    """
    value = items
    for key in keys:
        value = value * 0x9E3779B97F4A7C1 + (key * 0x632BE59BD9B4E01 + 0x7F4A7C15) % (1 << 62)
        for factor in (-0x00AE502812AA7333, -0x3B314601E57A13AD):
            value = (value ^ ((value >> 33) & 0x7FFFFFFF)) * factor
        value = value ^ ((value >> 33) & 0x7FFFFFFF)
    return value & ((1 << 62) - 1)


def written(model: Synthesizer, prefix: np.ndarray) -> np.ndarray:
    """Texts (P, L) of a model's notation, as wide as its longest program; it has room for all of them."""
    text, width = model.notation.encode(prefix), model.shape.max_tokens
    return np.pad(text[:, :width], ((0, 0), (0, max(0, width - text.shape[1]))), constant_values=PAD)


def _smallest(values: Tensor) -> Tensor:
    """Values in the smallest type that holds them exactly: int16, int32 or float64."""
    for kind in _WHOLE:
        limits = torch.iinfo(kind)
        fits = len(values) and limits.min <= float(values.min()) and float(values.max()) <= limits.max
        if fits and bool((values == values.to(kind)).all()):
            return values.to(kind)
    return values


# ---------------------------------------------------------------- from a split


def training_data(
    corpus: Corpus,
    split: Split,
    model: Synthesizer,
    *,
    seed: int = 0,
    streamed: bool | None = None,
    free_bytes: float = math.inf,
) -> Data:
    """The training items of a split.

    Parameters
    ----------
    corpus, split
        Where the texts and outputs are, and which are learned.
    model
        Whose encoding and notation are used.
    seed
        Of the texts drawn by the policy ``random``.
    streamed
        Make every batch anew instead of keeping texts and outputs on the device; by default where they would
        take more than half of `free_bytes`.

    Raises
    ------
    SplitError
        If the split has no training programs, or texts are to be drawn anew every epoch from a stream.
    """
    if not len(split.train):
        raise SplitError("the split has no training programs: draw it again")
    classes, rows = np.unique(corpus.class_index[split.targets], return_inverse=True)
    draws = split.settings["policy"] == RANDOM_TEXT
    if streamed is None:
        numbers = len(classes) * len(corpus.grammar.grid.points)
        streamed = 8 * numbers + (corpus.prefix.shape[1] + 4) * len(rows) > free_bytes / 2
    if not streamed:
        texts, groups = text_choices(corpus, split, classes, rows) if draws else (split.targets, None)
        return DeviceData(model, corpus.prefix[texts], rows, corpus.outputs[classes], groups=groups, seed=seed)
    if draws:
        raise SplitError(f"targets {RANDOM_TEXT!r} need all texts of a function at hand: keep the data on the device")
    return StreamedData(model, split.targets, corpus.class_id[classes][rows], corpus.max_size, corpus.measure)


def text_choices(
    corpus: Corpus, split: Split, classes: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Ids of all texts that may be learned (Q,), and for every item the first of its function's and their number."""
    texts = learned_texts(corpus, split)
    owner = np.searchsorted(classes, corpus.class_index[texts])
    counts = np.bincount(owner, minlength=len(classes))
    first = np.cumsum(counts) - counts
    return texts[np.argsort(owner, kind="stable")], (first[rows], counts[rows])
