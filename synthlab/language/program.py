"""A program: a derivation of the grammar, held as its prefix tokens, read from and written as text.

`fold` is the only traversal; depth, printing and exact evaluation are folds.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeVar

import numpy as np

from synthlab.errors import ConfigurationError, ProgramSyntaxError
from synthlab.language.grammar import MAX_DIGITS, PAD, Grammar, Operator

MAX_CHARACTERS = 20_000
MAX_DEPTH = 500
_MOST_SHOWN = 400
_MOST_LISTED = 40

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Program:
    """One derivation. Equality is equality of text under the same grammar.

    Parameters
    ----------
    grammar
        The grammar that derives it.
    prefix
        Token numbers in prefix order, one complete tree.

    Raises
    ------
    ConfigurationError
        If the tokens are no complete tree.
    """

    grammar: Grammar
    prefix: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "prefix", tuple(self.prefix))
        if not _is_tree(self.grammar, self.prefix):
            raise ConfigurationError(
                f"tokens {ascii(self.prefix[:10])[:60]} are not one complete program of {self.grammar.name!r}"
            )

    @classmethod
    def from_row(cls, grammar: Grammar, row: np.ndarray) -> Program:
        """Program in one row of a padded token matrix."""
        return cls(grammar, tuple(int(t) for t in row if t != PAD))

    def fold(self, leaf: Callable[[int], T], node: Callable[[Operator, Sequence[T]], T]) -> T:
        """Combine the tree bottom-up: `leaf(token)` at leaves, `node(operator, results)` above them."""
        stack: list[Any] = []
        arities = self.grammar.token_arities
        for token in reversed(self.prefix):
            arity = arities[token]
            if arity == 0:
                stack.append(leaf(token))
            else:
                operands = [stack.pop() for _ in range(arity)]
                stack.append(node(self.grammar.operator(token), operands))
        return stack[0]

    @property
    def leaves(self) -> int:
        """Number of variables and constants, the default measure of size."""
        return sum(t < self.grammar.num_terminals for t in self.prefix)

    @property
    def nodes(self) -> int:
        """Number of leaves and operators."""
        return len(self.prefix)

    @cached_property
    def depth(self) -> int:
        """Longest path from the root; 0 for a leaf."""
        return self.fold(lambda _: 0, lambda _, below: 1 + max(below))

    @property
    def root(self) -> str:
        """Text of the first token."""
        return self.grammar.tokens[self.prefix[0]]

    def prefix_text(self) -> str:
        """Tokens in prefix order, separated by blanks."""
        return " ".join(self.grammar.tokens[t] for t in self.prefix)

    def infix_text(self) -> str:
        """Usual notation with only the parentheses that the tree needs."""
        strongest = 1 + max(o.precedence for o in self.grammar.operators)

        def node(operator: Operator, parts: Sequence[tuple[_Pieces, int]]) -> tuple[_Pieces, int]:
            if not operator.infix:
                operands = [piece for text, _ in parts for piece in (", ", text)][1:]
                return (operator.symbol, "(", *operands, ")"), strongest
            (left, left_binds), (right, right_binds) = parts
            left = ("(", left, ")") if left_binds < operator.precedence else left
            right = ("(", right, ")") if right_binds <= operator.precedence else right
            return (left, f" {operator.symbol} ", right), operator.precedence

        return _joined(self.fold(lambda token: (self.grammar.tokens[token], strongest), node)[0])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Program) and (self.prefix, self.grammar.digest) == (other.prefix, other.grammar.digest)

    def __hash__(self) -> int:
        return hash((self.prefix, self.grammar.digest))

    def __repr__(self) -> str:
        text = self.infix_text()
        shown = repr(text) if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]!r}... ({self.nodes:,} nodes)"
        return f"Program({shown})"


_Pieces: TypeAlias = "str | tuple[_Pieces, ...]"


def _joined(pieces: _Pieces) -> str:
    """Nested pieces as one text; joining them at every level would cost the square of the depth."""
    texts, waiting = [], [pieces]
    while waiting:
        piece = waiting.pop()
        if isinstance(piece, str):
            texts.append(piece)
        else:
            waiting.extend(reversed(piece))
    return "".join(texts)


def _is_tree(grammar: Grammar, prefix: tuple[int, ...]) -> bool:
    arities = grammar.token_arities
    if not prefix or min(prefix) < 0 or max(prefix) >= len(arities):
        return False
    missing = list(itertools.accumulate([arities[token] - 1 for token in prefix], initial=1))
    return missing.pop() == 0 and min(missing) > 0


def infix_texts(grammar: Grammar, prefix: np.ndarray) -> list[str]:
    """Infix text of every row of a padded token matrix (P, L)."""
    return [Program.from_row(grammar, row).infix_text() for row in prefix]


def token_matrix(programs: Iterable[Program], width: int | None = None) -> np.ndarray:
    """Programs as one padded uint8 matrix (P, L)."""
    rows = [p.prefix for p in programs]
    width = width or max(map(len, rows), default=0)
    matrix = np.full((len(rows), width), PAD, dtype=np.uint8)
    for target, row in zip(matrix, rows, strict=True):
        target[: len(row)] = row
    return matrix


def prefix_lengths(grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Length of the complete tree that each row starts with, int64 (P,); -1 where none closes.

    Whatever follows the first complete tree is ignored, as for decoded text without an end token.
    """
    weights = np.full(256, -10_000, dtype=np.int64)
    weights[: len(grammar.arities)] = grammar.arities - 1
    open_slots = 1 + np.cumsum(weights[prefix], axis=1)
    first = np.argmax(open_slots <= 0, axis=1)
    closed = np.take_along_axis(open_slots, first[:, None], axis=1)[:, 0] == 0
    return np.where(closed, first + 1, -1)


# ---------------------------------------------------------------- reading text


@dataclass(frozen=True)
class _Lexeme:
    text: str
    position: int


def parse(grammar: Grammar, text: str) -> Program:
    """Read infix or prefix text; prefix is recognised by a leading operator that is not a call.

    Text is ASCII, of at most `MAX_CHARACTERS` characters and `MAX_DEPTH` levels, with literals of at most 18 digits;
    what exceeds that is refused before it is read.

    Raises
    ------
    ProgramSyntaxError
        With the position and what was expected; text is never evaluated as code.
    """
    lexemes = _lex(grammar, text)
    leading = grammar.index.get(lexemes[0].text, -1)
    is_prefix = leading >= grammar.num_terminals and lexemes[1].text != "("
    tokens = _read_prefix(grammar, lexemes) if is_prefix else _InfixReader(grammar).read(lexemes)
    program = Program(grammar, tuple(tokens))
    if program.depth > MAX_DEPTH:
        raise ProgramSyntaxError(0, f"at most {MAX_DEPTH} levels of nesting", f"{program.depth}")
    return program


def _lex(grammar: Grammar, text: str) -> list[_Lexeme]:
    if not isinstance(text, str):
        raise ProgramSyntaxError(0, "text", type(text).__name__)
    if len(text) > MAX_CHARACTERS:
        raise ProgramSyntaxError(MAX_CHARACTERS, f"at most {MAX_CHARACTERS} characters", f"{len(text)}")
    symbols = sorted((o.symbol for o in grammar.operators if o.infix), key=len, reverse=True)
    pattern = re.compile("|".join([r"[A-Za-z_][A-Za-z0-9_]*", r"[0-9]+", r"[(),]", *map(re.escape, symbols)]))
    lexemes, position = [], 0
    while position < len(text):
        if text[position] in " \t\r\n":
            position += 1
            continue
        match = pattern.match(text, position)
        if match is None:
            raise ProgramSyntaxError(position, _vocabulary(grammar), ascii(text[position]))
        lexeme = _Lexeme(match.group(), position)
        _check_word(grammar, lexeme)
        lexemes.append(lexeme)
        position = match.end()
    if not lexemes:
        raise ProgramSyntaxError(0, "a program", "nothing")
    return [*lexemes, _Lexeme("", len(text))]


def _check_word(grammar: Grammar, lexeme: _Lexeme) -> None:
    if lexeme.text[0].isdigit() and len(lexeme.text) > MAX_DIGITS:
        raise ProgramSyntaxError(lexeme.position, f"a literal of at most {MAX_DIGITS} digits", f"{len(lexeme.text)}")
    if lexeme.text not in grammar.index and lexeme.text not in "(),":
        raise ProgramSyntaxError(lexeme.position, _vocabulary(grammar), repr(lexeme.text[:40]))


def _vocabulary(grammar: Grammar) -> str:
    return f"one of {_listing(grammar.tokens, ' ')} ( )"


def _listing(tokens: Sequence[str], separator: str) -> str:
    """Tokens for messages; of a great many the first."""
    more = f"{separator}... ({len(tokens) - _MOST_LISTED} more)" if len(tokens) > _MOST_LISTED else ""
    return separator.join(tokens[:_MOST_LISTED]) + more


def _found(lexeme: _Lexeme) -> str:
    return repr(lexeme.text) if lexeme.text else "the end"


def _read_prefix(grammar: Grammar, lexemes: list[_Lexeme]) -> list[int]:
    tokens, open_slots = [], 1
    for lexeme in lexemes:
        if open_slots == 0 and lexeme.text:
            raise ProgramSyntaxError(lexeme.position, "the end of a complete program", _found(lexeme))
        if open_slots and lexeme.text not in grammar.index:
            raise ProgramSyntaxError(lexeme.position, f"{open_slots} more operand(s)", _found(lexeme))
        if lexeme.text:
            tokens.append(grammar.index[lexeme.text])
            open_slots += int(grammar.arities[tokens[-1]]) - 1
    return tokens


_Tree: TypeAlias = "tuple[int, list[_Tree]]"


@dataclass
class _Frame:
    """An operator waiting for its operands; `token` is None for a plain parenthesis."""

    token: int | None
    position: int
    bracket: bool
    num_operands: int = 0


class _InfixReader:
    """Shunting-yard reader, iterative so that deep text cannot exhaust the stack (Dijkstra 1961)."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.operands: list[_Tree] = []
        self.frames: list[_Frame] = []

    def read(self, lexemes: list[_Lexeme]) -> list[int]:
        expects_operand, position = True, 0
        while position < len(lexemes):
            lexeme = lexemes[position]
            if expects_operand:
                expects_operand = self._operand(lexeme, lexemes[position + 1] if lexeme.text else lexeme)
                position += 1 if not self._is_call(lexeme) else 2
            else:
                expects_operand = self._after_operand(lexeme)
                position += 1
        return _flatten(self.operands[0])

    def _is_call(self, lexeme: _Lexeme) -> bool:
        token = self.grammar.index.get(lexeme.text, -1)
        return token >= self.grammar.num_terminals and not self.grammar.operator(token).infix

    def _operand(self, lexeme: _Lexeme, following: _Lexeme) -> bool:
        token = self.grammar.index.get(lexeme.text, -1)
        if 0 <= token < self.grammar.num_terminals:
            self.operands.append((token, []))
            return False
        if lexeme.text == "(":
            self.frames.append(_Frame(None, lexeme.position, bracket=True))
            return True
        if self._is_call(lexeme):
            if following.text != "(":
                raise ProgramSyntaxError(following.position, f"'(' after {lexeme.text}", _found(following))
            self.frames.append(_Frame(token, lexeme.position, bracket=True))
            return True
        leaves = _listing(self.grammar.tokens[: self.grammar.num_terminals], ", ")
        raise ProgramSyntaxError(lexeme.position, f"{leaves} or '('", _found(lexeme))

    def _after_operand(self, lexeme: _Lexeme) -> bool:
        token = self.grammar.index.get(lexeme.text, -1)
        if token >= self.grammar.num_terminals and self.grammar.operator(token).infix:
            self._reduce(self.grammar.operator(token).precedence)
            self.frames.append(_Frame(token, lexeme.position, bracket=False))
            return True
        self._reduce(None)
        if lexeme.text == "," and self.frames and self.frames[-1].token is not None:
            self.frames[-1].num_operands += 1
            return True
        if lexeme.text == ")" and self.frames:
            self._close(lexeme)
            return False
        if lexeme.text == "" and not self.frames:
            return False
        expected = "an operator or ')'" if self.frames else "an operator or the end"
        raise ProgramSyntaxError(lexeme.position, expected, _found(lexeme))

    def _reduce(self, precedence: int | None) -> None:
        """Apply waiting infix operators that bind at least as strongly (all of them for None)."""
        while self.frames and not self.frames[-1].bracket:
            token = self.frames[-1].token
            assert token is not None
            if precedence is not None and self.grammar.operator(token).precedence < precedence:
                return
            self.frames.pop()
            self._apply(token, 2)

    def _close(self, lexeme: _Lexeme) -> None:
        frame = self.frames.pop()
        if frame.token is None:
            return
        arity = self.grammar.operator(frame.token).arity
        if frame.num_operands + 1 != arity:
            name = self.grammar.tokens[frame.token]
            raise ProgramSyntaxError(lexeme.position, f"{arity} operand(s) for {name}", f"{frame.num_operands + 1}")
        self._apply(frame.token, arity)

    def _apply(self, token: int, arity: int) -> None:
        parts = self.operands[-arity:]
        del self.operands[-arity:]
        self.operands.append((token, parts))


def _flatten(tree: _Tree) -> list[int]:
    """Prefix tokens of a tree; copying at every operator instead would cost the square of the length."""
    tokens, waiting = [], [tree]
    while waiting:
        token, parts = waiting.pop()
        tokens.append(token)
        waiting.extend(reversed(parts))
    return tokens
