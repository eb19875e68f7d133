"""A grammar is data: terminals, a table of operators, and the grid on which programs are observed.

There is one nonterminal ``E``. Its productions are, in the declared order, one per variable, one per
constant and one per operator; that order is also the order of tokens in every array and in every rank.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from synthlab.errors import GrammarError
from synthlab.language.exact import exact_number
from synthlab.language.operator import (
    ADD,
    DIVIDE,
    MAX_NAME,
    MAXIMUM,
    MINIMUM,
    MULTIPLY,
    NAME,
    SUBTRACT,
    Operator,
    is_whole,
)

PAD = 255
"""Filler behind the last token of a row in a token matrix (uint8)."""

MAX_DIGITS = 18
"""Longest literal in program text."""

MAX_POINTS = 1 << 20
"""Most points of a grid."""
_MAX_HIDDEN = 1 << 50

_GRAMMAR_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def _check_num_points(num: int) -> None:
    if num > MAX_POINTS:
        raise GrammarError(f"the grid has {num:,} points: use at most {MAX_POINTS:,}")


@dataclass(frozen=True)
class Grid:
    """The inputs on which a program is observed: the product of one axis per variable, last axis fastest."""

    axes: tuple[tuple[Fraction, ...], ...]

    def __post_init__(self) -> None:
        try:
            given = [tuple(axis) for axis in self.axes if not isinstance(axis, (str, bytes))]
            _check_num_points(math.prod(map(len, given)))
            axes = tuple(tuple(map(exact_number, axis)) for axis in given)
        except (TypeError, ValueError, OverflowError, ArithmeticError) as error:
            raise GrammarError(f"the grid holds something that is no finite number: {error}") from error
        if not axes or len(axes) < len(self.axes) or not all(axes):
            raise GrammarError("the grid needs a sequence of at least one value for every variable")
        object.__setattr__(self, "axes", axes)
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
    hidden_domain
        Smallest and largest hidden input, for grammars whose identity is agreement on probes.
    """

    name: str
    variables: tuple[str, ...]
    constants: tuple[int, ...] = ()
    operators: tuple[Operator, ...] = ()
    grid: Grid = field(default_factory=lambda: Grid.regular(0, 0))
    hidden_domain: tuple[int, int] = (-20, 20)

    def __post_init__(self) -> None:
        self._settle_types()
        if not self.variables and not self.constants:
            raise GrammarError(f"grammar {self.name!r} has no terminals: declare a variable")
        if not self.variables:
            raise GrammarError(f"grammar {self.name!r} has no variables, so nothing to learn from: declare one")
        if not self.operators:
            raise GrammarError(f"grammar {self.name!r} has no operators: declare at least one")
        if not _GRAMMAR_NAME.fullmatch(self.name) or not all(NAME.fullmatch(v) for v in self.variables):
            raise GrammarError(f"grammar {self.name!r}: its name and variables must be ASCII identifiers")
        if any(not 0 <= c < 10**MAX_DIGITS for c in self.constants):
            raise GrammarError(f"constants are literals of at most {MAX_DIGITS} digits: build others with an operator")
        if len(set(self.tokens)) < len(self.tokens):
            raise GrammarError(f"grammar {self.name!r} declares a token twice")
        if len(self.tokens) >= PAD:
            raise GrammarError(f"grammar {self.name!r} has {len(self.tokens)} tokens; at most {PAD - 1} fit")
        if len(self.grid.axes) != len(self.variables):
            raise GrammarError(f"the grid has {len(self.grid.axes)} axes for {len(self.variables)} variables")
        if self.hidden_domain[1] - self.hidden_domain[0] < 8:
            raise GrammarError(f"hidden inputs from {self.hidden_domain} are too few: widen hidden_domain")

    def _settle_types(self) -> None:
        """Tuples of the declared types, so that the grammar can be hashed, and of Python's integers, which do not wrap.

        Raises
        ------
        GrammarError
            For fields of other types.
        """
        names = [self.name, *_listed(self.variables, "variables")]
        if not all(isinstance(name, str) and len(name) <= MAX_NAME for name in names):
            raise GrammarError(f"the name of a grammar and its variables are texts of at most {MAX_NAME} characters")
        if not all(isinstance(operator, Operator) for operator in _listed(self.operators, "operators")):
            raise GrammarError(f"grammar {self.name!r}: declare its operators as Operator(...)")
        constants = [c.item() if isinstance(c, np.integer) else c for c in _listed(self.constants, "constants")]
        if not all(map(is_whole, constants)):
            raise GrammarError(f"constants are literals of at most {MAX_DIGITS} digits: build others with an operator")
        domain = [v.item() if isinstance(v, np.integer) else v for v in _listed(self.hidden_domain, "hidden_domain")]
        if len(domain) != 2 or not all(is_whole(v) and abs(v) <= _MAX_HIDDEN for v in domain):
            raise GrammarError(f"grammar {self.name!r}: hidden_domain is a pair of whole numbers up to 2^50")
        if not isinstance(self.grid, Grid):
            raise GrammarError(f"grammar {self.name!r}: declare its grid as Grid(...)")
        for name, values in (
            ("variables", names[1:]), ("constants", constants), ("operators", list(self.operators)),
            ("hidden_domain", domain),
        ):  # fmt: skip
            object.__setattr__(self, name, tuple(values))

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

    @cached_property
    def token_arities(self) -> tuple[int, ...]:
        """Arity of every token as Python's integers."""
        return tuple(self.arities.tolist())

    @property
    def max_arity(self) -> int:
        """Largest arity of an operator."""
        return max(o.arity for o in self.operators)

    @property
    def integral(self) -> bool:
        """Whether every program maps the grid to whole numbers."""
        return self.grid.integral and all(o.integral for o in self.operators)

    @property
    def exact(self) -> bool:
        """Whether identity is exact: every operator has a field function."""
        return all(o.field_function is not None for o in self.operators)

    @property
    def partial(self) -> bool:
        """Whether some programs have no value at some inputs."""
        return any(o.partial for o in self.operators)

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
        described = {
            "name": self.name,
            "variables": self.variables,
            "constants": self.constants,
            "operators": operators,
            "grid": [[str(v) for v in axis] for axis in self.grid.axes],
        }
        return described if self.exact else {**described, "hidden_domain": self.hidden_domain}

    def meanings(self) -> list[dict[str, Any]]:
        """The table of meanings: one row per operator, as declared and as checked."""
        names = "abcdefgh"
        return [
            {
                "operator": o.symbol,
                "operands": o.arity,
                "value": o.code.text(names) if o.code else getattr(o.meaning, "__name__", "a NumPy function"),
                "without a value": "for some operands" if o.partial else "never",
                "identity": "exact" if o.field_function is not None else "equal on probes",
            }
            for o in self.operators
        ]

    @cached_property
    def digest(self) -> str:
        """Hash of tokens, meanings and grid; artifacts of another digest are refused."""
        text = json.dumps(self.describe(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Grammar({self.name!r}: {' '.join(self.tokens)})"


def _listed(values: Any, name: str) -> list[Any]:
    """A field that is a sequence, as a list."""
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        raise GrammarError(f"the {name} of a grammar are a sequence, such as a tuple, not {type(values).__name__}")
    return list(values)


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
        known = ", ".join(sorted(_REGISTRY))
        raise GrammarError(f"unknown grammar {ascii(name)[:60]}: choose from {known}, or register yours")
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
PIECEWISE = register(
    Grammar(
        name="piecewise",
        variables=("x", "y"),
        constants=(1, 2),
        operators=(ADD, SUBTRACT, MULTIPLY, MINIMUM, MAXIMUM),
        grid=Grid.regular(0, 0),
    )
)
