"""When two programs are the same function: equal values at two random points modulo 2^61 - 1.

A nonzero polynomial of total degree d vanishes at a random point modulo p with probability at most d/p
(Schwartz 1980, Zippel 1979); with p = 2^61 - 1 and two points, 10^7 programs of 7 leaves collide with
probability below 1e-20. A difference stays nonzero modulo p because its coefficients are smaller than
p, which `check_coefficients` proves for the size at hand. Field meaning ignores removable poles: x/x is 1.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numba
import numpy as np

from synthlab.errors import BudgetExceeded, SynthlabError
from synthlab.language.grammar import Grammar, Operator
from synthlab.language.interpreter import Algebra, evaluate
from synthlab.language.program import Program, token_matrix

PRIME = (1 << 61) - 1
UNDEFINED_RESIDUE = np.uint64(PRIME)
"""Stands for "no value"; no residue equals it."""
FINGERPRINT_SEED = 20260430
NUM_POINTS = 2
METHOD = "exact: equal at two random points modulo 2^61-1"

_P = np.uint64(PRIME)
_LOW31 = np.uint64((1 << 31) - 1)
_LOW30 = np.uint64((1 << 30) - 1)
_S30, _S31, _S61, _ONE = np.uint64(30), np.uint64(31), np.uint64(61), np.uint64(1)


@numba.njit(cache=True, inline="always")
def _reduce(value: np.uint64) -> np.uint64:
    value = (value & _P) + (value >> _S61)
    return value - _P if value >= _P else value


@numba.njit(cache=True)
def mulmod(a: np.uint64, b: np.uint64) -> np.uint64:
    """Product modulo 2^61 - 1 of two residues, without 128-bit integers."""
    a_high, a_low = a >> _S31, a & _LOW31
    b_high, b_low = b >> _S31, b & _LOW31
    middle = a_low * b_high + a_high * b_low
    total = ((a_high * b_high) << _ONE) + (middle >> _S30) + ((middle & _LOW30) << _S31) + a_low * b_low
    return _reduce(total)


def _elementwise(signatures: list[str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Compile a scalar function into a ufunc; plain NumPy where compilation is switched off."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return lambda function: np.vectorize(function, otypes=[np.uint64])
    return numba.vectorize(signatures, cache=True)


@_elementwise(["uint64(uint64, uint64)"])
def _add(a, b):
    return _P if a >= _P or b >= _P else _reduce(a + b)


@_elementwise(["uint64(uint64, uint64)"])
def _subtract(a, b):
    return _P if a >= _P or b >= _P else _reduce(a + (_P - b))


@_elementwise(["uint64(uint64, uint64)"])
def _multiply(a, b):
    return _P if a >= _P or b >= _P else mulmod(a, b)


@_elementwise(["uint64(uint64)"])
def _invert(a):
    """Inverse by Fermat's little theorem; undefined for zero."""
    if a >= _P or a == 0:
        return _P
    result, power, exponent = np.uint64(1), a, _P - np.uint64(2)
    while exponent > 0:
        if exponent & _ONE:
            result = mulmod(result, power)
        power = mulmod(power, power)
        exponent = exponent >> _ONE
    return result


class Residues:
    """Array of residues modulo 2^61 - 1 with Python's arithmetic operators; undefined spreads."""

    __slots__ = ("array",)
    __array_ufunc__ = None

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    @staticmethod
    def of(value: Any) -> Residues:
        """Residue of a whole number, fraction, or residues unchanged."""
        return value if isinstance(value, Residues) else Residues(np.array(residue(Fraction(value)), dtype=np.uint64))

    def __add__(self, other: Any) -> Residues:
        return Residues(_add(self.array, Residues.of(other).array))

    def __sub__(self, other: Any) -> Residues:
        return Residues(_subtract(self.array, Residues.of(other).array))

    def __mul__(self, other: Any) -> Residues:
        return Residues(_multiply(self.array, Residues.of(other).array))

    def __truediv__(self, other: Any) -> Residues:
        return Residues(_multiply(self.array, _invert(Residues.of(other).array)))

    def __neg__(self) -> Residues:
        return Residues.of(0) - self

    def __pow__(self, exponent: int) -> Residues:
        base = self if exponent >= 0 else Residues(_invert(self.array))
        result = Residues(np.where(base.array >= _P, _P, np.uint64(1)))
        for _ in range(abs(exponent)):
            result = result * base
        return result

    __radd__ = __add__
    __rmul__ = __mul__

    def __rsub__(self, other: Any) -> Residues:
        return Residues.of(other) - self

    def __rtruediv__(self, other: Any) -> Residues:
        return Residues.of(other) / self


def residue(value: Fraction) -> int:
    """Residue of an exact fraction whose denominator is not a multiple of the prime."""
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME


class ResiduePoints(Algebra):
    """Programs evaluated modulo the prime at given inputs."""

    def __init__(self, grammar: Grammar, points: list[tuple[Fraction, ...]]) -> None:
        rows = [[residue(v) for v in grammar.terminal_values(p)] for p in points]
        self.terminals = np.array(rows, dtype=np.uint64).T.copy()

    def apply(self, operator: Operator, *operands: np.ndarray) -> np.ndarray:
        return operator.meaning(*map(Residues, operands)).array


@functools.lru_cache(maxsize=16)
def fingerprint_points(grammar: Grammar, seed: int = FINGERPRINT_SEED) -> ResiduePoints:
    """The two random inputs of the identity test, a pure function of the seed."""
    generator = np.random.Generator(np.random.PCG64(seed))
    draws = generator.integers(2, PRIME, size=(NUM_POINTS, len(grammar.variables)), dtype=np.uint64)
    return ResiduePoints(grammar, [tuple(Fraction(int(v)) for v in row) for row in draws])


@functools.lru_cache(maxsize=16)
def grid_residues(grammar: Grammar) -> ResiduePoints:
    """Exact outputs on the grid, as residues: equal exactly where the fractions are equal."""
    return ResiduePoints(grammar, grammar.grid.points)


def fingerprints(grammar: Grammar, prefix: np.ndarray, seed: int = FINGERPRINT_SEED) -> np.ndarray:
    """Fingerprint of every program, uint64 (P, 2); `UNDEFINED_RESIDUE` twice where no function exists.

    Raises
    ------
    SynthlabError
        If a denominator vanishes at one point only (probability about 1e-18): take another seed.
    """
    values = evaluate(grammar, prefix, fingerprint_points(grammar, seed))
    return settle_undefined(values)


def settle_undefined(values: np.ndarray) -> np.ndarray:
    """Check that programs (P, 2) are undefined at both points or at none."""
    undefined = values == UNDEFINED_RESIDUE
    if (undefined.any(axis=1) != undefined.all(axis=1)).any():
        raise SynthlabError("a fingerprint point hit a pole: choose another fingerprint seed")
    return values


def fingerprint_text(program: Program, seed: int = FINGERPRINT_SEED) -> str | None:
    """Fingerprint of one program in hexadecimal, or None if it is no function."""
    row = fingerprints(program.grammar, token_matrix([program]), seed)[0]
    return None if row[0] == UNDEFINED_RESIDUE else "".join(f"{int(v):016x}" for v in row)


def same_function(first: Program, second: Program, seed: int = FINGERPRINT_SEED) -> bool:
    """Whether two programs of one grammar are the same function; undefined programs equal nothing."""
    check_coefficients(first.grammar, max(first.leaves, second.leaves))
    one, two = fingerprint_text(first, seed), fingerprint_text(second, seed)
    return one is not None and one == two


@dataclass(frozen=True)
class _Norm:
    """Upper bound of the coefficient sums of a numerator and a denominator."""

    over: int
    under: int = 1

    @staticmethod
    def of(value: Any) -> _Norm:
        return value if isinstance(value, _Norm) else _Norm(abs(int(value)))

    def __add__(self, other: Any) -> _Norm:
        other = _Norm.of(other)
        if (self.under, other.under) == (1, 1):
            return _Norm(self.over + other.over)
        return _Norm(self.over * other.under + other.over * self.under, self.under * other.under)

    __sub__ = __radd__ = __rsub__ = __add__

    def __mul__(self, other: Any) -> _Norm:
        other = _Norm.of(other)
        return _Norm(self.over * other.over, self.under * other.under)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> _Norm:
        other = _Norm.of(other)
        return _Norm(self.over * other.under, self.under * other.over)

    def __rtruediv__(self, other: Any) -> _Norm:
        return _Norm.of(other) / self

    def __neg__(self) -> _Norm:
        return self

    def __pow__(self, exponent: int) -> _Norm:
        over, under = (self.over, self.under) if exponent >= 0 else (self.under, self.over)
        return _Norm(over ** abs(exponent), under ** abs(exponent))


def coefficient_bound(grammar: Grammar, leaves: int) -> int:
    """Bound on every coefficient of the difference of two functions of at most so many leaves.

    For f1/g1 = f2/g2 the difference is f1 g2 - f2 g1, so the bound is twice the product of the largest
    coefficient sums of a numerator and of a denominator. Unary operators count once per level.
    """
    return next(itertools.islice(_coefficient_bounds(grammar), leaves - 1, None))


def _coefficient_bounds(grammar: Grammar) -> Iterator[int]:
    """Bounds for 1, 2, ... leaves."""
    best = [_Norm(1), _Norm(max([1, *grammar.constants]))]
    while True:
        yield 2 * best[-1].over * best[-1].under
        norms = [best[-1]]
        for operator in grammar.operators:
            norms += [operator.meaning(*parts) for parts in _best_parts(best, operator.arity, len(best))]
        best.append(_Norm(max(n.over for n in norms), max(n.under for n in norms)))


def _best_parts(best: list[_Norm], arity: int, size: int) -> list[tuple[_Norm, ...]]:
    if arity == 1:
        return [(best[size - 1],)]
    if arity == 2:
        return [(best[k], best[size - k]) for k in range(1, size)]
    rest = [(k, parts) for k in range(1, size - arity + 2) for parts in _best_parts(best, arity - 1, size - k)]
    return [(best[k], *parts) for k, parts in rest]


def check_coefficients(grammar: Grammar, leaves: int) -> None:
    """Refuse sizes at which a nonzero difference could vanish modulo the prime.

    Raises
    ------
    BudgetExceeded
        With the largest size for which identity is exact.
    """
    for size, bound in zip(range(1, leaves + 1), _coefficient_bounds(grammar), strict=False):
        if bound >= PRIME:
            raise BudgetExceeded(f"exact identity of {grammar.name!r} is proven up to {size - 1} leaves, not {leaves}")
