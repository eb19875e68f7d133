"""Well-known formulas restated in the two grammars: targets that people chose, not a random draw.

A number that is no literal is built from literals, as 2 * 2 for 4, and a formula with a factor such as 1/6 stands in
the polynomial grammar as that multiple of itself. Texts are short but not always minimal, so that their leaves are
upper bounds of the minimal size. Formulas of one grammar are different functions; where two results are the same
function, such as parallel resistors and reduced mass, one entry names both.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from synthlab.assessment.tasks import Tasks
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL, Grammar
from synthlab.language.identity import check_coefficients, grid_codes
from synthlab.language.measure import sizes_of
from synthlab.language.program import infix_texts, parse, token_matrix
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.study.larger import FIRST_ID, tasks_of_texts


class Formula(NamedTuple):
    """One formula: its name, its text in the grammar, what it states, and where to find it."""

    name: str
    text: str
    about: str
    source: str


_ALGEBRA = "school algebra"
_TRIGONOMETRY = "school trigonometry"
_ORTHOGONAL = "Abramowitz & Stegun 1964, Handbook of Mathematical Functions, ch. 22"
_GALOIS = "Cox 2004, Galois Theory"
_BOOK = "Conway & Guy 1996, The Book of Numbers"
_STROGATZ = "Strogatz 1994, Nonlinear Dynamics and Chaos"
_HARDY = "Hardy & Wright, An Introduction to the Theory of Numbers"
_NEEDHAM = "Needham 1997, Visual Complex Analysis"
_OPTICS = "Hecht, Optics"
_PADE = "Baker & Graves-Morris 1996, Pade Approximants"
_KINETICS = "Cornish-Bowden, Fundamentals of Enzyme Kinetics"
_ROOTS = "Traub 1964, Iterative Methods for the Solution of Equations"

_POLYNOMIALS = (
    ("square of a sum", "(x + y) * (x + y)", "x^2 + 2xy + y^2", _ALGEBRA),
    ("cube of a difference", "(x - y) * (x - y) * (x - y)", "x^3 - 3x^2y + 3xy^2 - y^3", _ALGEBRA),
    ("difference of squares", "(x - y) * (x + y)", "x^2 - y^2", _ALGEBRA),
    ("Sophie Germain identity", "x * x * x * x + 2 * y * y * (2 * y * y)",
     "x^4 + 4y^4 = ((x + y)^2 + y^2)((x - y)^2 + y^2)", "Dickson 1919, History of the Theory of Numbers I"),
    ("Brahmagupta-Fibonacci identity", "(x * x + y * y) * (x * x + 1)",
     "a product of sums of two squares is one: (x^2 - y)^2 + (x + xy)^2", "Stillwell, Mathematics and Its History"),
    ("Eisenstein norm", "x * (x - y) + y * y", "x^2 - xy + y^2; also the law of cosines at 60 degrees", _HARDY),
    ("discriminant of a quadratic", "x * x - (1 + 3) * y", "x^2 - 4y, of t^2 + xt + y", _GALOIS),
    ("discriminant of a cubic", "3 * y * (3 * y) * (1 - (1 + 3)) - (x + x) * (x + x) * x",
     "-4x^3 - 27y^2, of t^3 + xt + y", _GALOIS),
    ("circulant determinant", "x * x * x + y * y * y + 1 - 3 * x * y",
     "det of the circulant of (x, y, 1)", "Davis 1979, Circulant Matrices"),
    ("Vandermonde determinant", "(x - 1) * (y - 1) * (y - x)",
     "det of the powers 0, 1, 2 of 1, x, y", "Horn & Johnson, Matrix Analysis"),
    ("Heron's formula", "((x + y) * (x + y) - 1) * (1 - (x - y) * (x - y))",
     "16 A^2 of the triangle with sides x, y, 1", "Coxeter & Greitzer 1967, Geometry Revisited"),
    ("Chebyshev T3", "x * ((x + x) * (x + x) - 3)", "4x^3 - 3x", _ORTHOGONAL),
    ("Chebyshev T4", "(x + x) * (x + x) * (x * x - 1) * 2 + 1", "8x^4 - 8x^2 + 1", _ORTHOGONAL),
    ("Legendre P4 times 8", "(2 + 3) * x * x * ((1 + 2 * 3) * x * x - 2 * 3) + 3", "35x^4 - 30x^2 + 3", _ORTHOGONAL),
    ("Hermite H4", "(2 * x * x * (2 * x * x - 2 * 3) + 3) * (1 + 3)", "16x^4 - 48x^2 + 12", _ORTHOGONAL),
    ("Laguerre L3 times 6", "x * (x * (3 * 3 - x) - 2 * 3 * 3) + 2 * 3", "-x^3 + 9x^2 - 18x + 6", _ORTHOGONAL),
    ("square pyramidal numbers times 6", "x * (x + 1) * (2 * x + 1)", "6 (1^2 + 2^2 + ... + x^2)", _BOOK),
    ("polygonal numbers doubled", "x * ((y - 2) * (x - 1) + 2)", "(y - 2)x^2 - (y - 4)x for y corners", _BOOK),
    ("Cantor pairing doubled", "(x + y) * (x + y + 1) + 2 * y", "numbers all pairs by diagonals", "Cantor 1878"),
    ("Euler's primes", "x * (x + 1) + 2 * 3 * (2 * 3) + 2 + 3", "x^2 + x + 41, prime for x = 0..39", "Euler 1772"),
    ("smootherstep", "x * x * x * (x * (2 * x - (2 + 3)) * 3 + 3 * 3 + 1)",
     "6x^5 - 15x^4 + 10x^3", "Perlin 2002, Improving Noise"),
    ("real part of a fourth power", "(x * (x - y - y) - y * y) * (x * (x + y + y) - y * y)",
     "Re (x + iy)^4 = x^4 - 6x^2y^2 + y^4", _NEEDHAM),
    ("Rosenbrock's function", "(1 - x) * (1 - x) + (3 * 3 + 1) * (y - x * x) * ((3 * 3 + 1) * (y - x * x))",
     "(1 - x)^2 + 100 (y - x^2)^2", "Rosenbrock 1960"),
    ("Himmelblau's form", "(x * x + y - 3) * (x * x + y - 3) + (x + y * y - 2) * (x + y * y - 2)",
     "(x^2 + y - a)^2 + (x + y^2 - b)^2 with a = 3, b = 2 instead of 11, 7", "Himmelblau 1972"),
    ("logistic map", "(1 + 3) * x * (1 - x)", "rx(1 - x) at r = 4", _STROGATZ),
    ("logistic map twice", "3 * (3 * x * (1 - x)) * (1 - 3 * x * (1 - x))", "f(f(x)) of f(x) = 3x(1 - x)", _STROGATZ),
    ("competing species", "x * (3 - x - 2 * y)", "Lotka-Volterra: rabbits against sheep", _STROGATZ),
    ("Brusselator", "x * (x * y - (1 + 3)) + 1", "a + x^2y - (b + 1)x at a = 1, b = 3", "Prigogine & Lefever 1968"),
    ("Henon-Heiles potential times 6", "3 * (x * x + y * y) + 2 * y * (3 * x * x - y * y)",
     "6 ((x^2 + y^2)/2 + x^2y - y^3/3)", "Henon & Heiles 1964"),
    ("Newton step for 1/y", "x * (2 - x * y)", "x - f/f' of f(x) = 1/x - y", "Knuth, TAOCP 2, 4.3.3"),
)  # fmt: skip
_RATIONALS = (
    ("harmonic mean", "2 * x * y / (x + y)", "1 / ((1/x + 1/y)/2)", "Hardy, Littlewood & Polya 1934, Inequalities"),
    ("parallel resistors", "x * y / (x + y)", "1 / (1/x + 1/y); also reduced mass", "Feynman Lectures II"),
    ("thin lens", "x * y / (y - x)", "image distance at focal length x, object distance y", _OPTICS),
    ("two thin lenses", "(x + y - 1) / (x * y)", "power at focal lengths x, y and distance 1", _OPTICS),
    ("reflection coefficient", "(x - y) / (x + y)", "Fresnel at normal incidence; also Atwood's machine", _OPTICS),
    ("velocity addition", "(x + y) / (1 + x * y)", "relativistic, c = 1; also tanh of a sum", "Einstein 1905"),
    ("Compton scattering", "x / (1 + x * (1 - y))", "photon energy in electron masses, y = cos t", "Compton 1923"),
    ("van der Waals equation", "2 * 2 * 2 * y / ((1 + 2) * x - 1) - (1 + 2) / (x * x)",
     "reduced pressure 8T/(3V - 1) - 3/V^2", "van der Waals 1873"),
    ("tangent of a sum", "(x + y) / (1 - x * y)", "tan(s + t) of x = tan s, y = tan t", _TRIGONOMETRY),
    ("tangent of 3t", "x * (1 + 2 - x * x) / (1 - (1 + 2) * x * x)", "(3x - x^3) / (1 - 3x^2)", _TRIGONOMETRY),
    ("half-angle cosine", "(1 - x * x) / (1 + x * x)", "cos t of x = tan(t/2); a point of the circle", _TRIGONOMETRY),
    ("Cayley transform", "(x - 1) / (x + 1)", "a Moebius map with 1 -> 0, 0 -> -1", _NEEDHAM),
    ("cross-ratio", "(x - 1) * (y - 2) / ((x - 2) * (y - 1))", "(x, y; 1, 2)", _NEEDHAM),
    ("golden continued fraction", "1 + 1 / (1 + 1 / (1 + 1 / x))", "(3x + 2) / (2x + 1)", _HARDY),
    ("exponential 1/1", "(2 + x) / (2 - x)", "Pade approximant of e^x; bilinear transform", _PADE),
    ("exponential 2/2", "1 + 2 * x / (2 - x + x * x / (2 * (1 + 2)))", "(12 + 6x + x^2) / (12 - 6x + x^2)", _PADE),
    ("hyperbolic tangent 3/2", "x / (1 + x * x / (1 + 2 + x * x / (2 * 2 + 1)))",
     "x(15 + x^2) / (15 + 6x^2), of Lambert's continued fraction", _PADE),
    ("logarithm 2/1", "x / (1 + x / (2 + x / (1 + 2)))", "x(6 + x) / (6 + 4x), of log(1 + x)", _PADE),
    ("Michaelis-Menten rate", "x / (x + y)", "also Langmuir isotherm, voltage divider", _KINETICS),
    ("Hill equation", "x * x / (x * x + y * y)", "two sites that bind together", _KINETICS),
    ("substrate inhibition", "x / (1 + x + x * x / y)", "Haldane's rate with Km = 1, Ki = y", _KINETICS),
    ("Newton step for sqrt(y)", "(x + y / x) / 2", "Heron's rule", _ROOTS),
    ("Halley step for sqrt(y)", "x * (x * x + (1 + 2) * y) / ((1 + 2) * x * x + y)", "cubic convergence", _ROOTS),
    ("Newton step for the cube root of y", "(2 * x + y / (x * x)) / (1 + 2)", "x - (x^3 - y) / (3x^2)", _ROOTS),
    ("Bayes' theorem", "x * y / (x * y + 1 - x)", "posterior: prior x, likelihood ratio y", "Feller, Probability I"),
    ("Amdahl's law", "1 / (1 - x + x / y)", "speedup of a share x that runs y times as fast", "Amdahl 1967"),
    ("Kelly criterion", "x - (1 - x) / y", "stake at chance x and odds y", "Kelly 1956"),
    ("Chebyshev generating function", "(1 - x * y) / (1 - 2 * x * y + y * y)", "sum of T_n(x) y^n", _ORTHOGONAL),
    ("Runge's example", "1 / (1 + (2 * 2 + 1) * x * ((2 * 2 + 1) * x))", "1 / (1 + 25x^2)", "Runge 1901"),
    ("Legendre P3", "x * ((2 * 2 + 1) * x * x - (1 + 2)) / 2", "(5x^3 - 3x) / 2", _ORTHOGONAL),
)  # fmt: skip
FORMULAS = {
    grammar.name: tuple(Formula(*row) for row in rows)
    for grammar, rows in ((POLYNOMIAL, _POLYNOMIALS), (RATIONAL, _RATIONALS))
}
"""Formulas by name of the grammar."""


def formulas(grammar: Grammar) -> pd.DataFrame:
    """Formulas of a grammar.

    Returns
    -------
    pandas.DataFrame
        class_id (-2, -3, ..., as in `formula_tasks`), name, program (infix), leaves of that text, poles (points of the
        grid without a value), about, source.

    Raises
    ------
    ConfigurationError
        For a grammar without formulas.
    """
    rows, prefix = _texts(grammar)
    return pd.DataFrame({
        "class_id": FIRST_ID - np.arange(len(rows)), "name": [row.name for row in rows],
        "program": infix_texts(grammar, prefix), "leaves": sizes_of(grammar, prefix),
        "poles": (grid_codes(grammar, prefix) == UNDEFINED_RESIDUE).sum(axis=1),
        "about": [row.about for row in rows], "source": [row.source for row in rows],
    })  # fmt: skip


def formula_tasks(grammar: Grammar, max_size: int | None = None) -> Tasks:
    """Formulas as tasks, with the class ids of `formulas`, which name them.

    Formulas with a pole on the grid are left out: a task shows an output at every point. The column `poles` of
    `formulas` says which they are.

    Parameters
    ----------
    grammar
        Polynomial or rational.
    max_size
        Bound on the leaves of answers, and of the formulas' texts; by default those of the longest text.

    Raises
    ------
    ConfigurationError
        For a grammar without formulas, or a bound below every text.
    BudgetExceeded
        If identity is not exact up to that bound.
    """
    table = formulas(grammar)
    bound = int(table["leaves"].max()) if max_size is None else max_size
    kept = np.flatnonzero((table["poles"] == 0) & (table["leaves"] <= bound))
    if not len(kept):
        raise ConfigurationError(f"no formula has {bound} leaves or fewer: the shortest has {table['leaves'].min()}")
    check_coefficients(grammar, bound)
    return tasks_of_texts(grammar, _texts(grammar)[1], bound).take(kept)


def _texts(grammar: Grammar) -> tuple[tuple[Formula, ...], np.ndarray]:
    if grammar.name not in FORMULAS:
        raise ConfigurationError(f"no formulas are restated in {grammar.name!r}: choose from {', '.join(FORMULAS)}")
    rows = FORMULAS[grammar.name]
    return rows, token_matrix(parse(grammar, row.text) for row in rows)
