"""Textbook enumerations in plain Python: the same algorithms as synthlab's, with tuples and dictionaries."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from synthlab.language.grammar import Grammar
from synthlab.language.residues import PRIME

Leaves = list[tuple[int, ...]]
Actions = dict[str, Callable[[Any, Any], tuple[int, ...]]]

_PLAIN = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def random_points(grammar: Grammar) -> list[list[int]]:
    """Two random points modulo the prime."""
    generator = np.random.default_rng(0)
    return [[int(v) for v in generator.integers(2, PRIME, size=len(grammar.variables))] for _ in range(2)]


def grid_arithmetic(grammar: Grammar) -> tuple[Leaves, Actions]:
    """Values of the leaves on the grid, and operators on whole tuples."""
    rows = [[int(v) for v in grammar.terminal_values(point)] for point in grammar.grid.points]
    actions = {symbol: lambda a, b, f=f: tuple(map(f, a, b)) for symbol, f in _PLAIN.items()}
    return list(zip(*rows, strict=True)), actions


def residue_arithmetic(grammar: Grammar) -> tuple[Leaves, Actions]:
    """Values of the leaves at two random points modulo the prime, and operators on pairs."""
    rows = [[*point, *grammar.constants] for point in random_points(grammar)]
    actions = {
        "+": lambda a, b: ((a[0] + b[0]) % PRIME, (a[1] + b[1]) % PRIME),
        "-": lambda a, b: ((a[0] - b[0]) % PRIME, (a[1] - b[1]) % PRIME),
        "*": lambda a, b: (a[0] * b[0] % PRIME, a[1] * b[1] % PRIME),
    }
    return list(zip(*rows, strict=True)), actions


ARITHMETICS = {"grid outputs": grid_arithmetic, "two residues": residue_arithmetic}


def enumerate_functions(grammar: Grammar, max_leaves: int, arithmetic: str) -> tuple[list[int], int]:
    """Numbers of functions per size, and of candidates, of a bottom-up search with observational equivalence.

    Operands are minimal programs, every pair of commutative operands is tried in one order, and a dictionary
    leads from the values to the first program that has them.
    """
    leaves, actions = ARITHMETICS[arithmetic](grammar)
    by_size = [[], [(values, (token,)) for token, values in enumerate(leaves)]]
    seen, candidates = dict(by_size[1]), len(leaves)
    for size in range(2, max_leaves + 1):
        found: list[tuple] = []
        for token, op in enumerate(grammar.operators, grammar.num_terminals):
            action = actions[op.symbol]
            for first in range(1, size // 2 + 1 if op.commutative else size):
                lefts, rights = by_size[first], by_size[size - first]
                halved = op.commutative and first == size - first
                for number, (a, left) in enumerate(lefts):
                    others = rights[number:] if halved else rights
                    candidates += len(others)
                    for b, right in others:
                        values = action(a, b)
                        if values not in seen:
                            seen[values] = program = (token, left, right)
                            found.append((values, program))
        by_size.append(found)
    return [len(found) for found in by_size[1:]], candidates


def list_texts(grammar: Grammar, max_leaves: int) -> tuple[int, int]:
    """Numbers of texts and functions when every text is listed with the number of its function."""
    classes: dict[tuple[int, ...], int] = {}
    values, actions = residue_arithmetic(grammar)
    by_size = [[], [(grammar.tokens[k], classes.setdefault(v, k)) for k, v in enumerate(values)]]
    for size in range(2, max_leaves + 1):
        texts = []
        for op, first in itertools.product(grammar.operators, range(1, size)):
            action = actions[op.symbol]
            for (left, one), (right, two) in itertools.product(by_size[first], by_size[size - first]):
                value = action(values[one], values[two])
                number = classes.setdefault(value, len(values))
                if number == len(values):
                    values.append(value)
                texts.append((f"{op.symbol} {left} {right}", number))
        by_size.append(texts)
    return sum(map(len, by_size)), len(classes)
