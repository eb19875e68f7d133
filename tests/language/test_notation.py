"""Texts in bulk against the printer and the parser of single programs, on whole universes and on random rows."""

import languages
import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ConfigurationError, GrammarError, ProgramSyntaxError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar
from synthlab.language.notation import NOTATIONS, Notation, binding
from synthlab.language.operator import ADD, MINIMUM, MULTIPLY, NEGATE, SUBTRACT, Operator
from synthlab.language.program import Program, parse, token_matrix
from synthlab.universe.counting import unrank

EIGHT = Operator(symbol="eight", arity=8, meaning=lambda a, b, c, d, e, f, g, h: a + b + c + d + e + f + g - h)
WEAK = Operator(symbol="~", arity=2, meaning=lambda a, b: a + 2 * b, precedence=-1)
POWER = Operator(symbol="**", arity=2, meaning=lambda a, b: a * a - b, precedence=3)
WIDE = Grammar(
    name="wide", variables=("x", "y"), constants=(1, 20),
    operators=(POWER, MINIMUM, WEAK, ADD, NEGATE, SUBTRACT, languages.MID, MULTIPLY, EIGHT),
)  # fmt: skip
LEVEL = Grammar(name="level", variables=("x",), operators=(ADD, SUBTRACT), grid=languages.Grid.regular(0))
UNIVERSES = [
    (POLYNOMIAL, 3, "leaves"),
    (RATIONAL, 3, "leaves"),
    (PIECEWISE, 3, "leaves"),
    (languages.UNARY, 5, "nodes"),
    (languages.MIXED, 5, "leaves"),
    (languages.MULADD, 6, "nodes"),
    (languages.BOUNDS, 5, "nodes"),
    (languages.TERNARY, 2, "depth"),
    (languages.CHOICES, 5, "leaves"),
    (LEVEL, 2, "depth"),
    (WIDE, 4, "nodes"),
]
by_universe = pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES, ids=languages.label)
by_notation = pytest.mark.parametrize("name", NOTATIONS)


def matrix_of(grammar, texts):
    return token_matrix([Program(grammar, tuple(text)) for text in texts])


def lexed(program):
    """Tokens of the infix text; operators between operands have blanks around them."""
    text = program.infix_text()
    for mark in "(),":
        text = text.replace(mark, f" {mark} ")
    return text.split()


def expected_text(program, name):
    """Token texts, by folds over the single program."""
    if name == "prefix":
        return program.prefix_text().split()
    if name == "infix":
        return [*lexed(program), "<end>"]
    leaf = program.grammar.tokens.__getitem__
    return [*program.fold(leaf, lambda operator, parts: " ".join([*parts, operator.symbol])).split(), "<end>"]


def spelt(notation, text):
    """Token texts of every row, without padding."""
    return [[notation.tokens[t] for t in row if t != PAD] for row in text.tolist()]


def trimmed(matrix):
    """Rows without padding, which stands behind the tokens only."""
    lengths = (matrix != PAD).sum(axis=1)
    assert (np.arange(matrix.shape[1]) < lengths[:, None]).tolist() == (matrix != PAD).tolist()
    return languages.rows(matrix)


# ---------------------------------------------------------------- tokens and settings


def test_notations_add_their_marks_behind_the_tokens_of_the_grammar():
    marks = {name: Notation(POLYNOMIAL, name).tokens[len(POLYNOMIAL.tokens) :] for name in NOTATIONS}
    assert marks == {"prefix": (), "postfix": ("<end>",), "infix": ("(", ")", ",", "<end>")}
    assert {name: Notation(POLYNOMIAL, name).end for name in NOTATIONS} == {"prefix": None, "postfix": 8, "infix": 11}
    assert Notation(POLYNOMIAL).name == "prefix" and Notation(POLYNOMIAL) == Notation(POLYNOMIAL, "prefix")


def test_an_unknown_notation_is_refused():
    with pytest.raises(ConfigurationError, match=r"unknown notation 'polish': choose from prefix, postfix, infix"):
        Notation(POLYNOMIAL, "polish")


@pytest.mark.parametrize(("num_variables", "fitting"), [(250, 3), (251, 2), (253, 2)])
def test_tokens_that_do_not_fit_beside_the_padding_are_refused(num_variables, fitting):
    grammar = Grammar(
        name="many", variables=tuple(f"v{k}" for k in range(num_variables)), operators=(ADD,),
        grid=languages.Grid.regular(*[0] * num_variables, num=1),
    )  # fmt: skip
    for name in NOTATIONS[:fitting]:
        notation = Notation(grammar, name)
        row = np.array([[num_variables, num_variables - 1, 0]], dtype=np.uint8)
        assert trimmed(notation.decode(notation.encode(row))) == languages.rows(row)
    for name in NOTATIONS[fitting:]:
        with pytest.raises(GrammarError, match=rf"at most 255 fit, so drop {num_variables + 5 - 255}$"):
            Notation(grammar, name)


def test_binding_strengths_are_ranks():
    ranks = dict(zip(WIDE.tokens, binding(WIDE).tolist(), strict=True))
    assert {t: r for t, r in ranks.items() if r} == {"~": 1, "+": 2, "-": 2, "*": 3, "**": 4}


# ---------------------------------------------------------------- whole universes


@by_notation
@by_universe
def test_texts_are_those_of_single_programs_and_read_back(grammar, size, measure, name):
    notation, texts = Notation(grammar, name), languages.listed(grammar, size, measure)
    prefix = matrix_of(grammar, texts)
    written = notation.encode(prefix)
    assert written.dtype == np.uint8 and len(written) == len(texts)
    assert spelt(notation, written) == [expected_text(Program(grammar, text), name) for text in texts]
    back = notation.decode(written)
    assert back.dtype == np.uint8 and back.shape[1] == written.shape[1] - (name != "prefix")
    assert trimmed(back) == texts


@by_notation
def test_larger_texts_are_those_of_single_programs(name):
    prefix = unrank(POLYNOMIAL, np.arange(0, 53_000, 37), 4)
    notation = Notation(POLYNOMIAL, name)
    written = notation.encode(prefix)
    programs = [Program.from_row(POLYNOMIAL, row) for row in prefix]
    assert spelt(notation, written) == [expected_text(one, name) for one in programs]
    assert trimmed(notation.decode(written)) == languages.rows(prefix)
    assert written.shape[1] == notation.max_length(4)


@by_notation
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_random_programs_of_every_arity_and_strength(name, data):
    trees = naive.random_trees(languages.arities(WIDE), max_leaves=30)
    listed = data.draw(st.lists(trees, min_size=1, max_size=5))
    programs = [Program(WIDE, tuple(WIDE.index[t] for t in naive.flatten(tree))) for tree in listed]
    notation = Notation(WIDE, name)
    written = notation.encode(token_matrix(programs))
    assert spelt(notation, written) == [expected_text(one, name) for one in programs]
    assert trimmed(notation.decode(written)) == [one.prefix for one in programs]


@by_universe
def test_the_longest_texts(grammar, size, measure):
    programs = [Program(grammar, text) for text in languages.listed(grammar, size, measure)]
    lengths = {name: max(len(expected_text(one, name)) for one in programs) for name in NOTATIONS}
    longest = {name: Notation(grammar, name).max_length(size, measure) for name in NOTATIONS}
    assert longest["infix"] == lengths["infix"]
    assert longest["postfix"] == longest["prefix"] + 1
    assert longest["prefix"] >= lengths["prefix"]
    if grammar in (POLYNOMIAL, RATIONAL, PIECEWISE):
        assert longest["prefix"] == lengths["prefix"] == 2 * size - 1
    prefix = matrix_of(grammar, languages.listed(grammar, size, measure))
    for name in NOTATIONS:
        widths = {Notation(grammar, name).encode(rows).shape[1] for rows in (prefix, prefix[:1], prefix[:0])}
        assert widths == {Notation(grammar, name).max_length(prefix.shape[1], "nodes")}


def test_lengths_that_bound_nothing_are_refused():
    with pytest.raises(ConfigurationError, match="unary operator"):
        Notation(languages.UNARY, "infix").max_length(3)
    with pytest.raises(ConfigurationError, match="is empty"):
        Notation(POLYNOMIAL, "infix").max_length(0)
    assert Notation(languages.UNARY, "infix").max_length(3, "nodes") == 1 + 7  # neg(neg(x))
    assert Notation(languages.UNARY, "infix").max_length(0, "depth") == 2


# ---------------------------------------------------------------- rows that are no texts


def read_one(notation, words):
    """Prefix tokens of a row of token texts by the parser of single programs, or by a stack; () for no text."""
    grammar = notation.grammar
    if notation.name != "prefix":
        if "<end>" not in words:
            return ()
        words = words[: words.index("<end>")]
    if notation.name == "infix":
        operators = {o.symbol for o in grammar.operators}
        if not words or (words[0] in operators and words[1:2] != ["("]):
            return ()  # what the parser would read as prefix
        try:
            return parse(grammar, " ".join(words)).prefix
        except ProgramSyntaxError:
            return ()
    for length in range(1, len(words) + 1) if notation.name == "prefix" else [len(words)]:
        tree = folded(words[:length], grammar, reverse=notation.name == "prefix")
        if tree is not None:
            return tuple(grammar.index[t] for t in tree)
    return ()


def folded(words, grammar, reverse):
    """Prefix texts from a stack machine over postfix (or over reversed prefix) tokens."""
    stack = []
    for word in reversed(words) if reverse else words:
        arity = languages.arities(grammar).get(word)
        if arity is None or len(stack) < arity:
            return None
        operands = [stack.pop() for _ in range(arity)]
        stack.append((word, *sum(operands if reverse else operands[::-1], ())))
    return stack[0] if len(stack) == 1 else None


def check_rows(notation, text):
    wanted = [read_one(notation, words) for words in spelt(notation, text)]
    assert trimmed(notation.decode(text)) == wanted
    return sum(map(bool, wanted))


@by_notation
@pytest.mark.parametrize(
    ("grammar", "length"), [(languages.MULADD, 5), (languages.BOUNDS, 5), (POLYNOMIAL, 4)], ids=languages.label
)
def test_every_short_row_is_read_as_the_parser_reads_it(grammar, length, name):
    notation = Notation(grammar, name)
    num = len(notation.tokens)
    rows = np.stack(np.unravel_index(np.arange(num**length), (num,) * length), axis=1).astype(np.uint8)[::3]
    assert check_rows(notation, rows) > 0


@by_notation
@pytest.mark.parametrize("grammar", [POLYNOMIAL, PIECEWISE, languages.MIXED, WIDE], ids=languages.label)
def test_damaged_rows_are_read_as_the_parser_reads_them(grammar, name):
    """Texts with tokens replaced, taken out and put in: many are texts again."""
    notation, generator = Notation(grammar, name), np.random.default_rng(4)
    texts = [t for t in languages.listed(grammar, 4 if grammar is WIDE else 7, "nodes") if len(t) > 2]
    chosen = [texts[k] for k in generator.integers(len(texts), size=4000)]
    rows = notation.encode(matrix_of(grammar, chosen))
    damaged = np.full((len(rows), rows.shape[1] + 2), PAD, dtype=np.uint8)
    for source, target in zip(rows, damaged, strict=True):
        row = [t for t in source.tolist() if t != PAD]
        for _ in range(generator.integers(1, 3)):
            place, token = int(generator.integers(len(row))), int(generator.integers(len(notation.tokens)))
            kind = generator.integers(3)
            row[place : place + (kind != 1)] = [] if kind == 2 and len(row) > 1 else [token]
        target[: len(row)] = row
    assert 40 < check_rows(notation, damaged) < 3900


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_superfluous_parentheses_change_nothing(data):
    grammar = languages.MULADD
    tree = data.draw(naive.random_trees(languages.arities(grammar), max_leaves=10))

    def text(node):
        around = data.draw(st.integers(0, 2)) + (len(node) == 3)
        operands = list(map(text, node[1:]))
        inner = f"{operands[0]} {node[0]} {operands[1]}" if len(node) == 3 else node[0]
        inner += f" ( {' , '.join(operands)} )" if len(node) in (2, 4) else ""
        return "( " * around + inner + " )" * around

    notation = Notation(grammar, "infix")
    row = [notation.tokens.index(word) for word in [*text(tree).split(), "<end>", "x", ")"]]
    prefix = tuple(grammar.index[t] for t in naive.flatten(tree))
    assert trimmed(notation.decode(np.array([row], dtype=np.uint8))) == [prefix]


@by_notation
def test_programs_that_are_none_become_padding(name):
    notation = Notation(POLYNOMIAL, name)
    rows = np.array([[5, 0, PAD], [PAD] * 3, [5, 5, 5], [0, 1, 1], [254, 0, 0], [5, 0, 254], [5, PAD, 0]], np.uint8)
    written = notation.encode(rows)
    assert (written[[0, 1, 2, 4, 5, 6]] == PAD).all()
    assert trimmed(notation.decode(written)) == [(), (), (), (0,), (), (), ()]


@by_notation
def test_any_bytes_in_any_layout_can_be_decoded(name):
    notation = Notation(PIECEWISE, name)
    rows = np.random.default_rng(0).integers(0, 256, size=(2000, 9), dtype=np.uint8)
    rows[:, 4] %= len(notation.tokens)
    columns_first, every_other = np.asfortranarray(rows), np.repeat(rows, 2, axis=0)[::2]
    assert notation.decode(rows).tolist() == notation.decode(columns_first).tolist()
    assert notation.decode(rows).tolist() == notation.decode(every_other).tolist()
    for width in (0, 1):
        assert notation.decode(np.zeros((2, width), np.uint8)).shape == (2, width if name == "prefix" else 0)
        assert notation.encode(np.zeros((0, width), np.uint8)).shape == (0, width + (name != "prefix"))
