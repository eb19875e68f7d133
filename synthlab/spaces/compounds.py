"""What programs are composed of: atoms and compounds, and how far two sets of programs differ in either.

Atoms are tokens. Compounds are subtrees of the derivation of depth 1 (an operator with the labels of its
children) and of depth 2 (with those of its grandchildren too); a depth-2 compound exists where a child is
an operator. Weights and divergences are those of Keysers et al. (ICLR 2020), with all compounds up to that
depth as candidates: the depth-2 compounds at a node and at its parent are then the only supergraphs of the
depth-1 compound there, and a depth-2 compound has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy.sparse as sp

from synthlab.compiling import numba
from synthlab.errors import SplitError
from synthlab.language.grammar import PAD, Grammar

ATOM_ALPHA = 0.5
COMPOUND_ALPHA = 0.1
"""Exponents of the training distribution; 0.1 makes presence in training matter more than its frequency."""

_NONE = -1


@dataclass(frozen=True, eq=False)
class CompoundBags:
    """Compounds of some programs.

    Attributes
    ----------
    names
        Compounds as text, ``+(x *)`` or ``+(x *(y 1))``: depth 1 before depth 2, each in token order (K,).
    weights
        Weight of every compound in every program, float64 CSR (P, K); a stored zero is a compound that
        occurs, but only inside a larger one.
    occurrences
        Number of its occurrences, int64 CSR (P, K).
    """

    names: tuple[str, ...]
    weights: sp.csr_matrix
    occurrences: sp.csr_matrix


@dataclass(frozen=True)
class Divergences:
    """Chernoff divergences of two sets of programs, from 0 (equal distributions) to 1 (disjoint).

    Attributes
    ----------
    atom
        1 - C_0.5 of the tokens.
    compound
        1 - C_0.1 of the weighted compounds; NaN if a side has no operator.
    """

    atom: float
    compound: float


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Inner nodes of some programs in prefix order: M of them, of at most A children."""

    program: np.ndarray  # (M,) row of the program
    token: np.ndarray  # (M,) operator
    labels: np.ndarray  # (M, A) token of every child, -1 beyond the arity
    inner: np.ndarray  # (M, A) node of every child that is an operator, else -1
    parent: np.ndarray  # (M,) node above, -1 for roots


@numba.njit(cache=True)
def _link(prefix, arities, starts, program, token, labels, inner, parent):
    """Inner nodes of every text by one walk from its end: operands are on the stack before their operator."""
    stack = np.empty(prefix.shape[1], dtype=np.int64)
    number = np.empty(prefix.shape[1], dtype=np.int64)
    for row in range(len(prefix)):
        node, top = starts[row + 1], 0
        for position in range(prefix.shape[1] - 1, -1, -1):
            if prefix[row, position] == PAD:
                continue
            label = int(prefix[row, position])
            number[position] = -1
            if arities[label]:
                node -= 1
                program[node], token[node], number[position] = row, label, node
                for slot in range(arities[label]):
                    top -= 1
                    child = stack[top]
                    labels[node, slot], inner[node, slot] = prefix[row, child], number[child]
                    if number[child] >= 0:
                        parent[number[child]] = node
            stack[top] = position
            top += 1


def _inner_nodes(grammar: Grammar, prefix: np.ndarray) -> _Nodes:
    is_operator = (prefix >= grammar.num_terminals) & (prefix != PAD)
    starts = np.concatenate([[0], np.cumsum(is_operator.sum(axis=1))])
    shape = (int(starts[-1]), grammar.max_arity)
    nodes = _Nodes(
        np.empty(shape[0], dtype=np.int32),
        np.empty(shape[0], dtype=np.int16),
        np.full(shape, _NONE, dtype=np.int16),
        np.full(shape, _NONE, dtype=np.int32),
        np.full(shape[0], _NONE, dtype=np.int32),
    )
    _link(prefix, grammar.arities, starts, nodes.program, nodes.token, nodes.labels, nodes.inner, nodes.parent)
    return nodes


def _number(first: np.ndarray, *others: np.ndarray) -> np.ndarray:
    """Number of every row of some columns of whole numbers from -1 on, in their lexicographic order."""
    numbers = pd.factorize(first, sort=True)[0].astype(np.int64)
    for column in others:
        span = int(column.max(initial=0)) + 2
        numbers = pd.factorize(numbers * span + column + 1, sort=True)[0].astype(np.int64)
    return numbers


def _compounds(nodes: _Nodes, num_tokens: int) -> tuple[np.ndarray, np.ndarray]:
    """Number of the depth-1 and of the depth-2 compound at every node; -1 where there is no depth 2."""
    depth1 = _number(nodes.token, *nodes.labels.T)
    has_depth2 = (nodes.inner >= 0).any(axis=1)
    inner = nodes.inner[has_depth2]
    parts = np.where(inner >= 0, num_tokens + depth1[inner], nodes.labels[has_depth2])
    depth2 = np.full(len(depth1), _NONE)
    depth2[has_depth2] = _number(nodes.token[has_depth2], *parts.T)
    return depth1, depth2


def _depth1_weights(nodes: _Nodes, depth1: np.ndarray, depth2: np.ndarray) -> np.ndarray:
    """1 - max P(G'|G) over the supergraphs of the depth-1 compound at every node (M,)."""
    own, below = np.flatnonzero(depth2 >= 0), np.flatnonzero(nodes.parent >= 0)
    above = depth2[nodes.parent[below]]
    pairs = _number(np.concatenate([depth1[own], depth1[below]]), np.concatenate([depth2[own], above]))
    is_new = np.concatenate([np.ones(len(own), dtype=bool), depth2[below] != above])  # in G' twice counts once
    num_within = np.bincount(pairs[is_new])[pairs]
    most = np.zeros(len(depth1), dtype=np.int64)
    most[own] = num_within[: len(own)]
    most[below] = np.maximum(most[below], num_within[len(own) :])
    return 1 - most / np.bincount(depth1)[depth1]


def _names(grammar: Grammar, nodes: _Nodes, depth1: np.ndarray, depth2: np.ndarray) -> tuple[str, ...]:
    """Compounds as text, each read off one of its occurrences."""

    def text(node: int, depth: int) -> str:
        parts = [
            text(int(below), depth - 1) if below >= 0 and depth > 1 else grammar.tokens[label]
            for label, below in zip(nodes.labels[node], nodes.inner[node], strict=True)
            if label >= 0
        ]
        return f"{grammar.tokens[nodes.token[node]]}({' '.join(parts)})"

    shown1 = np.unique(depth1, return_index=True)[1]
    numbers, shown2 = np.unique(depth2, return_index=True)
    return (*(text(int(n), 1) for n in shown1), *(text(int(n), 2) for n in shown2[numbers >= 0]))


def compound_bags(grammar: Grammar, prefix: np.ndarray) -> CompoundBags:
    """Weighted compounds of some programs.

    The weight of a compound G in a program R is w(G, R) = max over its occurrences g there of
    1 - max over the supergraphs G' of g in R of P(G'|G), where P(G'|G) is the share of the occurrences of
    G in all given programs that lie in an occurrence of G'. So a compound that is only ever seen inside one
    larger compound counts for nothing, and the larger one for all (Keysers et al., ICLR 2020, section 2.1).

    Parameters
    ----------
    grammar, prefix
        Programs as padded prefix tokens (P, L).
    """
    nodes = _inner_nodes(grammar, prefix)
    depth1, depth2 = _compounds(nodes, len(grammar.tokens))
    names = _names(grammar, nodes, depth1, depth2)
    num_depth1 = int(depth1.max(initial=-1)) + 1
    large = np.flatnonzero(depth2 >= 0)
    program = np.concatenate([nodes.program, nodes.program[large]]).astype(np.int64)
    keys = program * len(names) + np.concatenate([depth1, num_depth1 + depth2[large]])
    weights = np.concatenate([_depth1_weights(nodes, depth1, depth2), np.ones(len(large))])
    order = np.argsort(keys, kind="stable")
    cells, first, counts = np.unique(keys[order], return_index=True, return_counts=True)
    rows, columns = np.divmod(cells, max(1, len(names)))
    starts = np.searchsorted(rows, np.arange(len(prefix) + 1))
    shape = (len(prefix), len(names))
    greatest = np.maximum.reduceat(weights[order], first) if len(first) else weights
    return CompoundBags(
        names,
        sp.csr_matrix((greatest, columns, starts), shape=shape),
        sp.csr_matrix((counts, columns, starts), shape=shape),
    )


def atom_counts(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Number of occurrences of every token in every program, int64 (P, V)."""
    return np.stack([(prefix == token).sum(axis=1) for token in range(len(grammar.tokens))], axis=1)


def chernoff_divergence(first: np.ndarray, second: np.ndarray, alpha: float) -> float:
    """1 - sum p^a q^(1-a) of two weight vectors (K,), each made to sum to one; NaN where one is all zero."""
    if not first.sum() or not second.sum():
        return float("nan")
    terms = (first / first.sum()) ** alpha * (second / second.sum()) ** (1 - alpha)
    return max(0.0, 1 - float(terms.sum()))


def divergences(grammar: Grammar, first_prefix: np.ndarray, second_prefix: np.ndarray) -> Divergences:
    """Atom and compound divergence of two sets of programs; compounds are weighted over both together.

    Parameters
    ----------
    grammar, first_prefix, second_prefix
        Training and test programs as padded prefix tokens (P, L) and (Q, M).

    Raises
    ------
    SplitError
        If a side has no programs.
    """
    num_first = len(first_prefix)
    if not num_first or not len(second_prefix):
        raise SplitError(
            f"a divergence of {num_first:,} and {len(second_prefix):,} programs: both sides need at least one"
        )
    prefix = _stacked(first_prefix, second_prefix)
    atoms, weights = atom_counts(grammar, prefix), compound_bags(grammar, prefix).weights
    compounds = [np.asarray(side.sum(axis=0)).ravel() for side in (weights[:num_first], weights[num_first:])]
    return Divergences(
        chernoff_divergence(atoms[:num_first].sum(axis=0), atoms[num_first:].sum(axis=0), ATOM_ALPHA),
        chernoff_divergence(compounds[0], compounds[1], COMPOUND_ALPHA),
    )


def _stacked(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    width = max(first.shape[1], second.shape[1])
    return np.concatenate([np.pad(m, ((0, 0), (0, width - m.shape[1])), constant_values=PAD) for m in (first, second)])
