"""ExeDec's categories: the tested construct is in every text of a test and in no training text."""

from collections import defaultdict

import naive
import numpy as np
import pytest

from synthlab.errors import ConfigurationError, SplitError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL, Grammar
from synthlab.language.operator import ADD, SUBTRACT
from synthlab.splits.audit import audit
from synthlab.splits.compositional import CATEGORIES, compositional_region, compositional_settings, operator_groups
from synthlab.splits.support import support_settings, support_split


def below(tree, upper, lower, under=False):
    here = under and tree[0] in lower
    return here or any(below(child, upper, lower, under or tree[0] in upper) for child in tree[1:])


FEATURES = {
    "length": lambda tree: naive.num_leaves(tree) == 4,
    "compose": lambda tree: bool({"+", "-"} & {*naive.flatten(tree)}) and "*" in naive.flatten(tree),
    "order": lambda tree: below(tree, "*", "+-"),
    "new operation": lambda tree: "*" in naive.flatten(tree) and naive.num_leaves(tree) > 2,
    "functionality": lambda tree: any(n[0] == "*" and ("3",) in n[1:] for n in naive.subtrees(tree)),
}


@pytest.fixture(scope="module")
def trees(corpus4):
    tokens = [[corpus4.grammar.tokens[t] for t in row if t != PAD] for row in corpus4.prefix]
    return [naive.tree(text, naive.POLYNOMIAL_ARITIES) for text in tokens]


@pytest.fixture(scope="module")
def texts_of(naive4):
    grouped = defaultdict(list)
    for program, (_, number) in enumerate(naive4):
        grouped[number].append(program)
    return {ids[0]: ids for ids in grouped.values()}


@pytest.mark.parametrize("category", FEATURES)
def test_the_construct_is_unavoidable_in_tests_and_absent_in_training(corpus4, trees, texts_of, category):
    settings = compositional_settings(category, POLYNOMIAL, 4, num_train=600, num_test=9999, reserved=0.2)
    split = support_split(corpus4, {}, settings)
    has = FEATURES[category]
    assert len(split.tests["forced"]) > 20
    assert all(has(trees[text]) for function in split.tests["forced"] for text in texts_of[function])
    assert not any(has(trees[text]) for text in split.train) and not any(has(trees[text]) for text in split.targets)
    everywhere = {f for f, ids in texts_of.items() if all(has(trees[text]) for text in ids)}
    assert set(split.tests["forced"].tolist()) == everywhere
    assert all(any(not has(trees[text]) for text in texts_of[f]) for f in split.tests["id"])
    assert audit(split).passed


def test_a_quarter_of_training_shows_the_new_operation_alone(corpus4, trees):
    settings = compositional_settings("new operation", POLYNOMIAL, 4, num_train=800, reserved=0.2)
    split = support_split(corpus4, {}, settings)
    alone = [naive.flatten(trees[text]) for text in split.train if "*" in naive.flatten(trees[text])]
    assert len(split.train) == 800 and len(alone) == 200
    assert {len(text) for text in alone} == {3}
    counts = np.unique(split.train, return_counts=True)[1]
    assert sorted(set(counts)) != [1]  # there are at most 25 such texts: they repeat
    none = support_split(corpus4, {}, settings | {"share_alone": 0.0})
    assert sum("*" in naive.flatten(trees[text]) for text in none.train) < 40


def test_the_control_shifts_nothing(corpus4):
    split = support_split(corpus4, {}, compositional_settings("none", POLYNOMIAL, 4, num_test=9999, reserved=0.2))
    sizes = [np.bincount(corpus4.leaves[split.tests[name]], minlength=5) for name in ("id", "forced")]
    shares = [counts / counts.sum() for counts in sizes]
    np.testing.assert_allclose(*shares, atol=0.03)
    assert audit(split).passed


def test_categories_fit_other_grammars():
    regions = {category: compositional_region(category, RATIONAL, 4) for category in CATEGORIES}
    assert regions["functionality"].settings() == {
        "space": "syntactic", "rule": "operand", "operator": "/", "operand": "2", "place": 1
    }  # fmt: skip
    assert regions["new operation"].operator == "/"
    assert regions["compose"].groups == (("+", "-"), ("*", "/"))
    assert (regions["order"].upper, regions["order"].lower) == (("*", "/"), ("+", "-"))
    assert regions["length"].size == 3


def test_what_a_grammar_has_no_construct_for_is_refused():
    sums = Grammar(name="sums", variables=("x", "y"), operators=(ADD, SUBTRACT))
    with pytest.raises(ConfigurationError, match="no two groups"):
        operator_groups(sums)
    with pytest.raises(ConfigurationError, match="unknown category 'depth': choose from length, compose"):
        compositional_region("depth", POLYNOMIAL, 4)
    with pytest.raises(ConfigurationError, match="nothing smaller"):
        compositional_region("length", POLYNOMIAL, 1)


@pytest.mark.parametrize("share", [1.0, -0.1])
def test_a_share_that_cannot_be_is_refused(share):
    with pytest.raises(ConfigurationError, match="share_alone"):
        compositional_settings("new operation", POLYNOMIAL, 4, share_alone=share)
    with pytest.raises(ConfigurationError, match="share_alone"):
        support_settings(compositional_region("order", POLYNOMIAL, 4), share_alone=0.25)


def test_more_programs_without_the_operation_than_there_are_is_refused(corpus4):
    with pytest.raises(SplitError, match="lower num_train"):
        support_split(
            corpus4, {}, compositional_settings("new operation", POLYNOMIAL, 4, num_train=40_000, share_alone=0.001)
        )
