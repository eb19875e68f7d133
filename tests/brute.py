"""Every program of a small universe, by recursion, with its function as a quotient of polynomials or as outputs.

Nothing here calls the package. A grammar is a dictionary from token text to arity, in declared order; a text
is a tuple of token numbers; a function is whatever the meanings below compute.
"""

from __future__ import annotations

import itertools
from collections import Counter
from fractions import Fraction

MEASURES = ("leaves", "nodes", "depth")

MEANINGS = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
    "min": min,
    "max": max,
    "neg": lambda a: -a,
    "square": lambda a: a * a,
    "mean": lambda a, b: (a + b) / 2,
    "skew": lambda a, b: a - (b + b),
    "least": lambda a, b: a * b / (a + b),
    "mid": lambda a, b, c: a * b + c,
    "pick": lambda a, b, c: b if a > 0 else c,
    "four": lambda a, b, c, d: a * b - c * d,
}

# ---------------------------------------------------------------- texts


def compositions(total, parts):
    """Ways to write a number as an ordered sum of positive ones."""
    for cuts in itertools.combinations(range(1, total), parts - 1):
        yield tuple(b - a for a, b in itertools.pairwise((0, *cuts, total)))


def operand_choices(arity, size, measure):
    """Sizes of the operands of a program of exactly so large a size."""
    if measure == "depth":
        choices = itertools.product(range(size), repeat=arity)
        return [c for c in choices if max(c) == size - 1]
    return list(compositions(size - (measure == "nodes"), arity))


def listed(arities, max_size, measure, leaf, node):
    """(text, value) of every program in the order of (size, text), by size.

    `leaf` gives the value of a token, `node` that of a token and its operands' values.
    """
    smallest = 0 if measure == "depth" else 1
    numbered = list(enumerate(arities.items()))
    sizes = {smallest: [((k,), leaf(token)) for k, (token, arity) in numbered if not arity]}
    for size in range(smallest + 1, max_size + 1):
        found = []
        for k, (token, arity) in numbered:
            for choice in operand_choices(arity, size, measure) if arity else ():
                for parts in itertools.product(*(sizes[s] for s in choice)):
                    text = (k, *itertools.chain.from_iterable(text for text, _ in parts))
                    found.append((text, node(token, tuple(value for _, value in parts))))
        sizes[size] = sorted(found)
    return sizes


def texts(arities, max_size, measure="leaves"):
    """Every text in the order of (size, text), by size."""
    sizes = listed(arities, max_size, measure, lambda token: None, lambda token, operands: None)
    return {size: [text for text, _ in entries] for size, entries in sizes.items()}


# ---------------------------------------------------------------- functions


class Quotient:
    """A quotient of polynomials, each a dictionary from exponents to coefficients; equal when it cross-multiplies."""

    def __init__(self, over, under):
        self.over, self.under = over, under
        if not under:
            raise ZeroDivisionError

    def __add__(self, other):
        return Quotient(_plus(_times(self.over, other.under), _times(other.over, self.under)), self._common(other))

    def __sub__(self, other):
        return self + -other

    def __neg__(self):
        return Quotient({powers: -c for powers, c in self.over.items()}, self.under)

    def __mul__(self, other):
        return Quotient(_times(self.over, other.over), self._common(other))

    def __truediv__(self, other):
        if isinstance(other, int):
            return Quotient(self.over, {powers: other * c for powers, c in self.under.items()})
        return Quotient(_times(self.over, other.under), _times(self.under, other.over))

    def __eq__(self, other):
        return _times(self.over, other.under) == _times(other.over, self.under)

    __hash__ = None

    def _common(self, other):
        return _times(self.under, other.under)


def _plus(a, b):
    return {powers: c for powers in {*a, *b} if (c := a.get(powers, 0) + b.get(powers, 0))}


def _times(a, b):
    product = Counter()
    for (p, c), (q, d) in itertools.product(a.items(), b.items()):
        product[tuple(map(sum, zip(p, q)))] += c * d
    return {powers: c for powers, c in product.items() if c}


def _at(polynomial, point):
    terms = []
    for powers, c in polynomial.items():
        for base, power in zip(point, powers):
            c = c * base**power
        terms.append(c)
    return sum(terms, Fraction(0))


class Exact:
    """Functions as quotients of polynomials: removable poles are ignored."""

    def __init__(self, variables):
        self.variables = variables
        self.point = tuple(Fraction(1009 + 97 * k, 17 + 12 * k) for k in range(len(variables)))

    def leaf(self, token):
        one = (0,) * len(self.variables)
        if token not in self.variables:
            return Quotient({one: int(token)} if int(token) else {}, {one: 1})
        return Quotient({tuple(int(v == token) for v in self.variables): 1}, {one: 1})

    def apply(self, token, operands):
        try:
            return MEANINGS[token](*operands)
        except ZeroDivisionError:
            return None

    def bucket(self, value):
        """A hash that equal functions share."""
        return _at(value.over, self.point) / _at(value.under, self.point)


class Outputs:
    """Functions as exact outputs on some inputs, None where there is none; nowhere defined is no function."""

    def __init__(self, variables, points):
        self.variables, self.points = variables, points

    def leaf(self, token):
        if token not in self.variables:
            return (int(token),) * len(self.points)
        return tuple(point[self.variables.index(token)] for point in self.points)

    def apply(self, token, operands):
        meaning, outputs = MEANINGS[token], []
        for values in zip(*operands):
            try:
                outputs.append(None if None in values else meaning(*values))
            except ZeroDivisionError:
                outputs.append(None)
        return tuple(outputs) if any(v is not None for v in outputs) else None

    def bucket(self, value):
        return value


class _Numbers:
    """Numbers functions, None for none, and remembers what operators make of them."""

    def __init__(self, algebra):
        self.algebra, self.values, self.buckets, self.made = algebra, [], {}, {}

    def number(self, value):
        if value is None:
            return None
        bucket = self.buckets.setdefault(self.algebra.bucket(value), [])
        for number in bucket:
            if self.values[number] == value:
                return number
        bucket.append(len(self.values))
        self.values.append(value)
        return bucket[-1]

    def leaf(self, token):
        return self.number(self.algebra.leaf(token))

    def node(self, token, operands):
        if None in operands:
            return None
        if (token, operands) not in self.made:
            values = tuple(self.values[n] for n in operands)
            self.made[token, operands] = self.number(self.algebra.apply(token, values))
        return self.made[token, operands]


def universe(arities, max_size, measure, algebra):
    """(size, text, number of its function or None) of every program, in the order of (size, text)."""
    numbers = _Numbers(algebra)
    sizes = listed(arities, max_size, measure, numbers.leaf, numbers.node)
    return [(size, text, number) for size, entries in sizes.items() for text, number in entries]


def minimal(programs):
    """(size, text) of the first program of every function, in order."""
    first = {}
    for size, text, number in programs:
        if number is not None:
            first.setdefault(number, (size, text))
    return list(first.values())
