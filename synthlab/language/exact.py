"""Numbers from outside as exact fractions of Python's own integers, which never wrap."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from numbers import Rational
from typing import Any

import numpy as np

_SHOWN_BITS = 130


def exact_number(value: Any) -> Fraction:
    """Exact value of a finite number of Python or NumPy.

    ``Fraction(numpy.int64(3))`` would keep the NumPy integer inside and wrap in its arithmetic.

    Raises
    ------
    TypeError, ValueError, OverflowError
        For text (whatever digits it has), truth values, complex numbers, NaN and infinity.
    """
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, bool) or not isinstance(number, (Rational, float, Decimal)):
        raise TypeError(f"{type(number).__name__} is not a number")
    exact = Fraction(number)
    return Fraction(int(exact.numerator), int(exact.denominator))


def as_float(value: Fraction) -> float:
    """The nearest float; infinite beyond their range."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def num_bits(value: Fraction) -> int:
    """Bits of the longer part of a fraction."""
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def shown(value: Fraction) -> str:
    """A number for messages, however long."""
    if num_bits(value) <= _SHOWN_BITS:
        return str(value)
    return f"a fraction of about {int(num_bits(value) * math.log10(2)):,} digits"
