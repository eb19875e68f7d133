"""The universe against published counts and against a naive enumeration by polynomial expansion."""

from collections import Counter

import naive
import numpy as np
import pytest

from synthlab.errors import ArtifactError, BudgetExceeded, ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL, Grammar, Grid, Operator
from synthlab.universe.corpus import NO_CLASS, Corpus, build_corpus


def texts(corpus, rows):
    return [tuple(corpus.grammar.tokens[t] for t in row if t != PAD) for row in corpus.prefix[rows]]


def least_texts(listed):
    """Row of the first text of every function, in the order of rows."""
    first = {}
    for row, (_, number) in enumerate(listed):
        if number is not None:
            first.setdefault(number, row)
    return first


@pytest.fixture(scope="module")
def rational4():
    return build_corpus(RATIONAL, 4)


def test_ids_are_ranks_by_leaves_then_declared_token_order(corpus4, naive4):
    assert texts(corpus4, slice(None)) == [text for text, _ in naive4]


def test_classes_are_the_polynomials(corpus4, naive4):
    first = least_texts(naive4)
    assert corpus4.class_id.tolist() == sorted(first.values())
    expected = [first[number] for _, number in naive4]
    assert corpus4.class_id[corpus4.class_index].tolist() == expected


def test_multiplicities_count_the_texts_of_each_polynomial(corpus4, naive4):
    first = least_texts(naive4)
    counted = Counter(first[number] for _, number in naive4)
    assert dict(zip(corpus4.class_id.tolist(), corpus4.multiplicity.tolist(), strict=True)) == dict(counted)


def test_rational_classes_are_the_quotients_of_polynomials(rational3):
    listed = naive.universe(naive.RATIONAL_ARITIES, 3, naive.Quotients())
    first = least_texts(listed)
    assert texts(rational3, slice(None)) == [text for text, _ in listed]
    got = np.where(rational3.class_index < 0, NO_CLASS, rational3.class_id[rational3.class_index])
    assert got.tolist() == [NO_CLASS if number is None else first[number] for _, number in listed]


def test_published_counts_of_the_five_leaf_universe():
    corpus = build_corpus(POLYNOMIAL, 5)
    assert corpus.counts()["functions"].tolist() == [5, 35, 238, 1939, 16850]
    assert (corpus.num_programs, corpus.num_classes) == (3_630_455, 19_067)
    assert corpus.multiplicity.max() == 89_288
    assert corpus.multiplicity.sum() == corpus.num_programs
    shares = corpus.multiplicity / corpus.multiplicity.sum()
    assert round(np.exp(-(shares * np.log(shares)).sum())) == 1_923


def test_counts_table_adds_up(corpus4):
    table = corpus4.counts()
    assert table["programs"].tolist() == [5, 75, 2250, 84375]
    assert table["functions"].tolist() == [5, 35, 238, 1939]
    assert table["programs_cumulative"].tolist() == [5, 80, 2330, 86705]
    assert table["functions_cumulative"].tolist() == [5, 40, 278, 2217]


def test_identically_zero_denominators_are_programs_without_a_class(rational3):
    undefined = [" ".join(t) for t in texts(rational3, rational3.class_index == NO_CLASS)]
    assert "/ x - y y" in undefined and "/ - 1 1 - x x" not in undefined
    assert "/ x - y x" not in undefined


def test_rational_functions_with_a_pole_are_no_tasks(rational4):
    assert rational4.num_classes == 4136
    poles = []
    points = [dict(zip("xy", p, strict=True)) for p in RATIONAL.grid.points]
    for row, text in enumerate(texts(rational4, rational4.class_id)):
        tree = naive.tree(text, naive.RATIONAL_ARITIES)
        if "/" in text and any(naive.walk(tree, p, naive.FRACTION_MEANINGS) is None for p in points):
            poles.append(row)
    assert len(poles) == 9
    assert np.flatnonzero(~rational4.is_task).tolist() == poles


def test_class_outputs_are_those_of_the_minimal_text(corpus3):
    points = [dict(zip("xy", p, strict=True)) for p in POLYNOMIAL.grid.points]
    for text, outputs in zip(texts(corpus3, corpus3.class_id), corpus3.outputs, strict=True):
        tree = naive.tree(text, naive.POLYNOMIAL_ARITIES)
        assert outputs.tolist() == [naive.walk(tree, p, naive.FRACTION_MEANINGS) for p in points]


def test_another_fingerprint_seed_gives_the_same_classes(corpus3):
    other = build_corpus(POLYNOMIAL, 3, seed=7)
    assert (other.class_index == corpus3.class_index).all()
    x = corpus3.class_index[0]
    assert (other.fingerprints[x] != corpus3.fingerprints[x]).all()
    assert other.key != corpus3.key


def test_frame_names_every_program_and_its_class(corpus3):
    table = corpus3.frame(np.array([0, 5, 80]))
    assert table["program"].tolist() == ["x", "x + x", "x + (x + x)"]
    assert table["leaves"].tolist() == [1, 2, 3]
    assert table["root"].tolist() == ["x", "+", "+"]
    assert table["class_id"].tolist()[:2] == [0, 5]
    classes = corpus3.class_frame()
    assert classes["class_size"].sum() == corpus3.num_programs
    assert classes["class_id"].is_monotonic_increasing


def test_class_rows_inverts_class_ids_and_refuses_strangers(corpus3):
    chosen = np.array([17, 3, 200])
    assert corpus3.class_rows(corpus3.class_id[chosen]).tolist() == chosen.tolist()
    stranger = np.setdiff1d(np.arange(corpus3.num_programs), corpus3.class_id)[:1]
    for wrong in (stranger, np.array([corpus3.num_programs + 5])):
        with pytest.raises(ArtifactError, match="another corpus"):
            corpus3.class_rows(wrong)


def test_saved_and_loaded_corpus_is_equal(rational3, store):
    loaded = Corpus.load(store, rational3.save(store))
    assert loaded.identity == rational3.identity and loaded.grammar is RATIONAL
    for name, value in rational3.payload().items():
        assert loaded.payload()[name].dtype == value.dtype
        assert np.array_equal(loaded.payload()[name], value)


def test_a_corpus_of_another_meaning_is_refused(corpus3):
    identity = corpus3.identity | {"digest": "0" * 16}
    with pytest.raises(ArtifactError, match="enumerate it again"):
        Corpus.restore(identity, corpus3.payload())


@pytest.mark.parametrize("size", [0, -3])
def test_an_empty_universe_is_refused(size):
    with pytest.raises(ConfigurationError, match="at least 1"):
        build_corpus(POLYNOMIAL, size)


def test_a_corpus_that_would_not_fit_is_refused_with_its_exact_count():
    total = sum(naive_count(n) for n in range(1, 8))
    with pytest.raises(BudgetExceeded, match=f"{total:,} programs"):
        build_corpus(POLYNOMIAL, 7, max_bytes=1e9)


def naive_count(leaves):
    """5^n leaves, 3^(n-1) operators, Catalan(n-1) shapes."""
    catalan = [1]
    for n in range(1, leaves):
        catalan.append(sum(catalan[k] * catalan[n - 1 - k] for k in range(n)))
    return 5**leaves * 3 ** (leaves - 1) * catalan[leaves - 1]


def test_a_purely_ternary_grammar_skips_even_sizes():
    muladd = Operator(symbol="mid", arity=3, meaning=lambda a, b, c: a * b + c)
    grammar = Grammar(
        name="ternary", variables=("x", "y"), constants=(1,), operators=(muladd,), grid=Grid.regular(0, 0)
    )
    corpus = build_corpus(grammar, 5)
    assert corpus.counts()["programs"].tolist() == [3, 0, 27, 0, 729]
    polynomials = set()
    for text in texts(corpus, slice(None)):
        tree = naive.tree(text, {"x": 0, "y": 0, "1": 0, "mid": 3})
        polynomials.add(frozenset(muladd_expand(tree).items()))
    assert corpus.num_classes == len(polynomials)


def muladd_expand(node):
    if len(node) == 1:
        return naive.poly_leaf(node[0])
    a, b, c = map(muladd_expand, node[1:])
    return naive.poly_apply("+", naive.poly_apply("*", a, b), c)
