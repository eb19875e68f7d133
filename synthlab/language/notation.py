"""Texts of programs in bulk: prefix, postfix or infix tokens, and back to prefix.

Prefix texts end by themselves; postfix and infix texts end with a token of their own, because what has been
written so far may be a whole program and still go on.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from synthlab.compiling import numba
from synthlab.errors import ConfigurationError, GrammarError
from synthlab.language.grammar import PAD, Grammar
from synthlab.language.measure import check_measure, max_length, operator_weight, smallest_size
from synthlab.presets import NOTATIONS

END = "<end>"
OPEN, CLOSE, COMMA = "(", ")", ","
_MARKS = {"prefix": (), "postfix": (END,), "infix": (OPEN, CLOSE, COMMA, END)}
_NONE = -(1 << 40)


@dataclass(frozen=True)
class Notation:
    """One way to write programs as tokens.

    Parameters
    ----------
    grammar
        The language.
    name
        "prefix", "postfix" or "infix".

    Raises
    ------
    ConfigurationError
        For an unknown notation.
    GrammarError
        If the tokens of the notation do not fit beside the padding.
    """

    grammar: Grammar
    name: str = "prefix"

    def __post_init__(self) -> None:
        if self.name not in NOTATIONS:
            raise ConfigurationError(f"unknown notation {self.name!r}: choose from {', '.join(NOTATIONS)}")
        if len(self.tokens) > PAD:
            raise GrammarError(
                f"grammar {self.grammar.name!r} has {len(self.tokens)} tokens in {self.name} notation: "
                f"at most {PAD} fit, so drop {len(self.tokens) - PAD}"
            )

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Token texts in order: those of the grammar, then the marks of the notation."""
        return (*self.grammar.tokens, *_MARKS[self.name])

    @property
    def end(self) -> int | None:
        """Number of the token that ends a text; None for prefix, whose texts end by themselves."""
        return len(self.tokens) - 1 if END in _MARKS[self.name] else None

    def max_length(self, max_size: int, measure: str = "leaves") -> int:
        """Longest text of so large a program, in tokens, the end token included.

        Some infix text is so long; prefix and postfix texts may all be shorter where arities differ.

        Raises
        ------
        ConfigurationError
            For a size or measure that does not bound the programs.
        """
        check_measure(self.grammar, measure, max_size)
        if self.name == "infix":
            return 1 + _longest_infix(self.grammar, max_size, measure)
        return max_length(self.grammar, max_size, measure) + (self.name == "postfix")

    def encode(self, prefix: np.ndarray) -> np.ndarray:
        """Texts of programs in this notation.

        Parameters
        ----------
        prefix
            Padded prefix matrix (P, L), uint8. Whatever follows the first complete tree of a row is ignored.

        Returns
        -------
        np.ndarray
            (P, L') uint8, `PAD` behind the end token, and all `PAD` for rows without a complete tree. L' is the
            longest text of any program of up to L nodes: it depends on L and the grammar only. For L as in the
            prefix matrix of a universe it is at least `max_length` of that universe, whatever the rows.
        """
        prefix = np.ascontiguousarray(prefix, dtype=np.uint8)
        out = np.full((len(prefix), self._encoded_width(prefix.shape[1])), PAD, dtype=np.uint8)
        if self.name == "infix":
            _write_infix(prefix, self.grammar.arities, binding(self.grammar), out)
        elif self.name == "postfix":
            _write_postfix(prefix, self.grammar.arities, out)
        else:
            _copy_trees(prefix, self.grammar.arities, out)
        return out

    def decode(self, text: np.ndarray) -> np.ndarray:
        """Prefix tokens of texts in this notation.

        Parameters
        ----------
        text
            Token matrix (P, L'), uint8. Whatever follows the end of a text is ignored; infix texts may have
            more parentheses than they need.

        Returns
        -------
        np.ndarray
            Padded prefix matrix (P, L), uint8, where L = L' for prefix and L' - 1 for the others (infix texts
            need no parentheses); all `PAD` for rows that are no text of a program or do not end.
        """
        text = np.ascontiguousarray(text, dtype=np.uint8)
        width = text.shape[1] if self.end is None else max(0, text.shape[1] - 1)
        out = np.full((len(text), width), PAD, dtype=np.uint8)
        if self.name == "infix":
            _read_infix(text, self.grammar.arities, binding(self.grammar), out)
        elif self.name == "postfix":
            _read_postfix(text, self.grammar.arities, out)
        else:
            _copy_trees(text, self.grammar.arities, out)
        return out

    def _encoded_width(self, length: int) -> int:
        if self.name == "infix":
            return 1 + _longest_infix(self.grammar, length, "nodes")
        return length + (self.name == "postfix")


@functools.lru_cache(maxsize=64)
def binding(grammar: Grammar) -> np.ndarray:
    """Binding strength of every token, int64 (V,): ranks from 1 for infix operators, 0 for calls and leaves."""
    ranks = sorted({o.precedence for o in grammar.operators if o.infix})
    strengths = [1 + ranks.index(o.precedence) if o.infix else 0 for o in grammar.operators]
    return np.array([0] * grammar.num_terminals + strengths, dtype=np.int64)


# ---------------------------------------------------------------- the longest infix text


@functools.lru_cache(maxsize=256)
def _longest_infix(grammar: Grammar, max_size: int, measure: str) -> int:
    """Most tokens of an infix text up to a size, without the end token; 0 where no program is so small."""
    first = smallest_size(measure)
    if max_size < first:
        return 0
    kinds = sorted(set(zip(binding(grammar).tolist(), grammar.arities.tolist(), strict=True)))
    longest = np.full((len(kinds), max_size + 1), _NONE)  # by kind of root, leaves first
    longest[0, first:] = 1
    operands = [_Operands(kinds, number, max_size, measure) for number in range(1, len(kinds))]
    for size in range(first, max_size + 1):
        for number, below in enumerate(operands, 1):
            bind, arity = kinds[number]
            longest[number, size] = (1 if bind else arity + 2) + below.longest(size)
        for below in operands:
            below.extend(longest[:, size], size)
    return int(longest[:, max_size].max())


class _Operands:
    """The longest texts of the operands of one kind of operator, all of them together, size by size."""

    def __init__(self, kinds: list[tuple[int, int]], number: int, max_size: int, measure: str) -> None:
        bind, arity = kinds[number]
        self.arity, self.measure = arity, measure
        self.brackets = np.array(
            [[2 * (0 < b < bind or (0 < b == bind and side > 0)) for b, _ in kinds] for side in range(arity)]
        )
        self.one = np.full((arity, max_size + 1), _NONE)
        self.together = np.full((arity, max_size + 1), _NONE)

    def longest(self, size: int) -> int:
        """Most tokens of all operands below an operator whose tree has at most this size."""
        if self.measure == "depth":
            return int(self.one[:, size - 1].sum()) if size else _NONE
        for last in range(1, self.arity):
            splits = self.together[last - 1, 1:size] + self.one[last, size - 1 : 0 : -1]
            self.together[last, size] = splits.max(initial=_NONE)
        return int(self.together[-1, size - operator_weight(self.measure)])

    def extend(self, longest: np.ndarray, size: int) -> None:
        """Take note of the longest texts of this size by kind of root."""
        self.one[:, size] = (longest + self.brackets).max(axis=1)
        self.together[0, size] = self.one[0, size]


# ---------------------------------------------------------------- kernels


@numba.njit(cache=True, nogil=True)
def _tree_length(row, arities):
    """Tokens of the complete tree that a prefix row starts with, 0 if there is none."""
    missing = 1
    for position in range(len(row)):
        if row[position] >= len(arities):
            return 0
        missing += arities[row[position]] - 1
        if missing == 0:
            return position + 1
    return 0


@numba.njit(cache=True, nogil=True)
def _copy_trees(prefix, arities, out):
    for number in range(len(prefix)):
        for position in range(_tree_length(prefix[number], arities)):
            out[number, position] = prefix[number, position]


@numba.njit(cache=True, nogil=True)
def _operators_last(row, position, step, arities, out, waiting, missing):
    """Write the tree that a row starts with, each operator behind its operands; returns its tokens, 0 for none.

    Reading and writing begin at `position`. From right to left, postfix is the prefix text of the tree's mirror
    image, and the mirror image's postfix text is prefix: so this serves both ways.
    """
    height, num, target = 0, 0, position
    while 0 <= position < len(row) and row[position] < len(arities):
        waiting[height], missing[height] = row[position], arities[row[position]]
        height, position = height + 1, position + step
        while missing[height - 1] == 0:
            height -= 1
            out[target] = waiting[height]
            num, target = num + 1, target + step
            if height == 0:
                return num
            missing[height - 1] -= 1
    return 0


@numba.njit(cache=True, nogil=True)
def _write_postfix(prefix, arities, out):
    waiting = np.zeros(prefix.shape[1] + 1, dtype=np.int64)
    missing = np.zeros(prefix.shape[1] + 1, dtype=np.int64)
    for number in range(len(prefix)):
        length = _operators_last(prefix[number], 0, 1, arities, out[number], waiting, missing)
        if length > 0:
            out[number, length] = len(arities)
        else:
            out[number, :] = PAD


@numba.njit(cache=True, nogil=True)
def _text_length(row, end):
    """Tokens before the first end token, 0 if there is none."""
    for position in range(len(row)):
        if row[position] == end:
            return position
    return 0


@numba.njit(cache=True, nogil=True)
def _read_postfix(text, arities, out):
    waiting = np.zeros(text.shape[1] + 1, dtype=np.int64)
    missing = np.zeros(text.shape[1] + 1, dtype=np.int64)
    for number in range(len(text)):
        length = _text_length(text[number], len(arities))
        if _operators_last(text[number], length - 1, -1, arities, out[number], waiting, missing) < length:
            out[number, :] = PAD


@numba.njit(cache=True, nogil=True)
def _write_infix(prefix, arities, binds, out):
    stack = np.zeros((3, prefix.shape[1] + 1), dtype=np.int64)
    for number in range(len(prefix)):
        length = _tree_length(prefix[number], arities)  # an incomplete tree could write beyond the row
        _write_infix_row(prefix[number, :length], arities, binds, out[number], stack)


@numba.njit(cache=True, nogil=True)
def _write_infix_row(row, arities, binds, out, stack):
    """One complete tree; the stack holds operators, how many operands they miss, and whether they end in ``)``."""
    opening, closing, comma, end = len(arities), len(arities) + 1, len(arities) + 2, len(arities) + 3
    waiting, missing, bracketed = stack
    height, num = 0, 0
    for position in range(len(row)):
        token = np.int64(row[position])
        is_call = arities[token] > 0 and binds[token] == 0
        if is_call:
            out[num] = token
            num += 1
        above = binds[waiting[height - 1]] if height > 0 else 0
        is_last = height > 0 and missing[height - 1] == 1
        bracketed[height] = is_call or 0 < binds[token] < above or (0 < binds[token] == above and is_last)
        if bracketed[height]:
            out[num] = opening
            num += 1
        if arities[token] == 0:
            out[num] = token
            num += 1
        waiting[height], missing[height] = token, arities[token]
        height += 1
        while height > 0 and missing[height - 1] == 0:
            height -= 1
            if bracketed[height]:
                out[num] = closing
                num += 1
            if height == 0:
                out[num] = end
                return
            missing[height - 1] -= 1
            if missing[height - 1] > 0:
                out[num] = waiting[height - 1] if binds[waiting[height - 1]] > 0 else comma
                num += 1


@numba.njit(cache=True, nogil=True)
def _read_infix(text, arities, binds, out):
    stack = np.zeros(text.shape[1] + 1, dtype=np.int64)
    for number in range(len(text)):
        length = _text_length(text[number], len(arities) + 3)
        if not _read_infix_row(text[number, :length], arities, binds, out[number], stack):
            out[number, :] = PAD


@numba.njit(cache=True, nogil=True)
def _reduce(stack, height, weakest, binds, out, target):
    """Write the operators that bind more strongly than `weakest`, down to the innermost open bracket."""
    while height > 0 and stack[height - 1] >= 0 and binds[stack[height - 1]] > weakest:
        height, target = height - 1, target - 1
        out[target] = stack[height]
    return height, target


@numba.njit(cache=True, nogil=True)
def _read_infix_row(row, arities, binds, out, stack):
    """Shunting-yard from right to left, which meets operators in the reverse of prefix order; false if no text.

    The stack holds operators, and minus the number of operands read so far for an open bracket.
    """
    num_tokens = len(arities)
    opening, closing, comma = num_tokens, num_tokens + 1, num_tokens + 2
    target, height, position, wants_operand = np.sum(row < num_tokens), 0, len(row) - 1, True
    while position >= 0:
        token = np.int64(row[position])
        position -= 1
        if wants_operand:
            if token == closing:
                stack[height] = -1
                height += 1
            elif token < num_tokens and arities[token] == 0:
                target -= 1
                out[target] = token
                wants_operand = False
            else:
                return False
        elif token < num_tokens and binds[token] > 0:  # equal strengths stay: the left one is the inner one
            height, target = _reduce(stack, height, binds[token], binds, out, target)
            stack[height] = token
            height, wants_operand = height + 1, True
        else:
            height, target = _reduce(stack, height, 0, binds, out, target)
            if height == 0 or (token != opening and token != comma):
                return False
            if token == comma:
                stack[height - 1] -= 1
                wants_operand = True
                continue
            height -= 1
            name = np.int64(row[position]) if position >= 0 else opening
            is_call = name < num_tokens and arities[name] > 0 and binds[name] == 0
            if -stack[height] != (arities[name] if is_call else 1):
                return False
            if is_call:
                position, target = position - 1, target - 1
                out[target] = name
    height, target = _reduce(stack, height, 0, binds, out, target)
    return height == 0 and not wants_operand
