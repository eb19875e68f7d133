"""What programs compute: exact fractions for one point, arrays for many programs on many points.

The arithmetic is declared once, by `Operator.meaning`, and carried out in an `Algebra`: whole numbers,
floats, or (in `identity`) residues modulo a prime. A result that does not exist, such as 1/0, is a
value, never an exception: `UNDEFINED` for one point, NaN in float arrays.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from synthlab.errors import ConfigurationError, GrammarError, SynthlabError
from synthlab.language.grammar import PAD, Grammar, Operator
from synthlab.language.program import Program

_ROWS_AT_ONCE = 32_768
_INT64_SAFE = 2.0**62


class UndefinedResult:
    """The value of a program where it has none (a division by zero)."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "undefined"


UNDEFINED = UndefinedResult()


def evaluate_exact(program: Program, point: Mapping[str, Fraction | int]) -> Fraction | UndefinedResult:
    """Exact value at one point.

    Raises
    ------
    ConfigurationError
        If the point lacks a variable of the grammar.
    """
    missing = [v for v in program.grammar.variables if v not in point]
    if missing:
        raise ConfigurationError(f"the point gives no value for {', '.join(missing)}")
    inputs = tuple(Fraction(point[v]) for v in program.grammar.variables)
    leaves = program.grammar.terminal_values(inputs)

    def node(operator: Operator, operands: Any) -> Fraction | UndefinedResult:
        if any(isinstance(o, UndefinedResult) for o in operands):
            return UNDEFINED
        try:
            return Fraction(operator.meaning(*operands))
        except ZeroDivisionError:
            return UNDEFINED

    return program.fold(leaves.__getitem__, node)


class Algebra(abc.ABC):
    """Arrays in which every program has W values; one subclass per arithmetic."""

    terminals: np.ndarray
    """Values of the leaf tokens, (terminals, W)."""

    @abc.abstractmethod
    def apply(self, operator: Operator, *operands: np.ndarray) -> np.ndarray:
        """Result of one operator on arrays of equal shape (..., W)."""


class WholeNumbers(Algebra):
    """Exact int64 on a whole grid; a value that would leave int64 is an error, never a wrap."""

    def __init__(self, grammar: Grammar) -> None:
        if not grammar.integral:
            raise ConfigurationError(f"grammar {grammar.name!r} leaves the whole numbers: use Floats")
        values = [grammar.terminal_values(p) for p in grammar.grid.points]
        self.terminals = np.array([[int(v) for v in column] for column in zip(*values, strict=True)], dtype=np.int64)

    def apply(self, operator: Operator, *operands: np.ndarray) -> np.ndarray:
        magnitude = operator.meaning(*(o.astype(np.float64) for o in operands))
        if magnitude.size and np.abs(magnitude).max() >= _INT64_SAFE:
            raise SynthlabError(f"values of {operator.symbol!r} exceed 2^62 on the grid: lower the size or the grid")
        values = np.asarray(operator.meaning(*operands))
        if not np.issubdtype(values.dtype, np.integer):
            raise GrammarError(f"operator {operator.symbol!r} leaves the integers: declare integral=False")
        return values


class Floats(Algebra):
    """Float64 on any grid; NaN where a value does not exist or is not finite."""

    def __init__(self, grammar: Grammar) -> None:
        values = [grammar.terminal_values(p) for p in grammar.grid.points]
        self.terminals = np.array(values, dtype=np.float64).T.copy()

    def apply(self, operator: Operator, *operands: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            values = operator.meaning(*operands)
        return np.where(np.isfinite(values), values, np.nan)


@functools.lru_cache(maxsize=16)
def grid_algebra(grammar: Grammar) -> Algebra:
    """The arithmetic in which outputs on the grammar's grid are reported."""
    return WholeNumbers(grammar) if grammar.integral else Floats(grammar)


def evaluate(grammar: Grammar, prefix: np.ndarray, algebra: Algebra) -> np.ndarray:
    """Values of many programs, (P, W), by a stack machine over prefix tokens read from the right.

    Parameters
    ----------
    grammar
        Grammar of the tokens.
    prefix
        Padded token matrix (P, L), each row one complete tree.
    algebra
        The arithmetic, with W values a program.
    """
    width = algebra.terminals.shape[1]
    values = np.empty((len(prefix), width), dtype=algebra.terminals.dtype)
    for start in range(0, len(prefix), _ROWS_AT_ONCE):
        block = prefix[start : start + _ROWS_AT_ONCE]
        values[start : start + len(block)] = _evaluate_block(grammar, block, algebra)
    return values


def _evaluate_block(grammar: Grammar, prefix: np.ndarray, algebra: Algebra) -> np.ndarray:
    num_programs = len(prefix)
    most_leaves = int((prefix < grammar.num_terminals).sum(axis=1).max(initial=0))
    stack = np.zeros((most_leaves + 1, num_programs, algebra.terminals.shape[1]), dtype=algebra.terminals.dtype)
    height = np.zeros(num_programs, dtype=np.int64)
    for column in prefix.T[::-1]:
        for token in np.unique(column[column != PAD]):
            rows = np.flatnonzero(column == token)
            if token < grammar.num_terminals:
                stack[height[rows], rows] = algebra.terminals[token]
                height[rows] += 1
                continue
            operator = grammar.operator(int(token))
            operands = [stack[height[rows] - 1 - k, rows] for k in range(operator.arity)]
            height[rows] -= operator.arity - 1
            stack[height[rows] - 1, rows] = algebra.apply(operator, *operands)
    return stack[0]


def grid_outputs(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Outputs on the grammar's grid, (P, G): exact int64, or float64 with NaN at poles.

    Poles are found exactly, modulo a prime, not from rounded floats.
    """
    outputs = evaluate(grammar, prefix, grid_algebra(grammar))
    if not grammar.integral:
        from synthlab.language.identity import UNDEFINED_RESIDUE, grid_residues

        outputs[evaluate(grammar, prefix, grid_residues(grammar)) == UNDEFINED_RESIDUE] = np.nan
    return outputs
