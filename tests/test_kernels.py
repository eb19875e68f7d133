"""Compiled kernels against slow oracles on tiny universes; the same tests pass with NUMBA_DISABLE_JIT=1.

The oracles know neither ids nor residues: programs are nested tuples, functions are quotients of
polynomials with whole coefficients.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

import numba
import numpy as np
import pytest

from synthlab.language import identity
from synthlab.language.grammar import ADD, PAD, POLYNOMIAL, RATIONAL, Grammar, Grid, Operator
from synthlab.language.identity import PRIME, UNDEFINED_RESIDUE, fingerprint_points, fingerprints, mulmod
from synthlab.spaces import syntactic
from synthlab.universe.corpus import Corpus, build_corpus
from synthlab.universe.counting import operand_ids, program_counts, rank, unrank
from synthlab.universe.enumeration import HashIndex, enumerate_functions, mix

pytestmark = pytest.mark.kernels

MULTIPLY_ADD = Operator(symbol="muladd", arity=3, meaning=lambda a, b, c: a * b + c)
TERNARY = Grammar(name="ternary", variables=("x",), constants=(1,), operators=(ADD, MULTIPLY_ADD), grid=Grid.regular(0))
UNIVERSES = [
    pytest.param(POLYNOMIAL, 3, id="polynomial"),
    pytest.param(RATIONAL, 3, id="rational"),
    pytest.param(TERNARY, 4, id="ternary"),
]
# Without the compiler NumPy's uint8 scalars would wrap in the arithmetic of pq-gram codes.
TOKEN_TYPE = np.int64 if numba.config.DISABLE_JIT else np.uint8

Tree = tuple  # (token, operand, operand, ...)


# ---------------------------------------------------------------- oracles


def trees(grammar: Grammar, leaves: int) -> Iterator[Tree]:
    """Every tree with exactly so many leaves, in no particular order."""
    if leaves == 1:
        yield from ((token,) for token in range(grammar.num_terminals))
    for number, operator in enumerate(grammar.operators):
        for cuts in itertools.combinations(range(1, leaves), operator.arity - 1):
            sizes = np.diff([0, *cuts, leaves]).tolist()
            for operands in itertools.product(*(list(trees(grammar, size)) for size in sizes)):
                yield (grammar.num_terminals + number, *operands)


def prefix(tree: Tree) -> tuple[int, ...]:
    """Tokens in prefix order."""
    return (tree[0], *(token for operand in tree[1:] for token in prefix(operand)))


def universe(grammar: Grammar, max_leaves: int) -> list[Tree]:
    """Every tree, smaller ones first, then in the order of their prefix texts."""
    return [t for n in range(1, max_leaves + 1) for t in sorted(trees(grammar, n), key=prefix)]


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

    def __sub__(self, other: Quotient) -> Quotient:
        return self + Quotient(-other.over, other.under)

    def __mul__(self, other: Quotient) -> Quotient:
        return Quotient(self.over * other.over, self.under * other.under)

    def __truediv__(self, other: Quotient) -> Quotient:
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


# ---------------------------------------------------------------- counting


@pytest.mark.parametrize(("grammar", "leaves"), UNIVERSES)
def test_unrank_lists_the_universe_in_order(grammar: Grammar, leaves: int) -> None:
    texts = [prefix(tree) for tree in universe(grammar, leaves)]
    assert sum(program_counts(grammar, leaves)) == len(texts)
    matrix = unrank(grammar, np.arange(len(texts)), leaves)
    np.testing.assert_array_equal(matrix, padded(texts, matrix.shape[1]))


@pytest.mark.parametrize(("grammar", "leaves"), UNIVERSES)
def test_rank_and_operand_ranks_find_rows(grammar: Grammar, leaves: int) -> None:
    programs = universe(grammar, leaves)
    row_of = {prefix(tree): row for row, tree in enumerate(programs)}
    matrix = padded(list(row_of), max(map(len, row_of)))
    np.testing.assert_array_equal(rank(grammar, matrix, leaves), np.arange(len(programs)))
    operands = [[row_of[prefix(o)] for o in tree[1:]] for tree in programs]
    expected = [row + [-1] * (grammar.max_arity - len(row)) for row in operands]
    np.testing.assert_array_equal(operand_ids(grammar, matrix, leaves), expected)


# ---------------------------------------------------------------- identity

EDGES = [0, 1, 2, (1 << 30) - 1, 1 << 30, (1 << 31) - 1, 1 << 31, 1 << 60, PRIME - 2, PRIME - 1]


@pytest.fixture(scope="module")
def pairs() -> list[tuple[int, int]]:
    draws = np.random.default_rng(7).integers(0, PRIME, size=(60, 2)).tolist()
    return [*itertools.product(EDGES, repeat=2), *map(tuple, draws)]


def test_product_of_residues(pairs: list[tuple[int, int]]) -> None:
    assert [int(mulmod(np.uint64(a), np.uint64(b))) for a, b in pairs] == [a * b % PRIME for a, b in pairs]


@pytest.mark.parametrize(("symbol", "kernel"), [("+", "_add"), ("-", "_subtract"), ("*", "_multiply")])
def test_elementwise_arithmetic(symbol: str, kernel: str, pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.uint64).T
    meaning = next(o.meaning for o in POLYNOMIAL.operators if o.symbol == symbol)
    operation = getattr(identity, kernel)
    assert operation(a, b).tolist() == [meaning(x, y) % PRIME for x, y in pairs]
    assert operation(a[:3], np.full(3, UNDEFINED_RESIDUE)).tolist() == [PRIME] * 3
    assert operation(np.full(3, UNDEFINED_RESIDUE), b[:3]).tolist() == [PRIME] * 3


def test_inverse_exists_except_for_zero_and_undefined(pairs: list[tuple[int, int]]) -> None:
    values = sorted({a for a, _ in pairs} - {0})
    assert identity._invert(np.array(values, dtype=np.uint64)).tolist() == [pow(v, -1, PRIME) for v in values]
    assert identity._invert(np.array([0, PRIME], dtype=np.uint64)).tolist() == [PRIME, PRIME]


@pytest.mark.parametrize(("grammar", "leaves"), UNIVERSES)
def test_fingerprints_agree_with_polynomials(grammar: Grammar, leaves: int) -> None:
    programs = universe(grammar, leaves)
    expected = classes([function(grammar, tree) for tree in programs])
    texts = [prefix(tree) for tree in programs]
    first: dict[tuple[int, ...], int] = {(PRIME, PRIME): -1}
    found = fingerprints(grammar, padded(texts, max(map(len, texts)))).tolist()
    assert [first.setdefault(tuple(row), number) for number, row in enumerate(found)] == expected


# ---------------------------------------------------------------- enumeration


@pytest.mark.parametrize(("grammar", "leaves"), UNIVERSES)
def test_enumeration_keeps_the_first_program_of_every_function(grammar: Grammar, leaves: int) -> None:
    programs = universe(grammar, leaves)
    representatives = classes([function(grammar, tree) for tree in programs])
    expected = [prefix(programs[row]) for row in sorted(set(representatives) - {-1})]
    table = enumerate_functions(grammar, fingerprint_points(grammar), leaves)
    assert [tuple(t for t in row if t != PAD) for row in table.text.tolist()] == expected
    values = fingerprints(grammar, table.text)
    np.testing.assert_array_equal(table.values, values)


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


def test_mixing_tells_zero_from_undefined() -> None:
    rows = np.array([[0, 5, 6], [PRIME, 5, 6], [1, 5, 6]], dtype=np.uint64)
    assert len({tuple(key) for key in mix(rows).tolist()}) == 3


# ---------------------------------------------------------------- pq-grams


@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 3), (3, 2)])
@pytest.mark.parametrize(("grammar", "leaves"), UNIVERSES)
def test_codes_spell_the_pq_grams(grammar: Grammar, leaves: int, p: int, q: int) -> None:
    for tree in universe(grammar, leaves)[::7]:
        row = np.array([*prefix(tree), PAD], dtype=TOKEN_TYPE)
        links, out = np.empty((3, len(row)), dtype=np.int64), np.empty(len(row) * (q + 3), dtype=np.int64)
        count = syntactic._codes(row, grammar.arities, p, q, len(grammar.tokens), *links, out)
        texts = Counter(syntactic.pq_gram_text(grammar, code, p, q) for code in out[:count].tolist())
        assert texts == pq_grams(grammar, tree, p, q)


@pytest.fixture(scope="module")
def small_corpus() -> Corpus:
    corpus = build_corpus(RATIONAL, 2)
    return dataclasses.replace(corpus, prefix=corpus.prefix.astype(TOKEN_TYPE))


def test_syntactic_space_keeps_all_inner_products(small_corpus: Corpus) -> None:
    space = syntactic.fit_syntactic(small_corpus, p=2, q=3, num_axes=1000)
    bags = [pq_grams(RATIONAL, tree, 2, 3) for tree in universe(RATIONAL, 2)]
    assert sorted(space.features) == sorted(set().union(*bags))
    counts = np.array([[bag[feature] for feature in space.features] for bag in bags], dtype=np.float64)
    unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    np.testing.assert_allclose(space.coordinates @ space.coordinates.T, unit @ unit.T, atol=1e-5)
    np.testing.assert_allclose(space.coordinates, unit @ space.axes, atol=1e-5)
    np.testing.assert_allclose(space.explained, (space.coordinates**2).mean(axis=0), atol=1e-6)
