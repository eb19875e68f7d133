"""Bottom-up enumeration of functions: one minimal program per semantic class, in O(1) per candidate.

The values of ``a op b`` follow from the values of a and b, so a candidate costs one operation on W
residues and one look-up in a hash table. With the two random points of `identity` the classes are
exact; with the points of a grid they are the observational equivalence of Udupa et al. (2013).

Programs of additive size (leaves, nodes) that are minimal have minimal operands, so candidates are built
from minimal programs only. By depth an operand may be as deep as its neighbour allows, so there every
generation combines the least texts of all functions below it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.identity import FingerprintPoints, keys_of
from synthlab.language.interpreter import Algebra
from synthlab.language.measure import check_measure, smallest_size
from synthlab.language.residues import UNDEFINED_RESIDUE, batch_inverse
from synthlab.universe.candidates import OperandOrder, fingerprint_keys, operand_blocks
from synthlab.universe.functions import Collector, FunctionTable, NewFunctions, merged_order, terminal_table
from synthlab.universe.hashing import HashIndex, KeySet
from synthlab.universe.pruning import redundancy_rules

BLOCK = 1 << 14
"""Candidates looked at together."""
_LARGEST = 255
VALUES_AT_ONCE = 1 << 21
"""Values (numbers at one input) that are computed at a time."""
SPARE = 1.1
"""Room made for more functions than the last growth promises."""


OnBlock = Callable[[np.ndarray, int], bool]
"""Called with the keys of every block of candidates and the number executed; true stops the growth."""


def grow(
    grammar: Grammar,
    algebra: Algebra,
    max_size: int,
    *,
    measure: str = "leaves",
    on_block: OnBlock | None = None,
) -> Iterator[FunctionTable]:
    """Enumerate functions size by size; yields the table after every size.

    Parameters
    ----------
    grammar
        The language.
    algebra
        Inputs that decide equality; `identity.identity_algebra` for the classes of a universe.
    max_size, measure
        Last size, and its measure.
    on_block
        Looked at after every block of candidates, for budgets and early success.

    Raises
    ------
    ConfigurationError
        If the measure does not bound the number of programs.
    """
    check_measure(grammar, measure, max_size)
    if max_size > _LARGEST:
        raise ConfigurationError(f"{max_size} {measure}: programs beyond {_LARGEST} are not enumerated, only sampled")
    table = terminal_table(grammar, algebra, measure)
    yield table
    generation, order = table, np.empty(0, dtype=np.int64)
    for size in range(smallest_size(measure) + 1, max_size + 1):
        if measure == "depth":
            found = _search(generation, algebra, size, np.arange(len(generation)), on_block)
            generation = _next_generation(generation, algebra, found)
            table = _with_deeper(table, generation, size)
        else:
            order = merged_order(table, order)
            found = _search(table, algebra, size, order, on_block)
            table = with_functions(table, algebra, size, found)
        yield table
        if found.stopped:
            return


def enumerate_functions(grammar: Grammar, algebra: Algebra, max_size: int, measure: str = "leaves") -> FunctionTable:
    """All functions of at most `max_size`, each by its minimal program."""
    *_, table = grow(grammar, algebra, max_size, measure=measure)
    return table


def _search(
    table: FunctionTable, algebra: Algebra, size: int, by_text: np.ndarray, on_block: OnBlock | None
) -> NewFunctions:
    """New functions of one size."""
    known = table.keys[table.tokens < table.grammar.num_terminals] if table.measure == "depth" else table.keys
    return new_functions(table, algebra, size, operand_order(table, by_text, size), known, on_block=on_block)


def operand_order(table: FunctionTable, by_text: np.ndarray, size: int) -> OperandOrder:
    """The orders in which rows serve as operands of programs of one size; by depth every row counts 1."""
    if table.measure == "depth":
        sizes = np.ones(len(table), dtype=np.uint8)
        return OperandOrder.of(sizes, by_text, table.grammar.max_arity)
    return OperandOrder.of(table.sizes, by_text, size)


def new_functions(
    table: FunctionTable,
    algebra: Algebra,
    size: int,
    order: OperandOrder,
    known: np.ndarray,
    partition: int = 0,
    num_partitions: int = 1,
    on_block: OnBlock | None = None,
) -> NewFunctions:
    """Functions of one size that are not among the known keys, from one partition of all fingerprints.

    Every partition looks at all candidates, which is cheap, and looks up only its own, which is not.
    """
    keys_seen = KeySet((len(known) + _expected_new(table)) // num_partitions, partition, num_partitions)
    fresh = np.empty(BLOCK, dtype=np.int32)
    for start in range(0, len(known), len(fresh)):
        rows = known[start : start + len(fresh)]
        keys_seen.insert(rows, len(rows), UNDEFINED_RESIDUE, fresh)
    found = Collector(_expected_new(table) // num_partitions, table.grammar.max_arity)
    executed, stopped = 0, False
    for token, rows, keys, passed in _candidates(table, order, size, algebra):
        num = keys_seen.insert(keys, len(rows), UNDEFINED_RESIDUE, fresh)
        found.add(fresh, num, executed, token, rows, keys)
        executed += passed
        if on_block is not None and on_block(keys, table.executed + executed):
            stopped = True
            break
    sequence, tokens, operands, keys_found = found.arrays()
    return NewFunctions(sequence, tokens, operands, keys_found, executed, stopped)


def _expected_new(table: FunctionTable) -> int:
    """A guess at the functions of the next size, from the last growth; tables grow if it is short."""
    counts = [c for c in table.counts() if c]
    growth = counts[-1] / counts[-2] if len(counts) > 1 else 10.0
    return int(SPARE * growth * counts[-1])


def _candidates(
    table: FunctionTable, order: OperandOrder, size: int, algebra: Algebra
) -> Iterator[tuple[int, np.ndarray, np.ndarray, int]]:
    """Blocks of candidates of one size: operator, operand rows, keys, and how many they stand for."""
    if isinstance(algebra, FingerprintPoints):
        inverses = np.empty_like(table.values)
        if any(o.field_code is not None and o.field_code.is_partial for o in table.grammar.operators):
            batch_inverse(table.values.ravel(), inverses.ravel())
        keys = np.empty((BLOCK, 2), dtype=np.uint64)
        # a rearrangement has the same number of leaves and nodes, but not the same depth
        rules = None if table.measure == "depth" else redundancy_rules(table.grammar)
        for token, rows, passed in operand_blocks(table, order, size, BLOCK, rules):
            fingerprint_keys(algebra, token, rows, table.values, inverses, keys)
            yield token, rows, keys[: len(rows)], passed
        return
    block = max(1, min(BLOCK, VALUES_AT_ONCE // table.values.shape[1]))
    for token, rows, passed in operand_blocks(table, order, size, block):
        yield token, rows, keys_of(algebra, _apply(table, algebra, token, rows)), passed


def _apply(table: FunctionTable, algebra: Algebra, token: int, rows: np.ndarray) -> np.ndarray:
    """Values (B, W) of one operator on operand rows (B, max arity)."""
    operands = [table.values[rows[:, k]] for k in range(table.grammar.arities[token])]
    return algebra.apply(table.grammar.operator(token), *operands)


def _values_of(table: FunctionTable, algebra: Algebra, found: NewFunctions) -> np.ndarray:
    """Values of new functions; tokens are sorted, so blocks stay in order."""
    if isinstance(algebra, FingerprintPoints):
        return found.keys
    blocks = [table.values[:0]]
    for token in np.unique(found.tokens):
        blocks.append(_apply(table, algebra, int(token), found.operands[found.tokens == token]))
    return np.concatenate(blocks)


def with_functions(table: FunctionTable, algebra: Algebra, size: int, found: NewFunctions) -> FunctionTable:
    """The table with all new functions of one size behind its rows."""
    keys = np.concatenate([table.keys, found.keys])
    proven = isinstance(algebra, FingerprintPoints)
    return replace(
        table,
        tokens=np.concatenate([table.tokens, found.tokens]),
        operands=np.concatenate([table.operands, found.operands]),
        sizes=np.concatenate([table.sizes, np.full(len(found.tokens), size, dtype=np.uint8)]),
        values=keys if proven else np.concatenate([table.values, _values_of(table, algebra, found)]),
        keys=keys,
        executed=table.executed + found.executed,
    )


# ---------------------------------------------------------------- by depth


def _next_generation(table: FunctionTable, algebra: Algebra, found: NewFunctions) -> FunctionTable:
    """The least texts of one more level: the leaves, then what was found, in text order."""
    leaves = np.flatnonzero(table.tokens < table.grammar.num_terminals)
    values = _values_of(table, algebra, found)
    return replace(
        table,
        tokens=np.concatenate([table.tokens[leaves], found.tokens]),
        operands=np.concatenate([table.operands[leaves], found.operands]),
        sizes=np.zeros(len(leaves) + len(values), dtype=np.uint8),
        values=np.concatenate([table.values[leaves], values]),
        keys=np.concatenate([table.keys[leaves], found.keys]),
        executed=table.executed + found.executed,
        texts=_joined_texts(table, leaves, found),
    )


def _joined_texts(table: FunctionTable, leaves: np.ndarray, found: NewFunctions) -> np.ndarray:
    below = table.texts
    assert below is not None
    texts = np.full((len(leaves) + len(found.tokens), 1 + table.grammar.max_arity * below.shape[1]), PAD, np.uint8)
    texts[: len(leaves), 0] = table.tokens[leaves]
    _join(found.tokens, found.operands, table.grammar.arities, below, texts[len(leaves) :])
    return texts


@numba.njit(cache=True, nogil=True)
def _join(tokens, operands, arities, below, texts):
    for row in range(len(tokens)):
        texts[row, 0], position = tokens[row], 1
        for column in range(arities[tokens[row]]):
            for token in below[operands[row, column]]:
                if token == PAD:
                    break
                texts[row, position] = token
                position += 1


def _with_deeper(table: FunctionTable, generation: FunctionTable, depth: int) -> FunctionTable:
    """The table with the functions of a generation that no smaller depth reaches."""
    assert table.texts is not None and generation.texts is not None
    new = HashIndex(table.keys).find(generation.keys) < 0
    width = generation.texts.shape[1] - table.texts.shape[1]
    texts = np.pad(table.texts, ((0, 0), (0, width)), constant_values=PAD)
    return replace(
        table,
        tokens=np.concatenate([table.tokens, generation.tokens[new]]),
        operands=np.concatenate([table.operands, generation.operands[new]]),
        sizes=np.concatenate([table.sizes, np.full(int(new.sum()), depth, dtype=np.uint8)]),
        values=np.concatenate([table.values, generation.values[new]]),
        keys=np.concatenate([table.keys, generation.keys[new]]),
        executed=generation.executed,
        texts=np.concatenate([texts, generation.texts[new]]),
    )
