"""A grammar is data: terminals, a table of operators, and the grid on which programs are observed.

There is one nonterminal ``E``. Its productions are, in the declared order, one per variable, one per
constant and one per operator; that order is also the order of tokens in every array and in every rank.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from synthlab.errors import GrammarError

PAD = 255
"""Filler behind the last token of a row in a token matrix (uint8)."""

MAX_DIGITS = 18
"""Longest literal in program text."""

_GRAMMAR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SYMBOL = re.compile(r"[!#$%&*+\-./:<=>?@\\^|~]+")
_WHOLE_PROBES = tuple(map(Fraction, (0, 1, -2, 3, 4)))
_PROBES = tuple(Fraction(n, d) for n, d in ((3, 1), (-5, 2), (7, 3), (1, 1), (-1, 4)))


@dataclass(frozen=True, kw_only=True)
class Operator:
    """One production ``E -> symbol E ... E`` and what it means.

    Parameters
    ----------
    symbol
        Token of the operator. Punctuation makes a binary operator infix; a name is written as a call.
    arity
        Number of operands, at least 1.
    meaning
        Function of `arity` values, written with ``+ - * /`` and whole powers only, so that the one
        declaration serves exact fractions, NumPy arrays and residues modulo a prime.
    commutative
        Whether swapping the two operands never changes the function.
    precedence
        Binding strength of an infix operator; equal strengths associate to the left.
    integral
        Whether whole operands always give a whole result (false for division).
    """

    symbol: str
    arity: int
    meaning: Callable[..., Any]
    commutative: bool = False
    precedence: int = 0
    integral: bool = True

    def __post_init__(self) -> None:
        if not (_NAME.fullmatch(self.symbol) or _SYMBOL.fullmatch(self.symbol)):
            raise GrammarError(f"operator {self.symbol!r}: use a name or ASCII punctuation")
        if self.arity < 1:
            raise GrammarError(f"operator {self.symbol!r}: arity {self.arity} must be at least 1")
        if not _NAME.fullmatch(self.symbol) and self.arity != 2:
            raise GrammarError(f"operator {self.symbol!r}: punctuation is infix and needs arity 2; use a name")
        if self.commutative and self.arity != 2:
            raise GrammarError(f"operator {self.symbol!r}: only binary operators can be commutative")
        self._check_meaning()

    @property
    def infix(self) -> bool:
        """Whether the operator stands between its operands."""
        return not _NAME.fullmatch(self.symbol)

    def _check_meaning(self) -> None:
        for arguments in itertools.product(_PROBES[:3], repeat=self.arity):
            first, second = self._exact(arguments), self._exact(arguments)
            if first != second:
                raise GrammarError(f"operator {self.symbol!r}: two calls with equal operands differ")
            if self.commutative and self._exact(arguments[::-1]) != first:
                raise GrammarError(f"operator {self.symbol!r} is declared commutative but is not")
        for arguments in itertools.product(_WHOLE_PROBES, repeat=self.arity):
            whole = self._exact(arguments)
            if self.integral and whole is not None and whole.denominator != 1:
                raise GrammarError(f"operator {self.symbol!r} leaves the integers: declare integral=False")

    def _exact(self, arguments: tuple[Fraction, ...]) -> Fraction | None:
        try:
            value = self.meaning(*arguments)
        except ZeroDivisionError:
            return None
        except Exception as error:
            raise GrammarError(f"operator {self.symbol!r}: its meaning raised {error!r}") from error
        if not isinstance(value, (int, Fraction)):
            raise GrammarError(f"operator {self.symbol!r}: its meaning returned {type(value).__name__}, not a number")
        return Fraction(value)

    def behaviour(self) -> list[str]:
        """Values on fixed exact operands, so that a change of meaning changes every key built from it."""
        return [str(self._exact(a)) for a in itertools.product(_PROBES, repeat=self.arity)]


@dataclass(frozen=True)
class Grid:
    """The inputs on which a program is observed: the product of one axis per variable, last axis fastest."""

    axes: tuple[tuple[Fraction, ...], ...]

    def __post_init__(self) -> None:
        if not self.axes or not all(self.axes):
            raise GrammarError("the grid needs at least one value for every variable")
        if any(len(set(axis)) < len(axis) for axis in self.axes):
            raise GrammarError("the grid repeats a value: every axis needs distinct values")

    @classmethod
    def regular(cls, *offsets: Fraction | int, start: int = -2, num: int = 6) -> Grid:
        """Axes ``start + offset, ..., start + num - 1 + offset``, one per offset."""
        return cls(tuple(tuple(Fraction(start + k) + o for k in range(num)) for o in offsets))

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values per axis."""
        return tuple(len(axis) for axis in self.axes)

    @cached_property
    def points(self) -> list[tuple[Fraction, ...]]:
        """All points, G tuples of one value per variable."""
        return list(itertools.product(*self.axes))

    @property
    def integral(self) -> bool:
        """Whether every value is whole."""
        return all(value.denominator == 1 for axis in self.axes for value in axis)


@dataclass(frozen=True, kw_only=True)
class Grammar:
    """Terminals, operators and grid of an arithmetic language.

    Parameters
    ----------
    name
        Identifier under which artifacts are stored.
    variables, constants, operators
        The right-hand sides of the productions, in token order.
    grid
        Where programs are observed; one axis per variable.
    """

    name: str
    variables: tuple[str, ...]
    constants: tuple[int, ...] = ()
    operators: tuple[Operator, ...] = ()
    grid: Grid = field(default_factory=lambda: Grid.regular(0, 0))

    def __post_init__(self) -> None:
        if not self.variables and not self.constants:
            raise GrammarError(f"grammar {self.name!r} has no terminals: declare a variable")
        if not self.variables:
            raise GrammarError(f"grammar {self.name!r} has no variables, so nothing to learn from: declare one")
        if not self.operators:
            raise GrammarError(f"grammar {self.name!r} has no operators: declare at least one")
        if not _GRAMMAR_NAME.fullmatch(self.name) or not all(_NAME.fullmatch(v) for v in self.variables):
            raise GrammarError(f"grammar {self.name!r}: its name and variables must be ASCII identifiers")
        if any(not 0 <= c < 10**MAX_DIGITS for c in self.constants):
            raise GrammarError(f"constants are literals of at most {MAX_DIGITS} digits: build others with an operator")
        if len(set(self.tokens)) < len(self.tokens):
            raise GrammarError(f"grammar {self.name!r} declares a token twice")
        if len(self.tokens) >= PAD:
            raise GrammarError(f"grammar {self.name!r} has {len(self.tokens)} tokens; at most {PAD - 1} fit")
        if len(self.grid.axes) != len(self.variables):
            raise GrammarError(f"the grid has {len(self.grid.axes)} axes for {len(self.variables)} variables")

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Token texts in declared order: variables, constants, operators."""
        return (*self.variables, *map(str, self.constants), *(o.symbol for o in self.operators))

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Token text to token number."""
        return {text: number for number, text in enumerate(self.tokens)}

    @property
    def num_terminals(self) -> int:
        """Number of variables and constants; tokens below it are leaves."""
        return len(self.variables) + len(self.constants)

    @cached_property
    def arities(self) -> np.ndarray:
        """Arity of every token, int64 (V,); 0 for leaves."""
        return np.array([0] * self.num_terminals + [o.arity for o in self.operators], dtype=np.int64)

    @property
    def max_arity(self) -> int:
        """Largest arity of an operator."""
        return max(o.arity for o in self.operators)

    @property
    def integral(self) -> bool:
        """Whether every program maps the grid to whole numbers."""
        return self.grid.integral and all(o.integral for o in self.operators)

    def operator(self, token: int) -> Operator:
        """Operator of a token number."""
        return self.operators[token - self.num_terminals]

    def productions(self) -> list[str]:
        """The context-free rules in token order."""
        rules = [f"E -> {t}" for t in self.tokens[: self.num_terminals]]
        return rules + [f"E -> {o.symbol}" + " E" * o.arity for o in self.operators]

    def terminal_values(self, point: tuple[Fraction, ...]) -> list[Fraction]:
        """Value of every leaf token at one input."""
        return [*point, *map(Fraction, self.constants)]

    def describe(self) -> dict[str, Any]:
        """Everything that decides what programs mean, as JSON; the source of `digest`."""
        operators = [
            {
                "symbol": o.symbol,
                "arity": o.arity,
                "commutative": o.commutative,
                "precedence": o.precedence,
                "integral": o.integral,
                "behaviour": o.behaviour(),
            }
            for o in self.operators
        ]
        grid = [[str(v) for v in axis] for axis in self.grid.axes]
        return {
            "name": self.name,
            "variables": self.variables,
            "constants": self.constants,
            "operators": operators,
            "grid": grid,
        }

    @cached_property
    def digest(self) -> str:
        """Hash of tokens, meanings and grid; artifacts of another digest are refused."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Grammar({self.name!r}: {' '.join(self.tokens)})"


ADD = Operator(symbol="+", arity=2, meaning=lambda a, b: a + b, commutative=True, precedence=1)
SUBTRACT = Operator(symbol="-", arity=2, meaning=lambda a, b: a - b, precedence=1)
MULTIPLY = Operator(symbol="*", arity=2, meaning=lambda a, b: a * b, commutative=True, precedence=2)
DIVIDE = Operator(symbol="/", arity=2, meaning=lambda a, b: a / b, precedence=2, integral=False)

_REGISTRY: dict[str, Grammar] = {}


def register(grammar: Grammar) -> Grammar:
    """Make a grammar known by name, so that stored artifacts and the command line can find it."""
    known = _REGISTRY.get(grammar.name)
    if known is not None and known.digest != grammar.digest:
        raise GrammarError(f"grammar {grammar.name!r} is registered with another meaning: choose another name")
    _REGISTRY[grammar.name] = grammar
    return grammar


def get_grammar(name: str) -> Grammar:
    """Look a registered grammar up by name."""
    if name not in _REGISTRY:
        raise GrammarError(f"unknown grammar {name!r}: choose from {', '.join(sorted(_REGISTRY))}, or register yours")
    return _REGISTRY[name]


POLYNOMIAL = register(
    Grammar(
        name="polynomial",
        variables=("x", "y"),
        constants=(1, 2, 3),
        operators=(ADD, SUBTRACT, MULTIPLY),
        grid=Grid.regular(0, 0),
    )
)
RATIONAL = register(
    Grammar(
        name="rational",
        variables=("x", "y"),
        constants=(1, 2),
        operators=(ADD, SUBTRACT, MULTIPLY, DIVIDE),
        grid=Grid.regular(Fraction(1, 3), Fraction(1, 5), start=-3),
    )
)
