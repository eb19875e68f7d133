"""Every formula equals its textbook form, written here in fractions, wherever both have a value."""

import re
from fractions import Fraction
from functools import cache
from itertools import permutations, product
from math import factorial, prod

import numpy as np
import pytest

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.tasks import Candidates
from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.interpreter import UNDEFINED, evaluate_exact
from synthlab.language.program import parse, token_matrix
from synthlab.study.formulas import FORMULAS, formula_tasks, formulas

PRIME = 2**61 - 1
GRAMMARS = [POLYNOMIAL, RATIONAL]

# ---------------------------------------------------------------- textbook forms


def determinant(matrix):
    """Leibniz's sum over permutations."""
    total = 0
    for order in permutations(range(len(matrix))):
        sign = (-1) ** sum(a > b for k, a in enumerate(order) for b in order[k + 1 :])
        total += sign * prod(matrix[row][column] for row, column in enumerate(order))
    return total


def chebyshev(n, x):
    return (1, x)[n] if n < 2 else 2 * x * chebyshev(n - 1, x) - chebyshev(n - 2, x)


def legendre(n, x):
    """Bonnet's recursion."""
    return (1, x)[n] if n < 2 else ((2 * n - 1) * x * legendre(n - 1, x) - (n - 1) * legendre(n - 2, x)) / Fraction(n)


def hermite(n, x):
    return (1, 2 * x)[n] if n < 2 else 2 * x * hermite(n - 1, x) - 2 * (n - 1) * hermite(n - 2, x)


def laguerre(n, x):
    if n < 2:
        return (1, 1 - x)[n]
    return ((2 * n - 1 - x) * laguerre(n - 1, x) - (n - 1) * laguerre(n - 2, x)) / Fraction(n)


def power(x, y, n):
    """Real and imaginary part of (x + iy)^n."""
    re, im = 1, 0
    for _ in range(n):
        re, im = re * x - im * y, re * y + im * x
    return re, im


def tangent_of_sum(*tangents):
    """The argument of a product is the sum of the arguments."""
    re, im = 1, 0
    for t in tangents:
        re, im = re - im * t, im + re * t
    return im / re


def newton(x, f, slope):
    return x - f / slope


def halley(x, f, slope, second):
    return x - 2 * f * slope / (2 * slope**2 - f * second)


def horner(x, *coefficients):
    """A polynomial by its coefficients, the highest first."""
    value = 0
    for c in coefficients:
        value = value * x + c
    return value


POLYNOMIALS = {
    "square of a sum": lambda x, y: x**2 + 2 * x * y + y**2,
    "cube of a difference": lambda x, y: x**3 - 3 * x**2 * y + 3 * x * y**2 - y**3,
    "difference of squares": lambda x, y: x**2 - y**2,
    "Sophie Germain identity": lambda x, y: ((x + y) ** 2 + y**2) * ((x - y) ** 2 + y**2),
    "Brahmagupta-Fibonacci identity": lambda x, y: (x**2 - y) ** 2 + (x + x * y) ** 2,
    "Eisenstein norm": lambda x, y: (x - y / Fraction(2)) ** 2 + Fraction(3, 4) * y**2,
    "discriminant of a quadratic": lambda x, y: x**2 - 4 * y,
    "discriminant of a cubic": lambda x, y: -4 * x**3 - 27 * y**2,
    "circulant determinant": lambda x, y: determinant([[x, y, 1], [1, x, y], [y, 1, x]]),
    "Vandermonde determinant": lambda x, y: determinant([[1, t, t**2] for t in (1, x, y)]),
    "Heron's formula": lambda x, y: (x + y + 1) * (-x + y + 1) * (x - y + 1) * (x + y - 1),
    "Chebyshev T3": lambda x, y: chebyshev(3, x),
    "Chebyshev T4": lambda x, y: chebyshev(4, x),
    "Legendre P4 times 8": lambda x, y: 8 * legendre(4, x),
    "Hermite H4": lambda x, y: hermite(4, x),
    "Laguerre L3 times 6": lambda x, y: 6 * laguerre(3, x),
    "square pyramidal numbers times 6": lambda x, y: 2 * x**3 + 3 * x**2 + x,
    "polygonal numbers doubled": lambda x, y: (y - 2) * x**2 - (y - 4) * x,
    "Cantor pairing doubled": lambda x, y: (x + y) * (x + y + 1) + 2 * y,
    "Euler's primes": lambda x, y: x**2 + x + 41,
    "smootherstep": lambda x, y: 6 * x**5 - 15 * x**4 + 10 * x**3,
    "real part of a fourth power": lambda x, y: power(x, y, 4)[0],
    "Rosenbrock's function": lambda x, y: (1 - x) ** 2 + 100 * (y - x**2) ** 2,
    "Himmelblau's form": lambda x, y: (x**2 + y - 3) ** 2 + (x + y**2 - 2) ** 2,
    "logistic map": lambda x, y: 4 * x - 4 * x**2,
    "logistic map twice": lambda x, y: (lambda f: f(f(x)))(lambda t: 3 * t * (1 - t)),
    "competing species": lambda x, y: 3 * x - x**2 - 2 * x * y,
    "Brusselator": lambda x, y: 1 + x**2 * y - 4 * x,
    "Henon-Heiles potential times 6": lambda x, y: 6 * ((x**2 + y**2) / Fraction(2) + x**2 * y - y**3 / Fraction(3)),
    "Newton step for 1/y": lambda x, y: newton(x, 1 / x - y, -1 / x**2),
}
RATIONALS = {
    "harmonic mean": lambda x, y: 2 / (1 / x + 1 / y),
    "parallel resistors": lambda x, y: 1 / (1 / x + 1 / y),
    "thin lens": lambda x, y: 1 / (1 / x - 1 / y),
    "two thin lenses": lambda x, y: 1 / x + 1 / y - 1 / (x * y),
    "reflection coefficient": lambda x, y: (x - y) / (x + y),
    "velocity addition": lambda x, y: (1 / (1 + x * y)) * x + y / (1 + x * y),
    "Compton scattering": lambda x, y: 1 / (1 / x + (1 - y)),
    "van der Waals equation": lambda x, y: 8 * y / (3 * x - 1) - 3 / x**2,
    "tangent of a sum": lambda x, y: tangent_of_sum(x, y),
    "tangent of 3t": lambda x, y: tangent_of_sum(x, x, x),
    "half-angle cosine": lambda x, y: power(1, x, 2)[0] / (1 + x**2),
    "Cayley transform": lambda x, y: (x - 1) / (x + 1),
    "cross-ratio": lambda x, y: ((x - 1) / (x - 2)) / ((y - 1) / (y - 2)),
    "golden continued fraction": lambda x, y: (3 * x + 2) / (2 * x + 1),
    "exponential 1/1": lambda x, y: (1 + x / 2) / (1 - x / 2),
    "exponential 2/2": lambda x, y: (12 + 6 * x + x**2) / (12 - 6 * x + x**2),
    "hyperbolic tangent 3/2": lambda x, y: x * (15 + x**2) / (15 + 6 * x**2),
    "logarithm 2/1": lambda x, y: x * (6 + x) / (6 + 4 * x),
    "Michaelis-Menten rate": lambda x, y: 1 / (1 + y / x),
    "Hill equation": lambda x, y: (x / y) ** 2 / (1 + (x / y) ** 2),
    "substrate inhibition": lambda x, y: x / (1 + x * (1 + x / y)),
    "Newton step for sqrt(y)": lambda x, y: newton(x, x**2 - y, 2 * x),
    "Halley step for sqrt(y)": lambda x, y: halley(x, x**2 - y, 2 * x, 2),
    "Newton step for the cube root of y": lambda x, y: newton(x, x**3 - y, 3 * x**2),
    "Bayes' theorem": lambda x, y: (lambda odds: odds / (1 + odds))(x / (1 - x) * y),
    "Amdahl's law": lambda x, y: y / (y * (1 - x) + x),
    "Kelly criterion": lambda x, y: (x * (y + 1) - 1) / y,
    "Chebyshev generating function": lambda x, y: (1 - x * y) / (1 - 2 * x * y + y**2),
    "Runge's example": lambda x, y: 1 / (1 + 25 * x**2),
    "Legendre P3": lambda x, y: legendre(3, x),
}
TEXTBOOK = {"polynomial": POLYNOMIALS, "rational": RATIONALS}
BESIDES = [Fraction(*p) for p in ((7, 5), (-11, 3), (13, 17), (5, 1), (-9, 4), (100, 7), (3, 1000))]


def value(form, x, y):
    try:
        return form(x, y)
    except ZeroDivisionError:
        return None


@cache
def points(grammar):
    """The grid, and other inputs without a zero."""
    return [*grammar.grid.points, *product(BESIDES, BESIDES)]


# ---------------------------------------------------------------- tests


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda g: g.name)
def test_every_formula_has_a_textbook_form_here(grammar):
    assert formulas(grammar)["name"].tolist() == list(TEXTBOOK[grammar.name])
    assert 20 <= len(TEXTBOOK[grammar.name]) <= 30


@pytest.mark.parametrize(
    ("grammar", "row"), [(g, row) for g in GRAMMARS for row in FORMULAS[g.name]], ids=lambda v: v.name.replace(" ", "-")
)
def test_a_formula_equals_its_textbook_form(grammar, row):
    """At rational inputs far more numerous than its degree allows two different functions to agree at."""
    program, form, compared = parse(grammar, row.text), TEXTBOOK[grammar.name][row.name], 0
    for x, y in points(grammar):
        expected = value(form, Fraction(x), Fraction(y))
        if expected is not None:
            assert evaluate_exact(program, {"x": x, "y": y}) == expected, (x, y)
            compared += 1
    assert compared > 60


def test_textbook_forms_of_whole_numbers_count_what_they_say():
    for n in range(1, 9):
        assert POLYNOMIALS["square pyramidal numbers times 6"](n, 0) == 6 * sum(k * k for k in range(1, n + 1))
        for corners in range(3, 9):
            steps = [1 + k * (corners - 2) for k in range(n)]
            assert POLYNOMIALS["polygonal numbers doubled"](n, corners) == 2 * sum(steps)
    pairs = sorted(POLYNOMIALS["Cantor pairing doubled"](x, y) // 2 for x in range(9) for y in range(9 - x))
    assert pairs == list(range(45))
    assert all(all(POLYNOMIALS["Euler's primes"](n, 0) % k for k in range(2, 41)) for n in range(40))
    assert POLYNOMIALS["Heron's formula"](Fraction(5, 4), Fraction(3, 4)) == 16 * Fraction(3, 8) ** 2
    for a, b, c in product(range(-3, 4), repeat=3):  # roots of t^2 + xt + y, and three that sum to zero
        assert POLYNOMIALS["discriminant of a quadratic"](-(a + b), a * b) == (a - b) ** 2
        if a + b + c == 0:
            expected = ((a - b) * (b - c) * (c - a)) ** 2
            assert POLYNOMIALS["discriminant of a cubic"](a * b + b * c + c * a, -a * b * c) == expected


def test_approximants_agree_with_their_series_to_the_order_they_claim():
    small = Fraction(1, 10**4)
    exponential = sum(small**k / factorial(k) for k in range(12))
    inverse = sum((-small) ** k / factorial(k) for k in range(12))
    series = {
        "exponential 1/1": (exponential, 2),
        "exponential 2/2": (exponential, 4),
        "hyperbolic tangent 3/2": ((exponential - inverse) / (exponential + inverse), 6),
        "logarithm 2/1": (-sum((-small) ** k / k for k in range(1, 12)), 3),
    }
    for name, (wanted, order) in series.items():
        difference = abs(RATIONALS[name](small, None) - wanted)
        assert small ** (order + 2) < difference < small ** (order + 1), name
    found = RATIONALS["Chebyshev generating function"](Fraction(1, 3), small)
    assert abs(found - sum(chebyshev(n, Fraction(1, 3)) * small**n for n in range(8))) < small**7


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda g: g.name)
def test_formulas_are_short_texts_of_the_grammar_and_different_functions(grammar):
    table = formulas(grammar)
    for text, leaves, row in zip(table["program"], table["leaves"], FORMULAS[grammar.name], strict=True):
        words = re.findall(r"[a-z]+|\d+", text)
        assert text == row.text and len(words) == leaves <= 16
        assert set(words) <= {*grammar.variables, *map(str, grammar.constants)}
    assert (table["about"].str.len() > 0).all() and (table["source"].str.len() > 0).all()
    forms = TEXTBOOK[grammar.name].values()
    assert len({tuple(value(form, x, y) for x, y in product(BESIDES, BESIDES)) for form in forms}) == len(table)


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda g: g.name)
def test_tasks_show_the_textbook_outputs(grammar):
    tasks, table = formula_tasks(grammar), formulas(grammar).set_index("class_id")
    assert tasks.outputs.dtype == (np.int64 if grammar is POLYNOMIAL else np.float64)
    for outputs, codes, class_id in zip(tasks.outputs, tasks.codes, tasks.class_id, strict=True):
        program = parse(grammar, table.loc[class_id, "program"])
        exact = [evaluate_exact(program, dict(zip("xy", p, strict=True))) for p in grammar.grid.points]
        np.testing.assert_allclose(outputs, [float(v) for v in exact], rtol=1e-12, atol=1e-13)
        assert codes.tolist() == [v.numerator * pow(v.denominator, -1, PRIME) % PRIME for v in exact]
        form = TEXTBOOK[grammar.name][table.loc[class_id, "name"]]
        shown = [value(form, Fraction(x), Fraction(y)) for x, y in grammar.grid.points]
        assert all(e is None or e == v for e, v in zip(shown, exact, strict=True))


def test_formulas_with_a_pole_on_the_grid_are_named_and_no_tasks():
    table = formulas(RATIONAL)
    program = parse(RATIONAL, table.set_index("name").loc["van der Waals equation", "program"])
    grid = RATIONAL.grid.points
    poles = [evaluate_exact(program, dict(zip("xy", p, strict=True))) is UNDEFINED for p in grid]
    assert [p[0] for p, pole in zip(grid, poles, strict=True) if pole] == [Fraction(1, 3)] * 6
    assert dict(table.loc[table["poles"] > 0, ["name", "poles"]].values.tolist()) == {"van der Waals equation": 6}
    left_out = set(table["class_id"]) - set(formula_tasks(RATIONAL).class_id.tolist())
    assert left_out == set(table.loc[table["poles"] > 0, "class_id"])
    assert (formulas(POLYNOMIAL)["poles"] == 0).all() and len(formula_tasks(POLYNOMIAL)) == 30


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda g: g.name)
def test_the_checker_accepts_each_text_for_its_own_task_only(grammar):
    tasks, table = formula_tasks(grammar), formulas(grammar).set_index("class_id")
    assert tasks.max_size == table["leaves"].max()
    assert tasks.class_leaves.tolist() == table.loc[tasks.class_id, "leaves"].tolist()
    prefix = token_matrix(parse(grammar, text) for text in table.loc[tasks.class_id, "program"])
    task, text = map(np.ravel, np.indices((len(tasks), len(tasks))))
    judged = check(tasks, Candidates(task, text, prefix[text], np.full(len(task), np.nan)))
    assert ((judged.status == SOLVED) == (task == text)).all()


def test_a_bound_keeps_the_formulas_that_fit_under_their_names():
    table, tasks = formulas(POLYNOMIAL), formula_tasks(POLYNOMIAL, 5)
    assert tasks.class_id.tolist() == table.loc[table["leaves"] <= 5, "class_id"].tolist()
    assert (tasks.max_size, tasks.measure) == (5, "leaves") and 0 < len(tasks) < len(table)
    every = formula_tasks(POLYNOMIAL)
    rows = [every.class_id.tolist().index(k) for k in tasks.class_id]
    assert (every.fingerprints[rows] == tasks.fingerprints).all()


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(
        ConfigurationError, match="no formulas are restated in 'piecewise': choose from polynomial, rat"
    ):
        formulas(PIECEWISE)
    with pytest.raises(ConfigurationError, match="no formula has 3 leaves or fewer: the shortest has 4"):
        formula_tasks(POLYNOMIAL, 3)
    with pytest.raises(BudgetExceeded, match="proven up to 30 leaves, not 31"):
        formula_tasks(RATIONAL, 31)
