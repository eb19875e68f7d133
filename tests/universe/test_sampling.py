"""Draws against the exact distribution over listed universes, by chi-square tests with fixed seeds."""

import itertools
import math
from collections import Counter
from fractions import Fraction

import brute
import numpy as np
import pytest
from languages import AVERAGE, MIXED, MULADD, TERNARY, UNARY, arities, label, rows
from scipy import stats

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.language.measure import max_length, sizes_of
from synthlab.universe.counting import program_counts, rank_program, unrank
from synthlab.universe.sampling import PCFG, _draw, sample_programs

LEAST_P = 1e-4
LISTED = [
    (POLYNOMIAL, 2, "leaves"),
    (POLYNOMIAL, 3, "leaves"),
    (POLYNOMIAL, 5, "nodes"),
    (POLYNOMIAL, 1, "depth"),
    (RATIONAL, 2, "leaves"),
    (UNARY, 4, "nodes"),
    (UNARY, 2, "depth"),
    (TERNARY, 5, "leaves"),
    (MIXED, 5, "leaves"),
    (MIXED, 6, "nodes"),
    (MULADD, 5, "nodes"),
]
ADDITIVE = [entry for entry in LISTED if entry[2] != "depth"]
WEIGHTED = [
    (POLYNOMIAL, 3, "leaves", {"x": 4, "3": 0.5, "*": 2.5}),
    (POLYNOMIAL, 5, "nodes", {"x": 4, "y": 0, "-": 3}),
    (UNARY, 4, "nodes", {"neg": 0.2, "square": 3, "y": 0.1}),
    (MIXED, 5, "leaves", {"mid": 2, "four": 1.5, "+": 0.3, "1": 0.7}),
    (MIXED, 6, "nodes", {"mid": 2, "four": 4, "x": 3}),
    (MULADD, 5, "nodes", {"mid": 5, "neg": 2}),
    (AVERAGE, 4, "leaves", {"mean": 3, "1": 2}),
]


def probabilities(grammar, weights):
    """Exact probability of every token."""
    values = [Fraction(str(weights.get(token, 1))) for token in grammar.tokens]
    return [v / sum(values) for v in values]


def masses(grammar, max_size, measure, tokens):
    """Exact probability of every text among those up to the size, and of every size."""
    by_size = brute.texts(arities(grammar), max_size, measure)
    mass = {text: math.prod(tokens[t] for t in text) for found in by_size.values() for text in found}
    total = sum(mass.values())
    sizes = [sum((mass[text] for text in found), Fraction(0)) / total for found in by_size.values()]
    return {text: m / total for text, m in mass.items()}, sizes


def p_value(drawn, expected):
    """Chi-square of drawn texts against expected numbers by text; rare texts are taken together."""
    counted = Counter(drawn)
    assert counted.keys() <= {text for text, e in expected.items() if e}
    pairs = [(counted[text], float(e)) for text, e in expected.items() if e]
    rare = [pair for pair in pairs if pair[1] < 5]
    pooled = [pair for pair in pairs if pair[1] >= 5]
    if sum(e for _, e in rare) >= 5:
        pooled.append(tuple(map(sum, zip(*rare, strict=True))))
    elif rare:
        smallest = min(range(len(pooled)), key=lambda k: pooled[k][1])
        pooled[smallest] = tuple(map(sum, zip(pooled[smallest], *rare, strict=True)))
    seen, wanted = map(np.array, zip(*pooled, strict=True))
    return stats.chisquare(seen, wanted * (seen.sum() / wanted.sum())).pvalue


def ones(grammar):
    return (1,) * len(grammar.tokens)


# ---------------------------------------------------------------- uniform


@pytest.mark.parametrize(("grammar", "size", "measure"), LISTED, ids=label)
def test_every_program_of_a_size_is_equally_likely(grammar, size, measure):
    texts = brute.texts(arities(grammar), size, measure)[size]
    num = 20 * len(texts)
    drawn = rows(sample_programs(grammar, size, num, measure=measure, seed=11))
    assert p_value(drawn, dict.fromkeys(texts, num / len(texts))) > LEAST_P


@pytest.mark.parametrize(("grammar", "size", "measure"), ADDITIVE, ids=label)
def test_the_way_to_draw_from_big_universes_is_uniform_too(grammar, size, measure):
    texts = brute.texts(arities(grammar), size, measure)[size]
    num = 20 * len(texts)
    drawn = rows(_draw(grammar, np.full(num, size), size, measure, ones(grammar), 12))
    assert p_value(drawn, dict.fromkeys(texts, num / len(texts))) > LEAST_P


@pytest.mark.parametrize(
    ("grammar", "size", "measure"), [(POLYNOMIAL, 60, "leaves"), (UNARY, 61, "nodes"), (MIXED, 70, "leaves")], ids=label
)
def test_ranks_in_a_huge_universe_are_uniform(grammar, size, measure):
    total = program_counts(grammar, size, measure)[-1]
    assert total > 10**24
    drawn = sample_programs(grammar, size, 3000, measure=measure, seed=5)
    ranks = [rank_program(grammar, text, measure) for text in rows(drawn)]
    assert stats.kstest([float(Fraction(r, total)) for r in ranks], "uniform").pvalue > LEAST_P
    low = np.bincount([r % 7 for r in ranks], minlength=7)
    assert stats.chisquare(low).pvalue > LEAST_P


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [*LISTED, (POLYNOMIAL, 80, "leaves"), (UNARY, 90, "nodes"), (MIXED, 121, "nodes"), (POLYNOMIAL, 4, "depth")],
    ids=label,
)
def test_drawn_programs_have_exactly_the_size(grammar, size, measure):
    drawn = sample_programs(grammar, size, 500, measure=measure, seed=1)
    assert drawn.dtype == np.uint8 and drawn.shape == (500, max_length(grammar, size, measure))
    assert (sizes_of(grammar, drawn, measure) == size).all()
    for text in rows(drawn):
        open_operands = list(itertools.accumulate((int(grammar.arities[t]) - 1 for t in text), initial=1))
        assert open_operands[-1] == 0 and min(open_operands[:-1]) > 0


@pytest.mark.parametrize(("size", "measure"), [(3, "leaves"), (60, "leaves"), (121, "nodes"), (2, "depth")])
def test_a_seed_determines_the_draw(size, measure):
    first, again, other = (sample_programs(POLYNOMIAL, size, 50, measure=measure, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


def test_no_programs_can_be_drawn_on_request():
    assert sample_programs(POLYNOMIAL, 3, 0).shape == (0, 5)
    assert sample_programs(POLYNOMIAL, 60, 0).shape == (0, 119)


def test_sizes_without_programs_are_refused():
    with pytest.raises(ConfigurationError, match="no program of exactly 4 leaves"):
        sample_programs(TERNARY, 4, 1)
    with pytest.raises(ConfigurationError, match="no program of exactly 60 nodes"):
        sample_programs(POLYNOMIAL, 60, 1, measure="nodes")
    with pytest.raises(ConfigurationError, match="use at least 1"):
        sample_programs(POLYNOMIAL, 0, 1)
    with pytest.raises(ConfigurationError, match="unary operator"):
        sample_programs(UNARY, 3, 1)
    with pytest.raises(ConfigurationError, match="unknown measure"):
        sample_programs(POLYNOMIAL, 3, 1, measure="height")


@pytest.mark.parametrize("depth", [5, 9, 10])
def test_depths_beyond_ids_are_refused(depth):
    with pytest.raises(ConfigurationError, match="beyond 63-bit ids: sample by nodes"):
        sample_programs(POLYNOMIAL, depth, 1, measure="depth")


# ---------------------------------------------------------------- probabilistic grammars


@pytest.mark.parametrize(("grammar", "max_size", "measure", "weights"), WEIGHTED, ids=label)
def test_a_pcfg_draws_by_its_probabilities_within_the_bound(grammar, max_size, measure, weights):
    expected, sizes = masses(grammar, max_size, measure, probabilities(grammar, weights))
    num = min(80_000, 20 * len(expected))
    drawn = PCFG.of(grammar, weights).sample(num, max_size, measure=measure, seed=21)
    assert p_value(rows(drawn), {text: num * e for text, e in expected.items()}) > LEAST_P
    per_size = np.bincount(sizes_of(grammar, drawn, measure), minlength=max_size + 1)[1:]
    assert (
        p_value([n for n, c in enumerate(per_size) for _ in range(c)], {n: num * e for n, e in enumerate(sizes)})
        > LEAST_P
    )


@pytest.mark.parametrize(("grammar", "max_size", "measure", "weights"), WEIGHTED, ids=label)
def test_sizes_are_distributed_as_their_texts(grammar, max_size, measure, weights):
    _, expected = masses(grammar, max_size, measure, probabilities(grammar, weights))
    got = PCFG.of(grammar, weights).size_distribution(max_size, measure)
    assert got.shape == (max_size,) and math.isclose(got.sum(), 1)
    assert got == pytest.approx([float(e) for e in expected], rel=1e-9, abs=1e-15)


def test_sizes_of_a_subcritical_grammar_approach_the_branching_process():
    """With probability q of a binary operator, n leaves have probability Catalan(n-1) q^(n-1) (1-q)^n."""
    q = 0.3
    pcfg = PCFG.of(POLYNOMIAL, {**dict.fromkeys("xy123", (1 - q) / 5), **dict.fromkeys("+-*", q / 3)})
    exact = [math.comb(2 * n - 2, n - 1) // n * q ** (n - 1) * (1 - q) ** n for n in range(1, 61)]
    assert sum(exact) == pytest.approx(1, abs=1e-6)
    assert pcfg.size_distribution(60) == pytest.approx([e / sum(exact) for e in exact], rel=1e-6)


@pytest.mark.parametrize(("grammar", "max_size", "measure", "weights"), WEIGHTED, ids=label)
def test_the_logarithm_of_a_probability_is_that_of_the_product(grammar, max_size, measure, weights):
    tokens = probabilities(grammar, weights)
    matrix = unrank(grammar, np.arange(min(300, sum(program_counts(grammar, max_size, measure)))), max_size, measure)
    expected = [float(math.prod(tokens[t] for t in text)) for text in rows(matrix)]
    got = PCFG.of(grammar, weights).log_probability(matrix)
    assert np.exp(got) == pytest.approx(expected, rel=1e-12)
    assert (np.isneginf(got) == [e == 0 for e in expected]).all()


def test_padding_costs_nothing():
    pcfg = PCFG.of(POLYNOMIAL, {})
    rows_of_x = np.array([[0, PAD, PAD], [5, 0, 1]], dtype=np.uint8)
    assert pcfg.log_probability(rows_of_x) == pytest.approx([-math.log(8), -3 * math.log(8)])


def test_fitting_counts_the_productions():
    matrix = unrank(POLYNOMIAL, np.array([0, 5, 700, 2100]), 3)
    counted = Counter(t for text in rows(matrix) for t in text)
    for smoothing in (0.0, 1.0, 0.25):
        uses = [counted[t] + smoothing for t in range(8)]
        expected = [u / sum(uses) for u in uses]
        assert PCFG.fit(POLYNOMIAL, matrix, smoothing).probabilities == pytest.approx(expected)
    assert PCFG.fit(POLYNOMIAL, matrix) == PCFG.fit(POLYNOMIAL, matrix, 1.0)


def test_the_fit_has_the_greatest_likelihood():
    matrix = sample_programs(MIXED, 8, 300, seed=2)
    best = PCFG.fit(MIXED, matrix, smoothing=0)
    top = best.log_probability(matrix).sum()
    generator = np.random.default_rng(0)
    for _ in range(20):
        moved = np.array(best.probabilities) * generator.uniform(0.8, 1.25, size=5)
        assert PCFG(MIXED, tuple(moved / moved.sum())).log_probability(matrix).sum() < top


def test_a_fit_to_draws_recovers_the_grammar():
    """In a subcritical grammar the bound hardly matters, so the uses of productions are the probabilities."""
    weights = {"x": 3, "y": 1, "1": 1, "2": 0.5, "3": 0.5, "+": 1.2, "-": 0.4, "*": 0.6}
    pcfg = PCFG.of(POLYNOMIAL, weights)
    drawn = pcfg.sample(20_000, 100, seed=4)
    assert PCFG.fit(POLYNOMIAL, drawn).probabilities == pytest.approx(pcfg.probabilities, abs=0.01)


@pytest.mark.parametrize(
    ("grammar", "measure"), [(POLYNOMIAL, "leaves"), (UNARY, "nodes"), (MIXED, "nodes")], ids=label
)
def test_a_seed_determines_the_draw_of_a_pcfg(grammar, measure):
    pcfg = PCFG.of(grammar, {"x": 2})
    first, again, other = (pcfg.sample(100, 40, measure=measure, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert sizes_of(grammar, first, measure).max() <= 40


def test_forbidden_tokens_are_never_drawn():
    drawn = PCFG.of(POLYNOMIAL, {"*": 0, "2": 0}).sample(3000, 12, seed=0)
    used = np.unique(drawn[drawn != PAD])
    assert used.tolist() == [0, 1, 2, 4, 5, 6]


@pytest.mark.parametrize(
    "given",
    [(0.5, 0.5), (0.2,) * 8, (-0.1, 0.3, 0.3, 0.1, 0.1, 0.1, 0.1, 0.1), (math.nan,) * 8, ()],
    ids=["too few", "sum", "negative", "nan", "none"],
)
def test_what_is_no_distribution_is_refused(given):
    with pytest.raises(ConfigurationError, match="8 probabilities that sum to 1"):
        PCFG(POLYNOMIAL, given)


def test_a_pcfg_that_derives_nothing_is_refused():
    with pytest.raises(ConfigurationError, match="without weight on the leaves"):
        PCFG(POLYNOMIAL, (0, 0, 0, 0, 0, 0.5, 0.25, 0.25))


def test_unknown_tokens_are_refused():
    with pytest.raises(ConfigurationError, match="no token '/' in grammar 'polynomial'"):
        PCFG.of(POLYNOMIAL, {"/": 1})


def test_a_pcfg_has_no_draws_by_depth():
    with pytest.raises(ConfigurationError, match="by leaves or nodes"):
        PCFG.of(POLYNOMIAL, {}).sample(1, 3, measure="depth")
    with pytest.raises(ConfigurationError, match="unary operator"):
        PCFG.of(UNARY, {}).sample(1, 3)
    with pytest.raises(ConfigurationError, match="use at least 1"):
        PCFG.of(POLYNOMIAL, {}).sample(1, 0)
