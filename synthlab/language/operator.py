"""Operators: one declaration of symbol, arity and meaning, checked where it is made."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal

import numpy as np

from synthlab.errors import GrammarError
from synthlab.language.exact import as_float
from synthlab.language.tracing import NUMBER_ACTIONS, Code, NotTraceable, trace

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYMBOL = re.compile(r"[!#$%&*+\-./:<=>?@\\^|~]+")
_WHOLE_PROBES = tuple(map(Fraction, (0, 1, -2, 3, 4)))
_PROBES = tuple(Fraction(n, d) for n, d in ((3, 1), (-5, 2), (7, 3), (1, 1), (-1, 4)))
_DIGITS = 9
MAX_ARITY = 8
MAX_NAME = 64
"""Longest symbol of an operator, and longest name of a variable or a grammar."""
_MOST_PRECEDENCE = 1000


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One production ``E -> symbol E ... E`` and what it means.

    Parameters
    ----------
    symbol
        Token of the operator. Punctuation makes a binary operator infix; a name is written as a call.
    arity
        Number of operands, 1 to 8.
    meaning
        Elementwise NumPy function of `arity` arrays, such as ``np.minimum`` or ``lambda a, b: (a + b) / 2``.
        Where a result is not finite the program has no value; a missing operand leaves none either.
    field
        The same function in any field: written with ``+ - * /`` and whole powers, so that it also serves exact
        fractions and residues modulo a prime. By default `meaning` itself. None if there is none: programs of
        the grammar are then "equal on probes" instead of exactly equal.
    commutative
        Whether swapping the two operands never changes the function.
    precedence
        Binding strength of an infix operator, a whole number; equal strengths associate to the left.
    integral
        Whether whole operands always give a whole result (false for division).

    Raises
    ------
    GrammarError
        If the meaning raises, changes its operands, is not deterministic, or returns the wrong shape or type;
        if the field function differs from it; or if a declared property does not hold.
    """

    symbol: str
    arity: int
    meaning: Callable[..., Any]
    field: Callable[..., Any] | Literal["meaning"] | None = "meaning"
    commutative: bool = False
    precedence: int = 0
    integral: bool = True

    def __post_init__(self) -> None:
        _check_symbol(self.symbol)
        if not is_whole(self.arity) or not 1 <= self.arity <= MAX_ARITY:
            given = ascii(self.arity)[:40]
            raise GrammarError(f"operator {self.symbol!r}: arity {given} must be a number from 1 to {MAX_ARITY}")
        if not is_whole(self.precedence) or abs(self.precedence) > _MOST_PRECEDENCE:
            raise GrammarError(f"operator {self.symbol!r}: its precedence must be a whole number up to 1000")
        if not NAME.fullmatch(self.symbol) and self.arity != 2:
            raise GrammarError(f"operator {self.symbol!r}: punctuation is infix and needs arity 2; use a name")
        if self.commutative and self.arity != 2:
            raise GrammarError(f"operator {self.symbol!r}: only binary operators can be commutative")
        _check_function(self)
        _check_field(self)
        _check_properties(self)

    @property
    def infix(self) -> bool:
        """Whether the operator stands between its operands."""
        return not NAME.fullmatch(self.symbol)

    @property
    def field_function(self) -> Callable[..., Any] | None:
        """The function that holds in every field, or None."""
        return self.meaning if self.field == "meaning" else self.field

    @cached_property
    def code(self) -> Code | None:
        """Straight-line code of the meaning on numbers; None where it runs as NumPy only."""
        try:
            return trace(self.meaning, self.arity)
        except NotTraceable:
            return None

    @cached_property
    def field_code(self) -> Code | None:
        """Straight-line code of the field function, or None without one."""
        if self.field_function is None:
            return None
        try:
            code = trace(self.field_function, self.arity)
        except NotTraceable as error:
            raise GrammarError(f"operator {self.symbol!r}: its field function cannot be followed ({error})") from error
        if code.is_field:
            return code
        raise GrammarError(
            f"operator {self.symbol!r} is not written with + - * / and whole powers: declare field=None, "
            "or give a field function"
        )

    @cached_property
    def partial(self) -> bool:
        """Whether it has no value for some operands, as far as its code and the probes tell."""
        return (self.code is not None and self.code.is_partial) or bool(np.isnan(_on_probes(self, _WHOLE_PROBES)).any())

    def values(self, *operands: np.ndarray) -> np.ndarray:
        """Float results on float operands of one shape; NaN where there is none."""
        with np.errstate(all="ignore"):
            values = np.asarray(self.meaning(*operands), dtype=np.float64)
        known = np.isfinite(values)
        for operand in operands:
            known &= np.isfinite(operand)
        return np.where(known, values, np.nan) + 0.0  # zero has one sign

    def exact(self, *operands: Fraction) -> Fraction | None:
        """Result on exact operands, None where there is none; rounded where the meaning has no code."""
        code = self.field_code or self.code
        if code is None:
            value = float(self.values(*(np.array(as_float(o)) for o in operands)))
            return None if math.isnan(value) else Fraction(value)
        try:
            return Fraction(code.run(operands, NUMBER_ACTIONS, Fraction))
        except ZeroDivisionError:
            return None

    def behaviour(self) -> list[str]:
        """Values on fixed operands, so that a change of meaning changes every key built from it."""
        if self.field_function is None:
            return [f"{value:.{_DIGITS}g}" for value in self.values(*_wide_probes(self.arity)).round(_DIGITS) + 0.0]
        probes = _PROBES[: _num_probes(self.arity)]
        return [str(self.exact(*operands)) for operands in itertools.product(probes, repeat=self.arity)]


def is_whole(value: Any) -> bool:
    """Whether a setting is a whole number of Python."""
    return isinstance(value, int) and not isinstance(value, bool)


def _check_symbol(symbol: Any) -> None:
    if not isinstance(symbol, str) or not (NAME.fullmatch(symbol) or _SYMBOL.fullmatch(symbol)):
        raise GrammarError(f"operator {ascii(symbol)[:60]}: use a name or ASCII punctuation")
    if len(symbol) > MAX_NAME:
        raise GrammarError(f"operator {symbol[:20]!r}...: use at most {MAX_NAME} characters, not {len(symbol):,}")


def _wide_probes(arity: int) -> np.ndarray:
    """Operands far and near, whole and not, so that a threshold anywhere shows: (arity, 2048)."""
    generator = np.random.Generator(np.random.PCG64(8))
    near = generator.integers(-60, 60, endpoint=True, size=(arity, 1024)).astype(float)
    far = generator.integers(-9999, 9999, endpoint=True, size=(arity, 1024)) / generator.choice([1, 8, 64, 512], 1024)
    return np.concatenate([near, far], axis=1)


def _num_probes(arity: int) -> int:
    """Values per operand, so that all combinations stay few."""
    return 5 if arity <= 4 else 2


def _probe_arrays(arity: int, probes: tuple[Fraction, ...]) -> list[np.ndarray]:
    """All combinations of probe values, one float array per operand; fewer values for many operands."""
    values = np.array([float(p) for p in probes[: _num_probes(arity)]])
    return [axis.ravel() for axis in np.meshgrid(*[values] * arity, indexing="ij")]


def _on_probes(operator: Operator, probes: tuple[Fraction, ...]) -> np.ndarray:
    return operator.values(*_probe_arrays(operator.arity, probes))


def _check_function(operator: Operator) -> None:
    """The meaning is an elementwise, deterministic function that leaves its operands alone."""
    name = f"operator {operator.symbol!r}: its meaning"
    arrays = _probe_arrays(operator.arity, _WHOLE_PROBES)
    given, once_more = ([a.copy() for a in arrays] for _ in range(2))
    try:
        with np.errstate(all="ignore"):
            first, again = operator.meaning(*given), operator.meaning(*once_more)
            squares = operator.meaning(*(np.stack([a, a]) for a in arrays))
    except Exception as error:
        raise GrammarError(f"{name} raised {ascii(error)[:200]}") from error
    if not all(map(np.array_equal, given, arrays)):
        raise GrammarError(f"{name} changes its operands: return a new array")
    for value, shape in ((first, arrays[0].shape), (squares, (2, *arrays[0].shape))):
        if not isinstance(value, (np.ndarray, int, float)) or np.asarray(value).dtype.kind not in "iuf":
            kind = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            raise GrammarError(f"{name} returned {kind}, not real numbers")
        if isinstance(value, np.ndarray) and value.shape != shape:
            raise GrammarError(f"{name} returned shape {value.shape} for operands of shape {shape}")
    if not np.array_equal(first, again, equal_nan=True):
        raise GrammarError(f"{name} is not deterministic: two calls with equal operands differ")
    with np.errstate(all="ignore"):
        single = [float(np.asarray(operator.meaning(*(a[k : k + 1] for a in arrays))).ravel()[0]) for k in (0, -2)]
    if not np.array_equal(single, np.broadcast_to(first, arrays[0].shape)[[0, -2]], equal_nan=True):
        raise GrammarError(f"{name} is not elementwise: a value depends on its neighbours")


def _check_field(operator: Operator) -> None:
    """The field function agrees with the meaning wherever both have a value."""
    if operator.field_code is None:
        return
    for probes in (_WHOLE_PROBES, _PROBES):
        values = _on_probes(operator, probes)
        operands = zip(*_probe_arrays(operator.arity, probes), strict=True)
        exact = [operator.exact(*map(_as_fraction, o)) for o in operands]
        known = np.array([e is not None for e in exact])
        if (~known & ~np.isnan(values)).any():
            raise GrammarError(f"operator {operator.symbol!r}: its field function lacks a value that its meaning has")
        known &= ~np.isnan(values)
        wanted = np.array([0.0 if e is None else as_float(e) for e in exact])
        if not np.allclose(values[known], wanted[known], rtol=1e-9, atol=1e-12):
            raise GrammarError(f"operator {operator.symbol!r}: its field function differs from its meaning")


def _as_fraction(value: float) -> Fraction:
    return Fraction(value).limit_denominator(100)


def _check_properties(operator: Operator) -> None:
    values = _on_probes(operator, _WHOLE_PROBES)
    if operator.commutative:
        swapped = operator.values(*_probe_arrays(operator.arity, _WHOLE_PROBES)[::-1])
        if not np.allclose(values, swapped, rtol=1e-9, equal_nan=True):
            raise GrammarError(f"operator {operator.symbol!r} is declared commutative but is not")
    if operator.integral and not np.array_equal(np.round(values), values, equal_nan=True):
        raise GrammarError(f"operator {operator.symbol!r} leaves the integers: declare integral=False")


ADD = Operator(symbol="+", arity=2, meaning=lambda a, b: a + b, commutative=True, precedence=1)
SUBTRACT = Operator(symbol="-", arity=2, meaning=lambda a, b: a - b, precedence=1)
MULTIPLY = Operator(symbol="*", arity=2, meaning=lambda a, b: a * b, commutative=True, precedence=2)
DIVIDE = Operator(symbol="/", arity=2, meaning=lambda a, b: a / b, precedence=2, integral=False)
NEGATE = Operator(symbol="neg", arity=1, meaning=lambda a: -a)
SQUARE = Operator(symbol="square", arity=1, meaning=lambda a: a * a)
ABSOLUTE = Operator(symbol="abs", arity=1, meaning=np.abs, field=None)
MINIMUM = Operator(symbol="min", arity=2, meaning=np.minimum, field=None, commutative=True)
MAXIMUM = Operator(symbol="max", arity=2, meaning=np.maximum, field=None, commutative=True)
FLOOR_DIVIDE = Operator(symbol="//", arity=2, meaning=lambda a, b: a // b, field=None, precedence=2)
MODULO = Operator(symbol="%", arity=2, meaning=lambda a, b: a % b, field=None, precedence=2)
