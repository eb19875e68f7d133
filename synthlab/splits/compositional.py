"""Compositional generalization: the five categories of ExeDec (Shi et al., ICLR 2024) as held-out constructs.

Each category is a region over texts, so a support split does the rest: training has no text with the
construct, and a forced test function has no text without it. That the tested feature is present is thus
not a property of one sampled solution but of every program of the function.
"""

from __future__ import annotations

from typing import Any

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.measure import smallest_size
from synthlab.spaces.space import SEMANTIC
from synthlab.splits.regions import PLACEBO, Region
from synthlab.splits.support import support_settings

CATEGORIES = {
    "length": "programs of one size more than any trained on",
    "compose": "operators of two groups in one program, which training only shows apart",
    "order": "an additive operator below another, where training only has it above",
    "new operation": "an operator within larger programs, which training only shows alone",
    "functionality": "a constant as operand of an operator, where training has it under the others",
    "none": "no construct at all: a control in which nothing shifts",
}
"""What is held out in each category."""
ALONE_SHARE = 0.25
_ADDITIVE = ("+", "-", "neg")


def operator_groups(grammar: Grammar) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Additive operators, and all others.

    Raises
    ------
    ConfigurationError
        If one of the groups is empty.
    """
    symbols = grammar.tokens[grammar.num_terminals :]
    groups = tuple(s for s in symbols if s in _ADDITIVE), tuple(s for s in symbols if s not in _ADDITIVE)
    if not all(groups):
        raise ConfigurationError(
            f"grammar {grammar.name!r} has no two groups of operators ({' '.join(symbols)}): "
            "write the Region yourself, with rule 'mixed' or 'order'"
        )
    return groups


def compositional_region(category: str, grammar: Grammar, max_size: int, measure: str = "leaves") -> Region:
    """The held-out construct of a category for a grammar.

    Operators are grouped into additive and other ones; the new operation is the last operator of the
    grammar, and the operand whose use is new is its last constant (as the last operand, where order counts).

    Parameters
    ----------
    category
        Of `CATEGORIES`.
    grammar, max_size, measure
        The universe.

    Raises
    ------
    ConfigurationError
        For an unknown category, or one that the grammar has no construct for.
    """
    if category not in CATEGORIES:
        raise ConfigurationError(f"unknown category {category!r}: choose from {', '.join(CATEGORIES)}")
    if category == "none":
        return Region(space=SEMANTIC, rule=PLACEBO)
    if category == "length":
        if max_size <= smallest_size(measure):
            raise ConfigurationError(f"a universe of {max_size} {measure} has nothing smaller to train on: enlarge it")
        return Region(rule="size", size=max_size - 1)
    operator = grammar.operators[-1]
    if category == "new operation":
        return Region(rule="composed", operator=operator.symbol)
    if category == "functionality":
        place = None if operator.commutative else operator.arity - 1
        terminals = grammar.tokens[: grammar.num_terminals]
        return Region(rule="operand", operator=operator.symbol, operand=terminals[-1], place=place)
    additive, other = operator_groups(grammar)
    if category == "compose":
        return Region(rule="mixed", groups=(additive, other))
    return Region(rule="order", upper=other, lower=additive)


def compositional_settings(
    category: str, grammar: Grammar, max_size: int, measure: str = "leaves", **settings: Any
) -> dict[str, Any]:
    """Settings of a support split that holds out the construct of a category.

    A quarter of the training programs of "new operation" show the operator alone, as in ExeDec; those few
    programs repeat.

    Parameters
    ----------
    category, grammar, max_size, measure
        As for `compositional_region`.
    settings
        Further arguments of `support_settings`.
    """
    region = compositional_region(category, grammar, max_size, measure)
    share = {"share_alone": ALONE_SHARE} if category == "new operation" else {}
    return support_settings(region, **(share | settings))
