"""A guide reads fractions out of residues, and tells rests that two functions complete from others."""

import functools
import itertools
import json
from dataclasses import replace
from fractions import Fraction

import languages
import numpy as np
import pairs
import pytest

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grid
from synthlab.language.residues import PRIME, residue
from synthlab.search import guide as module
from synthlab.search.budget import Budget, Cost
from synthlab.search.guide import LearnedGuide, features, fractions, guide_settings, train_guide
from synthlab.search.library import Library
from synthlab.search.meeting import moves, rests
from synthlab.search.problem import Problem
from synthlab.search.residuals import ResidualSearch
from synthlab.store import Store

SMALL = dict(part_size=2, num_targets=2000, num_epochs=4)


@functools.cache
def library_of(grammar, size, measure="leaves"):
    return Library.build(grammar, size, measure)


@functools.cache
def guide_of(grammar, size=2):
    library = library_of(grammar, size)
    return train_guide(library, guide_settings(library, **SMALL))


def codes_of(values):
    return np.array([PRIME if v is None else residue(Fraction(v)) for v in values], dtype=np.uint64)


def everywhere(codes):
    return np.ones(codes.shape, dtype=bool)


# ---------------------------------------------------------------- fractions


LIMIT = 1 << 30


def random_fractions(num, seed):
    generator = np.random.default_rng(seed)
    sizes = np.exp2(generator.uniform(0, 30, size=(num, 2))).astype(int)
    signs = generator.choice([-1, 1], size=num)
    return [Fraction(int(s * n), int(d)) for s, (n, d) in zip(signs, sizes, strict=True)]


@pytest.mark.parametrize("seed", [0, 1])
def test_small_fractions_are_read_from_residues(seed):
    wanted = [v for v in random_fractions(6000, seed) if abs(v.numerator) < LIMIT and v.denominator < LIMIT]
    codes = codes_of(wanted)[None]
    tops, bottoms = fractions(codes, everywhere(codes))
    assert [Fraction(int(n), int(d)) for n, d in zip(tops[0], bottoms[0], strict=True)] == wanted
    assert (bottoms > 0).all() and bottoms[0].tolist() == [v.denominator for v in wanted] and len(wanted) > 5000


NEAR_ONE = Fraction(LIMIT - 1, LIMIT - 2)


@pytest.mark.kernels
@pytest.mark.parametrize(
    "value", [0, 1, -1, LIMIT - 1, 1 - LIMIT, NEAR_ONE, -NEAR_ONE, 1 / Fraction(LIMIT - 1), 1 / NEAR_ONE]
)
def test_the_largest_fractions_are_read(value):
    codes = codes_of([value])[None]
    tops, bottoms = fractions(codes, everywhere(codes))
    assert (tops[0, 0], bottoms[0, 0]) == (Fraction(value).numerator, Fraction(value).denominator)


@pytest.mark.kernels
@pytest.mark.parametrize("value", [LIMIT, -LIMIT, Fraction(1, LIMIT), Fraction(LIMIT, 3)])
def test_larger_numbers_are_not_read(value):
    codes = codes_of([value])[None]
    tops, bottoms = fractions(codes, everywhere(codes))
    assert tops[0, 0] == bottoms[0, 0] == 0


@pytest.mark.kernels
def test_what_is_unknown_or_missing_is_not_read():
    codes = np.array([[5, 5, PRIME, (1 << 64) - 1]], dtype=np.uint64)
    tops, bottoms = fractions(codes, np.array([[True, False, True, False]]))
    assert tops.tolist() == [[5, 0, 0, 0]] and bottoms.tolist() == [[1, 0, 0, 0]]


# ---------------------------------------------------------------- features


def log_of(value):
    """log(1 + |v|) with the sign of v."""
    return float(np.sign(float(value)) * np.log1p(abs(float(value))))


def forward_differences(values):
    """First entries of the sequences of differences of every order."""
    found = []
    while values:
        found.append(values[0])
        values = [b - a for a, b in itertools.pairwise(values)]
    return found


def features_of(grammar, values):
    """By fractions, one list after the other; None where a value is unknown."""
    shape = grammar.grid.shape
    table = np.array([Fraction(0) if v is None else Fraction(v) for v in values], dtype=object).reshape(shape)
    for axis in range(len(shape)):
        table = np.apply_along_axis(lambda row: np.array(forward_differences(list(row)), dtype=object), axis, table)
    known = [v is not None for v in values]
    found = [0.0 if v is None else log_of(v) for v in values] + [log_of(v) for v in table.ravel()]
    found += [np.log1p(Fraction(v).denominator) if v is not None else 0.0 for v in values] + known
    found += [v is None or v == 0 for v in values]
    for modulus in (2, 3, 5, 7):
        found += [v is not None and Fraction(v).numerator % modulus == 0 for v in values]
    return np.array(found, dtype=float)


FLAT = replace(POLYNOMIAL, name="flat", variables=("x",), grid=Grid.regular(0, start=-3, num=7))
THREE = replace(RATIONAL, name="three", variables=("x", "y", "z"), grid=Grid.regular(0, Fraction(1, 2), 0, num=3))


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, FLAT, THREE], ids=languages.label)
def test_features_are_those_of_fractions(grammar):
    generator, num = np.random.default_rng(0), len(grammar.grid.points)
    for share in (1.0, 0.7):
        rows = []
        for seed in range(12):
            values = [Fraction(v.numerator % 5000, 1 + v.denominator % 60) for v in random_fractions(num, seed)]
            values = [-v if k % 3 else v for k, v in enumerate(values)] if seed % 2 else [int(v) for v in values]
            rows.append([v if generator.random() < share else None for v in values])
        known = np.array([[v is not None for v in row] for row in rows])
        codes = np.array([codes_of(row) for row in rows])
        found = features(grammar, codes, known)
        assert found.dtype == np.float32 and found.shape == (12, 9 * num)
        np.testing.assert_allclose(found, [features_of(grammar, row) for row in rows], rtol=2e-5, atol=2e-5)


def test_high_differences_of_a_polynomial_vanish():
    values = [3 * x * x * y - x + 7 for x, y in POLYNOMIAL.grid.points]
    codes = codes_of(values)[None]
    changes = features(POLYNOMIAL, codes, everywhere(codes))[0, 36:72].reshape(6, 6)
    assert np.count_nonzero(changes) <= 6 and changes[2, 1] == np.float32(np.log1p(6))
    assert (np.abs(changes[3:]) < 1e-6).all() and (np.abs(changes[:, 2:]) < 1e-6).all()


# ---------------------------------------------------------------- what it learns


def area(scores, labels):
    """Area under the ROC curve by comparing every pair."""
    right, wrong = scores[labels][:, None], scores[~labels][None]
    return float(((right > wrong) + 0.5 * (right == wrong)).mean())


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL], ids=languages.label)
def test_rests_that_two_functions_complete_are_told_from_others(grammar):
    """Truth by brute force: every rest of new targets, and whether a pair makes it."""
    guide, library, known = guide_of(grammar), library_of(grammar, 2), pairs.functions(grammar, 2)
    made = {o for o in pairs.pairs(grammar, known, 4) if None not in o}
    completed = {codes_of(outputs).tobytes() for outputs in made}
    generator, scores, labels = np.random.default_rng(99), [], []
    listed, parts = sorted(made), list(known)
    while len(scores) < 400:
        rest, part = listed[generator.integers(len(listed))], parts[generator.integers(len(parts))]
        outputs = pairs.combined(generator.choice(["+", "-", "*"]), part, rest)
        for move in moves(library):
            every = np.ones((1, len(outputs)), dtype=bool)
            codes, sure, _ = rests(library, move, codes_of(outputs)[None], every, np.flatnonzero(library.usable)[::9])
            codes, sure = codes[sure.all(axis=1)], sure[sure.all(axis=1)]
            scores += list(guide(codes, sure))
            labels += [row.tobytes() in completed for row in codes]
    assert 20 < sum(labels) < len(labels) - 20
    assert area(np.array(scores), np.array(labels)) > 0.6 and guide.accuracy > 0.6


def test_the_stated_accuracy_is_that_of_rests_it_was_not_trained_on():
    library, settings = library_of(POLYNOMIAL, 2), guide_settings(library_of(POLYNOMIAL, 2), **SMALL)
    generator = np.random.default_rng(settings["seed"])
    module._examples(library, settings["num_targets"], settings["part_size"], generator)
    unseen, truth = module._rests(library, 200, settings["part_size"], generator)
    guide = guide_of(POLYNOMIAL)
    assert guide.accuracy == pytest.approx(area(guide(*unseen), truth), abs=1e-6)
    assert truth.sum() > 100 and (~truth).sum() > 300


def test_training_examples_are_what_they_are_said_to_be():
    """Whatever counts as true is made by a pair of functions, and much of the rest is not."""
    library = library_of(POLYNOMIAL, 2)
    (codes, known), labels = module._rests(library, 300, 2, np.random.default_rng(5))
    made = {codes_of(outputs).tobytes() for outputs in pairs.pairs(POLYNOMIAL, pairs.functions(POLYNOMIAL, 2), 4)}
    whole = known.all(axis=1)
    completed = np.array([row.tobytes() in made for row in codes])
    assert labels.dtype == bool and completed[labels & whole].all() and (labels & whole).sum() > 150
    assert completed[~labels & whole].mean() < 0.8


def test_log_odds_are_those_of_the_layers():
    guide, generator = guide_of(RATIONAL), np.random.default_rng(3)
    codes = library_of(RATIONAL, 2).codes[library_of(RATIONAL, 2).usable]
    known = generator.random(codes.shape) < 0.8
    hidden = (features(RATIONAL, codes, known).astype(float) - guide.shift) * guide.scale
    for number, (matrix, offset) in enumerate(guide.layers):
        hidden = hidden @ matrix.astype(float) + offset
        hidden = hidden.clip(min=0) if number < len(guide.layers) - 1 else hidden
    np.testing.assert_allclose(guide(codes, known), hidden[:, 0], rtol=1e-3, atol=1e-3)


def test_how_many_are_asked_together_changes_nothing(monkeypatch):
    guide, codes = guide_of(POLYNOMIAL), library_of(POLYNOMIAL, 3).codes
    whole = guide(codes, everywhere(codes))
    assert whole.shape == (278,) and whole.dtype == np.float32 and guide(codes[:0], everywhere(codes[:0])).shape == (0,)
    monkeypatch.setattr(module, "_MOST_ROWS", 100)
    np.testing.assert_allclose(guide(codes, everywhere(codes)), whole, rtol=1e-4, atol=1e-4)


def test_the_seed_decides_the_guide():
    library, codes = library_of(POLYNOMIAL, 2), library_of(POLYNOMIAL, 3).codes
    first = guide_of(POLYNOMIAL)
    again = train_guide(library, guide_settings(library, **SMALL))
    other = train_guide(library, guide_settings(library, **SMALL, seed=1))
    odds = [guide(codes, everywhere(codes)) for guide in (first, again, other)]
    np.testing.assert_allclose(odds[0], odds[1], atol=1e-4)
    assert first.accuracy == pytest.approx(again.accuracy, abs=1e-3) and np.abs(odds[0] - odds[2]).max() > 0.1


def test_what_never_varied_in_training_says_nothing(monkeypatch):
    """A feature that was constant would else be multiplied by a million where it is not."""
    original = module.features

    def with_another(grammar, codes, known):
        """A column of ones in training, where there are many examples, and of zeros later."""
        return np.column_stack([original(grammar, codes, known), np.full(len(codes), np.float32(len(codes) > 600))])

    monkeypatch.setattr(module, "features", with_another)
    library = library_of(POLYNOMIAL, 2)
    guide = train_guide(library, guide_settings(library, part_size=1, num_targets=200, num_epochs=1))
    codes = library_of(POLYNOMIAL, 3).codes
    assert guide.scale[-1] == 0.0 and np.abs(guide(codes, everywhere(codes))).max() < 1000


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (POLYNOMIAL, 1, "leaves"), (POLYNOMIAL, 5, "nodes"), (PIECEWISE, 3, "nodes"), (languages.UNARY, 4, "nodes"),
        (languages.MULADD, 3, "nodes"), (languages.REVERSED, 2, "leaves"), (RATIONAL, 4, "leaves"),
    ],
    ids=languages.label,
)  # fmt: skip
def test_a_guide_is_trained_for_every_library(grammar, size, measure):
    """Sizes that no program has, and functions with poles, are passed over."""
    library = library_of(grammar, size, measure)
    guide = train_guide(library, guide_settings(library, part_size=1, num_targets=200, num_epochs=1))
    assert 0 <= guide.accuracy <= 1 and np.isfinite(guide(library.codes[:3], everywhere(library.codes[:3]))).all()


# ---------------------------------------------------------------- settings, cost and store


def test_settings_decide_the_key():
    library = library_of(POLYNOMIAL, 2)
    base = guide_settings(library, **SMALL)
    others = [
        guide_settings(library, **{**SMALL, **change})
        for change in (dict(part_size=1), dict(num_targets=2001), dict(num_epochs=5), dict(seed=3))
    ]
    others += [guide_settings(library_of(POLYNOMIAL, 3), **SMALL), guide_settings(library_of(RATIONAL, 2), **SMALL)]
    keys = {json.dumps(settings, sort_keys=True) for settings in (base, *others)}
    assert len(keys) == 7 and json.loads(json.dumps(base)) == base
    assert guide_of(POLYNOMIAL).identity == base


@pytest.mark.parametrize(
    "settings",
    [
        dict(part_size=0), dict(part_size=3), dict(part_size=-1), dict(num_targets=99), dict(num_targets=0),
        dict(num_epochs=0), dict(seed=-1),
    ],
)  # fmt: skip
def test_settings_that_teach_nothing_are_refused(settings):
    with pytest.raises(ConfigurationError, match="parts come from the library, 100 targets are few"):
        guide_settings(library_of(POLYNOMIAL, 2), **{**SMALL, **settings})


def test_a_grammar_without_an_operator_that_can_be_undone_has_no_guide():
    with pytest.raises(ConfigurationError, match="no operator of 'ternary' can be undone"):
        guide_settings(library_of(languages.TERNARY, 3), part_size=1)


def test_a_guide_is_stored_to_the_last_bit(tmp_path):
    guide, store = guide_of(RATIONAL), Store(tmp_path)
    loaded = LearnedGuide.load(store, guide.save(store))
    assert (loaded.identity, loaded.key, loaded.training, loaded.accuracy) == (
        guide.identity, guide.key, guide.training, guide.accuracy,
    )  # fmt: skip
    for (matrix, offset), (other, shift) in zip(guide.layers, loaded.layers, strict=True):
        assert np.array_equal(matrix, other) and np.array_equal(offset, shift) and matrix.dtype == other.dtype
    assert np.array_equal(guide.shift, loaded.shift) and np.array_equal(guide.scale, loaded.scale)
    codes = library_of(RATIONAL, 3).codes[:200]
    assert np.array_equal(guide(codes, everywhere(codes)), loaded(codes, everywhere(codes)))
    assert loaded.grammar is RATIONAL and len(loaded.frame()) == 1


def test_training_is_paid_for_beside_the_library():
    library, guide = library_of(POLYNOMIAL, 2), guide_of(POLYNOMIAL)
    weights = sum(matrix.size for matrix, _ in guide.layers)
    assert guide.training.seconds > 0 and guide.training.programs > SMALL["num_targets"]
    assert guide.training.flops > 6 * weights * SMALL["num_targets"] * SMALL["num_epochs"]
    solver = ResidualSearch(library, guide, part_size=1)
    assert solver.setup == library.cost + guide.training and solver.setup != library.cost
    assert solver.setup.programs == library.cost.programs + guide.training.programs
    assert solver.setup + Cost() == solver.setup


def test_a_learned_guide_finds_what_search_without_it_finds():
    library = library_of(POLYNOMIAL, 2)
    solvers = [ResidualSearch(library, g, part_size=1) for g in (None, guide_of(POLYNOMIAL))]
    found = []
    for outputs in [*list(pairs.functions(POLYNOMIAL, 4))[::190], *list(pairs.functions(POLYNOMIAL, 3))[::60]]:
        problem = Problem.from_outputs(POLYNOMIAL, [v * v + 1 if len(found) % 2 else v for v in outputs], max_size=5)
        results = [solver.solve(problem, Budget(seconds=600.0)) for solver in solvers]
        assert results[0].found == results[1].found
        found.append(results[0].found)
    assert any(found) and not all(found)
