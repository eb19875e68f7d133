"""Candidates that need not be looked at, because a rearrangement of them has a lesser text.

The laws of a grammar (associativity, a - (b - c) = a + (c - b), ...) are not declared: all programs of two
operators on three distinct operands are compared by value, in exact arithmetic and at zeros, opposites and
inverses too. If a pattern always equals another of lesser text, whatever it is applied to, the candidate
of that pattern is never the minimal program of its function. This keeps every function and every minimal
text, and halves the work for `+ - *`.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthlab.language import tracing
from synthlab.language.grammar import Grammar
from synthlab.language.operator import Operator
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE, combine_arrays, residue

ALWAYS, IF_FIRST, IF_SECOND = 1, 2, 4
"""A pattern is redundant always, or if the first or the second inner operand has a lesser text than the left one."""
LEFT, RIGHT = 0, 1
_MOST_OPERATORS = 12
_ACTIONS = {kind: functools.partial(combine_arrays, kind) for kind in tracing.FIELD_STEPS}


@dataclass(frozen=True)
class _Pattern:
    """Outer operator on an inner one and a third operand; `order` numbers the three operands left to right."""

    outer: int
    inner: int
    side: int
    order: tuple[int, int, int]

    @property
    def first(self) -> int | None:
        """The operand that stands first below the root; None if the inner operator does."""
        return self.order[0] if self.side == RIGHT else None


def _can_be_judged(operator: Operator) -> bool:
    """Whether the operands below show all its poles: it divides by nothing but an operand, or not at all."""
    code = operator.field_code
    return code is not None and (len(code.steps) == 1 or all(kind != tracing.DIVIDE for kind, _, _ in code.steps))


def _patterns(grammar: Grammar) -> Iterator[_Pattern]:
    binary = [grammar.num_terminals + k for k, o in enumerate(grammar.operators) if o.arity == 2 and _can_be_judged(o)]
    if len(binary) > _MOST_OPERATORS:
        return
    for outer, inner, side in itertools.product(binary, binary, (LEFT, RIGHT)):
        for first, second, third in itertools.permutations(range(3)):
            yield _Pattern(outer, inner, side, (first, second, third))


@functools.lru_cache(maxsize=64)
def redundancy_rules(grammar: Grammar) -> np.ndarray:
    """When candidates are redundant: bits by outer token, inner token and side, uint8 (V, V, 2).

    All zero where identity is not exact, because the laws then could not be proven. Operators that divide by
    more than an operand take no part, nor does a grammar with more than twelve binary operators.
    """
    rules = np.zeros((len(grammar.tokens), len(grammar.tokens), 2), dtype=np.uint8)
    if not grammar.exact:
        return rules
    values = {pattern: _values(grammar, pattern) for pattern in _patterns(grammar)}
    for pattern, other in itertools.product(values, values):
        if pattern.order == (0, 1, 2) and _holds(values[pattern], values[other]):
            rules[pattern.outer, pattern.inner, pattern.side] |= _rule(pattern, other)
    return rules


def _operands() -> list[np.ndarray]:
    """Three operands in all combinations of zero, one, random residues, an opposite, an inverse and an equal."""
    one, two, three = (int(v) for v in np.random.default_rng(6).integers(2, PRIME, size=3))
    pool = np.array([0, 1, one, two, three, PRIME - one, pow(one, -1, PRIME)], dtype=np.uint64)
    return [axis.ravel() for axis in np.meshgrid(pool, pool, pool, indexing="ij")]


def _values(grammar: Grammar, pattern: _Pattern) -> np.ndarray:
    operands = [_operands()[k] for k in pattern.order]
    if pattern.side == LEFT:
        return _apply(grammar, pattern.outer, _apply(grammar, pattern.inner, *operands[:2]), operands[2])
    return _apply(grammar, pattern.outer, operands[0], _apply(grammar, pattern.inner, *operands[1:]))


def _apply(grammar: Grammar, token: int, *operands: np.ndarray) -> np.ndarray:
    code = grammar.operator(token).field_code
    assert code is not None
    return code.run(operands, _ACTIONS, lambda c: np.full(len(operands[0]), residue(c), dtype=np.uint64))


def _holds(values: np.ndarray, other: np.ndarray) -> bool:
    """Whether the other pattern has the same value wherever this one has one."""
    return bool(((values == UNDEFINED_RESIDUE) | (values == other)).all())


def _rule(pattern: _Pattern, other: _Pattern) -> int:
    """When the other pattern's text is the lesser one."""
    if other.outer != pattern.outer:
        return ALWAYS if other.outer < pattern.outer else 0
    # with equal roots the first operands decide; the left one of a LEFT pattern is the inner program itself
    inner = (0, 1) if pattern.side == LEFT else (1, 2)
    if other.first is None or other.first not in inner:
        return 0
    return IF_FIRST if other.first == inner[0] else IF_SECOND


@dataclass(frozen=True, eq=False)
class Redundancy:
    """For one binary operator: which left operands to skip, and which right ones.

    Attributes
    ----------
    skipped
        Left operands whose every candidate is redundant (C,), bool.
    limit
        Largest place of a left operand beside which a right operand is not redundant (C,), int32.
    """

    skipped: np.ndarray
    limit: np.ndarray

    @classmethod
    def of(
        cls, rules: np.ndarray, token: int, tokens: np.ndarray, operands: np.ndarray, place: np.ndarray
    ) -> Redundancy:
        """For one operator, from all rows that can be its operands (tokens, operands and place as in the table)."""
        left, right = rules[token, :, LEFT][tokens], rules[token, :, RIGHT][tokens]
        inner = place[operands[:, :2]]  # leaves have no rule, so what their missing operands read is not used
        skipped = (left & ALWAYS) > 0
        skipped |= ((left & IF_FIRST) > 0) & (inner[:, 0] < place)
        skipped |= ((left & IF_SECOND) > 0) & (inner[:, -1] < place)
        none = np.int32(np.iinfo(np.int32).max)
        limit = np.where((right & IF_FIRST) > 0, inner[:, 0], none)
        limit = np.minimum(limit, np.where((right & IF_SECOND) > 0, inner[:, -1], none))
        return cls(skipped, np.where((right & ALWAYS) > 0, -1, limit).astype(np.int32))
