"""When two programs are the same function.

Exactly, where every operator has a field function: equal values at two random points modulo 2^61 - 1. A
nonzero polynomial of total degree d vanishes at a random point modulo p with probability at most d/p
(Schwartz 1980, Zippel 1979); with two points, 10^7 programs of 7 leaves collide with probability below
1e-20. A difference stays nonzero modulo p because its coefficients are smaller than p, which
`check_coefficients` proves for the size at hand. Field meaning ignores removable poles: x/x is 1.

Else on probes: equal values on the grid and on 64 hidden inputs, a pure function of the seed; this is
observational equivalence (Udupa et al. 2013), and is said wherever it is shown. Whole values are compared
exactly, others to nine digits.

Either way a program's identity is a fingerprint of two residues.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import BudgetExceeded, GrammarError, SynthlabError
from synthlab.language import tracing
from synthlab.language.exact import shown
from synthlab.language.grammar import Grammar
from synthlab.language.interpreter import Algebra, Points, evaluate, number_algebra
from synthlab.language.machine import code_table
from synthlab.language.measure import check_measure, operand_sizes, smallest_size
from synthlab.language.operator import Operator
from synthlab.language.program import Program, token_matrix
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE, combine_arrays, mulmod, residue

FINGERPRINT_SEED = 20260430
NUM_POINTS = 2
NUM_HIDDEN = 64
MAX_DEGREE = 1 << 20
"""Largest degree of a difference: two points then miss it with a probability below 2^-82."""
_UNDEFINED_VALUE = np.uint64(0x123456789ABCDEF1)
_DENOMINATOR = 7
_LARGEST_PART = 1 << 60


def identity_method(grammar: Grammar, seed: int = FINGERPRINT_SEED) -> str:
    """How equality of functions is decided, in words."""
    if grammar.exact:
        return "exact: equal at two random points modulo 2^61-1"
    low, high = grammar.hidden_domain
    return (
        f"equal on probes: {len(grammar.grid.points)} grid points and {NUM_HIDDEN} hidden inputs "
        f"in [{low}, {high}], seed {seed}"
    )


class ResiduePoints(Algebra):
    """Programs evaluated modulo the prime at given inputs."""

    def __init__(self, grammar: Grammar, points: Points) -> None:
        rows = [[residue(v) for v in grammar.terminal_values(p)] for p in points]
        self.grammar = grammar
        self.terminals = np.array(rows, dtype=np.uint64).T.copy()
        self.table = code_table(grammar, "field_code")
        self.constants = np.array([residue(c) for c in self.table.constants] if self.table else [], dtype=np.uint64)

    def codes(self, values: np.ndarray) -> np.ndarray:
        return values

    def apply(self, operator: Operator, *operands: np.ndarray) -> np.ndarray:
        assert operator.field_code is not None
        actions = {kind: functools.partial(combine_arrays, kind) for kind in tracing.FIELD_STEPS}
        return operator.field_code.run(operands, actions, lambda c: np.array(residue(c), dtype=np.uint64))


class FingerprintPoints(ResiduePoints):
    """The two random points that prove exact identity."""


@functools.lru_cache(maxsize=16)
def probe_points(grammar: Grammar, seed: int = FINGERPRINT_SEED) -> Points:
    """The grid, then 64 hidden inputs."""
    return [*grammar.grid.points, *hidden_inputs(grammar, seed)]


def hidden_inputs(grammar: Grammar, seed: int = FINGERPRINT_SEED) -> Points:
    """64 inputs in the grammar's hidden domain: whole numbers on a whole grid, sevenths elsewhere."""
    denominator = 1 if grammar.grid.integral else _DENOMINATOR
    low, high = (bound * denominator for bound in grammar.hidden_domain)
    generator = np.random.Generator(np.random.PCG64(seed))
    draws = generator.integers(low, high, endpoint=True, size=(NUM_HIDDEN, len(grammar.variables)))
    return [tuple(Fraction(int(v), denominator) for v in row) for row in draws]


@functools.lru_cache(maxsize=16)
def identity_algebra(grammar: Grammar, seed: int = FINGERPRINT_SEED) -> Algebra:
    """The arithmetic whose values decide identity: two random residues, or numbers on the probes."""
    if not grammar.exact:
        _refuse_jumps(grammar)
        return number_algebra(grammar, probe_points(grammar, seed))
    generator = np.random.Generator(np.random.PCG64(seed))
    draws = generator.integers(2, PRIME, size=(NUM_POINTS, len(grammar.variables)), dtype=np.uint64)
    return FingerprintPoints(grammar, [tuple(Fraction(int(v)) for v in row) for row in draws])


def _refuse_jumps(grammar: Grammar) -> None:
    """Refuse `//` and `%` where values are compared to nine digits: they tear equal values apart."""
    jumping = next((o.symbol for o in grammar.operators if o.code is not None and o.code.jumps), None)
    if jumping is not None and not grammar.integral:
        raise GrammarError(
            f"grammar {grammar.name!r}: identity with {jumping!r} needs a whole grid and operators that stay whole"
        )


@functools.lru_cache(maxsize=16)
def observation_algebra(grammar: Grammar) -> Algebra:
    """The arithmetic in which outputs on the grid are compared."""
    points = grammar.grid.points
    if not grammar.exact:
        return number_algebra(grammar, points)
    _require_residues(grammar)
    return ResiduePoints(grammar, points)


def _require_residues(grammar: Grammar) -> None:
    """Refuse a grid whose values others are equal to modulo the prime, as 2^61 is to 1."""
    values = itertools.chain.from_iterable(grammar.grid.axes)
    large = next((v for v in values if max(abs(v.numerator), v.denominator) >= _LARGEST_PART), None)
    if large is not None:
        raise GrammarError(
            f"the grid value {shown(large)} has a part beyond 2^60: write it as a shorter fraction, as 1/1000 for 0.001"
        )


def grid_codes(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Outputs on the grid in comparable form, uint64 (P, G): equal exactly where the outputs are equal."""
    algebra = observation_algebra(grammar)
    return algebra.codes(evaluate(grammar, prefix, algebra))


def fingerprints(grammar: Grammar, prefix: np.ndarray, seed: int = FINGERPRINT_SEED) -> np.ndarray:
    """Fingerprint of every program, uint64 (P, 2); `UNDEFINED_RESIDUE` twice where no function exists.

    Raises
    ------
    SynthlabError
        If a denominator vanishes at one point only (probability about 1e-18): take another seed.
    """
    algebra = identity_algebra(grammar, seed)
    return keys_of(algebra, evaluate(grammar, prefix, algebra))


def keys_of(algebra: Algebra, values: np.ndarray) -> np.ndarray:
    """Keys (P, 2) of values (P, W), equal for equal rows; fingerprints from values of an `identity_algebra`."""
    codes = algebra.codes(values)
    return settle_undefined(codes) if isinstance(algebra, FingerprintPoints) else mix(codes)


def settle_undefined(values: np.ndarray) -> np.ndarray:
    """Check that programs (P, 2) are undefined at both points or at none."""
    undefined = values == UNDEFINED_RESIDUE
    if (undefined.any(axis=1) != undefined.all(axis=1)).any():
        raise SynthlabError("a fingerprint point hit a pole: choose another fingerprint seed")
    return values


def mix(codes: np.ndarray) -> np.ndarray:
    """Two keys (P, 2) of rows of codes (P, W), equal for equal rows; the prime twice where every code is missing.

    A key is a random linear combination modulo the prime, so two different rows share both with a
    probability of about 2^-122.
    """
    factors = np.random.Generator(np.random.PCG64(2)).integers(1, PRIME, size=(2, codes.shape[1]), dtype=np.uint64)
    return _mix(np.ascontiguousarray(codes), factors)


@numba.njit(cache=True, nogil=True)
def _mix(codes, factors):
    num_rows, width = codes.shape
    keys = np.empty((num_rows, 2), dtype=np.uint64)
    prime = np.uint64(PRIME)
    for row in range(num_rows):
        num_missing = 0
        for column in range(width):
            num_missing += codes[row, column] >= prime
        for key in range(2):
            total = np.uint64(0)
            for column in range(width):
                # a missing value counts as a residue of its own, which no small program computes
                code = codes[row, column] if codes[row, column] < prime else _UNDEFINED_VALUE
                total = (total + mulmod(code, factors[key, column])) % prime
            keys[row, key] = prime if num_missing == width else total
    return keys


def fingerprint_text(program: Program, seed: int = FINGERPRINT_SEED) -> str | None:
    """Fingerprint of one program in hexadecimal, or None if it is no function."""
    row = fingerprints(program.grammar, token_matrix([program]), seed)[0]
    return None if row[0] == UNDEFINED_RESIDUE else "".join(f"{int(v):016x}" for v in row)


def same_function(first: Program, second: Program, seed: int = FINGERPRINT_SEED) -> bool:
    """Whether two programs of one grammar are the same function, as `identity_method` says.

    Undefined programs equal nothing.

    Raises
    ------
    BudgetExceeded
        If the programs are so large that a difference might vanish modulo the prime.
    """
    if first.grammar.exact:
        a, b = _norm_of(first), _norm_of(second)
        if a.over * b.under + b.over * a.under >= PRIME or a.degree + b.degree > MAX_DEGREE:
            raise BudgetExceeded(
                f"coefficients of these programs may exceed 2^61, or degrees {MAX_DEGREE:,}: exact identity needs less"
            )
    one, two = fingerprint_text(first, seed), fingerprint_text(second, seed)
    return one is not None and one == two


@dataclass(frozen=True)
class _Norm:
    """Upper bounds of the coefficient sums of a numerator and a denominator, and of their degrees."""

    over: int
    under: int = 1
    degree: int = 0

    @staticmethod
    def constant(value: Fraction) -> _Norm:
        return _Norm(abs(value.numerator), value.denominator)

    def plus(self, other: _Norm) -> _Norm:
        if (self.under, other.under) == (1, 1):
            return _Norm(self.over + other.over, 1, max(self.degree, other.degree))
        over = self.over * other.under + other.over * self.under
        return _Norm(over, self.under * other.under, self.degree + other.degree)

    def times(self, other: _Norm) -> _Norm:
        return _Norm(self.over * other.over, self.under * other.under, self.degree + other.degree)

    def divided_by(self, other: _Norm) -> _Norm:
        return _Norm(self.over * other.under, self.under * other.over, self.degree + other.degree)


_NORM_ACTIONS = {
    tracing.ADD: _Norm.plus,
    tracing.SUBTRACT: _Norm.plus,
    tracing.MULTIPLY: _Norm.times,
    tracing.DIVIDE: _Norm.divided_by,
    tracing.NEGATE: lambda norm, _: norm,
}


def _norm_of(program: Program) -> _Norm:
    """Bound of the coefficients of one program."""
    grammar = program.grammar
    leaves = [_Norm(1, 1, 1)] * len(grammar.variables) + [_Norm(c) for c in grammar.constants]

    def node(operator: Operator, parts: Sequence[_Norm]) -> _Norm:
        # beyond the prime how far does not matter, and squares of squares would outgrow the memory
        norm = _combined_norm(operator, parts)
        return _Norm(min(norm.over, PRIME), min(norm.under, PRIME), min(norm.degree, MAX_DEGREE + 1))

    return program.fold(leaves.__getitem__, node)


def _combined_norm(operator: Operator, parts: Sequence[_Norm]) -> _Norm:
    assert operator.field_code is not None
    return operator.field_code.run(parts, _NORM_ACTIONS, _Norm.constant)


def coefficient_bound(grammar: Grammar, size: int, measure: str = "leaves") -> int:
    """Bound on every coefficient of the difference of two functions of at most so large programs.

    For f1/g1 = f2/g2 the difference is f1 g2 - f2 g1, so the bound is twice the product of the largest
    coefficient sums of a numerator and of a denominator.
    """
    best = next(itertools.islice(_bounds(grammar, measure), size - smallest_size(measure), None))
    return 2 * best.over * best.under


def _bounds(grammar: Grammar, measure: str) -> Iterator[_Norm]:
    """Bounds of single functions from the smallest size on."""
    best = {smallest_size(measure): _Norm(max([1, *grammar.constants]), 1, 1)}
    for size in itertools.count(smallest_size(measure)):
        norms = [best.get(size - 1, best[smallest_size(measure)])]
        for operator in grammar.operators:
            norms += [_combined_norm(operator, parts) for parts in _best_parts(best, measure, operator.arity, size)]
        best[size] = _Norm(*(max(getattr(n, name) for n in norms) for name in ("over", "under", "degree")))
        yield best[size]


def _best_parts(best: dict[int, _Norm], measure: str, arity: int, size: int) -> list[tuple[_Norm, ...]]:
    if measure == "depth":
        return [(best[size - 1],) * arity] if size else []
    return [tuple(best[s] for s in sizes) for sizes in operand_sizes(measure, arity, size) if max(sizes) < size]


def check_coefficients(grammar: Grammar, max_size: int, measure: str = "leaves") -> None:
    """Refuse sizes at which a nonzero difference could vanish modulo the prime, or at its points too easily.

    Raises
    ------
    BudgetExceeded
        With the largest size for which identity is exact.
    """
    if not grammar.exact:
        return
    check_measure(grammar, measure, max_size)
    sizes = range(smallest_size(measure), max_size + 1)
    for size, best in zip(sizes, _bounds(grammar, measure), strict=False):
        if 2 * best.over * best.under >= PRIME or 2 * best.degree > MAX_DEGREE:
            raise BudgetExceeded(
                f"exact identity of {grammar.name!r} is proven up to {size - 1} {measure}, not {max_size}"
            )
