"""Slow, obvious second implementations that the tests compare the package with.

Nothing here calls the package: programs are nested tuples ``(token, child, ...)`` or tuples of token texts
in prefix order, numbers are `Fraction`, polynomials are dictionaries from exponents to coefficients.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

from hypothesis import strategies as st

NULL = "·"
POLYNOMIAL_ARITIES = {"x": 0, "y": 0, "1": 0, "2": 0, "3": 0, "+": 2, "-": 2, "*": 2}
RATIONAL_ARITIES = {"x": 0, "y": 0, "1": 0, "2": 0, "+": 2, "-": 2, "*": 2, "/": 2}

# ---------------------------------------------------------------- trees


def tree(tokens, arities):
    """Nested tuples of a prefix sequence."""

    def read(position):
        children, end = [], position + 1
        for _ in range(arities[tokens[position]]):
            child, end = read(end)
            children.append(child)
        return (tokens[position], *children), end

    root, end = read(0)
    assert end == len(tokens)
    return root


def flatten(node):
    """Prefix sequence of nested tuples."""
    return (node[0], *(token for child in node[1:] for token in flatten(child)))


def num_leaves(node):
    return 1 if len(node) == 1 else sum(map(num_leaves, node[1:]))


def size_of(node, measure):
    """Leaves, nodes, or depth (0 for a leaf)."""
    if measure == "leaves":
        return num_leaves(node)
    if measure == "nodes":
        return len(flatten(node))
    return 0 if len(node) == 1 else 1 + max(size_of(child, "depth") for child in node[1:])


def subtrees(node):
    """All subtrees, the tree itself included."""
    yield node
    for child in node[1:]:
        yield from subtrees(child)


def random_trees(arities, max_leaves=12):
    """Hypothesis strategy of nested tuples."""
    leaf = st.sampled_from([(t,) for t, a in arities.items() if a == 0])
    inner = [(t, a) for t, a in arities.items() if a]
    return st.recursive(
        leaf, lambda below: st.one_of([st.tuples(st.just(t), *[below] * a) for t, a in inner]), max_leaves=max_leaves
    )


def walk(node, point, meanings):
    """Value at a point, or None where it does not exist."""
    if len(node) == 1:
        return point[node[0]] if node[0] in point else Fraction(int(node[0]))
    operands = [walk(child, point, meanings) for child in node[1:]]
    if None in operands:
        return None
    try:
        return meanings[node[0]](*operands)
    except ZeroDivisionError:
        return None


FRACTION_MEANINGS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
}
MEANINGS = FRACTION_MEANINGS | {
    "//": lambda a, b: a // b,
    "%": lambda a, b: a - b * (a // b),
    "neg": lambda a: -a,
    "square": lambda a: a * a,
    "abs": lambda a: a if a > 0 else -a,
    "min": lambda a, b: a if a < b else b,
    "max": lambda a, b: a if a > b else b,
    "mean": lambda a, b: (a + b) / 2,
    "muladd": lambda a, b, c: a * b + c,
    "mix": lambda a, b: 3 * a - b + 7,
}
"""Meanings of numbers of any kind; ``%`` has the sign of the divisor."""


def walk_floats(node, point, meanings, number=float):
    """Value at a point in the arithmetic of `number` (float or np.float32), NaN where there is none."""
    if len(node) == 1:
        return number(point[node[0]] if node[0] in point else int(node[0]))
    operands = [walk_floats(child, point, meanings, number) for child in node[1:]]
    if any(map(math.isnan, operands)):
        return math.nan
    try:
        value = meanings[node[0]](*operands)
    except ZeroDivisionError:
        return math.nan
    return value if math.isfinite(value) else math.nan


# ---------------------------------------------------------------- polynomials as dictionaries


def _clean(terms):
    return {powers: c for powers, c in terms.items() if c}


def poly_leaf(token):
    return {"x": {(1, 0): 1}, "y": {(0, 1): 1}}[token] if token in "xy" else {(0, 0): int(token)}


def poly_apply(token, a, b):
    if token == "*":
        product = Counter()
        for (i, j), c in a.items():
            for (k, m), d in b.items():
                product[i + k, j + m] += c * d
        return _clean(product)
    sign = 1 if token == "+" else -1
    return _clean({p: a.get(p, 0) + sign * b.get(p, 0) for p in {*a, *b}})


def expand(node):
    """Normal form of a polynomial program."""
    return poly_leaf(node[0]) if len(node) == 1 else poly_apply(node[0], *map(expand, node[1:]))


def degree(polynomial):
    """Total degree; 0 for the zero polynomial."""
    return max((sum(powers) for powers in polynomial), default=0)


class Polynomials:
    """Algebra of `universe`: normal forms are their own keys."""

    leaf = staticmethod(poly_leaf)
    apply = staticmethod(poly_apply)

    def __init__(self):
        self.keys = {}

    def number(self, value):
        return self.keys.setdefault(frozenset(value.items()), len(self.keys))


SAMPLE = {"x": Fraction(1009, 17), "y": Fraction(-523, 29)}


class Quotients:
    """Algebra of `universe`: numerator and denominator, equal when they cross-multiply to the same."""

    def __init__(self):
        self.buckets, self.count = {}, 0

    @staticmethod
    def leaf(token):
        return poly_leaf(token), {(0, 0): 1}

    @staticmethod
    def apply(token, a, b):
        if token == "*":
            return poly_apply("*", a[0], b[0]), poly_apply("*", a[1], b[1])
        if token == "/":
            return (poly_apply("*", a[0], b[1]), poly_apply("*", a[1], b[0])) if b[0] else None
        over = poly_apply(token, poly_apply("*", a[0], b[1]), poly_apply("*", b[0], a[1]))
        return over, poly_apply("*", a[1], b[1])

    def number(self, value):
        at = [sum(c * SAMPLE["x"] ** i * SAMPLE["y"] ** j for (i, j), c in v.items()) for v in value]
        bucket = self.buckets.setdefault(at[0] / at[1], [])
        for known, number in bucket:
            if poly_apply("*", value[0], known[1]) == poly_apply("*", known[0], value[1]):
                return number
        bucket.append((value, self.count))
        self.count += 1
        return self.count - 1


def universe(arities, max_leaves, algebra):
    """Every text in the order of (leaves, tokens as declared), and the number of its function (or None)."""
    order = {token: k for k, token in enumerate(arities)}
    values, made = {}, {}

    def intern(value):
        if value is None:
            return None
        number = algebra.number(value)
        values.setdefault(number, value)
        return number

    def combine(token, numbers):
        if None in numbers:
            return None
        if (token, *numbers) not in made:
            made[token, *numbers] = intern(algebra.apply(token, *(values[n] for n in numbers)))
        return made[token, *numbers]

    sizes = {1: [((t,), intern(algebra.leaf(t))) for t, a in arities.items() if a == 0]}
    for size in range(2, max_leaves + 1):
        sizes[size] = [
            ((token, *left, *right), combine(token, (first, second)))
            for token in (t for t, a in arities.items() if a == 2)
            for cut in range(1, size)
            for left, first in sizes[cut]
            for right, second in sizes[size - cut]
        ]
    for listed in sizes.values():
        listed.sort(key=lambda entry: [order[t] for t in entry[0]])
    return [entry for size in sorted(sizes) for entry in sizes[size]]


def texts_of(arities, leaves):
    """All prefix sequences with so many leaves, for operators of any arity above one."""
    if leaves == 1:
        return [(t,) for t, a in arities.items() if a == 0]
    found = []
    for token, arity in arities.items():
        for cuts in itertools.combinations(range(1, leaves), arity - 1) if arity else ():
            sizes = [b - a for a, b in itertools.pairwise((0, *cuts, leaves))]
            parts = itertools.product(*(texts_of(arities, s) for s in sizes))
            found += [(token, *itertools.chain(*part)) for part in parts]
    return found


# ---------------------------------------------------------------- pq-grams


def pq_grams(node, p, q):
    """Bag of (stem, base) label tuples, built on the extended tree as Augsten et al. define it."""
    bag = Counter()

    def visit(anchor, ancestors):
        stem = (*ancestors, anchor[0])[-p:]
        children = [child[0] for child in anchor[1:]]
        padding = [NULL] * (q - 1)
        extended = [*padding, *children, *padding] if children else [NULL] * q
        for start in range(len(extended) - q + 1):
            bag[stem, tuple(extended[start : start + q])] += 1
        for child in anchor[1:]:
            visit(child, stem)

    visit(node, (NULL,) * p)
    return bag


def pq_text(gram):
    """Label of a pq-gram as ``ancestor/anchor(child child)``."""
    stem, base = gram
    return f"{'/'.join(stem)}({' '.join(base)})"
