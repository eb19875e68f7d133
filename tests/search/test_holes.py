"""What is wanted in a hole is what solving for it with fractions says."""

from fractions import Fraction

import brute
import languages
import naive
import numpy as np
import pytest

from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.program import Program
from synthlab.language.residues import PRIME
from synthlab.search.holes import Holes
from synthlab.search.problem import Problem
from synthlab.universe.sampling import sample_programs

pytestmark = pytest.mark.kernels

ANY, NONE = "any value", "no value"


def solved_for(kind, side, wanted, part):
    """The operand beside a part on a side that makes the wanted value, at one point."""
    if wanted is ANY:
        return ANY
    if kind == "+":
        return wanted - part
    if kind == "-":
        return part - wanted if side == 0 else wanted + part
    if kind == "neg":
        return -wanted
    if kind == "/" and side == 1:
        return wanted * part if part else NONE
    top, bottom = (wanted, part) if kind == "*" else (part, wanted)
    if bottom == 0:
        return NONE if top else ANY
    return NONE if kind == "/" and top == 0 else top / bottom


def holes_of(grammar, tree, wanted, max_size, measure):
    """(wanted outputs, largest size that fits) of every proper subtree's place below operators to be undone."""
    if tree[0] not in {"+", "-", "*", "/", "neg"}:
        return
    for k in range(1, len(tree)):
        parts = [None] * len(wanted)
        room = max_size - (measure != "leaves")
        if len(tree) == 3:
            beside = tree[3 - k]
            parts = [naive.walk(beside, p, brute.MEANINGS) for p in points_of(grammar)]
            size = naive.size_of(beside, measure)
            room = (room if size <= room else -1) if measure == "depth" else room - size
        if room < (measure != "depth") or (len(tree) == 3 and None in parts):
            continue
        values = [solved_for(tree[0], 2 - k, t, p) for t, p in zip(wanted, parts, strict=True)]
        fractions = grammar.integral and any(isinstance(v, Fraction) and v.denominator > 1 for v in values)
        if NONE not in values and not fractions:
            yield tuple(values), room
            yield from holes_of(grammar, tree[k], values, room, measure)


def points_of(grammar):
    return [dict(zip(grammar.variables, point, strict=True)) for point in grammar.grid.points]


def found_holes(problem, prefix):
    holes = Holes.of(problem, prefix)
    for row in holes.rows():
        values = tuple(int(c) if k else ANY for c, k in zip(holes.codes[row], holes.known[row], strict=True))
        yield values, int(holes.room[row])


def residue(value):
    return value if value is ANY else value.numerator * pow(value.denominator, -1, PRIME) % PRIME


CASES = [
    (POLYNOMIAL, 5, "leaves"),
    (POLYNOMIAL, 9, "nodes"),
    (RATIONAL, 4, "leaves"),
    (PIECEWISE, 4, "leaves"),
    (languages.UNARY, 6, "nodes"),
    (languages.MULADD, 6, "nodes"),
    (languages.REVERSED, 4, "leaves"),
    (languages.STRANGE, 4, "leaves"),
    (POLYNOMIAL, 2, "depth"),
    (languages.UNARY, 2, "depth"),
]


@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize(("grammar", "size", "measure"), CASES, ids=languages.label)
def test_holes_want_what_fractions_say(grammar, size, measure, given):
    texts = sample_programs(grammar, size, 12, measure=measure, seed=3)
    arities = languages.arities(grammar)
    trees = [naive.tree([grammar.tokens[t] for t in row if t != PAD], arities) for row in texts.tolist()]
    outputs = [[naive.walk(tree, p, brute.MEANINGS) for p in points_of(grammar)] for tree in trees]
    target = next(o for o in outputs[given:] if None not in o)
    for max_size in (size - 1, size, size + 2):
        problem = Problem.from_outputs(grammar, target, max_size=max_size, measure=measure)
        expected = set()
        for tree in trees:
            for values, room in holes_of(grammar, tree, target, max_size, measure):
                expected.add((tuple(map(residue, values)), room))
        assert set(found_holes(problem, texts)) == expected
        assert expected or max_size < size


def ways_of(holes):
    """From the hole up to the root: operators, what stands beside, and on which side where that matters."""
    ways = []
    for hole in range(1, len(holes.above)):
        way, at = [], hole
        while at:
            token = holes.grammar.tokens[holes.tokens[at]]
            way.append((token, tuple(holes._text(int(holes.parts[at]))), int(holes.sides[at]) * (token in "-/")))
            at = int(holes.above[at])
        ways.append(tuple(way))
    return ways


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL], ids=languages.label)
def test_programs_share_their_ways_down(grammar):
    texts = sample_programs(grammar, 3, 150, seed=4)
    problem = Problem.from_outputs(grammar, [x * y - x - y for x, y in grammar.grid.points], max_size=4)
    together = ways_of(Holes.of(problem, texts))
    apart = [ways_of(Holes.of(problem, text[None])) for text in texts]
    assert len(set(together)) == len(together) < sum(map(len, apart))
    assert together == list(dict.fromkeys(way for ways in apart for way in ways))


@pytest.mark.parametrize("grammar", [POLYNOMIAL, languages.UNARY, languages.MULADD], ids=languages.label)
def test_filling_every_hole_gives_a_program_with_that_subtree(grammar):
    texts = sample_programs(grammar, 7, 10, measure="nodes", seed=8)
    ones = np.ones(len(grammar.grid.points), dtype=np.uint64)
    holes = Holes.of(Problem(grammar, 9, "nodes", ones, ones), texts)
    leaf, arities, originals = 0, languages.arities(grammar), set()
    for row in texts.tolist():
        tree = naive.tree([grammar.tokens[t] for t in row if t != PAD], arities)
        originals |= set(naive_filled(tree, (grammar.tokens[leaf],)))
    assert len(holes.rows()) > 0
    for hole in holes.rows():
        text = Program(grammar, tuple(holes.filled(int(hole), [leaf]).tolist())).prefix_text().split()
        assert naive.tree(text, arities) in originals


def naive_filled(tree, new):
    """The tree with every one of its proper subtrees replaced."""
    for k in range(1, len(tree)):
        yield (*tree[:k], new, *tree[k + 1 :])
        for inner in naive_filled(tree[k], new):
            yield (*tree[:k], inner, *tree[k + 1 :])
