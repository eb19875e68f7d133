"""What texts contain, against recursion over nested tuples."""

import itertools

import naive
import numpy as np
import pytest

from synthlab.language.grammar import PAD, POLYNOMIAL, Grammar
from synthlab.language.operator import ADD, MULTIPLY, NEGATE, SUBTRACT, Operator
from synthlab.language.program import Program, parse
from synthlab.splits import constructs
from synthlab.universe.counting import program_counts, unrank

MID = Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c)
MIXED = Grammar(
    name="constructs", variables=("x", "y"), constants=(1,), operators=(ADD, SUBTRACT, MULTIPLY, MID, NEGATE)
)


def some_texts(grammar, max_size, measure, num, seed=0):
    total = sum(program_counts(grammar, max_size, measure))
    ids = np.arange(total) if total <= num else np.random.default_rng(seed).integers(0, total, num)
    prefix = unrank(grammar, ids, max_size, measure)
    arities = dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))
    trees = [naive.tree([grammar.tokens[t] for t in row if t != PAD], arities) for row in prefix]
    return prefix, trees


def ordered(node, commutative):
    """A tree with the operands of commutative operators sorted."""
    children = [ordered(child, commutative) for child in node[1:]]
    return (node[0], *(sorted(children) if node[0] in commutative else children))


@pytest.fixture(scope="module", params=["polynomial", "mixed"])
def texts(request):
    grammar = POLYNOMIAL if request.param == "polynomial" else MIXED
    measure, size = ("leaves", 4) if grammar is POLYNOMIAL else ("nodes", 8)
    return (grammar, *some_texts(grammar, size, measure, 400))


@pytest.mark.kernels
@pytest.mark.parametrize(("upper", "lower"), [("*", "+"), ("+", "*"), ("*", "*x"), ("+-", "1")])
def test_below_means_some_ancestor(texts, upper, lower):
    grammar, prefix, trees = texts

    def below(node, under):
        here = node[0] in lower and under
        return here or any(below(child, under or node[0] in upper) for child in node[1:])

    expected = [below(tree, False) for tree in trees]
    assert 0 < sum(expected) < len(trees)
    assert constructs.has_below(grammar, prefix, upper, lower).tolist() == expected


@pytest.mark.kernels
@pytest.mark.parametrize("place", [None, 0, 1])
@pytest.mark.parametrize(("operator", "operand"), [("-", "1"), ("*", "+"), ("+", "x")])
def test_an_operand_is_a_child_at_its_place(texts, operator, operand, place):
    grammar, prefix, trees = texts

    def is_there(tree):
        children = [(node[0], k, child[0]) for node in naive.subtrees(tree) for k, child in enumerate(node[1:])]
        return any(o == operator and c == operand and place in (None, k) for o, k, c in children)

    expected = [is_there(tree) for tree in trees]
    assert 0 < sum(expected) < len(trees)
    assert constructs.has_operand(grammar, prefix, operator, operand, place).tolist() == expected


@pytest.mark.parametrize("text", ["x", "x * 1", "1 - x", "x + x * x"])
def test_a_subtree_is_one_of_the_trees_subtrees(texts, text):
    grammar, prefix, trees = texts
    wanted = parse(grammar, text)
    arities = dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))
    nested = naive.tree([grammar.tokens[t] for t in wanted.prefix], arities)
    commutative = {o.symbol for o in grammar.operators if o.commutative}
    expected = [ordered(nested, commutative) in [ordered(s, commutative) for s in naive.subtrees(t)] for t in trees]
    assert sum(expected) < len(trees)
    assert constructs.has_subtree(grammar, prefix, wanted).tolist() == expected


def test_every_subtree_of_a_text_is_found_in_it():
    prefix, trees = some_texts(POLYNOMIAL, 4, "leaves", 60)
    for row, tree in zip(prefix, trees, strict=True):
        for subtree in naive.subtrees(tree):
            tokens = tuple(POLYNOMIAL.index[t] for t in naive.flatten(subtree))
            assert constructs.has_subtree(POLYNOMIAL, row[None], Program(POLYNOMIAL, tokens)).all()


def test_counts_mixes_and_compositions_follow_the_tokens(texts):
    grammar, prefix, trees = texts
    bags = [naive.flatten(tree) for tree in trees]
    counts = constructs.count_tokens(grammar, prefix)
    assert counts.tolist() == [[bag.count(token) for token in grammar.tokens] for bag in bags]
    mixed = constructs.has_mix(grammar, prefix, (("+", "-"), ("*",)))
    assert mixed.tolist() == [bool({"+", "-"} & {*bag}) and "*" in bag for bag in bags]
    operators = set(grammar.tokens[grammar.num_terminals :])
    composed = constructs.has_composed(grammar, prefix, "*")
    assert composed.tolist() == ["*" in bag and sum(t in operators for t in bag) > 1 for bag in bags]


@pytest.mark.kernels
def test_canonical_keys_agree_exactly_where_sorted_trees_do(texts):
    grammar, prefix, trees = texts
    commutative = {o.symbol for o in grammar.operators if o.commutative}

    keys, forms = constructs.canonical_keys(grammar, prefix).tolist(), [ordered(tree, commutative) for tree in trees]
    assert len(set(keys)) == len(set(forms)) == len(set(zip(keys, forms, strict=True)))


def test_only_commutative_operands_may_swap():
    rows = [[POLYNOMIAL.index[t] for t in text.split()] for text in ("+ x y", "+ y x", "- x y", "- y x")]
    keys = constructs.canonical_keys(POLYNOMIAL, np.array(rows, dtype=np.uint8))
    assert keys[0] == keys[1]
    assert all(a != b for a, b in itertools.combinations(keys[1:].tolist(), 2))
