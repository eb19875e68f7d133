"""Training data that lives on the device; the order is a pure function of (seed, epoch, step)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset

from synthlab.errors import SplitError
from synthlab.language.grammar import Grid
from synthlab.learning.encoding import check_outputs, row_features
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus

_FEATURES_KEPT = 1 << 26


class DeviceData(nn.Module):
    """Target tokens and class outputs as buffers, so that they move with the module that owns them.

    Features of the outputs are computed once if they are few, else for every batch.
    """

    def __init__(self, corpus: Corpus, split: Split) -> None:
        super().__init__()
        if len(split.train) == 0:
            raise SplitError("the split has no training programs: draw it again")
        classes, rows = np.unique(corpus.class_index[split.targets], return_inverse=True)
        outputs = corpus.outputs[classes].astype(np.float64)
        check_outputs(outputs)
        self.grid: Grid = corpus.grammar.grid
        self.tokens: Tensor
        self.rows: Tensor
        self.outputs: Tensor
        self.register_buffer("tokens", torch.from_numpy(corpus.prefix[split.targets]), persistent=False)
        self.register_buffer("rows", torch.from_numpy(rows.astype(np.int32)), persistent=False)
        self.register_buffer("outputs", torch.from_numpy(outputs), persistent=False)
        few = outputs.size * 20 <= _FEATURES_KEPT
        self._features = row_features(self.outputs, self.grid) if few else None

    def __len__(self) -> int:
        return len(self.tokens)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Row features (B, R, F) and target tokens (B, L) of some items."""
        rows = self.rows[index].long()
        if self._features is None:
            return row_features(self.outputs[rows], self.grid), self.tokens[index]
        self._features = self._features.to(self.tokens.device)
        return self._features[rows], self.tokens[index]


class Order(IterableDataset[Tensor]):
    """Item indices of every step from a first step on.

    Each epoch is a permutation drawn from (seed, epoch); the last incomplete batch is dropped, so a step's
    batch never depends on where a run was resumed. Of several processes each takes its share of every batch.
    """

    def __init__(
        self, num_items: int, batch_size: int, num_steps: int, seed: int, first_step: int = 0, *,
        process: int = 0, num_processes: int = 1,
    ) -> None:  # fmt: skip
        self.num_items, self.seed = num_items, seed
        self.process, self.num_processes = process, num_processes
        self.batch_size = min(batch_size, num_items)
        self.num_steps, self.first_step = num_steps, first_step

    def __len__(self) -> int:
        # of the whole run: Lightning compares it with the number of batches since step 0, also after a resume
        return self.num_steps

    def __iter__(self) -> Iterator[Tensor]:
        per_epoch = self.num_items // self.batch_size
        current, permutation = -1, torch.empty(0)
        for step in range(self.first_step, self.num_steps):
            epoch, place = divmod(step, per_epoch)
            if epoch != current:
                mixed = np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0]
                permutation = torch.randperm(self.num_items, generator=torch.Generator().manual_seed(int(mixed)))
                current = epoch
            batch = permutation[place * self.batch_size : (place + 1) * self.batch_size]
            yield batch[self.process :: self.num_processes]
