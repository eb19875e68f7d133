"""How large a program is: leaves (the default), nodes, or depth (0 for a leaf)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grammar
from synthlab.presets import MEASURES


def check_measure(grammar: Grammar, measure: str, max_size: int | None = None) -> None:
    """Refuse a measure that does not bound the number of programs, and sizes without any.

    Raises
    ------
    ConfigurationError
        For an unknown measure, a size below the smallest, or leaves with a unary operator (infinitely many
        programs then have the same number of leaves).
    """
    if measure not in MEASURES:
        raise ConfigurationError(f"unknown measure {measure!r}: choose from {', '.join(MEASURES)}")
    if measure == "leaves" and any(o.arity == 1 for o in grammar.operators):
        raise ConfigurationError(
            "a unary operator makes infinitely many programs per number of leaves: measure nodes or depth"
        )
    if max_size is not None and max_size < smallest_size(measure):
        raise ConfigurationError(f"a universe of {max_size} {measure} is empty: use at least {smallest_size(measure)}")


def smallest_size(measure: str) -> int:
    """Size of a leaf."""
    return 0 if measure == "depth" else 1


def operator_weight(measure: str) -> int:
    """What an operator adds to the sizes of its operands (leaves and nodes)."""
    return 1 if measure == "nodes" else 0


def operand_sizes(measure: str, arity: int, size: int) -> Iterator[tuple[int, ...]]:
    """Sizes of the operands of an operator whose program has `size` leaves or nodes, each at least 1."""
    total = size - operator_weight(measure)
    if total < arity:
        return
    for cuts in itertools.combinations(range(1, total), arity - 1):
        yield tuple(b - a for a, b in itertools.pairwise((0, *cuts, total)))


def max_length(grammar: Grammar, max_size: int, measure: str = "leaves") -> int:
    """Longest prefix text of so large a program, in tokens."""
    check_measure(grammar, measure, max_size)
    arities = [o.arity for o in grammar.operators]
    if measure == "nodes":
        return max_size
    if measure == "leaves":
        return max_size + (max_size - 1) // (min(arities) - 1)
    return sum(max(arities) ** level for level in range(max_size + 1))


def sizes_of(grammar: Grammar, prefix: np.ndarray, measure: str = "leaves") -> np.ndarray:
    """Size of every program in a padded token matrix (P, L), int64 (P,)."""
    if measure == "leaves":
        return (prefix < grammar.num_terminals).sum(axis=1)
    if measure == "nodes":
        return (prefix != PAD).sum(axis=1)
    out = np.empty(len(prefix), dtype=np.int64)
    _depths(np.ascontiguousarray(prefix), grammar.arities, out)
    return out


@numba.njit(cache=True, nogil=True)
def _depths(prefix, arities, out):
    stack = np.zeros(prefix.shape[1] + 1, dtype=np.int64)
    for program in range(len(prefix)):
        top = 0
        for position in range(prefix.shape[1] - 1, -1, -1):
            token = prefix[program, position]
            if token == PAD:
                continue
            depth = -1
            for k in range(arities[token]):
                depth = max(depth, stack[top - 1 - k])
            top += 1 - arities[token]
            stack[top - 1] = depth + 1
        out[program] = stack[0]
