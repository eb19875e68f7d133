"""What a solver sees, and what only the checker holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from synthlab.errors import SplitError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.identity import grid_codes
from synthlab.language.program import infix_texts, prefix_lengths
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus


@dataclass(frozen=True, eq=False)
class Tasks:
    """Semantic classes to be synthesized.

    A solver is given `grammar`, `outputs` and `codes`; the rest belongs to the checker.

    Attributes
    ----------
    grammar, max_size, measure, seed
        The language, the bound N on answers, and the fingerprint seed.
    outputs
        Outputs on the grid (T, G).
    codes
        The same outputs exactly, modulo 2^61 - 1 (T, G), for solvers that compare instead of read.
    class_id, class_leaves
        Which class a task is (T,), and its minimal size.
    fingerprints
        Identity of the function (T, 2).
    weight
        How often the test set drew the class (T,).
    """

    grammar: Grammar
    max_size: int
    measure: str
    seed: int
    outputs: np.ndarray
    codes: np.ndarray
    class_id: np.ndarray
    class_leaves: np.ndarray
    fingerprints: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.class_id)

    def take(self, rows: np.ndarray | slice) -> Tasks:
        """Some of the tasks."""
        arrays = ("outputs", "codes", "class_id", "class_leaves", "fingerprints", "weight")
        return replace(self, **{name: getattr(self, name)[rows] for name in arrays})

    def sample(self, num: int, seed: int = 0) -> Tasks:
        """A uniform draw of at most `num` tasks."""
        chosen = np.random.default_rng(seed).permutation(len(self))[:num]
        return self.take(np.sort(chosen))

    def frame(self) -> pd.DataFrame:
        """Tasks as a table."""
        return pd.DataFrame({"class_id": self.class_id, "leaves": self.class_leaves, "weight": self.weight})


def tasks_of(corpus: Corpus, class_ids: np.ndarray) -> Tasks:
    """Tasks for class ids; a repeated id becomes one task of larger weight.

    Raises
    ------
    SplitError
        If a class has a pole on the grid: it cannot be shown to a solver.
    """
    unique, counts = np.unique(np.asarray(class_ids, dtype=np.int64), return_counts=True)
    rows = corpus.class_rows(unique)
    if not corpus.is_task[rows].all():
        raise SplitError(f"{int((~corpus.is_task[rows]).sum())} classes have a pole on the grid: draw the split again")
    return Tasks(
        corpus.grammar,
        corpus.max_size,
        corpus.measure,
        corpus.seed,
        corpus.outputs[rows],
        grid_codes(corpus.grammar, corpus.prefix[unique]),
        unique,
        corpus.class_leaves[rows],
        corpus.fingerprints[rows],
        counts,
    )


def tasks_by_part(corpus: Corpus, split: Split) -> dict[str, Tasks]:
    """Tasks of every test set that is not empty."""
    return {name: tasks_of(corpus, ids) for name, ids in split.tests.items() if len(ids)}


@dataclass(frozen=True, eq=False)
class Candidates:
    """Programs that a solver submits.

    Attributes
    ----------
    task
        Row of the task each candidate answers (K,).
    rank
        Its place among the candidates of its task (K,), 0 first.
    prefix
        Padded prefix tokens (K, L), not necessarily grammatical.
    log_probability
        Natural logarithm of the solver's probability (K,); NaN where it has none.
    independent
        Whether the candidates of a task are equally many independent draws, so that pass@k is defined.
    """

    task: np.ndarray
    rank: np.ndarray
    prefix: np.ndarray
    log_probability: np.ndarray
    independent: bool = True

    def __len__(self) -> int:
        return len(self.task)

    def take(self, rows: np.ndarray) -> Candidates:
        """Some of the candidates; whoever chooses among them ends their independence."""
        return Candidates(self.task[rows], self.rank[rows], self.prefix[rows], self.log_probability[rows], False)

    def distinct(self) -> Candidates:
        """The first of every text of a task, ranked anew by rank; what is left is no independent sample."""
        order = np.lexsort((self.rank, self.task))
        rows = np.column_stack([self.task[order], self.prefix[order]])
        first = np.sort(np.unique(rows, axis=0, return_index=True)[1])
        kept = order[first]
        starts = np.searchsorted(self.task[kept], self.task[kept])
        rank = np.arange(len(kept)) - starts
        return Candidates(self.task[kept], rank, self.prefix[kept], self.log_probability[kept], independent=False)

    def frame(self, grammar: Grammar) -> pd.DataFrame:
        """Candidates as text; ungrammatical ones as their tokens, if they have any in prefix notation."""
        lengths = prefix_lengths(grammar, self.prefix)
        texts = []
        for row, length in zip(self.prefix, lengths, strict=True):
            closed = np.where(np.arange(len(row)) < length, row, PAD)[None]
            tokens = " ".join(grammar.tokens[t] if t < len(grammar.tokens) else "?" for t in row if t != PAD)
            texts.append(infix_texts(grammar, closed)[0] if length > 0 else tokens)
        return pd.DataFrame(
            {"task": self.task, "rank": self.rank, "program": texts, "log_probability": self.log_probability}
        )
