"""A compiled stack machine that evaluates many programs on many points in one arithmetic.

A first pass over the prefix tokens, from the right and without branches, turns a program into a list of
operators with the rows of their operands; a second pass carries them out on whole rows of points. Rows
hold terminals, constants, results and temporaries, in this order.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numba.extending import overload

from synthlab.compiling import numba
from synthlab.language import tracing
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.residues import batch_inverse, combine
from synthlab.language.tracing import (
    ABSOLUTE,
    ADD,
    DIVIDE,
    FLOOR_DIVIDE,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NEGATE,
    SUBTRACT,
)

TILE = 64
"""Points evaluated at a time: numbers are held in rows of this length, so that loops have a known length."""
INT64_LIMIT = float(1 << 60)
"""Magnitude at which a whole number counts as overflowed: smaller ones cannot wrap, and differ modulo 2^61 - 1."""
_HARMLESS = frozenset({ADD, SUBTRACT, MULTIPLY, NEGATE, ABSOLUTE})


@dataclass(frozen=True, eq=False)
class CodeTable:
    """Straight-line code of all operators of a grammar.

    Attributes
    ----------
    steps
        Instructions (I, 3) as in `tracing.Code`, with constants numbered over the whole grammar.
    first
        First instruction of every token (V + 1,).
    simple
        The instruction of tokens whose code is one instruction on all operands (V,); -1 for others.
    constants
        Exact constants.
    """

    steps: np.ndarray
    first: np.ndarray
    simple: np.ndarray
    constants: tuple[Fraction, ...]

    @property
    def hides_infinity(self) -> bool:
        """Whether an infinite operand may give a finite result, so that every result must be looked at."""
        return not set(self.steps[:, 0].tolist()) <= _HARMLESS


@functools.lru_cache(maxsize=64)
def code_table(grammar: Grammar, kind: Literal["code", "field_code"]) -> CodeTable | None:
    """Code of every operator on numbers or in a field; None if an operator has none."""
    steps: list[tuple[int, int, int]] = []
    constants: list[Fraction] = []
    first = [0] * (grammar.num_terminals + 1)
    simple = [-1] * grammar.num_terminals
    for operator in grammar.operators:
        code: tracing.Code | None = getattr(operator, kind)
        if code is None:
            return None
        shift = len(constants)
        steps += [(k, a if a >= 0 else a - shift, b if b >= 0 else b - shift) for k, a, b in code.steps]
        constants += code.constants
        first.append(len(steps))
        is_simple = len(code.steps) == 1 and code.steps[0][1:] == (0, code.arity - 1)
        simple.append(code.steps[0][0] if is_simple else -1)
    return CodeTable(np.array(steps), np.array(first), np.array(simple), tuple(constants))


@numba.njit(cache=True, nogil=True, inline="always", error_model="numpy")
def _float_step(kind, m, a, b, t):
    if kind == ADD:
        for k in range(TILE):
            m[t, k] = m[a, k] + m[b, k]
    elif kind == SUBTRACT:
        for k in range(TILE):
            m[t, k] = m[a, k] - m[b, k]
    elif kind == MULTIPLY:
        for k in range(TILE):
            m[t, k] = m[a, k] * m[b, k]
    elif kind == DIVIDE:
        for k in range(TILE):
            m[t, k] = m[a, k] / m[b, k]
    elif kind == NEGATE:
        for k in range(TILE):
            m[t, k] = -m[a, k]
    elif kind == ABSOLUTE:
        for k in range(TILE):
            m[t, k] = abs(m[a, k])
    elif kind == MINIMUM:
        for k in range(TILE):  # a missing value (NaN, unequal to itself) stays
            m[t, k] = m[a, k] if m[a, k] < m[b, k] or m[a, k] != m[a, k] else m[b, k]
    elif kind == MAXIMUM:
        for k in range(TILE):
            m[t, k] = m[a, k] if m[a, k] > m[b, k] or m[a, k] != m[a, k] else m[b, k]
    elif kind == FLOOR_DIVIDE:
        for k in range(TILE):
            m[t, k] = m[a, k] // m[b, k] if m[b, k] != 0 else np.nan
    else:
        for k in range(TILE):
            m[t, k] = m[a, k] % m[b, k] if m[b, k] != 0 else np.nan
    return True


@numba.njit(cache=True, nogil=True)
def _whole_step(kind, m, a, b, t):
    largest = 0.0
    if kind == MULTIPLY:
        for k in range(TILE):
            largest = max(largest, abs(float(m[a, k]) * float(m[b, k])))
            m[t, k] = m[a, k] * m[b, k]
        return largest < INT64_LIMIT
    for k in range(TILE):
        if kind == ADD:
            m[t, k] = m[a, k] + m[b, k]
        elif kind == SUBTRACT:
            m[t, k] = m[a, k] - m[b, k]
        elif kind == NEGATE:
            m[t, k] = -m[a, k]
        elif kind == ABSOLUTE:
            m[t, k] = abs(m[a, k])
        elif kind == MINIMUM:
            m[t, k] = min(m[a, k], m[b, k])
        else:
            m[t, k] = max(m[a, k], m[b, k])
        largest = max(largest, abs(float(m[t, k])))
    return largest < INT64_LIMIT


@numba.njit(cache=True, nogil=True)
def _residue_step(kind, memory, a, b, target):
    if kind == DIVIDE:
        batch_inverse(memory[b], memory[target])
        for k in range(memory.shape[1]):
            memory[target, k] = combine(MULTIPLY, memory[a, k], memory[target, k])
        return True
    for k in range(memory.shape[1]):
        memory[target, k] = combine(kind, memory[a, k], memory[b, k])
    return True


def _step(kind, memory, a, b, target):
    """Carry out one instruction on rows of points; false if a whole number left int64."""
    step = {"f": _float_step, "i": _whole_step, "u": _residue_step}[memory.dtype.kind]
    return step(kind, memory, a, b, target)


@overload(_step, inline="always")
def _compiled_step(kind, memory, a, b, target):
    if isinstance(memory.dtype, numba.types.Float):
        return lambda kind, memory, a, b, target: _float_step(kind, memory, a, b, target)
    if memory.dtype == numba.types.int64:
        return lambda kind, memory, a, b, target: _whole_step(kind, memory, a, b, target)
    return lambda kind, memory, a, b, target: _residue_step(kind, memory, a, b, target)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _call_step(kind, memory, a, b, target):
    """`_step` as a call, where its many loops would only slow compilation down."""
    return _step(kind, memory, a, b, target)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _settle(memory, row, limit):
    """Make infinite results missing; false if a result exceeds the limit."""
    fits = True
    for k in range(memory.shape[1]):
        memory[row, k] = memory[row, k] + (memory[row, k] - memory[row, k])
        fits &= not abs(memory[row, k]) > limit
    return fits


@numba.njit(cache=True, nogil=True, inline="always")
def _row(register, operands, node, arity, temporaries, num_terminals):
    if register < 0:
        return num_terminals - 1 - register
    return operands[node, register] if register < arity else temporaries + register - arity


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _operate(token, operands, node, target, memory, arities, steps, first, num_terminals, temporaries, limit):
    """One operator on rows of `memory`; false on overflow."""
    fits, last = True, first[token + 1] - 1
    for step in range(first[token], last + 1):
        a = _row(steps[step, 1], operands, node, arities[token], temporaries, num_terminals)
        b = _row(steps[step, 2], operands, node, arities[token], temporaries, num_terminals)
        row = target if step == last else temporaries + step - first[token]
        fits &= _call_step(steps[step, 0], memory, a, b, row)
        if limit > 0:
            fits &= _settle(memory, row, limit)
    return fits


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _run(prefix, arities, simple, steps, first, memory, num_fixed, num_terminals, limit, out, column):
    """Evaluate programs on one tile of points; returns the first that overflowed, or -1."""
    num_programs, length = prefix.shape
    most = arities.max()
    stack = np.zeros(length + most + 2, dtype=np.int64)  # the lowest entries are never operands
    tokens, kinds = np.zeros(length + 1, dtype=np.int64), np.zeros(length + 1, dtype=np.int64)
    operands = np.zeros((length + 1, max(most, 2)), dtype=np.int64)
    temporaries = num_fixed + length
    plain = limit == 0 and simple[num_terminals:].min() >= 0
    overflowed = -1
    for program in range(num_programs):
        height, num = most + 1, 0
        for position in range(length - 1, -1, -1):
            token = np.int64(prefix[program, position])
            if token == PAD:
                continue
            operands[num, 0] = stack[height - 1]
            operands[num, 1] = stack[height - 1 - (arities[token] != 1)]
            for k in range(2, most):
                operands[num, k] = stack[height - 1 - k]
            tokens[num], kinds[num] = token, simple[token]
            is_operator = np.int64(arities[token] > 0)
            height += 1 - arities[token]
            stack[height - 1] = token + is_operator * (num_fixed + num - token)
            num += is_operator
        fits = True
        for node in range(num):
            if plain:
                fits &= _step(kinds[node], memory, operands[node, 0], operands[node, 1], num_fixed + node)
            else:
                fits &= _operate(
                    tokens[node], operands, node, num_fixed + node, memory, arities, steps, first, num_terminals,
                    temporaries, limit,
                )  # fmt: skip
        if not fits and overflowed < 0:
            overflowed = program
        result = stack[height - 1]
        for k in range(min(memory.shape[1], out.shape[1] - column)):
            out[program, column + k] = memory[result, k]
    return overflowed


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _run_shared(tokens, operands, memory, arities, simple, steps, first, num_terminals, base, temporaries, limit):
    """Evaluate the nodes of a shared graph, operands first; returns the first that overflowed, or -1."""
    plain = limit == 0 and simple[num_terminals:].min() >= 0
    overflowed = -1
    for node in range(len(tokens)):
        if arities[tokens[node]] == 0:
            for k in range(memory.shape[1]):
                memory[base + node, k] = memory[tokens[node], k]
            continue
        if plain:
            last = operands[node, arities[tokens[node]] - 1]
            fits = _call_step(simple[tokens[node]], memory, operands[node, 0], last, base + node)
        else:
            fits = _operate(
                tokens[node], operands, node, base + node, memory, arities, steps, first, num_terminals, temporaries,
                limit,
            )  # fmt: skip
        if not fits and overflowed < 0:
            overflowed = node
    return overflowed


def run_programs(
    grammar: Grammar,
    table: CodeTable,
    prefix: np.ndarray,
    terminals: np.ndarray,
    constants: np.ndarray,
    limit: float,
    out: np.ndarray | None = None,
) -> tuple[np.ndarray, int]:
    """Values of programs (P, W), and the row of the first that overflowed (-1 if none).

    Parameters
    ----------
    grammar, table
        The language and its code.
    prefix
        Padded token matrix (P, L), each row one complete tree.
    terminals, constants
        Values of the leaf tokens (T, W) and of the code's constants (C,), of one dtype: float32, float64,
        int64, or uint64 for residues.
    limit
        Largest magnitude of a float result; 0 leaves results alone until the end.
    out
        Where the values go, C-contiguous; a new array by default.
    """
    if out is None:
        out = np.empty((len(prefix), terminals.shape[1]), dtype=terminals.dtype)
    overflowed = -1
    for column in range(0, out.shape[1], TILE):
        memory = _memory(terminals[:, column : column + TILE], constants, prefix.shape[1])
        row = _run(
            np.ascontiguousarray(prefix), grammar.arities, table.simple, table.steps, table.first, memory,
            len(terminals) + len(constants), len(terminals), limit, out, column,
        )  # fmt: skip
        overflowed = row if overflowed < 0 else overflowed
    return out, overflowed


def run_shared(
    grammar: Grammar, table: CodeTable, tokens: np.ndarray, operands: np.ndarray, terminals: np.ndarray,
    constants: np.ndarray, limit: float,
) -> tuple[np.ndarray, int]:  # fmt: skip
    """Values of all nodes of a shared graph (N, W), as `run_programs`; operands stand before their operators."""
    num_fixed, width = len(terminals) + len(constants), terminals.shape[1]
    temporaries, base = num_fixed, num_fixed + tracing.MAX_STEPS
    rows = np.where(operands >= 0, operands + base, 0)
    tiles, overflowed = [], -1
    for column in range(0, width, TILE):
        memory = _memory(terminals[:, column : column + TILE], constants, len(tokens))
        node = _run_shared(
            tokens, rows, memory, grammar.arities, table.simple, table.steps, table.first, len(terminals), base,
            temporaries, limit,
        )  # fmt: skip
        tiles.append(memory[base:, : width - column])
        overflowed = node if overflowed < 0 else overflowed
    return tiles[0] if len(tiles) == 1 else np.concatenate(tiles, axis=1), overflowed


def _memory(terminals: np.ndarray, constants: np.ndarray, num_results: int) -> np.ndarray:
    """Rows of terminals and constants, then room for temporaries and results.

    The last point pads the rows of numbers, so that nothing overflows that the points themselves do not.
    """
    num_fixed, width = len(terminals) + len(constants), terminals.shape[1]
    shape = num_fixed + num_results + tracing.MAX_STEPS, width if terminals.dtype == np.uint64 else TILE
    memory = np.empty(shape, dtype=terminals.dtype)
    memory[: len(terminals), :width] = terminals
    memory[: len(terminals), width:] = terminals[:, -1:]
    memory[len(terminals) : num_fixed] = constants[:, None]
    return memory
