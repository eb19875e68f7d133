"""Places in programs where a subtree may be replaced, and the outputs that are wanted there.

Undoing the operators from the root down to a place turns the wanted outputs of the whole program into those of
the subtree that would have to stand there, as far as everything beside the way down is known. Programs share most
of their ways down, so that each is walked once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from synthlab.compiling import numba
from synthlab.language import tracing
from synthlab.language.grammar import Grammar
from synthlab.language.identity import observation_algebra
from synthlab.language.interpreter import evaluate_shared
from synthlab.language.measure import operator_weight, smallest_size
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE, mulmod, reduce_once
from synthlab.language.sharing import SharedPrograms, share
from synthlab.search.library import undoable
from synthlab.search.meeting import undo, whole_limit
from synthlab.search.problem import Problem

_P = np.uint64(PRIME)
_FACTORS = tuple(np.uint64(f) for f in (0x9E3779B97F4A7C1, 0xC2B2AE3D27D4EB4, 0x165667B19E3779F))
_NOTHING = -1


@dataclass(frozen=True, eq=False)
class Holes:
    """Holes in the order of the programs that have them, each once; hole 0 is the whole program.

    Attributes
    ----------
    graph
        All subtrees of the programs.
    above
        The hole one operator further up (H,).
    tokens, sides, parts
        That operator, which operand the known part beside the hole is (0 left, 1 right), and its node in the
        graph, -1 where the operator has no other operand (H,).
    room
        Size of the largest subtree that fits (H,).
    codes, known
        Wanted outputs as residues (H, G), and where they matter (H, G).
    possible
        Whether any outputs make the program right (H,).
    """

    grammar: Grammar
    graph: SharedPrograms
    above: np.ndarray
    tokens: np.ndarray
    sides: np.ndarray
    parts: np.ndarray
    room: np.ndarray
    codes: np.ndarray
    known: np.ndarray
    possible: np.ndarray

    @classmethod
    def of(cls, problem: Problem, prefix: np.ndarray) -> Self:
        """All holes of complete programs (n, L) that something within the problem's bound may fill."""
        grammar, measure = problem.grammar, problem.measure
        graph, steps = share(grammar, prefix), (measure == "depth", operator_weight(measure), smallest_size(measure))
        sizes = np.empty(len(graph.tokens), dtype=np.int64)
        _measure(graph.tokens, graph.operands, grammar.arities, *steps, sizes)
        values = _values(grammar, graph, sizes <= problem.max_size)
        most = 1 + int((prefix < len(grammar.tokens)).sum())
        columns = [np.zeros(most, dtype=np.int64) for _ in range(5)]
        codes = np.empty((most, values.shape[1]), dtype=np.uint64)
        known, possible = np.empty(codes.shape, dtype=bool), np.ones(most, dtype=bool)
        columns[-1][0], codes[0], known[0] = problem.max_size, problem.codes, problem.codes != UNDEFINED_RESIDUE
        slots = np.full(1 << max(4, (2 * most).bit_length()), -1, dtype=np.int64)
        num = _dig(
            (graph.tokens, graph.operands, sizes, values), graph.roots, grammar.arities, undoable(grammar), steps,
            whole_limit(grammar), prefix.shape[1], slots, tuple(columns), (codes, known, possible),
        )  # fmt: skip
        return cls(grammar, graph, *(c[:num] for c in (*columns, codes, known, possible)))

    def rows(self) -> np.ndarray:
        """Holes that something may fill, in order; without the whole program."""
        return 1 + np.flatnonzero(self.possible[1:])

    def filled(self, hole: int, text: Iterable[int]) -> np.ndarray:
        """Prefix tokens of the program with a text in a hole."""
        tokens = [int(t) for t in text]
        while hole > 0:
            beside = self._text(int(self.parts[hole]))
            both = [beside, tokens] if self.sides[hole] == 0 else [tokens, beside]
            tokens, hole = [int(self.tokens[hole]), *both[0], *both[1]], int(self.above[hole])
        return np.array(tokens, dtype=np.uint8)

    def _text(self, node: int) -> list[int]:
        """Prefix tokens of a subtree; none for node -1."""
        text, waiting = [], [node] if node >= 0 else []
        while waiting:
            at = waiting.pop()
            text.append(int(self.graph.tokens[at]))
            waiting += self.graph.operands[at, : self.grammar.arities[text[-1]]][::-1].tolist()
        return text


def _values(grammar: Grammar, graph: SharedPrograms, kept: np.ndarray) -> np.ndarray:
    """Outputs of nodes as residues (N, G), computed for those kept only: others do not fit beside any hole.

    Subtrees of what is kept are kept too. Larger ones might leave the range of exact numbers.
    """
    place = np.append(np.cumsum(kept) - 1, -1)  # the last is for node -1
    small = replace(graph, tokens=graph.tokens[kept], operands=place[graph.operands[kept]], height=graph.height[kept])
    algebra = observation_algebra(grammar)
    values = np.full((len(kept), algebra.terminals.shape[1]), UNDEFINED_RESIDUE)
    values[kept] = algebra.codes(evaluate_shared(small, algebra))
    return values


@numba.njit(cache=True, nogil=True)
def _measure(tokens, operands, arities, deep, step, least, sizes):
    for node in range(len(tokens)):
        arity = arities[tokens[node]]
        sizes[node] = least if arity == 0 else 0
        for k in range(arity):
            below = sizes[operands[node, k]]
            sizes[node] = max(sizes[node], below) if deep else sizes[node] + below
        if arity > 0:
            sizes[node] += 1 if deep else step


@numba.njit(cache=True, nogil=True)
def _left(room, beside, deep, step):
    """Room below an operator with an operand of some size; negative where that is too large already."""
    if deep:
        return room - 1 if beside < room else -1
    return room - step - beside


@numba.njit(cache=True, nogil=True)
def _slot(slots, place, token, side, ordered, part, above, own, sides, parts):
    """The slot of a way down, empty if it is new."""
    mask = np.uint64(len(slots) - 1)
    key = mulmod(np.uint64(place + 1), _FACTORS[0]) ^ mulmod(np.uint64(2 * token + ordered * side + 1), _FACTORS[1])
    slot = (key ^ mulmod(np.uint64(part + 2), _FACTORS[2])) & mask
    while slots[slot] >= 0:
        hole = slots[slot]
        same = above[hole] == place and own[hole] == token and parts[hole] == part
        if same and (sides[hole] == side or not ordered):
            break
        slot = (slot + np.uint64(1)) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _dig(graph, roots, arities, kinds, steps, limit, length, slots, holes, wanted):
    """Write the holes of all programs; returns their number. Equal ways down are one hole, found in a hash table."""
    (tokens, operands, sizes, values), (deep, step, least) = graph, steps
    (above, own, sides, parts, room), (codes, known, possible) = holes, wanted
    nodes, places = np.empty(length + 2, dtype=np.int64), np.empty(length + 2, dtype=np.int64)
    count = 1
    for root in roots:
        nodes[0], places[0], top = root, 0, 1
        while top > 0:
            top -= 1
            node, place = nodes[top], places[top]
            token, arity = tokens[node], arities[tokens[node]]
            kind = kinds[token]
            for k in range(arity - 1, -1, -1) if kind >= 0 else range(0):
                part, side = operands[node, 1 - k] if arity == 2 else _NOTHING, 1 - k
                left = _left(room[place], sizes[part] if part >= 0 else 0, deep, step)
                if left < least:
                    continue
                ordered = kind == tracing.SUBTRACT or kind == tracing.DIVIDE
                slot = _slot(slots, place, token, side, ordered, part, above, own, sides, parts)
                if slots[slot] < 0:
                    hole, slots[slot] = count, count
                    count += 1
                    above[hole], own[hole], sides[hole], parts[hole], room[hole] = place, token, side, part, left
                    _want(kind, side, part, values, place, hole, limit, codes, known, possible)
                hole = slots[slot]
                if possible[hole]:
                    nodes[top], places[top] = operands[node, k], hole
                    top += 1
    return count


@numba.njit(cache=True, nogil=True)
def _want(kind, side, part, values, place, hole, limit, codes, known, possible):
    """Write what is wanted in a hole below one operator."""
    new = slice(hole, hole + 1)
    if part >= 0:
        wanted, where = codes[place : place + 1], known[place : place + 1]
        undo(kind, side, wanted, where, values[part : part + 1], limit, codes[new], known[new], possible[new])
        return
    for g in range(codes.shape[1]):
        codes[hole, g], known[hole, g] = reduce_once(_P - codes[place, g]), known[place, g]
