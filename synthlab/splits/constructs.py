"""What a program's text contains: subtrees, operators below operators, operands of operators.

These are the features that a held-out region can name without any space, so anybody can check them on
the texts alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from synthlab.compiling import numba
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.program import Program


@numba.njit(cache=True)
def _link(row, arities, parent, place, stack, left):
    """Parent of every node of a prefix text and its place among the children; returns the length."""
    top = -1
    for node in range(len(row)):
        if row[node] == PAD:
            return node
        parent[node], place[node] = -1, 0
        if top >= 0:
            parent[node] = stack[top]
            place[node] = arities[row[stack[top]]] - left[top]
            left[top] -= 1
            if left[top] == 0:
                top -= 1
        if arities[row[node]] > 0:
            top += 1
            stack[top], left[top] = node, arities[row[node]]
    return len(row)


@numba.njit(cache=True)
def _any_below(prefix, arities, upper, lower, found):
    """Programs in which a token of `lower` stands somewhere below a token of `upper`."""
    work = np.empty((5, prefix.shape[1]), dtype=np.int64)
    for k in range(len(prefix)):
        row = prefix[k]
        length = _link(row, arities, work[0], work[1], work[2], work[3])
        below = work[4]
        for node in range(length):
            above = work[0, node]
            below[node] = 0 if above < 0 else below[above] | upper[row[above]]
            if below[node] and lower[row[node]]:
                found[k] = True
                break


@numba.njit(cache=True)
def _any_operand(prefix, arities, operator, operand, wanted, found):
    """Programs in which a token is a child of an operator, at a place (any if negative)."""
    work = np.empty((4, prefix.shape[1]), dtype=np.int64)
    for k in range(len(prefix)):
        row = prefix[k]
        length = _link(row, arities, work[0], work[1], work[2], work[3])
        for node in range(1, length):
            if row[node] == operand and row[work[0, node]] == operator and wanted in (-1, work[1, node]):
                found[k] = True
                break


def _mask(grammar: Grammar, tokens: Iterable[str]) -> np.ndarray:
    mask = np.zeros(len(grammar.tokens), dtype=np.bool_)
    mask[[grammar.index[token] for token in tokens]] = True
    return mask


def has_below(grammar: Grammar, prefix: np.ndarray, upper: Iterable[str], lower: Iterable[str]) -> np.ndarray:
    """Programs (P,) in which one of the tokens `lower` stands somewhere below one of `upper`."""
    found = np.zeros(len(prefix), dtype=np.bool_)
    _any_below(prefix, grammar.arities, _mask(grammar, upper), _mask(grammar, lower), found)
    return found


def has_operand(
    grammar: Grammar, prefix: np.ndarray, operator: str, operand: str, place: int | None = None
) -> np.ndarray:
    """Programs (P,) in which a token is a child of an operator; `place` 0 is the first child, None any."""
    found = np.zeros(len(prefix), dtype=np.bool_)
    tokens = grammar.index[operator], grammar.index[operand]
    _any_operand(prefix, grammar.arities, *tokens, -1 if place is None else place, found)
    return found


def count_tokens(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """How often each token occurs in every program, (P, T) uint8."""
    counts = np.empty((len(prefix), len(grammar.tokens)), dtype=np.uint8)
    for token in range(len(grammar.tokens)):
        counts[:, token] = (prefix == token).sum(axis=1)
    return counts


def has_mix(grammar: Grammar, prefix: np.ndarray, groups: Sequence[Sequence[str]]) -> np.ndarray:
    """Programs (P,) that use operators of more than one group."""
    used = [np.isin(prefix, [grammar.index[symbol] for symbol in group]).any(axis=1) for group in groups]
    return np.sum(used, axis=0) > 1


def has_composed(grammar: Grammar, prefix: np.ndarray, operator: str) -> np.ndarray:
    """Programs (P,) that use an operator together with any other operation, itself included."""
    uses = (prefix == grammar.index[operator]).any(axis=1)
    num_operations = ((prefix >= grammar.num_terminals) & (prefix != PAD)).sum(axis=1)
    return uses & (num_operations > 1)


@numba.njit(cache=True)
def _canonical(prefix, arities, commutative, leaf_keys, operator_keys, keys, wanted, found):
    """Keys of trees in which the operands of commutative operators have no order; whether a subtree has one key."""
    stack = np.empty(prefix.shape[1] + 1, dtype=np.uint64)
    for k in range(len(prefix)):
        top = 0
        for node in range(prefix.shape[1] - 1, -1, -1):
            token = prefix[k, node]
            if token == PAD:
                continue
            arity = arities[token]
            if arity == 0:
                key = leaf_keys[token]
            else:
                if commutative[token]:  # the operands are the last on the stack: sort them
                    for i in range(top - arity + 1, top):
                        for j in range(i, top - arity, -1):
                            if stack[j - 1] > stack[j]:
                                stack[j - 1], stack[j] = stack[j], stack[j - 1]
                key = operator_keys[token]
                for child in range(top - 1, top - arity - 1, -1):
                    key = (key ^ stack[child]) * np.uint64(0x9E3779B97F4A7C15)
                    key ^= key >> np.uint64(29)
                top -= arity
            if key == wanted:
                found[k] = True
            stack[top] = key
            top += 1
        keys[k] = stack[0]


def _walk_canonical(grammar: Grammar, prefix: np.ndarray, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    keys, found = np.empty(len(prefix), dtype=np.uint64), np.zeros(len(prefix), dtype=np.bool_)
    commutative = np.array([False] * grammar.num_terminals + [o.commutative for o in grammar.operators])
    size = (2, len(grammar.tokens))
    drawn = np.random.Generator(np.random.PCG64(9)).integers(1, 1 << 63, size=size, dtype=np.uint64)
    order = np.ascontiguousarray(prefix), grammar.arities, commutative, drawn[0], drawn[1], keys
    _canonical(*order, np.uint64(wanted), found)
    return keys, found


def canonical_keys(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Keys (P,) uint64 that are equal for trees equal up to the order of operands of commutative operators.

    Different trees share a key with a probability of about 2^-64.
    """
    return _walk_canonical(grammar, prefix, 0)[0]


def has_subtree(grammar: Grammar, prefix: np.ndarray, subtree: Program) -> np.ndarray:
    """Programs (P,) that contain a subtree, up to the order of operands of commutative operators."""
    wanted = canonical_keys(grammar, np.array([subtree.prefix], dtype=np.uint8))[0]
    return _walk_canonical(grammar, prefix, int(wanted))[1]
