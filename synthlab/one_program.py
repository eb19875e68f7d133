"""Commands about one program at a time: read, compare, evaluate, measure, search."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.options import bound_of

_MOST_BITS = 13_000  # under 4,000 digits, which Python writes
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}(/[0-9]{0,17}[1-9][0-9]{0,17}|\.[0-9]{1,18})?")


def _grammar(options: argparse.Namespace) -> Any:
    from synthlab.language.grammar import get_grammar

    return get_grammar(options.grammar)


def _parse(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.language.identity import fingerprint_text
    from synthlab.language.program import parse

    program = parse(_grammar(options), options.text)
    return {
        "prefix": program.prefix_text(), "infix": program.infix_text(), "leaves": program.leaves,
        "depth": program.depth, "fingerprint": fingerprint_text(program),
    }  # fmt: skip


def _same(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.language.identity import identity_method, same_function
    from synthlab.language.program import parse

    grammar = _grammar(options)
    same = same_function(parse(grammar, options.first), parse(grammar, options.second))
    return {"same_function": same, "method": identity_method(grammar)}


def _number(text: str) -> Fraction:
    if not _NUMBER.fullmatch(text):
        raise ConfigurationError(
            f"{text[:40]!r} is not a number: write 3, -2, 1/3 or 0.25, with at most 18 digits a part"
        )
    return Fraction(text)


def _eval(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.language.exact import num_bits, shown
    from synthlab.language.interpreter import UndefinedResult, evaluate_exact
    from synthlab.language.program import parse

    program = parse(_grammar(options), options.text)
    given = {"x": options.x, "y": options.y, **dict(v.partition("=")[::2] for v in options.set)}
    point = {name: _number(value) for name, value in given.items() if value is not None}
    value = evaluate_exact(program, point)
    if isinstance(value, UndefinedResult):
        return {"value": None}
    if num_bits(value) > _MOST_BITS:
        raise BudgetExceeded(f"the value has {shown(value).removeprefix('a fraction of ')}: evaluate a smaller program")
    return {"value": f"{value.numerator}/{value.denominator}"}


def _pqgram(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.language.program import parse
    from synthlab.spaces.syntactic import pq_distances

    grammar = _grammar(options)
    return pq_distances(parse(grammar, options.first), parse(grammar, options.second), options.p, options.q)


def _search(options: argparse.Namespace) -> dict[str, Any]:
    from synthlab.language.identity import grid_codes, same_function
    from synthlab.language.interpreter import grid_outputs
    from synthlab.language.program import parse, token_matrix
    from synthlab.search.budget import Budget
    from synthlab.search.problem import Problem

    grammar = _grammar(options)
    target = parse(grammar, options.target)
    row, (size, measure) = token_matrix([target]), bound_of(options) or (8, "leaves")
    shown = grid_outputs(grammar, row)[0], grid_codes(grammar, row)[0]  # all that the solver sees
    solver = _solver(options, grammar, measure)
    found = solver.solve(Problem(grammar, size, measure, *shown), Budget(seconds=options.budget_seconds))
    return {
        "solved": found.program is not None and same_function(found.program, target),
        "program": None if found.program is None else found.program.infix_text(),
        "best": None if found.best is None else found.best.infix_text(), "agreement": round(found.agreement, 4),
        "stopped": found.stopped, "executed": found.cost.programs, "lookups": found.cost.lookups,
        "seconds": round(found.cost.seconds, 4), "setup_seconds": round(solver.setup.seconds, 4),
        "method": found.method,
    }  # fmt: skip


def _solver(options: argparse.Namespace, grammar: Any, measure: str) -> Any:
    from synthlab.search.library import Library
    from synthlab.search.residuals import ResidualSearch
    from synthlab.search.symbolic import Enumeration, LibraryLookup

    if options.method == "enumeration":
        return Enumeration()
    if measure == "depth":  # before a library of a great many functions is built
        raise ConfigurationError("depths of two halves do not add up: bound the search by leaves or nodes")
    library = Library.build(grammar, options.library, measure)
    return LibraryLookup(library) if options.method == "library" else ResidualSearch(library)


HANDLERS: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "parse": _parse,
    "same": _same,
    "eval": _eval,
    "pqgram": _pqgram,
    "search": _search,
}
"""By the name of the command."""
