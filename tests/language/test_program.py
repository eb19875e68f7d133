"""Reading and writing programs: round trips on random trees, and every way text can be wrong."""

from fractions import Fraction

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ProgramSyntaxError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.interpreter import evaluate_exact
from synthlab.language.operator import ADD, FLOOR_DIVIDE, MODULO, MULTIPLY, NEGATE, SUBTRACT, Operator
from synthlab.language.program import Program, infix_texts, parse, prefix_lengths, token_matrix

MID = Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c)
HYP2 = Operator(symbol="hyp2", arity=2, meaning=lambda a, b: a * a + b * b, commutative=True)
POWER_LIKE = Operator(symbol="**", arity=2, meaning=lambda a, b: a * a - b, precedence=3)
NAMED = Grammar(
    name="named", variables=("x", "y"), constants=(1, 20), operators=(ADD, SUBTRACT, MULTIPLY, MID, HYP2, POWER_LIKE)
)
UNARY = Grammar(
    name="unary", variables=("x",), operators=(NEGATE, FLOOR_DIVIDE, MODULO, MULTIPLY), grid=Grid.regular(0)
)
GRAMMARS = [POLYNOMIAL, RATIONAL, PIECEWISE, NAMED, UNARY]
by_name = pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda g: g.name)


def arities(grammar):
    return dict(zip(grammar.tokens, grammar.arities.tolist(), strict=True))


def trees(grammar):
    """Random nested tuples of a grammar."""
    return naive.random_trees(arities(grammar), max_leaves=24)


def program(grammar, tree):
    return Program(grammar, tuple(grammar.index[t] for t in naive.flatten(tree)))


def binary_infix(tree, fully=False):
    """Text with a parenthesis around every inner node: reading it needs no precedence."""
    if len(tree) == 1:
        return tree[0]
    left, right = (binary_infix(child, True) for child in tree[1:])
    return f"({left}{tree[0]}{right})" if fully else f"{left}{tree[0]}{right}"


@by_name
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_reading_undoes_writing(grammar, data):
    one = program(grammar, data.draw(trees(grammar)))
    assert parse(grammar, one.infix_text()) == one
    assert parse(grammar, one.infix_text().replace(" ", "")) == one
    assert parse(grammar, one.prefix_text()) == one


@given(trees(POLYNOMIAL))
@settings(max_examples=60, deadline=None)
def test_superfluous_parentheses_change_nothing(tree):
    assert parse(POLYNOMIAL, f"(({binary_infix(tree)}))") == program(POLYNOMIAL, tree)


@given(trees(POLYNOMIAL))
@settings(max_examples=60, deadline=None)
def test_infix_text_has_only_the_parentheses_that_the_tree_needs(tree):
    text = program(POLYNOMIAL, tree).infix_text()
    for opening in [k for k, c in enumerate(text) if c == "("]:
        depth, closing = 0, opening
        for closing in range(opening, len(text)):
            depth += {"(": 1, ")": -1}.get(text[closing], 0)
            if depth == 0:
                break
        without = text[:opening] + text[opening + 1 : closing] + text[closing + 1 :]
        assert parse(POLYNOMIAL, without) != program(POLYNOMIAL, tree)


@by_name
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_sizes_are_those_of_the_tree(grammar, data):
    tree = data.draw(trees(grammar))
    one = program(grammar, tree)
    assert one.leaves == naive.size_of(tree, "leaves")
    assert one.nodes == naive.size_of(tree, "nodes")
    assert one.depth == naive.size_of(tree, "depth")
    assert one.root == tree[0]


@by_name
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_token_matrices_hold_programs_and_their_lengths(grammar, data):
    programs = [program(grammar, tree) for tree in data.draw(st.lists(trees(grammar), min_size=1, max_size=6))]
    matrix = token_matrix(programs)
    assert matrix.dtype == np.uint8
    assert [Program.from_row(grammar, row) for row in matrix] == programs
    assert prefix_lengths(grammar, matrix).tolist() == [p.nodes for p in programs]
    assert infix_texts(grammar, matrix) == [p.infix_text() for p in programs]
    open_ended = np.where(matrix == PAD, grammar.index["x"], matrix)
    assert prefix_lengths(grammar, open_ended).tolist() == [p.nodes for p in programs]
    cut = np.full_like(matrix, PAD)
    for row, one in enumerate(programs):
        cut[row, : one.nodes - 1] = one.prefix[:-1]
    assert (prefix_lengths(grammar, cut) == -1).all()


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("x - y - 1", "- - x y 1"),
        ("x - (y - 1)", "- x - y 1"),
        ("x + y * 2", "+ x * y 2"),
        ("(x + y) * 2", "* + x y 2"),
        ("x * y + 2", "+ * x y 2"),
        ("((x))", "x"),
        ("\tx\n+\r y ", "+ x y"),
    ],
)
def test_usual_notation_means_what_it_does_in_mathematics(text, prefix):
    assert parse(POLYNOMIAL, text).prefix_text() == prefix


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("mid(x, hyp2(y, 1) + 20, x * y)", "mid x + hyp2 y 1 20 * x y"),
        ("x ** y * 1", "* ** x y 1"),
        ("(mid(x, y, 1))", "mid x y 1"),
        ("mid x y 1", "mid x y 1"),
    ],
)
def test_named_operators_are_calls(text, prefix):
    assert parse(NAMED, text).prefix_text() == prefix


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("", 0, "a program"),
        ("  ", 0, "a program"),
        ("x +", 3, "x, y, 1, 2, 3 or"),
        ("x + * y", 4, "x, y, 1, 2, 3 or"),
        ("x y", 2, "an operator or the end"),
        ("(x + y", 6, "an operator or ')'"),
        ("x + y)", 5, "an operator or the end"),
        ("()", 1, "x, y, 1, 2, 3 or"),
        ("x, y", 1, "an operator or the end"),
        ("+ x", 3, "1 more operand"),
        ("+ x y 1", 6, "the end of a complete program"),
        ("x / y", 2, "one of x y 1 2 3 + - *"),
        ("x + z", 4, "one of x y 1 2 3 + - *"),
        ("x + 12", 4, "one of x y 1 2 3 + - *"),
        ("x + 4", 4, "one of x y 1 2 3 + - *"),
        ("x + " + "1" * 5000, 4, "at most 18 digits"),
        ("x + ٣", 4, "one of"),
        ("x + ²", 4, "one of"),
        ("ｘ + y", 0, "one of"),
        ("х + y", 0, "one of"),
        ("x − y", 2, "one of"),
        ("x\u00a0+ y", 1, "one of"),
        ("x\x00", 1, "one of"),
        ("__import__('os')", 0, "one of"),
        ("x + " * 6000 + "x", 20_000, "at most 20000 characters"),
        ("+ x " * 4500 + "x", 0, "at most 500 levels"),
        ("(x+" * 2000 + "x" + ")" * 2000, 0, "at most 500 levels"),
        ("(" * 10_000, 10_000, "x, y, 1, 2, 3 or"),
        ("(" * 10_000 + "x" + ")" * 10_000, 20_000, "at most 20000 characters"),
    ],
    ids=lambda v: ascii(v)[:24],
)
def test_wrong_text_is_refused_with_its_place_and_what_was_expected(text, position, expected):
    with pytest.raises(ProgramSyntaxError) as caught:
        parse(POLYNOMIAL, text)
    assert caught.value.position == position
    assert expected in caught.value.expected
    assert "\n" not in str(caught.value) and str(caught.value).isascii()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mid(x, y)", "3 operand(s) for mid"),
        ("hyp2(x, y, 1)", "2 operand(s) for hyp2"),
        ("hyp2()", "x, y, 1, 20 or"),
        ("x + hyp2", "'(' after hyp2"),
        ("hyp2(x, y", "an operator or ')'"),
        ("hyp2(x y)", "an operator or ')'"),
        ("(x, y)", "an operator or ')'"),
        ("mid x y", "1 more operand"),
        ("mid(x, mid(y, 1), x)", "3 operand(s) for mid"),
    ],
)
def test_wrong_calls_are_refused(text, expected):
    with pytest.raises(ProgramSyntaxError) as caught:
        parse(NAMED, text)
    assert expected in caught.value.expected


@given(st.text(alphabet="xy123+-*() ,", max_size=30))
@settings(max_examples=100, deadline=None)
def test_any_text_is_either_a_program_or_a_syntax_error(text):
    try:
        one = parse(POLYNOMIAL, text)
    except ProgramSyntaxError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert parse(POLYNOMIAL, one.infix_text()) == one


@pytest.mark.parametrize("text", ["x + y * 2 - 3", "(x - 1) * (y - 2) * 3", "3 - 2 - 1 - x * x * y"])
def test_infix_agrees_with_python_arithmetic(text):
    point = {"x": Fraction(5, 7), "y": Fraction(-2, 3)}
    assert evaluate_exact(parse(POLYNOMIAL, text), point) == eval(text, {}, point)


def test_programs_are_equal_by_text_under_the_same_grammar():
    assert parse(POLYNOMIAL, "x + y") == parse(POLYNOMIAL, "+ x y")
    assert parse(POLYNOMIAL, "x + y") != parse(POLYNOMIAL, "y + x")
    assert parse(POLYNOMIAL, "x") != parse(RATIONAL, "x")
    assert len({parse(POLYNOMIAL, "(x+y)"), parse(POLYNOMIAL, "x + y")}) == 1
    assert repr(parse(POLYNOMIAL, "*+x y 2")) == "Program('(x + y) * 2')"


def test_a_long_but_shallow_text_is_read():
    balanced = "x"
    for _ in range(9):
        balanced = f"({balanced}+{balanced})"
    assert parse(POLYNOMIAL, balanced).leaves == 512
