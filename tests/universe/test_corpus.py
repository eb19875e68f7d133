"""The universe against published counts and against listing by recursion with exact functions."""

from collections import Counter

import languages
import naive
import numpy as np
import pytest
from languages import AVERAGE, BOUNDS, CHOICES, FLOORED, HALVES, MULADD, TERNARY, UNARY, UNIVERSES, label

from synthlab.errors import ArtifactError, BudgetExceeded, ConfigurationError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.identity import fingerprints
from synthlab.language.measure import sizes_of
from synthlab.universe.corpus import NO_CLASS, Corpus, build_corpus, function_table
from synthlab.universe.planning import Limits

by_universe = pytest.mark.parametrize(("grammar", "size", "measure"), UNIVERSES, ids=label)


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
        build_corpus(POLYNOMIAL, 7, limits=Limits(memory_bytes=1e9))


def naive_count(leaves):
    """5^n leaves, 3^(n-1) operators, Catalan(n-1) shapes."""
    catalan = [1]
    for n in range(1, leaves):
        catalan.append(sum(catalan[k] * catalan[n - 1 - k] for k in range(n)))
    return 5**leaves * 3 ** (leaves - 1) * catalan[leaves - 1]


# ---------------------------------------------------------------- every measure, every kind of operator


@pytest.fixture(scope="module")
def corpora():
    """Corpora of the listed universes, built once."""
    built = {}

    def corpus_of(grammar, size, measure):
        key = grammar, size, measure
        if key not in built:
            built[key] = build_corpus(grammar, size, measure=measure)
        return built[key]

    return corpus_of


@by_universe
def test_rows_are_all_texts_in_order(corpora, grammar, size, measure):
    corpus = corpora(grammar, size, measure)
    listed = languages.functions(grammar, size, measure)
    assert languages.rows(corpus.prefix) == [text for _, text, _ in listed]
    assert sizes_of(grammar, corpus.prefix, measure).tolist() == [n for n, _, _ in listed]
    assert corpus.leaves.tolist() == [sum(t < grammar.num_terminals for t in text) for _, text, _ in listed]
    assert corpus.root.tolist() == [text[0] for _, text, _ in listed]


@by_universe
def test_classes_are_the_functions(corpora, grammar, size, measure):
    corpus = corpora(grammar, size, measure)
    numbers = [number for _, _, number in languages.functions(grammar, size, measure)]
    first = {}
    for row, number in enumerate(numbers):
        if number is not None:
            first.setdefault(number, row)
    assert corpus.class_id.tolist() == sorted(first.values())
    got = np.where(corpus.class_index < 0, NO_CLASS, corpus.class_id[corpus.class_index])
    assert got.tolist() == [NO_CLASS if number is None else first[number] for number in numbers]


@by_universe
def test_multiplicities_sum_to_the_defined_programs(corpora, grammar, size, measure):
    corpus = corpora(grammar, size, measure)
    numbers = [number for _, _, number in languages.functions(grammar, size, measure)]
    counted = Counter(number for number in numbers if number is not None)
    assert corpus.multiplicity.sum() == counted.total() == len(numbers) - (corpus.class_index == NO_CLASS).sum()
    assert sorted(corpus.multiplicity.tolist()) == sorted(counted.values())
    assert (corpus.multiplicity > 0).all()


@by_universe
def test_sizes_and_counts_are_those_of_minimal_texts(corpora, grammar, size, measure):
    corpus = corpora(grammar, size, measure)
    minimal = languages.brute.minimal(languages.functions(grammar, size, measure))
    assert corpus.minimal_size.tolist() == [n for n, _ in minimal]
    assert corpus.class_leaves.tolist() == [sum(t < grammar.num_terminals for t in text) for _, text in minimal]
    table = corpus.counts()
    smallest = 0 if measure == "depth" else 1
    assert table[measure].tolist() == list(range(smallest, size + 1))
    sizes = [n for n, _, _ in languages.functions(grammar, size, measure)]
    assert table["programs"].tolist() == [sizes.count(n) for n in table[measure]]
    assert table["functions"].tolist() == [corpus.minimal_size.tolist().count(n) for n in table[measure]]
    assert table["programs_cumulative"].iloc[-1] == corpus.num_programs
    assert table["functions_cumulative"].iloc[-1] == corpus.num_classes


@by_universe
def test_the_listed_universe_has_the_functions_of_the_table(corpora, grammar, size, measure):
    corpus, table = corpora(grammar, size, measure), function_table(grammar, size, measure=measure)
    assert np.array_equal(table.keys, corpus.fingerprints)
    assert np.array_equal(table.sizes, corpus.minimal_size)
    assert np.array_equal(corpus.fingerprints, fingerprints(grammar, corpus.prefix[corpus.class_id]))
    assert languages.rows(table.text()) == languages.rows(corpus.prefix[corpus.class_id])


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (FLOORED, 3, "leaves"),
        (PIECEWISE, 2, "depth"),
        (BOUNDS, 6, "nodes"),
        (AVERAGE, 2, "depth"),
        (HALVES, 4, "leaves"),
    ],
    ids=label,
)
def test_outputs_of_any_grammar_are_those_of_the_minimal_text(corpora, grammar, size, measure):
    corpus = corpora(grammar, size, measure)
    arities = languages.arities(grammar)
    points = [dict(zip(grammar.variables, p, strict=True)) for p in grammar.grid.points]
    for text, outputs in zip(texts(corpus, corpus.class_id[:400]), corpus.outputs, strict=False):
        tree = naive.tree(text, arities)
        expected = [naive.walk(tree, p, languages.brute.MEANINGS) for p in points]
        assert [None if np.isnan(v) else v for v in outputs.tolist()] == pytest.approx(expected)


def test_programs_that_are_undefined_everywhere_have_no_class(corpora):
    corpus = corpora(FLOORED, 3, "leaves")
    undefined = {" ".join(t) for t in texts(corpus, corpus.class_index == NO_CLASS)}
    assert {"// x 0", "% y 0", "// x - y y", "- x % 2 0"} <= undefined
    assert "// 0 x" not in undefined and "% x y" not in undefined
    frame = corpus.frame(np.flatnonzero(corpus.class_index == NO_CLASS))
    assert (frame["class_id"] == NO_CLASS).all() and (frame["class_size"] == 0).all()


def test_a_grammar_of_equal_probes_says_so():
    assert "(equal on probes)" in repr(build_corpus(PIECEWISE, 2))
    assert "<= 2 leaves: 84 programs" in repr(build_corpus(PIECEWISE, 2))
    assert "equal on probes" in build_corpus(PIECEWISE, 2).identity_method
    exact = build_corpus(RATIONAL, 1, measure="depth")
    assert "probes" not in repr(exact) and "<= 1 depth: 68 programs" in repr(exact)
    assert exact.identity_method.startswith("exact")


@pytest.mark.parametrize(("grammar", "size", "measure"), [(RATIONAL, 3, "nodes"), (POLYNOMIAL, 1, "depth")], ids=label)
def test_a_loaded_corpus_keeps_its_measure(store, grammar, size, measure):
    corpus = build_corpus(grammar, size, measure=measure)
    loaded = Corpus.load(store, corpus.save(store))
    assert loaded.identity == corpus.identity and loaded.identity["measure"] == measure
    assert (loaded.measure, loaded.max_size, loaded.grammar) == (measure, size, grammar)
    assert loaded.label.endswith(measure) and repr(loaded) == repr(corpus)
    assert loaded.minimal_size.tolist() == corpus.minimal_size.tolist()
    for name, value in corpus.payload().items():
        assert loaded.payload()[name].dtype == value.dtype
        assert np.array_equal(loaded.payload()[name], value)


def test_a_corpus_is_known_by_its_measure_too():
    one, two, three = (build_corpus(POLYNOMIAL, 2, measure=m) for m in ("leaves", "nodes", "depth"))
    assert len({one.key, two.key, three.key}) == 3
    assert one.key == build_corpus(POLYNOMIAL, 2).key
    assert one.identity == Corpus.describe(POLYNOMIAL, 2)
    assert two.identity == Corpus.describe(POLYNOMIAL, 2, "nodes")


def test_the_same_universe_by_leaves_and_by_nodes_has_the_same_classes():
    by_leaves, by_nodes = build_corpus(RATIONAL, 3), build_corpus(RATIONAL, 5, measure="nodes")
    for name in ("prefix", "leaves", "class_index", "class_id", "fingerprints"):
        assert np.array_equal(getattr(by_leaves, name), getattr(by_nodes, name))
    assert (by_nodes.minimal_size == 2 * by_leaves.minimal_size - 1).all()


def test_blocks_of_texts_do_not_change_the_classes(monkeypatch):
    from synthlab.universe import corpus

    for grammar, size, measure in ((RATIONAL, 3, "leaves"), (FLOORED, 3, "leaves"), (MULADD, 1, "depth")):
        whole = build_corpus(grammar, size, measure=measure)
        monkeypatch.setattr(corpus, "_ROWS_AT_ONCE", 97)
        pieces = build_corpus(grammar, size, measure=measure)
        monkeypatch.undo()
        for name, value in whole.payload().items():
            assert np.array_equal(pieces.payload()[name], value)


def test_a_purely_ternary_grammar_skips_even_sizes(corpora):
    corpus = corpora(TERNARY, 7, "leaves")
    assert corpus.counts()["programs"].tolist() == [3, 0, 27, 0, 729, 0, 26244]
    assert (corpus.counts()["functions"] > 0).tolist() == [True, False] * 3 + [True]


@pytest.mark.parametrize(
    ("grammar", "size", "measure", "message"),
    [
        (UNARY, 3, "leaves", "unary operator"),
        (POLYNOMIAL, 0, "nodes", "at least 1"),
        (POLYNOMIAL, -1, "depth", "at least 0"),
        (CHOICES, 3, "height", "unknown measure"),
    ],
    ids=label,
)
def test_measures_that_bound_nothing_are_refused(grammar, size, measure, message):
    with pytest.raises(ConfigurationError, match=message):
        build_corpus(grammar, size, measure=measure)
