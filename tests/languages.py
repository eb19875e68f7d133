"""Grammars with operators of every kind, whose universes are small enough to list."""

from __future__ import annotations

import functools

import brute
import numpy as np

from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.identity import probe_points
from synthlab.language.operator import (
    ADD,
    DIVIDE,
    FLOOR_DIVIDE,
    MAXIMUM,
    MINIMUM,
    MODULO,
    MULTIPLY,
    NEGATE,
    SQUARE,
    SUBTRACT,
    Operator,
)  # fmt: skip

MID = Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c)
FOUR = Operator(symbol="four", arity=4, meaning=lambda a, b, c, d: a * b - c * d)
MEAN = Operator(symbol="mean", arity=2, meaning=lambda a, b: (a + b) / 2, commutative=True, integral=False)
HALF = Operator(symbol="mean", arity=2, meaning=lambda a, b: (a + b) / 2, field=None, commutative=True, integral=False)
PICK = Operator(symbol="pick", arity=3, meaning=lambda a, b, c: np.where(a > 0, b, c), field=None)

UNARY = Grammar(name="unary", variables=("x", "y"), constants=(1,), operators=(NEGATE, ADD, SQUARE, MULTIPLY))
TERNARY = Grammar(name="ternary", variables=("x", "y"), constants=(1,), operators=(MID,))
MIXED = Grammar(name="mixed", variables=("x",), constants=(1,), operators=(MID, ADD, FOUR), grid=Grid.regular(0))
MULADD = Grammar(
    name="muladd", variables=("x",), constants=(2,), operators=(SUBTRACT, NEGATE, MID), grid=Grid.regular(0)
)
AVERAGE = Grammar(name="average", variables=("x", "y"), constants=(1,), operators=(MEAN, MULTIPLY))
FLOORED = Grammar(name="floored", variables=("x", "y"), constants=(0, 2), operators=(FLOOR_DIVIDE, SUBTRACT, MODULO))
BOUNDS = Grammar(name="bounds", variables=("x", "y"), constants=(1,), operators=(MINIMUM, NEGATE, MAXIMUM))
HALVES = Grammar(name="halves", variables=("x", "y"), constants=(1,), operators=(HALF, MINIMUM))
CHOICES = Grammar(name="choices", variables=("x", "y"), constants=(1,), operators=(SUBTRACT, PICK))
REVERSED = Grammar(name="reversed", variables=("y", "x"), constants=(2, 0), operators=(MULTIPLY, SUBTRACT, DIVIDE, ADD))
"""The laws of arithmetic with other tokens first, and a zero to divide by."""
SKEW = Operator(symbol="skew", arity=2, meaning=lambda a, b: a - 2 * b)
LEAST = Operator(symbol="least", arity=2, meaning=lambda a, b: a * b / (a + b), commutative=True, integral=False)
STRANGE = Grammar(name="strange", variables=("x", "y"), constants=(1,), operators=(SKEW, LEAST, ADD))
"""Operators with few laws, or unusual ones: `least` is associative wherever it has a value."""

UNIVERSES = [
    (POLYNOMIAL, 4, "leaves"),
    (POLYNOMIAL, 5, "nodes"),
    (POLYNOMIAL, 2, "depth"),
    (RATIONAL, 3, "leaves"),
    (RATIONAL, 5, "nodes"),
    (RATIONAL, 2, "depth"),
    (PIECEWISE, 3, "leaves"),
    (PIECEWISE, 6, "nodes"),
    (PIECEWISE, 2, "depth"),
    (UNARY, 6, "nodes"),
    (UNARY, 2, "depth"),
    (TERNARY, 7, "leaves"),
    (TERNARY, 7, "nodes"),
    (TERNARY, 2, "depth"),
    (MIXED, 6, "leaves"),
    (MIXED, 7, "nodes"),
    (MULADD, 7, "nodes"),
    (MULADD, 2, "depth"),
    (AVERAGE, 4, "leaves"),
    (AVERAGE, 7, "nodes"),
    (AVERAGE, 2, "depth"),
    (FLOORED, 3, "leaves"),
    (FLOORED, 5, "nodes"),
    (FLOORED, 2, "depth"),
    (BOUNDS, 6, "nodes"),
    (BOUNDS, 2, "depth"),
    (REVERSED, 4, "leaves"),
    (REVERSED, 1, "depth"),
    (STRANGE, 4, "leaves"),
    (STRANGE, 2, "depth"),
    (HALVES, 4, "leaves"),
    (HALVES, 2, "depth"),
    (CHOICES, 5, "leaves"),
    (CHOICES, 6, "nodes"),
    (CHOICES, 1, "depth"),
]
"""Grammar, largest size, measure."""


def label(value):
    """Name of a parameter in a test's id."""
    return getattr(value, "name", str(value))


def arities(grammar):
    """Token text to arity, in declared order."""
    return dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))


def rows(matrix):
    """Token matrix as tuples without padding."""
    return [tuple(t for t in row if t != PAD) for row in matrix.tolist()]


@functools.lru_cache(maxsize=8)
def listed(grammar, max_size, measure="leaves"):
    """All texts in id order, by recursion and sorting."""
    return [text for found in brute.texts(arities(grammar), max_size, measure).values() for text in found]


@functools.cache
def functions(grammar, max_size, measure="leaves"):
    """(size, text, function) of all programs in id order; functions on probes are outputs where the package probes."""
    if grammar.exact:
        return brute.universe(arities(grammar), max_size, measure, brute.Exact(grammar.variables))
    points = [tuple(int(v) if v.denominator == 1 else v for v in point) for point in probe_points(grammar)]
    return brute.universe(arities(grammar), max_size, measure, brute.Outputs(grammar.variables, points))
