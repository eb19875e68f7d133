"""Compiled kernels against slow oracles on tiny universes; the same tests pass with NUMBA_DISABLE_JIT=1.

The oracles know neither ids nor residues: programs are nested tuples, functions are quotients of
polynomials with whole coefficients.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import naive
import numpy as np
import pytest
from scipy.stats import chisquare

from synthlab.errors import SynthlabError
from synthlab.language import tracing
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.identity import ResiduePoints, fingerprints, identity_algebra, mix, probe_points
from synthlab.language.interpreter import Algebra, Floats, WholeNumbers, evaluate, evaluate_shared
from synthlab.language.measure import sizes_of
from synthlab.language.notation import NOTATIONS, Notation
from synthlab.language.operator import (
    ABSOLUTE,
    ADD,
    DIVIDE,
    FLOOR_DIVIDE,
    MAXIMUM,
    MINIMUM,
    MODULO,
    MULTIPLY,
    NEGATE,
    SUBTRACT,
    Operator,
)
from synthlab.language.program import parse
from synthlab.language.residues import (
    PRIME,
    UNDEFINED_RESIDUE,
    batch_inverse,
    combine,
    combine_arrays,
    inverse,
    mulmod,
    reduce_once,
)
from synthlab.language.sharing import share
from synthlab.spaces import pqgrams, syntactic
from synthlab.spaces.embedding import embed
from synthlab.spaces.space import sparse_axes
from synthlab.universe import sampling
from synthlab.universe.candidates import operand_blocks
from synthlab.universe.corpus import Corpus, build_corpus
from synthlab.universe.counting import program_counts, rank, unrank
from synthlab.universe.enumeration import enumerate_functions, new_functions, operand_order
from synthlab.universe.functions import NewFunctions
from synthlab.universe.hashing import HashIndex, KeyNumbers, KeySet
from synthlab.universe.sampling import PCFG

pytestmark = pytest.mark.kernels

MULTIPLY_ADD = Operator(symbol="muladd", arity=3, meaning=lambda a, b, c: a * b + c)
MEAN = Operator(symbol="mean", arity=2, meaning=lambda a, b: (a + b) / 2, integral=False)
TERNARY = Grammar(name="ternary", variables=("x",), constants=(1,), operators=(ADD, MULTIPLY_ADD), grid=Grid.regular(0))
UNARY = Grammar(
    name="unary", variables=("x",), constants=(1,), operators=(SUBTRACT, NEGATE, DIVIDE), grid=Grid.regular(0)
)
MEANS = Grammar(name="means", variables=("x",), constants=(1,), operators=(MEAN, MULTIPLY), grid=Grid.regular(0))
UNIVERSES = [
    pytest.param(POLYNOMIAL, 3, "leaves", id="polynomial"),
    pytest.param(RATIONAL, 3, "leaves", id="rational"),
    pytest.param(TERNARY, 4, "leaves", id="ternary"),
    pytest.param(TERNARY, 6, "nodes", id="ternary-nodes"),
    pytest.param(TERNARY, 2, "depth", id="ternary-depth"),
    pytest.param(UNARY, 5, "nodes", id="unary-nodes"),
    pytest.param(UNARY, 2, "depth", id="unary-depth"),
    pytest.param(MEANS, 4, "leaves", id="means"),
]

Tree = tuple  # (token, operand, operand, ...)


# ---------------------------------------------------------------- oracles


def trees(grammar: Grammar, size: int, measure: str = "leaves") -> Iterator[Tree]:
    """Every tree of exactly this size, in no particular order."""
    if size == (0 if measure == "depth" else 1):
        yield from ((token,) for token in range(grammar.num_terminals))
    for number, operator in enumerate(grammar.operators):
        for sizes in _operand_sizes(size, operator.arity, measure):
            for operands in itertools.product(*(list(trees(grammar, s, measure)) for s in sizes)):
                yield (grammar.num_terminals + number, *operands)


def _operand_sizes(size: int, arity: int, measure: str) -> list[tuple[int, ...]]:
    if measure == "depth":
        return [s for s in itertools.product(range(size), repeat=arity) if size - 1 in s]
    total = size - (measure == "nodes")
    return [s for s in itertools.product(range(1, total + 1), repeat=arity) if sum(s) == total]


def prefix(tree: Tree) -> tuple[int, ...]:
    """Tokens in prefix order."""
    return (tree[0], *(token for operand in tree[1:] for token in prefix(operand)))


def universe(grammar: Grammar, max_size: int, measure: str = "leaves") -> list[Tree]:
    """Every tree, smaller ones first, then in the order of their prefix texts."""
    return [t for n in range(max_size + 1) for t in sorted(trees(grammar, n, measure), key=prefix)]


def padded(rows: list[tuple[int, ...]], width: int) -> np.ndarray:
    """Token matrix of prefix texts."""
    return np.array([[*row, *[PAD] * (width - len(row))] for row in rows], dtype=np.uint8)


class Polynomial(dict):
    """Whole coefficients by exponents, without zeros."""

    @classmethod
    def of(cls, terms: Counter) -> Polynomial:
        return cls({exponents: c for exponents, c in terms.items() if c})

    def __add__(self, other: Polynomial) -> Polynomial:
        return Polynomial.of(Counter({k: self.get(k, 0) + other.get(k, 0) for k in {*self, *other}}))

    def __neg__(self) -> Polynomial:
        return Polynomial({k: -c for k, c in self.items()})

    def __mul__(self, other: Polynomial) -> Polynomial:
        terms: Counter = Counter()
        for (one, a), (two, b) in itertools.product(self.items(), other.items()):
            terms[tuple(i + j for i, j in zip(one, two, strict=True))] += a * b
        return Polynomial.of(terms)


@dataclasses.dataclass(frozen=True)
class Quotient:
    """A rational function; a zero denominator means that there is none."""

    over: Polynomial
    under: Polynomial

    def __add__(self, other: Quotient) -> Quotient:
        return Quotient(self.over * other.under + other.over * self.under, self.under * other.under)

    def __neg__(self) -> Quotient:
        return Quotient(-self.over, self.under)

    def __sub__(self, other: Quotient) -> Quotient:
        return self + -other

    def __mul__(self, other: Quotient) -> Quotient:
        return Quotient(self.over * other.over, self.under * other.under)

    def __truediv__(self, other: Quotient | int) -> Quotient:
        if isinstance(other, int):
            exponents = next(iter(self.under), (0,))
            other = Quotient(Polynomial({(0,) * len(exponents): other}), Polynomial({(0,) * len(exponents): 1}))
        spoilt = self.under * other.under  # an undefined operand stays undefined
        return Quotient(self.over * other.under * spoilt, self.under * other.over * spoilt)

    @property
    def exists(self) -> bool:
        return bool(self.under)

    def equals(self, other: Quotient) -> bool:
        return self.over * other.under == other.over * self.under


def function(grammar: Grammar, tree: Tree) -> Quotient:
    """The function that a tree computes."""
    num_variables = len(grammar.variables)
    if len(tree) > 1:
        return grammar.operator(tree[0]).meaning(*(function(grammar, operand) for operand in tree[1:]))
    exponents = tuple(int(tree[0] == v) for v in range(num_variables))
    value = 1 if tree[0] < num_variables else grammar.constants[tree[0] - num_variables]
    return Quotient(Polynomial({exponents: value}), Polynomial({(0,) * num_variables: 1}))


def classes(functions: list[Quotient]) -> list[int]:
    """First row with the same function, for every row; -1 where there is no function."""
    points = [Fraction(7, 3), Fraction(-11, 5)]
    buckets: dict[object, list[int]] = {}
    result = []
    for row, quotient in enumerate(functions):
        if not quotient.exists:
            result.append(-1)
            continue
        bucket = buckets.setdefault(_value(quotient, points), [])
        same = [other for other in bucket if functions[other].equals(quotient)]
        bucket.extend([] if same else [row])
        result.append(same[0] if same else row)
    return result


def _value(quotient: Quotient, points: list[Fraction]) -> Fraction | None:
    """Value at one point, only to keep the buckets of `classes` small; None at a pole."""
    over, under = (
        sum((c * np.prod([p**e for p, e in zip(points, k)]) for k, c in polynomial.items()), Fraction(0))
        for polynomial in (quotient.over, quotient.under)
    )
    return over / under if under else None


def pq_grams(grammar: Grammar, tree: Tree, p: int, q: int) -> Counter[str]:
    """Bag of pq-grams by the definition of Augsten et al.: stem of p nodes, q consecutive children."""
    bag: Counter[str] = Counter()

    def visit(node: Tree, ancestors: list[str]) -> None:
        stem = [*ancestors, grammar.tokens[node[0]]][-p:]
        filler = [syntactic.NULL] * (q - 1)
        children = [grammar.tokens[child[0]] for child in node[1:]]
        row = [*filler, *children, *filler] if children else [syntactic.NULL] * q
        for start in range(len(row) - q + 1):
            bag[f"{'/'.join(stem)}({' '.join(row[start : start + q])})"] += 1
        for child in node[1:]:
            visit(child, stem)

    visit(tree, [syntactic.NULL] * p)
    return bag


def spelt(grammar: Grammar, tree: Tree) -> tuple:
    """The tree with token texts instead of numbers, as `naive` walks it."""
    return (grammar.tokens[tree[0]], *(spelt(grammar, operand) for operand in tree[1:]))


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES)
def test_unrank_lists_the_universe_in_order(grammar: Grammar, size: int, measure: str) -> None:
    texts = [prefix(tree) for tree in universe(grammar, size, measure)]
    assert sum(program_counts(grammar, size, measure)) == len(texts)
    matrix = unrank(grammar, np.arange(len(texts)), size, measure)
    np.testing.assert_array_equal(matrix, padded(texts, matrix.shape[1]))


@pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES)
def test_rank_finds_rows(grammar: Grammar, size: int, measure: str) -> None:
    texts = [prefix(tree) for tree in universe(grammar, size, measure)]
    matrix = padded(texts, max(map(len, texts)))
    np.testing.assert_array_equal(rank(grammar, matrix, size, measure), np.arange(len(texts)))
    np.testing.assert_array_equal(rank(grammar, matrix[::-3], size, measure), np.arange(len(texts))[::-3])


@pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES)
def test_sizes_and_heights_are_those_of_the_trees(grammar: Grammar, size: int, measure: str) -> None:
    programs = universe(grammar, size, measure)[::5]
    texts = [prefix(tree) for tree in programs]
    matrix = padded(texts, max(map(len, texts)))
    assert sizes_of(grammar, matrix, measure).tolist() == [naive.size_of(tree, measure) for tree in programs]
    shared = share(grammar, matrix)
    assert len(shared.tokens) == len({subtree for tree in programs for subtree in naive.subtrees(tree)})
    assert shared.height[shared.roots].tolist() == [naive.size_of(tree, "depth") for tree in programs]


# ---------------------------------------------------------------- notations


def infix_words(grammar: Grammar, tree: Tree) -> list[str]:
    """Tokens of the infix text, every operator between operands in parentheses of its own."""
    operands = [infix_words(grammar, operand) for operand in tree[1:]]
    name = grammar.tokens[tree[0]]
    if not operands:
        return [name]
    if len(operands) == 2 and not name.isalpha():
        return ["(", *operands[0], name, *operands[1], ")"]
    commas = itertools.chain.from_iterable([",", *operand] for operand in operands)
    return [name, "(", *itertools.islice(commas, 1, None), ")"]


@pytest.mark.parametrize("name", NOTATIONS)
@pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES)
def test_notations_read_back_what_they_write(grammar: Grammar, size: int, measure: str, name: str) -> None:
    notation, programs = Notation(grammar, name), universe(grammar, size, measure)[::5]
    texts = [prefix(tree) for tree in programs]
    rows = padded(texts, max(map(len, texts)))
    written = notation.encode(rows)
    words = [[notation.tokens[t] for t in row if t != PAD] for row in written.tolist()]
    if name == "infix":
        assert [parse(grammar, " ".join(row[:-1])).prefix for row in words] == texts
        full = [[*map(notation.tokens.index, infix_words(grammar, tree)), notation.end] for tree in programs]
        decoded = notation.decode(padded(full, max(map(len, full))))
        assert [tuple(t for t in row if t != PAD) for row in decoded.tolist()] == texts
    decoded = notation.decode(written)
    np.testing.assert_array_equal(decoded[:, : rows.shape[1]], rows)
    assert (decoded[:, rows.shape[1] :] == PAD).all()


@pytest.mark.parametrize("name", NOTATIONS)
def test_rows_that_are_no_texts_become_padding(name: str) -> None:
    notation = Notation(TERNARY, name)
    x, plus, call = (notation.tokens.index(text) for text in ("x", "+", "muladd"))
    end, rows = notation.end, [(x, x), (plus, x), (x, plus), (call, x, x), (x, PAD, plus, x), (PAD, x)]
    if name == "infix":
        opening, closing, comma, _ = range(end - 3, end + 1)
        rows += [
            (opening, x), (x, closing), (opening, x, comma, x, closing), (x, comma, x), (call, opening, x, closing),
            (x, opening, x, closing), (opening, closing), (call, x), (x, plus, plus, x), (),
        ]  # fmt: skip
    rows = [row if end is None else (*row, end) for row in rows if end is not None or row[0] != x]
    assert (notation.decode(padded(rows, 8)) == PAD).all()
    assert (notation.decode(padded([(x, x, plus)], 8)) == PAD).all() == (name != "prefix")
    assert (notation.encode(padded([(plus, x), (call, call, x), (x + 254, x)], 8)) == PAD).all()


# ---------------------------------------------------------------- residues and identity

EDGES = [0, 1, 2, (1 << 30) - 1, 1 << 30, (1 << 31) - 1, 1 << 31, 1 << 60, PRIME - 2, PRIME - 1]
ACTIONS = {
    tracing.ADD: lambda a, b: (a + b) % PRIME,
    tracing.SUBTRACT: lambda a, b: (a - b) % PRIME,
    tracing.MULTIPLY: lambda a, b: a * b % PRIME,
    tracing.DIVIDE: lambda a, b: a * pow(b, -1, PRIME) % PRIME if b else PRIME,
    tracing.NEGATE: lambda a, b: -a % PRIME,
}


@pytest.fixture(scope="module")
def pairs() -> list[tuple[int, int]]:
    draws = np.random.default_rng(7).integers(0, PRIME, size=(60, 2)).tolist()
    return [*itertools.product(EDGES, repeat=2), *map(tuple, draws)]


def test_product_of_residues(pairs: list[tuple[int, int]]) -> None:
    assert [int(mulmod(np.uint64(a), np.uint64(b))) for a, b in pairs] == [a * b % PRIME for a, b in pairs]
    assert [int(reduce_once(np.uint64(a + b))) for a, b in pairs] == [(a + b) % PRIME for a, b in pairs]


@pytest.mark.parametrize("kind", ACTIONS)
def test_elementwise_arithmetic(kind: int, pairs: list[tuple[int, int]]) -> None:
    some = pairs[::4]
    a, b = np.array(some, dtype=np.uint64).T
    expected = [ACTIONS[kind](x, y) for x, y in some]
    assert combine_arrays(kind, a, b).tolist() == expected
    assert [int(combine(kind, x, y)) for x, y in zip(a, b, strict=True)] == expected
    assert combine_arrays(kind, a[:3], np.full(3, UNDEFINED_RESIDUE)).tolist() == [PRIME] * 3
    assert combine_arrays(kind, np.full(3, UNDEFINED_RESIDUE), b[:3]).tolist() == [PRIME] * 3


def test_inverse_exists_except_for_zero_and_undefined(pairs: list[tuple[int, int]]) -> None:
    values = [*sorted({a for a, _ in pairs}), PRIME, 0, 5]
    expected = [pow(v, -1, PRIME) if 0 < v < PRIME else PRIME for v in values]
    assert [int(inverse(np.uint64(v))) for v in values] == expected
    out = np.empty(len(values), dtype=np.uint64)
    batch_inverse(np.array(values, dtype=np.uint64), out)
    assert out.tolist() == expected


@pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES)
def test_fingerprints_agree_with_polynomials(grammar: Grammar, size: int, measure: str) -> None:
    programs = universe(grammar, size, measure)
    expected = classes([function(grammar, tree) for tree in programs])
    texts = [prefix(tree) for tree in programs]
    first: dict[tuple[int, ...], int] = {(PRIME, PRIME): -1}
    found = fingerprints(grammar, padded(texts, max(map(len, texts)))).tolist()
    assert [first.setdefault(tuple(row), number) for number, row in enumerate(found)] == expected


@pytest.mark.parametrize("width", [1, 2, 5])
def test_mixing_is_a_combination_of_codes_modulo_the_prime(width: int) -> None:
    rows = np.random.default_rng(width).integers(0, PRIME, size=(20, width), dtype=np.uint64)
    keys = mix(rows).tolist()
    doubled = np.array([[2 * int(v) % PRIME for v in row] for row in rows], dtype=np.uint64)
    assert mix(doubled).tolist() == [[2 * k % PRIME for k in key] for key in keys]
    assert mix(np.zeros((1, width), dtype=np.uint64)).tolist() == [[0, 0]]
    assert mix(np.full((1, width), UNDEFINED_RESIDUE)).tolist() == [[PRIME, PRIME]]
    assert len(set(map(tuple, keys))) == len(keys)


def test_mixing_tells_zero_from_undefined() -> None:
    rows = np.array([[0, 5, 6], [PRIME, 5, 6], [1, 5, 6]], dtype=np.uint64)
    assert len({tuple(key) for key in mix(rows).tolist()}) == 3


# ---------------------------------------------------------------- the machine

ANYTHING = Grammar(
    name="anything", variables=("x", "y"), constants=(0, 2),
    operators=(
        ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, ABSOLUTE, MINIMUM, MAXIMUM, FLOOR_DIVIDE, MODULO, MEAN, MULTIPLY_ADD,
    ),
)  # fmt: skip
WHOLE = Grammar(
    name="whole", variables=("x", "y"), constants=(2,),
    operators=(ADD, SUBTRACT, MULTIPLY, NEGATE, ABSOLUTE, MINIMUM, MAXIMUM, MULTIPLY_ADD),
)  # fmt: skip
PLAIN = Grammar(name="plain", variables=("x", "y"), constants=(2,), operators=(ADD, SUBTRACT, MULTIPLY, NEGATE))
FLOORS = Grammar(name="floors", variables=("x", "y"), constants=(2,), operators=(ADD, MULTIPLY, FLOOR_DIVIDE, MODULO))
FIELD = Grammar(
    name="field", variables=("x", "y"), constants=(0, 2),
    operators=(ADD, SUBTRACT, MULTIPLY, DIVIDE, NEGATE, MEAN, MULTIPLY_ADD),
)  # fmt: skip
# Python's own remainder of floats: a - b * (a // b) would round
PYTHON_FLOATS = naive.MEANINGS | {"%": lambda a, b: a % b}
POINTS = [(Fraction(a, 4), Fraction(b, 4)) for a, b in itertools.product((-7, 0, 4, 10), (-8, 0, 3))]
WHOLE_POINTS = [(Fraction(a), Fraction(b)) for a, b in itertools.product((-7, 0, 4, 10), (-2, 0, 3))]


def sample(grammar: Grammar, num: int = 40) -> list[Tree]:
    """All trees of up to two leaves or one level, and some that are larger."""
    small = universe(grammar, 1, "depth")
    generator = np.random.default_rng(3)

    def grown(levels: int) -> Tree:
        if levels == 0:
            return (int(generator.integers(grammar.num_terminals)),)
        token = int(generator.integers(grammar.num_terminals, len(grammar.tokens)))
        return (token, *(grown(int(generator.integers(levels))) for _ in range(grammar.arities[token])))

    return small[:: max(1, len(small) // 120)] + [grown(3) for _ in range(num)]


def both_ways(grammar: Grammar, programs: list[Tree], algebra: Algebra) -> Iterator[np.ndarray]:
    texts = [prefix(tree) for tree in programs]
    matrix = padded(texts, 2 + max(map(len, texts)))
    yield evaluate(grammar, matrix, algebra)
    shared = share(grammar, matrix)
    yield evaluate_shared(shared, algebra)[shared.roots]


def test_the_machine_computes_floats() -> None:
    programs = sample(ANYTHING)
    named = [dict(zip("xy", point, strict=True)) for point in POINTS]
    expected = [[naive.walk_floats(spelt(ANYTHING, t), p, PYTHON_FLOATS) for p in named] for t in programs]
    for values in both_ways(ANYTHING, programs, Floats(ANYTHING, POINTS)):
        np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("grammar", [WHOLE, PLAIN, FLOORS], ids=lambda g: g.name)
def test_the_machine_computes_whole_numbers(grammar: Grammar) -> None:
    programs = sample(grammar)
    named = [dict(zip("xy", point, strict=True)) for point in WHOLE_POINTS]
    expected = [[naive.walk(spelt(grammar, t), p, naive.MEANINGS) for p in named] for t in programs]
    algebra = (Floats if grammar is FLOORS else WholeNumbers)(grammar, WHOLE_POINTS)
    for values in both_ways(grammar, programs, algebra):
        assert [[None if v != v else v for v in row] for row in values.tolist()] == expected


def test_the_machine_computes_residues() -> None:
    programs = sample(FIELD)
    named = [dict(zip("xy", point, strict=True)) for point in POINTS]
    exact = [[naive.walk(spelt(FIELD, t), p, naive.MEANINGS) for p in named] for t in programs]
    expected = [
        [PRIME if v is None else v.numerator * pow(v.denominator, -1, PRIME) % PRIME for v in row] for row in exact
    ]  # fmt: skip
    for values in both_ways(FIELD, programs, ResiduePoints(FIELD, POINTS)):
        assert values.tolist() == expected


@pytest.mark.parametrize(
    ("grammar", "kind"),
    [(WHOLE, WholeNumbers), (PLAIN, WholeNumbers), (FLOORS, Floats)],
    ids=["whole", "plain", "floors"],
)
def test_the_machine_notices_overflow(grammar: Grammar, kind: type[Algebra]) -> None:
    times, algebra = grammar.index["*"], kind(grammar, [(Fraction(10**10), Fraction(1))])
    small, large = (times, (0,), (1,)), (times, (times, (0,), (0,)), (0,))
    assert [values.tolist() for values in both_ways(grammar, [small], algebra)] == [[[10**10]]] * 2
    with pytest.raises(SynthlabError, match="exceed the exact range"):
        evaluate(grammar, padded([prefix(large)], 5), algebra)
    with pytest.raises(SynthlabError, match="exceed the exact range"):
        evaluate_shared(share(grammar, padded([prefix(large)], 5)), algebra)


# ---------------------------------------------------------------- enumeration


@pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES)
def test_enumeration_keeps_the_first_program_of_every_function(grammar: Grammar, size: int, measure: str) -> None:
    programs = universe(grammar, size, measure)
    representatives = classes([function(grammar, tree) for tree in programs])
    kept = [programs[row] for row in sorted(set(representatives) - {-1})]
    table = enumerate_functions(grammar, identity_algebra(grammar), size, measure)
    assert [tuple(t for t in row if t != PAD) for row in table.text().tolist()] == [prefix(tree) for tree in kept]
    assert table.sizes.tolist() == [naive.size_of(tree, measure) for tree in kept]
    np.testing.assert_array_equal(table.keys, fingerprints(grammar, table.text()))


@pytest.mark.parametrize(("size", "measure"), [(2, "leaves"), (3, "nodes"), (1, "depth")])
def test_enumeration_on_probes_keeps_the_first_program_of_every_row_of_values(size: int, measure: str) -> None:
    points = [dict(zip("xy", p, strict=True)) for p in probe_points(PIECEWISE)]
    first: dict[tuple, tuple[int, ...]] = {}
    for tree in universe(PIECEWISE, size, measure):
        values = tuple(naive.walk(spelt(PIECEWISE, tree), p, naive.MEANINGS) for p in points)
        first.setdefault(values, prefix(tree))
    table = enumerate_functions(PIECEWISE, identity_algebra(PIECEWISE), size, measure)
    assert [tuple(t for t in row if t != PAD) for row in table.text().tolist()] == list(first.values())
    assert list(map(tuple, table.values.tolist())) == list(first)


@pytest.mark.parametrize(("grammar", "size", "measure"), [(RATIONAL, 2, "leaves"), (TERNARY, 5, "nodes")])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_candidates_are_all_combinations_in_text_order(grammar: Grammar, size: int, measure: str, block: int) -> None:
    table = enumerate_functions(grammar, identity_algebra(grammar), size, measure)
    texts = [tuple(t for t in row if t != PAD) for row in table.text().tolist()]
    by_text = sorted(range(len(texts)), key=texts.__getitem__)
    sizes = table.sizes.tolist()
    order = operand_order(table, np.array(by_text), size + 1)
    found, num = [], 0
    for token, rows, passed in operand_blocks(table, order, size + 1, block):
        assert len(rows) <= block
        found += [(token, tuple(row[: grammar.arities[token]])) for row in rows.tolist()]
        num += passed
    assert num == len(found)
    expected = []
    for number, operator in enumerate(grammar.operators):
        wanted = size + 1 - (measure == "nodes")
        for rows in itertools.product(by_text, repeat=operator.arity):
            unordered = operator.commutative and texts[rows[0]] > texts[rows[-1]]
            if sum(sizes[r] for r in rows) == wanted and not unordered:
                expected.append((grammar.num_terminals + number, rows))

    def text_but_for_the_last_operand(candidate):  # whose rows run by (size, text), all of one size here
        token, rows = candidate
        return token, [texts[r] for r in rows[:-1]], sizes[rows[-1]], texts[rows[-1]]

    assert found == sorted(expected, key=text_but_for_the_last_operand)


@pytest.mark.parametrize(("grammar", "size", "measure"), [(RATIONAL, 2, "leaves"), (UNARY, 3, "nodes")])
@pytest.mark.parametrize("num_partitions", [2, 5])
def test_partitions_of_the_fingerprints_find_the_same_functions(
    grammar: Grammar, size: int, measure: str, num_partitions: int
) -> None:
    algebra = identity_algebra(grammar)
    table = enumerate_functions(grammar, algebra, size, measure)
    texts = [tuple(t for t in row if t != PAD) for row in table.text().tolist()]
    order = operand_order(table, np.array(sorted(range(len(texts)), key=texts.__getitem__)), size + 1)
    whole = new_functions(table, algebra, size + 1, order, table.keys)
    parts = [
        new_functions(table, algebra, size + 1, order, table.keys, p, num_partitions) for p in range(num_partitions)
    ]
    assert sum(len(p.keys) for p in parts) == len(whole.keys) > 0
    merged = NewFunctions.merged(parts)
    for name in ("sequence", "tokens", "operands", "keys"):
        np.testing.assert_array_equal(getattr(merged, name), getattr(whole, name))


# ---------------------------------------------------------------- hash tables


@pytest.mark.parametrize("width", [2, 3, 7])
def test_hash_index_is_a_dictionary_of_rows(width: int) -> None:
    generator = np.random.default_rng(width)
    rows = generator.integers(0, PRIME + 1, size=(300, width), dtype=np.uint64)
    rows[::5, -1] = UNDEFINED_RESIDUE
    rows[1::5, 0] = 0
    index = HashIndex(mix(rows))
    order = generator.permutation(300)
    np.testing.assert_array_equal(index.find(mix(rows[order])), order)
    absent = rows.copy()
    absent[:, -1] ^= np.uint64(1 << 40)
    np.testing.assert_array_equal(index.find(mix(absent)), -1)


@pytest.fixture(scope="module")
def keys() -> np.ndarray:
    """2000 keys with repetitions, extremes, and keys that share one half or their place in a table."""
    generator = np.random.default_rng(11)
    drawn = generator.integers(0, PRIME, size=(1000, 2), dtype=np.uint64)
    drawn[:60, 0] = 0
    drawn[60:120, 1] = 0
    drawn[120:130] = UNDEFINED_RESIDUE
    drawn[130:140] = PRIME - 1
    drawn[140:200, 0] = drawn[200:260, 0]
    return np.concatenate([drawn, drawn[generator.permutation(1000)]])


@pytest.mark.parametrize("num_partitions", [1, 2, 7])
@pytest.mark.parametrize("block", [3, 500, 2000])
def test_a_key_set_keeps_the_first_of_equal_keys(keys: np.ndarray, num_partitions: int, block: int) -> None:
    found = []
    for partition in range(num_partitions):
        kept, fresh = KeySet(0, partition, num_partitions), np.empty(2000, dtype=np.int32)
        rows: list[int] = []
        for start in range(0, 2000, block):
            some = keys[start : start + block]
            num = kept.insert(some, len(some), UNDEFINED_RESIDUE, fresh)
            rows += [start + row for row in fresh[:num].tolist()]
        assert rows == sorted(rows) and kept.count == len(rows)
        assert len(kept.slots) >= len(rows) / 0.6 and len(kept.slots).bit_count() == 1
        assert all(int(keys[r, 0] >> np.uint64(29)) * num_partitions >> 32 == partition for r in rows)
        found += rows
    listed = list(map(tuple, keys.tolist()))
    assert sorted(found) == sorted({listed.index(key) for key in listed if key != (PRIME, PRIME)})


def test_a_key_set_looks_at_the_given_rows_only(keys: np.ndarray) -> None:
    kept, fresh = KeySet(10), np.empty(2000, dtype=np.int32)
    assert kept.insert(keys, 30, UNDEFINED_RESIDUE, fresh) == 30
    assert kept.insert(keys, 30, UNDEFINED_RESIDUE, fresh) == 0
    assert kept.count == 30


@pytest.mark.parametrize("block", [1, 77, 2000])
def test_key_numbers_count_first_appearances(keys: np.ndarray, block: int) -> None:
    numbering, numbers = KeyNumbers(), []
    known: dict[tuple[int, int], int] = {}
    given = keys[:: 4 if block == 1 else 1]
    for start in range(0, len(given), block):
        some = given[start : start + block]
        found, first = numbering.number(some, UNDEFINED_RESIDUE)
        fresh = []
        for row, key in enumerate(map(tuple, some.tolist())):
            if key != (PRIME, PRIME) and key not in known:
                known[key] = len(known)
                fresh.append(row)
        assert first.tolist() == fresh and numbering.count == len(known)
        numbers += found.tolist()
    assert numbers == [known.get(key, -1) for key in map(tuple, given.tolist())]


# ---------------------------------------------------------------- sampling


def probabilities(grammar: Grammar, size: int, measure: str, weights: list[float]) -> dict[tuple[int, ...], float]:
    """Probability of every text, in proportion to the product of its tokens' weights."""
    texts = [prefix(tree) for tree in universe(grammar, size, measure)]
    masses = {text: math.prod(weights[token] for token in text) for text in texts}
    return {text: mass / sum(masses.values()) for text, mass in masses.items()}


def drawn_texts(matrix: np.ndarray) -> Counter[tuple[int, ...]]:
    return Counter(tuple(t for t in row if t != PAD) for row in matrix.tolist())


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(TERNARY, 3, "leaves"), (TERNARY, 4, "nodes"), (UNARY, 3, "nodes"), (MEANS, 2, "leaves")],
)
def test_a_pcfg_draws_texts_as_often_as_it_says(grammar: Grammar, size: int, measure: str) -> None:
    weights = [3.0, 1.0, 2.0, 1.5, 0.5][: len(grammar.tokens)]
    pcfg = PCFG.of(grammar, dict(zip(grammar.tokens, weights, strict=True)))
    expected = probabilities(grammar, size, measure, [w / sum(weights) for w in weights])
    drawn = drawn_texts(pcfg.sample(3000, size, measure=measure, seed=1))
    assert set(drawn) <= set(expected)
    rare = [text for text in expected if expected[text] < 5 / 3000]
    often = [text for text in expected if text not in rare]
    shares = [expected[text] for text in often] + [sum(expected[text] for text in rare)] * bool(rare)
    counts = [drawn[text] for text in often] + [sum(drawn[text] for text in rare)] * bool(rare)
    assert chisquare(counts, np.array(shares) * 3000).pvalue > 1e-3
    matrix = padded(often, max(map(len, often)))
    total = sum(math.prod(weights[t] / sum(weights) for t in prefix(u)) for u in universe(grammar, size, measure))
    np.testing.assert_allclose(np.exp(pcfg.log_probability(matrix)) / total, [expected[text] for text in often])


@pytest.mark.parametrize(("grammar", "size", "measure"), [(TERNARY, 3, "leaves"), (UNARY, 3, "nodes")])
def test_every_text_of_a_size_is_drawn_equally_often(grammar: Grammar, size: int, measure: str) -> None:
    texts = [prefix(tree) for tree in trees(grammar, size, measure)]
    ones = (1,) * len(grammar.tokens)
    drawn = drawn_texts(sampling._draw(grammar, np.full(3000, size), size, measure, ones, 5))
    assert set(drawn) == set(texts)
    assert chisquare([drawn[text] for text in texts]).pvalue > 1e-3


def test_programs_of_a_size_that_nobody_can_list_are_complete_trees() -> None:
    arities = dict(zip(POLYNOMIAL.tokens, POLYNOMIAL.arities.tolist(), strict=True))
    matrix = sampling.sample_programs(POLYNOMIAL, 30, 50, seed=2)
    for row in matrix.tolist():
        tree = naive.tree([POLYNOMIAL.tokens[t] for t in row if t != PAD], arities)
        assert naive.num_leaves(tree) == 30
    assert len(set(map(bytes, matrix))) == 50


# ---------------------------------------------------------------- pq-grams


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES)
def test_codes_spell_the_pq_grams(grammar: Grammar, size: int, measure: str, p: int, q: int) -> None:
    for tree in universe(grammar, size, measure)[::7]:
        row = np.array([[*prefix(tree), PAD]], dtype=np.uint8)
        bag = pqgrams.profiles(grammar, row, pqgrams.PQGrams(p=p, q=q)).bag(0)
        texts = Counter({syntactic.pq_gram_text(grammar, code, p, q): num for code, num in bag.items()})
        assert texts == pq_grams(grammar, tree, p, q)


def test_windowed_pq_grams_forget_the_order_of_commutative_operands() -> None:
    rows = padded([prefix(t) for t in ((5, (0,), (1,)), (5, (1,), (0,)), (6, (0,), (1,)), (6, (1,), (0,)))], 3)
    found = pqgrams.profiles(POLYNOMIAL, rows, pqgrams.PQGrams(q=2, window=3))
    assert found.counts.tolist() == [8] * 4
    np.testing.assert_array_equal(found.codes[0], found.codes[1])
    assert found.bag(2) != found.bag(3)
    assert pqgrams.pair_distances(found[:2], found[2:]).tolist() == [1.0, 1.0]
    assert pqgrams.pair_distances(found[:1], found[1:2]).tolist() == [0.0]


@pytest.fixture(scope="module")
def small_corpus() -> Corpus:
    return build_corpus(RATIONAL, 2)


def test_syntactic_space_keeps_all_inner_products(small_corpus: Corpus) -> None:
    space = syntactic.fit_syntactic(small_corpus, p=2, q=3, num_axes=1000)
    bags = [pq_grams(RATIONAL, tree, 2, 3) for tree in universe(RATIONAL, 2)]
    assert sorted(space.features) == sorted(set().union(*bags))
    counts = np.array([[bag[feature] for feature in space.features] for bag in bags], dtype=np.float64)
    unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    np.testing.assert_allclose(space.coordinates @ space.coordinates.T, unit @ unit.T, atol=1e-5)
    np.testing.assert_allclose(space.coordinates, unit @ space.axes, atol=1e-5)
    np.testing.assert_allclose(space.explained, (space.coordinates**2).mean(axis=0), atol=1e-6)
    np.testing.assert_allclose(embed(space, RATIONAL, small_corpus.prefix), space.coordinates, atol=1e-5)
    bags = syntactic.pq_gram_bags(RATIONAL, small_corpus.prefix, pqgrams.PQGrams())
    scales = 1 / np.linalg.norm(bags.counts.toarray(), axis=1)
    again = sparse_axes(bags.counts, 5, row_scales=scales, lanczos=True)[1]
    np.testing.assert_allclose(again, space.axes[:, :5], atol=1e-6)
