"""What programs compute: exact fractions for one point, arrays for many programs on many points.

The arithmetic is declared once, by `Operator.meaning`, and carried out in an `Algebra`: whole numbers,
floats, or (in `identity`) residues modulo a prime. A result that does not exist, such as 1/0, is a
value, never an exception: `UNDEFINED` for one point, NaN in float arrays. It spreads: an operator with
a missing operand has no result.

==========================  ==================  ===================  ==================  ====================
what happens                `evaluate_exact`    `WholeNumbers`       `Floats`            residues
==========================  ==================  ===================  ==================  ====================
x/0, x//0, x%0, 0/0         no value            (not used)           no value            no value
a missing operand           no value            (not used)           no value            no value
x/x where x is 0            no value            (not used)           no value            no value at the point
floor and remainder         downwards; the sign of the divisor       the same            (not used)
a value of 2^60 and more    exact               refused              see below           modulo 2^61 - 1
2^53 and more, if whole     exact               exact                refused             modulo 2^61 - 1
infinity, also on the way   exact               refused              no value            modulo 2^61 - 1
over 2^20 bits              refused             refused              no value            modulo 2^61 - 1
zero                        has one sign        has one sign         has one sign        has one sign
rounding                    none                none                 IEEE 754            none
==========================  ==================  ===================  ==================  ====================

Refused means an error before any result is given; nothing wraps. On the grid, poles of exact grammars are those
of the residues, so that rounding neither makes nor hides one. As functions (in `identity`) quotients are reduced:
x/x is 1.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from synthlab.errors import BudgetExceeded, ConfigurationError, GrammarError, SynthlabError
from synthlab.language.exact import as_float, exact_number, num_bits, shown
from synthlab.language.grammar import Grammar
from synthlab.language.machine import INT64_LIMIT, CodeTable, code_table, run_programs, run_shared
from synthlab.language.operator import Operator
from synthlab.language.program import Program
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.language.sharing import SharedPrograms, share
from synthlab.language.tracing import ARRAY_ACTIONS

Points = list[tuple[Fraction, ...]]

_ROWS_AT_ONCE = 1 << 16
_EXACT_FLOAT = float(1 << 53)
MAX_BITS = 1 << 20
"""Longest numerator or denominator of an exact value."""


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
        If the point lacks a variable of the grammar, or holds something that is no finite number.
    BudgetExceeded
        If a value has more than a million bits, as x squared again and again soon has.
    """
    missing = [v for v in program.grammar.variables if v not in point]
    if missing:
        raise ConfigurationError(f"the point gives no value for {', '.join(missing)}")
    try:
        inputs = tuple(exact_number(point[v]) for v in program.grammar.variables)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigurationError(f"the point holds something that is no finite number: {error}") from error
    leaves = program.grammar.terminal_values(inputs)

    def node(operator: Operator, operands: Any) -> Fraction | UndefinedResult:
        if any(isinstance(o, UndefinedResult) for o in operands):
            return UNDEFINED
        value = operator.exact(*operands)
        if value is not None and num_bits(value) > MAX_BITS:
            raise BudgetExceeded(f"a value of {operator.symbol!r} has over {MAX_BITS:,} bits: use a smaller program")
        return UNDEFINED if value is None else value

    return program.fold(leaves.__getitem__, node)


class Algebra(abc.ABC):
    """Arrays in which every program has W values; one subclass per arithmetic."""

    grammar: Grammar
    terminals: np.ndarray
    """Values of the leaf tokens, (terminals, W)."""
    table: CodeTable | None
    """Compiled code of the operators; None if they run as NumPy only."""
    constants: np.ndarray
    """Values of the code's constants."""
    limit: float = 0.0
    """Largest magnitude that a compiled float result may have; 0 where nothing is to be checked."""

    @abc.abstractmethod
    def apply(self, operator: Operator, *operands: np.ndarray) -> np.ndarray:
        """Result of one operator on arrays of equal shape (..., W)."""

    @abc.abstractmethod
    def codes(self, values: np.ndarray) -> np.ndarray:
        """Values as uint64 of the same shape: equal where they count as equal, missing ones the prime 2^61 - 1."""

    def finish(self, values: np.ndarray) -> np.ndarray:
        """Last touch on compiled results."""
        return values


class WholeNumbers(Algebra):
    """Exact int64 at whole points; a value that would leave int64 is an error, never a wrap."""

    def __init__(self, grammar: Grammar, points: Points | None = None) -> None:
        points = grammar.grid.points if points is None else points
        values = [grammar.terminal_values(p) for p in points]
        whole_points = all(v.denominator == 1 for row in values for v in row)
        if not whole_points or _divides(grammar) or not all(o.integral for o in grammar.operators):
            raise ConfigurationError(f"grammar {grammar.name!r} leaves the whole numbers: use Floats")
        table = code_table(grammar, "code")
        self.grammar = grammar
        self.table = table if table and all(c.denominator == 1 for c in table.constants) else None
        constants = self.table.constants if self.table else ()
        _require_exact([v for row in values for v in row] + list(constants), INT64_LIMIT, "2^60")
        self.terminals = np.array([[int(v) for v in column] for column in zip(*values, strict=True)], dtype=np.int64)
        self.constants = np.array([int(c) for c in constants], dtype=np.int64)

    def apply(self, operator: Operator, *operands: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            wanted = operator.meaning(*(o.astype(np.float64) for o in operands))
            values = np.broadcast_to(operator.meaning(*operands), operands[0].shape)
            # an overflow inside the operator shows as a difference from the floats, rounding as one of a few digits
            rounding = 0.5 + 1e-9 * np.abs(wanted) + 1e-14 * sum(np.abs(o.astype(np.float64)) for o in operands)
            near = np.abs(values - wanted) <= rounding
        if not near.all() or not (np.abs(wanted) < INT64_LIMIT).all():
            raise SynthlabError(f"values of {operator.symbol!r} exceed 2^60: lower the size, or move the grid")
        if not np.issubdtype(values.dtype, np.integer):
            raise GrammarError(f"operator {operator.symbol!r} leaves the integers: declare integral=False")
        return values

    def codes(self, values: np.ndarray) -> np.ndarray:
        return (values % PRIME).astype(np.uint64)


class Floats(Algebra):
    """Floats at any points; NaN where a value does not exist or is not finite.

    Whole results of a grammar that stays whole (with `//`, say) are exact: from 2^53 on is an error.

    Parameters
    ----------
    grammar, points
        The language, and the inputs (the grid by default).
    dtype
        float64 or float32.
    """

    def __init__(self, grammar: Grammar, points: Points | None = None, dtype: Any = np.float64) -> None:
        points = grammar.grid.points if points is None else points
        values = [grammar.terminal_values(p) for p in points]
        self.grammar = grammar
        whole_points = all(v.denominator == 1 for row in values for v in row)
        self.whole = whole_points and all(o.integral for o in grammar.operators)
        with np.errstate(over="ignore"):
            rounded = np.array([[as_float(v) for v in row] for row in values]).astype(dtype)
        if not np.isfinite(rounded).all():
            raise GrammarError(f"the grid of {grammar.name!r} reaches beyond the floats: use smaller values")
        self.terminals = rounded.T.copy()
        self.table = code_table(grammar, "code")
        self.constants = np.array(self.table.constants if self.table else [], dtype=dtype)
        if self.whole and _divides(grammar):
            self.limit = _EXACT_FLOAT - 1  # 2^53 itself may be 2^53 + 1, rounded
            exact = [v for row in values for v in row] + list(self.table.constants if self.table else ())
            _require_exact(exact, _EXACT_FLOAT, "2^53")
        elif self.table and self.table.hides_infinity:
            self.limit = np.inf

    def apply(self, operator: Operator, *operands: np.ndarray) -> np.ndarray:
        if operator.code is None:
            return self._settled(operator, operator.values(*operands)).astype(self.terminals.dtype)
        actions = {kind: self._settled_action(operator, action) for kind, action in ARRAY_ACTIONS.items()}
        with np.errstate(all="ignore"):
            return operator.code.run(operands, actions, lambda c: self.terminals.dtype.type(c))

    def _settled_action(self, operator: Operator, action: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda first, second: self._settled(operator, action(first, second))

    def _settled(self, operator: Operator, values: np.ndarray) -> np.ndarray:
        """Infinite values made missing; refused where whole numbers would no longer be exact."""
        values = np.where(np.isfinite(values), values, np.nan) + 0.0
        if self.limit and np.nanmax(np.abs(values), initial=0) > self.limit:
            raise SynthlabError(f"values of {operator.symbol!r} exceed 2^53: lower the size, or move the grid")
        return values

    def codes(self, values: np.ndarray) -> np.ndarray:
        missing = np.isnan(values)
        known = np.where(missing, 0.0, values)
        codes = known.astype(np.int64) % PRIME if self.whole else _to_nine_digits(known)
        return np.where(missing, UNDEFINED_RESIDUE, codes.astype(np.uint64))

    def finish(self, values: np.ndarray) -> np.ndarray:
        values[~np.isfinite(values)] = np.nan
        values += 0.0  # zero has one sign
        return values


def _divides(grammar: Grammar) -> bool:
    """Whether whole results need floats on the way, or are missing somewhere."""
    return grammar.partial or any(o.code is not None and o.code.divides for o in grammar.operators)


def _require_exact(values: list[Fraction], limit: float, name: str) -> None:
    """Refuse grid values and constants that the arithmetic could not hold exactly."""
    largest = max(map(abs, values))
    if largest >= limit:
        raise SynthlabError(f"the grid or a constant reaches {shown(largest)}, beyond {name}: use smaller values")


def _to_nine_digits(values: np.ndarray) -> np.ndarray:
    """Floats as integers below the prime; below 1e-9, where rounded differences end, they are zero."""
    mantissa, exponent = np.frexp(np.where(np.abs(values) < 1e-9, 0.0, values))
    digits = np.round(mantissa * 2.0**30).astype(np.int64)  # 30 bits are nine digits
    carried = np.abs(digits) == 1 << 30
    digits, exponent = np.where(carried, digits // 2, digits), np.where(carried, exponent + 1, exponent)
    return ((digits + (1 << 31)) << 12) + exponent + (1 << 11)


@functools.lru_cache(maxsize=16)
def grid_algebra(grammar: Grammar) -> Algebra:
    """The arithmetic in which outputs on the grammar's grid are reported."""
    return number_algebra(grammar, grammar.grid.points)


def number_algebra(grammar: Grammar, points: Points) -> Algebra:
    """Whole numbers where they suffice, else floats."""
    try:
        return WholeNumbers(grammar, points)
    except ConfigurationError:
        return Floats(grammar, points)


def evaluate(grammar: Grammar, prefix: np.ndarray, algebra: Algebra, out: np.ndarray | None = None) -> np.ndarray:
    """Values of many programs, (P, W): compiled where the operators allow it, else by NumPy on shared subtrees.

    Parameters
    ----------
    grammar
        Grammar of the tokens.
    prefix
        Padded token matrix (P, L), each row one complete tree.
    algebra
        The arithmetic, with W values a program.
    out
        Where the values go (P, W), C-contiguous and of the algebra's type; reused memory saves a fifth of the time.

    Raises
    ------
    SynthlabError
        If a whole number leaves its range.
    """
    if out is None:
        out = np.empty((len(prefix), algebra.terminals.shape[1]), dtype=algebra.terminals.dtype)
    if algebra.table is not None:
        values, overflowed = run_programs(
            grammar, algebra.table, prefix, algebra.terminals, algebra.constants, algebra.limit, out
        )
        _check_overflow(grammar, prefix, overflowed)
        return algebra.finish(values)
    for start in range(0, len(prefix), _ROWS_AT_ONCE):
        shared = share(grammar, prefix[start : start + _ROWS_AT_ONCE])
        out[start : start + len(shared.roots)] = evaluate_shared(shared, algebra)[shared.roots]
    return out


def evaluate_shared(shared: SharedPrograms, algebra: Algebra) -> np.ndarray:
    """Values of every node of a shared graph, (N, W), each computed once.

    Raises
    ------
    SynthlabError
        If a whole number leaves its range.
    """
    grammar, arrays = algebra.grammar, (shared.tokens, shared.operands)
    if algebra.table is not None:
        values, overflowed = run_shared(
            grammar, algebra.table, *arrays, algebra.terminals, algebra.constants, algebra.limit
        )
        if overflowed >= 0:
            raise SynthlabError("values exceed the exact range on the grid: lower the size or the grid")
        return algebra.finish(values)
    values = np.empty((len(shared.tokens), algebra.terminals.shape[1]), dtype=algebra.terminals.dtype)
    levels = np.lexsort([shared.tokens, shared.height])
    changes = np.flatnonzero(np.diff(shared.height[levels]) | np.diff(shared.tokens[levels])) + 1
    for nodes in np.split(levels, changes):
        token = int(shared.tokens[nodes[0]])
        if token < grammar.num_terminals:
            values[nodes] = algebra.terminals[token]
            continue
        operands = [values[shared.operands[nodes, k]] for k in range(grammar.arities[token])]
        values[nodes] = algebra.apply(grammar.operator(token), *operands)
    return values


def _check_overflow(grammar: Grammar, prefix: np.ndarray, overflowed: int) -> None:
    if overflowed >= 0:
        text = Program.from_row(grammar, prefix[overflowed]).infix_text()
        raise SynthlabError(f"values of {text[:60]!r} exceed the exact range on the grid: lower the size or the grid")


def grid_outputs(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Outputs on the grammar's grid, (P, G): exact int64, or float64 with NaN where there is no value.

    In grammars with exact identity poles are found exactly, modulo a prime, not from rounded floats.
    """
    outputs = evaluate(grammar, prefix, grid_algebra(grammar))
    if grammar.exact and grammar.partial:
        from synthlab.language.identity import grid_codes

        outputs[grid_codes(grammar, prefix) == UNDEFINED_RESIDUE] = np.nan
    return outputs


def in_range(compute: Callable[[np.ndarray], np.ndarray], prefix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the programs (P, L) whose values stay exact, and what is computed of them; found by halving."""
    try:
        return np.arange(len(prefix)), compute(prefix)
    except GrammarError:  # an operator that breaks its promise, which no other program mends
        raise
    except SynthlabError:
        if len(prefix) <= 1:
            return np.arange(0), compute(prefix[:0])
    middle = len(prefix) // 2
    (first, one), (second, two) = (in_range(compute, part) for part in (prefix[:middle], prefix[middle:]))
    return np.concatenate([first, middle + second]), np.concatenate([one, two])
