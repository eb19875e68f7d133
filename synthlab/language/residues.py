"""Arithmetic modulo the prime 2^61 - 1 on arrays of uint64; a missing value is the prime itself and spreads."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from synthlab.compiling import numba
from synthlab.language import tracing

PRIME = (1 << 61) - 1
UNDEFINED_RESIDUE = np.uint64(PRIME)
"""Stands for "no value"; no residue equals it."""

_P = np.uint64(PRIME)
_LOW31 = np.uint64((1 << 31) - 1)
_LOW30 = np.uint64((1 << 30) - 1)
_S30, _S31, _S61, _ONE = np.uint64(30), np.uint64(31), np.uint64(61), np.uint64(1)


@numba.njit(cache=True, inline="always")
def reduce_once(value: np.uint64) -> np.uint64:
    """Residue of a number below 2^63."""
    value = (value & _P) + (value >> _S61)
    return value - _P if value >= _P else value


@numba.njit(cache=True, nogil=True)
def mulmod(a: np.uint64, b: np.uint64) -> np.uint64:
    """Product of two residues, without 128-bit integers."""
    a_high, a_low = a >> _S31, a & _LOW31
    b_high, b_low = b >> _S31, b & _LOW31
    middle = a_low * b_high + a_high * b_low
    total = ((a_high * b_high) << _ONE) + (middle >> _S30) + ((middle & _LOW30) << _S31) + a_low * b_low
    return reduce_once(total)


@numba.njit(cache=True, nogil=True)
def inverse(a: np.uint64) -> np.uint64:
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


@numba.njit(cache=True, nogil=True)
def combine(kind: int, a: np.uint64, b: np.uint64) -> np.uint64:
    """One instruction of `tracing` on two residues."""
    if a >= _P or b >= _P:
        return _P
    if kind == tracing.ADD:
        return reduce_once(a + b)
    if kind == tracing.SUBTRACT:
        return reduce_once(a + (_P - b))
    if kind == tracing.MULTIPLY:
        return mulmod(a, b)
    if kind == tracing.NEGATE:
        return reduce_once(_P - a)
    divisor = inverse(b)
    return _P if divisor >= _P else mulmod(a, divisor)


@numba.njit(cache=True, nogil=True)
def batch_inverse(values: np.ndarray, out: np.ndarray) -> None:
    """Inverses of a flat array by Montgomery's trick: three products a value and one inversion in all."""
    running = np.uint64(1)
    for k in range(len(values)):
        out[k] = running
        if 0 < values[k] < _P:
            running = mulmod(running, values[k])
    backward = inverse(running)
    for k in range(len(values) - 1, -1, -1):
        if 0 < values[k] < _P:
            out[k] = mulmod(out[k], backward)
            backward = mulmod(backward, values[k])
        else:
            out[k] = _P


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a scalar function of an instruction and two residues; plain NumPy where compilation is off."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return np.vectorize(function, otypes=[np.uint64])
    return numba.vectorize(["uint64(int64, uint64, uint64)"], cache=True)(function)


@_elementwise
def combine_arrays(kind, a, b):
    """`combine` on arrays."""
    return combine(kind, a, b)


def residue(value: Fraction) -> int:
    """Residue of an exact fraction whose denominator is not a multiple of the prime."""
    return value.numerator * pow(value.denominator, -1, PRIME) % PRIME
