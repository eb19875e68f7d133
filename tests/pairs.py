"""Small functions as tuples of exact outputs, and what operators make of two; nothing here calls the package."""

from __future__ import annotations

import functools
import itertools
from fractions import Fraction

import brute

UNDONE = {"+", "-", "*", "/"}
"""Operators of two operands that search can undo."""


def combined(symbol, *operands):
    """Outputs of an operator on functions, None where there is no value."""

    def value(*values):
        try:
            return None if None in values else brute.MEANINGS[symbol](*values)
        except ZeroDivisionError:
            return None

    return tuple(map(value, *operands))


def leaf(grammar, token):
    """Outputs of a variable or constant; whole ones where all programs are whole."""
    number = int if grammar.integral else Fraction
    if token not in grammar.variables:
        return (number(int(token)),) * len(grammar.grid.points)
    return tuple(number(point[grammar.variables.index(token)]) for point in grammar.grid.points)


def outputs_of(program):
    """Outputs of a program on the grid, None where there is none."""
    grammar, stack = program.grammar, []
    for token in reversed(program.prefix_text().split()):
        arity = int(grammar.arities[grammar.index[token]])
        stack.append(combined(token, *(stack.pop() for _ in range(arity))) if arity else leaf(grammar, token))
    (outputs,) = stack
    return outputs


@functools.cache
def functions(grammar, max_size, measure="leaves"):
    """Least size of every function of at most so many leaves or nodes that has a value everywhere, by its outputs."""
    weight, found = int(measure == "nodes"), {}
    for token in grammar.tokens[: grammar.num_terminals]:
        found.setdefault(leaf(grammar, token), 1)
    for size in range(2, max_size + 1):
        for operator in grammar.operators:
            for operands in itertools.product(list(found.items()), repeat=operator.arity):
                if sum(s for _, s in operands) + weight == size:
                    outputs = combined(operator.symbol, *(function for function, _ in operands))
                    if None not in outputs:
                        found.setdefault(outputs, size)
    return found


def pairs(grammar, known, max_size, measure="leaves"):
    """What one operator that can be undone makes of two known functions: (symbol, left, right) by outputs."""
    made = {}
    symbols = [o.symbol for o in grammar.operators if o.symbol in UNDONE]
    for (left, a), (right, b) in itertools.product(known.items(), repeat=2):
        for symbol in symbols if a + b + (measure == "nodes") <= max_size else ():
            made.setdefault(combined(symbol, left, right), set()).add((symbol, left, right))
    return made
