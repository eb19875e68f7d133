"""Members of the universe land where they were fitted; strangers where the definition puts them."""

import naive
import numpy as np
import pytest

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.language.program import parse, token_matrix
from synthlab.spaces import embedding
from synthlab.spaces.embedding import embed
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.space import Space
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.universe.corpus import build_corpus

SYNTACTIC = [
    {}, {"weighting": "raw"}, {"weighting": "tfidf"}, {"labels": "shape"}, {"q": 2, "window": 3, "p": 3},
    {"p": 10, "q": 12, "weighting": "tfidf"},
]  # fmt: skip


@pytest.mark.parametrize("settings", SYNTACTIC, ids=str)
def test_programs_land_where_they_were_fitted(corpus3, settings, monkeypatch):
    space = fit_syntactic(corpus3, num_axes=10, **settings)
    rows = np.random.default_rng(0).permutation(corpus3.num_programs)[:500]
    monkeypatch.setattr(embedding, "_ROWS_AT_ONCE", 99)
    places = embed(space, POLYNOMIAL, corpus3.prefix[rows])
    assert places.dtype == np.float32
    np.testing.assert_allclose(places, space.coordinates[rows], atol=1e-5)


@pytest.mark.parametrize("scaling", ["asinh", "rank", "raw"])
@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL], ids=lambda g: g.name)
def test_every_text_of_a_class_lands_where_the_class_was_fitted(grammar, scaling):
    corpus = build_corpus(grammar, 3)
    space = fit_semantic(corpus, num_axes=8, scaling=scaling)
    rows = np.flatnonzero(corpus.class_index >= 0)[::5]
    np.testing.assert_allclose(
        embed(space, grammar, corpus.prefix[rows]), space.coordinates[corpus.class_index[rows]], atol=1e-5
    )


def test_classes_with_poles_land_where_they_were_fitted():
    corpus = build_corpus(RATIONAL, 4)
    space = fit_semantic(corpus, num_axes=8)
    poles = np.flatnonzero(space.model["masked"])
    assert len(poles) == 9
    places = embed(space, RATIONAL, corpus.prefix[corpus.class_id[poles]])
    np.testing.assert_allclose(places, space.coordinates[poles], atol=1e-5)


def test_a_program_without_a_value_has_no_place(rational3):
    space = fit_semantic(rational3)
    places = embed(space, RATIONAL, token_matrix([parse(RATIONAL, "1 / (x - x)"), parse(RATIONAL, "x")]))
    assert np.isnan(places[0]).all() and not np.isnan(places[1]).any()


@pytest.mark.parametrize("weighting", ["raw", "l2", "tfidf"])
def test_unseen_grams_count_in_the_length_and_nowhere_else(corpus3, weighting):
    space = fit_syntactic(corpus3, num_axes=12, weighting=weighting)
    text = "(x + y * 3) * (x - y) - 2 * 2 * (1 + 1)"
    program = parse(POLYNOMIAL, text)
    tree = naive.tree([POLYNOMIAL.tokens[t] for t in program.prefix], naive.POLYNOMIAL_ARITIES)
    bag = {naive.pq_text(gram): num for gram, num in naive.pq_grams(tree, 2, 3).items()}
    num_with = dict.fromkeys(bag, 0)
    if weighting == "tfidf":
        for row in corpus3.prefix:
            tokens = [POLYNOMIAL.tokens[t] for t in row if t != PAD]
            for gram in naive.pq_grams(naive.tree(tokens, naive.POLYNOMIAL_ARITIES), 2, 3):
                if naive.pq_text(gram) in num_with:
                    num_with[naive.pq_text(gram)] += 1
        bag = {f: n * (np.log((1 + corpus3.num_programs) / (1 + num_with[f])) + 1) for f, n in bag.items()}
    assert not set(bag) <= set(space.features)
    length = 1.0 if weighting == "raw" else np.linalg.norm(list(bag.values()))
    column = {f: k for k, f in enumerate(space.features)}
    expected = sum(n * space.axes[column[f]] for f, n in bag.items() if f in column) / length
    np.testing.assert_allclose(embed(space, POLYNOMIAL, token_matrix([program]))[0], expected, atol=1e-5)


def test_larger_programs_of_a_known_function_land_on_it(corpus3):
    space = fit_semantic(corpus3, num_axes=5)
    long = token_matrix([parse(POLYNOMIAL, "x * x + (y - y) * (x + 3) * y + 1 - 1")])
    square = token_matrix([parse(POLYNOMIAL, "x * x")])
    np.testing.assert_array_equal(embed(space, POLYNOMIAL, long), embed(space, POLYNOMIAL, square))


def test_a_loaded_space_embeds_alike(corpus3, store):
    for space in (fit_syntactic(corpus3, num_axes=4), fit_semantic(corpus3, num_axes=4, scaling="rank")):
        loaded = Space.load(store, space.save(store))
        prefix = corpus3.prefix[::97]
        np.testing.assert_array_equal(embed(loaded, POLYNOMIAL, prefix), embed(space, POLYNOMIAL, prefix))


def test_programs_of_another_grammar_are_refused(corpus3, rational3):
    with pytest.raises(ConfigurationError, match=f"not {RATIONAL.digest}: fit it again"):
        embed(fit_semantic(corpus3, num_axes=2), RATIONAL, rational3.prefix[:2])
