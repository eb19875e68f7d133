"""Many programs as one graph in which equal subtrees are one node."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from synthlab.compiling import numba
from synthlab.language.grammar import PAD, Grammar

_MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class SharedPrograms:
    """Distinct subtrees of a set of programs, operands before their operators.

    Attributes
    ----------
    tokens
        Token of every node (N,), int64.
    operands
        Nodes of its operands (N, max arity), int64; -1 where there is none.
    height
        Longest path down to a leaf (N,), int64; nodes of one height do not depend on each other.
    roots
        Node of every program (P,), int64.
    """

    tokens: np.ndarray
    operands: np.ndarray
    height: np.ndarray
    roots: np.ndarray


def share(grammar: Grammar, prefix: np.ndarray) -> SharedPrograms:
    """Distinct subtrees of the programs in a padded token matrix (P, L)."""
    num_tokens = int((prefix != PAD).sum())
    tokens = np.empty(num_tokens, dtype=np.int64)
    operands = np.full((num_tokens, grammar.max_arity), -1, dtype=np.int64)
    height = np.zeros(num_tokens, dtype=np.int64)
    roots = np.empty(len(prefix), dtype=np.int64)
    slots = np.full(1 << max(4, (2 * num_tokens).bit_length()), -1, dtype=np.int64)
    num = _share(np.ascontiguousarray(prefix), grammar.arities, tokens, operands, height, roots, slots)
    return SharedPrograms(tokens[:num], operands[:num], height[:num], roots)


@numba.njit(cache=True, nogil=True)
def _share(prefix, arities, tokens, operands, height, roots, slots):
    num, mask = 0, np.uint64(len(slots) - 1)
    most = operands.shape[1]
    stack = np.empty(prefix.shape[1] + 1, dtype=np.int64)
    for program in range(len(prefix)):
        top = 0
        for position in range(prefix.shape[1] - 1, -1, -1):
            token = prefix[program, position]
            if token == PAD:
                continue
            arity = arities[token]
            key = np.uint64(token)
            for k in range(arity):
                key = (key ^ np.uint64(stack[top - 1 - k])) * _MIX
                key ^= key >> np.uint64(29)
            slot = key & mask
            while True:
                node = slots[slot]
                if node < 0:
                    break
                same = tokens[node] == token
                for k in range(arity):
                    same = same and operands[node, k] == stack[top - 1 - k]
                if same:
                    break
                slot = (slot + np.uint64(1)) & mask
            if node < 0:
                node, num = num, num + 1
                slots[slot], tokens[node] = node, token
                for k in range(min(arity, most)):
                    operands[node, k] = stack[top - 1 - k]
                    height[node] = max(height[node], 1 + height[stack[top - 1 - k]])
            top += 1 - arity
            stack[top - 1] = node
        roots[program] = stack[0]
    return num
