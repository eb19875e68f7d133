"""The functions found so far: minimal programs as references to their operands, and what one size adds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthlab.compiling import numba
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.identity import keys_of
from synthlab.language.interpreter import Algebra
from synthlab.language.measure import max_length, smallest_size


@dataclass(frozen=True, eq=False)
class FunctionTable:
    """Minimal programs of all functions found so far, ordered by (size, prefix text).

    Attributes
    ----------
    grammar, measure
        The language, and how size is measured.
    tokens, operands
        Root token (C,), uint8, and rows of its operands (C, max arity), int32.
    sizes
        Size of every minimal program (C,), uint8.
    values
        Values (C, W) in the arithmetic of the enumeration.
    keys
        Fingerprints (C, 2).
    executed
        Candidates considered so far, provably redundant ones included.
    texts
        Prefix tokens (C, L), where they do not follow from the operands (depth).
    """

    grammar: Grammar
    measure: str
    tokens: np.ndarray
    operands: np.ndarray
    sizes: np.ndarray
    values: np.ndarray
    keys: np.ndarray
    executed: int
    texts: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    def counts(self) -> list[int]:
        """Number of functions that are new at each size."""
        return np.bincount(self.sizes)[smallest_size(self.measure) :].tolist()

    def text(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Minimal programs as a padded token matrix (n, L), uint8; all of them, or some rows."""
        rows = np.arange(len(self)) if rows is None else np.asarray(rows)
        if self.texts is not None:
            return self.texts[rows]
        length = max_length(self.grammar, int(self.sizes[-1]), self.measure)
        text = np.full((len(rows), length), PAD, dtype=np.uint8)
        _write_texts(rows, self.tokens, self.operands, self.grammar.arities, text)
        return text


@numba.njit(cache=True, nogil=True)
def _write_texts(rows, tokens, operands, arities, text):
    waiting = np.empty(text.shape[1] + operands.shape[1] + 1, dtype=np.int64)
    for k in range(len(rows)):
        waiting[0], top, position = rows[k], 1, 0
        while top > 0:
            top -= 1
            row = waiting[top]
            text[k, position] = tokens[row]
            position += 1
            for operand in range(arities[tokens[row]] - 1, -1, -1):
                waiting[top] = operands[row, operand]
                top += 1


def terminal_table(grammar: Grammar, algebra: Algebra, measure: str) -> FunctionTable:
    """The functions that are a single leaf."""
    values = algebra.terminals
    keys = keys_of(algebra, values)
    _, first = np.unique(keys, axis=0, return_index=True)
    kept = np.sort(first)
    operands = np.full((len(kept), grammar.max_arity), -1, dtype=np.int32)
    sizes = np.full(len(kept), smallest_size(measure), dtype=np.uint8)
    texts = kept[:, None].astype(np.uint8) if measure == "depth" else None
    tokens = kept.astype(np.uint8)
    return FunctionTable(
        grammar, measure, tokens, operands, sizes, values[kept], keys[kept], grammar.num_terminals, texts
    )


def merged_order(table: FunctionTable, order: np.ndarray) -> np.ndarray:
    """Rows by text alone, when `order` holds all rows but those of the last size, which are in text order."""
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    merged = np.empty(len(table), dtype=np.int64)
    _merge(order, len(order), table.tokens, table.operands, table.grammar.arities, place, merged)
    return merged


@numba.njit(cache=True, nogil=True)
def _merge(order, new, tokens, operands, arities, place, merged):
    old = 0
    for k in range(len(merged)):
        take_old = new == len(tokens)
        if not take_old and old < len(order):
            row = order[old]
            take_old = tokens[row] < tokens[new]
            if tokens[row] == tokens[new]:
                for column in range(arities[tokens[row]]):
                    one, two = place[operands[row, column]], place[operands[new, column]]
                    if one != two:
                        take_old = one < two
                        break
        if take_old:
            merged[k] = order[old]
            old += 1
        else:
            merged[k] = new
            new += 1


@dataclass
class NewFunctions:
    """Functions found at one size, in text order.

    Attributes
    ----------
    sequence
        Number of the candidate that found each (N,), int64.
    tokens, operands, keys
        As in `FunctionTable`.
    executed
        Candidates considered, provably redundant ones included.
    stopped
        Whether `on_block` ended the search.
    """

    sequence: np.ndarray
    tokens: np.ndarray
    operands: np.ndarray
    keys: np.ndarray
    executed: int
    stopped: bool = False

    @classmethod
    def merged(cls, parts: list[NewFunctions]) -> NewFunctions:
        """Functions of all partitions of one size, back in text order."""
        if len(parts) == 1:
            return parts[0]
        sequence = np.concatenate([p.sequence for p in parts])
        order = np.argsort(sequence, kind="stable")
        tokens, operands, keys = (
            np.concatenate([getattr(p, name) for p in parts])[order] for name in ("tokens", "operands", "keys")
        )
        return cls(sequence[order], tokens, operands, keys, parts[0].executed)


class Collector:
    """Growing arrays of new functions: their number, operator, operands and keys."""

    def __init__(self, expected: int, max_arity: int) -> None:
        capacity = max(expected, 1 << 12)
        self.columns: list[np.ndarray] = [
            np.empty(capacity, dtype=np.int64),
            np.empty(capacity, dtype=np.uint8),
            np.empty((capacity, max_arity), dtype=np.int32),
            np.empty((capacity, 2), dtype=np.uint64),
        ]
        self.count = 0

    def add(self, fresh: np.ndarray, num: int, start: int, token: int, rows: np.ndarray, keys: np.ndarray) -> None:
        """Append the first `num` fresh rows of a block that begins with candidate `start`."""
        if self.count + num > len(self.columns[0]):
            self.columns = [np.resize(c, (2 * len(c), *c.shape[1:])) for c in self.columns]
        sequence, tokens, operands, kept = self.columns
        _collect(fresh, num, start, token, rows, keys, sequence, tokens, operands, kept, self.count)
        self.count += num

    def arrays(self) -> list[np.ndarray]:
        """The filled part; copied where it would keep much more memory alive."""
        filled = [c[: self.count] for c in self.columns]
        return [c.copy() for c in filled] if 2 * self.count < len(self.columns[0]) else filled


@numba.njit(cache=True, nogil=True)
def _collect(fresh, num, start, token, rows, keys, out_sequence, out_tokens, out_operands, out_keys, offset):
    for k in range(num):
        row, target = fresh[k], offset + k
        out_sequence[target], out_tokens[target] = start + row, token
        for column in range(rows.shape[1]):
            out_operands[target, column] = rows[row, column]
        out_keys[target, 0], out_keys[target, 1] = keys[row, 0], keys[row, 1]
