"""Meeting in the middle finds exactly the pairs that brute force finds, also if values are unknown or hashes meet."""

import functools
from dataclasses import replace
from fractions import Fraction

import languages
import numpy as np
import pairs
import pytest

from synthlab.language import tracing
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grid
from synthlab.language.identity import grid_codes
from synthlab.language.program import Program, parse, token_matrix
from synthlab.language.residues import PRIME, residue
from synthlab.search import library as hashes
from synthlab.search import meeting
from synthlab.search.library import Library
from synthlab.search.meeting import MeetInTheMiddle, Target, lookup, moves, rests

HOLES = replace(RATIONAL, name="holes", grid=Grid.regular(0, 0, start=-1, num=3))
"""Quotients on whole numbers: zeros and poles everywhere."""
TINY = replace(HOLES, name="tiny-holes", variables=("x",), grid=Grid.regular(0, start=-1, num=3))
WHOLE = replace(POLYNOMIAL, name="whole", variables=("x",), constants=(2, 3), grid=Grid.regular(0, start=-1, num=4))
SYMBOLS = {tracing.ADD: "+", tracing.SUBTRACT: "-", tracing.MULTIPLY: "*", tracing.DIVIDE: "/"}
UNIVERSES = [
    (POLYNOMIAL, 2, 4, "leaves"),
    (POLYNOMIAL, 3, 6, "nodes"),
    (RATIONAL, 2, 3, "leaves"),
    (PIECEWISE, 2, 4, "leaves"),
    (HOLES, 2, 4, "leaves"),
    (languages.UNARY, 4, 8, "nodes"),
]
by_universe = pytest.mark.parametrize(("grammar", "size", "max_size", "measure"), UNIVERSES, ids=languages.label)


@functools.cache
def library_of(grammar, size, measure="leaves"):
    return Library.build(grammar, size, measure)


@functools.cache
def pairs_of(grammar, size, max_size, measure):
    made = pairs.pairs(grammar, pairs.functions(grammar, size, measure), max_size, measure)
    return {outputs: ways for outputs, ways in made.items() if None not in outputs}


def codes_of(outputs):
    return np.array([PRIME if v is None else residue(Fraction(v)) for v in outputs], dtype=np.uint64)


def outputs_at(library, row):
    return pairs.outputs_of(Program.from_row(library.grammar, library.table.text(np.array([row]))[0]))


def text_of(library, found):
    return Program(library.grammar, tuple(int(token) for token in found.text(library)))


def size_of(program, measure):
    return program.leaves if measure == "leaves" else program.nodes


def all_meetings(library, target, max_size, most=None):
    return [found for chunk in MeetInTheMiddle(library, target, max_size).chunks(most) for found in chunk]


def sampled(items, num, seed=0):
    items = list(items)
    return [items[k] for k in np.random.default_rng(seed).permutation(len(items))[:num]]


def negative(outputs):
    return tuple(-v for v in outputs)


# ---------------------------------------------------------------- known everywhere


def check_targets(library, made, targets, max_size, measure):
    """Something is found where brute force finds it, within the bound, and is right; returns how often."""
    solved = 0
    for outputs in targets:
        found = all_meetings(library, Target.of(codes_of(outputs)), max_size)
        assert bool(found) == (outputs in made), outputs
        for half in found:
            program = text_of(library, half)
            assert pairs.outputs_of(program) == outputs and size_of(program, measure) <= max_size
        solved += bool(found)
    return solved


@by_universe
def test_a_program_is_found_where_brute_force_finds_one(grammar, size, max_size, measure):
    """Also for the negatives of what can be made, and for what is one unit beside it."""
    library, made = library_of(grammar, size, measure), pairs_of(grammar, size, max_size, measure)
    some = sampled(made, 100)
    others = [*map(negative, some[:30]), *((o[0] + 1, *o[1:]) for o in some[40:60])]
    assert check_targets(library, made, some, max_size, measure) == len(some)
    check_targets(library, made, others, max_size, measure)


@pytest.mark.kernels
@pytest.mark.parametrize(("grammar", "size"), [(RATIONAL, 1), (TINY, 2)], ids=languages.label)
def test_a_program_is_found_in_a_tiny_universe(grammar, size):
    """With the bodies of compiled functions too: small enough for plain Python."""
    library, made = library_of(grammar, size), pairs_of(grammar, size, 2 * size, "leaves")
    some = sampled(made, 25)
    assert check_targets(library, made, some, 2 * size, "leaves") == len(some)
    check_targets(library, made, map(negative, some), 2 * size, "leaves")
    for row in np.flatnonzero(library.usable):
        assert lookup(library, Target.of(library.codes[row])) == row


@by_universe
def test_smaller_bounds_allow_fewer_programs(grammar, size, max_size, measure):
    library, known = library_of(grammar, size, measure), pairs.functions(grammar, size, measure)
    targets = sampled(pairs_of(grammar, size, max_size, measure), 40, seed=1)
    counts = []
    for bound in range(1, max_size + 1):
        reached = set(pairs_of(grammar, size, bound, measure))
        counts.append(check_targets(library, reached, targets, bound, measure))
    assert counts[0] == 0 < counts[-1] == len(targets) and counts == sorted(counts) and len(known) > 5


@by_universe
def test_every_pair_is_found_if_all_halves_are_enumerated(grammar, size, max_size, measure):
    library = library_of(grammar, size, measure)
    values = [outputs_at(library, row) if library.usable[row] else None for row in range(len(library))]
    for outputs, ways in sampled(pairs_of(grammar, size, max_size, measure).items(), 40, seed=2):
        found = set()
        for half in all_meetings(library, Target.of(codes_of(outputs)), max_size, most=size):
            ends = [values[row] for row in (half.known, half.rest)][:: 1 if half.move.side == 0 else -1]
            found.add((SYMBOLS[half.move.kind], *ends))
        factors = {"*", "/"} if not any(outputs) else set()  # of zero any function is one, and they are not listed
        assert found == {way for way in ways if way[0] not in factors}


@pytest.mark.parametrize("text", ["x*y*(x-1)*(y+2)", "x*(x-1)*(x+1)*(x-2)", "(x-3)*(y+1)*(y-y+1)", "x*x*y*y*y*3"])
def test_products_with_many_zeros_and_their_negatives_are_found(text):
    library = library_of(POLYNOMIAL, 4)
    for program in (parse(POLYNOMIAL, text), parse(POLYNOMIAL, f"1-1-({text})")):
        outputs = pairs.outputs_of(program)
        found = all_meetings(library, Target.of(codes_of(outputs)), 8)
        assert found and all(pairs.outputs_of(text_of(library, half)) == outputs for half in found)
        assert any(half.move.kind == tracing.MULTIPLY for half in found)


@pytest.mark.parametrize(("grammar", "size"), [(POLYNOMIAL, 2), (RATIONAL, 1), (languages.REVERSED, 1), (HOLES, 2)])
def test_zero_and_other_constants_are_found(grammar, size):
    library, made = library_of(grammar, size), pairs_of(grammar, size, 2 * size, "leaves")
    constants = {c: (c,) * len(grammar.grid.points) for c in (0, 1, 2, -1, 7, 1000)}
    check_targets(library, made, constants.values(), 2 * size, "leaves")
    assert constants[0] in made and constants[1000] not in made


def test_the_smaller_half_comes_first_and_every_question_is_counted():
    library = library_of(POLYNOMIAL, 3)
    target = Target.of(codes_of(pairs.outputs_of(parse(POLYNOMIAL, "x*y+x"))))
    search, sizes = MeetInTheMiddle(library, target, 6), []
    for chunk in search.chunks():
        sizes += [int(library.table.sizes[half.known]) for half in chunk]
    assert sizes == sorted(sizes) and set(sizes) == {1, 2, 3}
    assert search.taken() == len(moves(library)) * len(library) and search.taken() == 0
    assert next(iter(search.chunks())) is not None and search.taken() == 5  # the leaves under the first operator


@pytest.mark.parametrize("chunk", [1, 7])
def test_the_size_of_chunks_changes_nothing(monkeypatch, chunk):
    library = library_of(POLYNOMIAL, 2)
    targets = [Target.of(codes_of(o)) for o in sampled(pairs_of(POLYNOMIAL, 2, 4, "leaves"), 20, seed=3)]
    whole = [set(all_meetings(library, target, 4)) for target in targets]
    monkeypatch.setattr(meeting, "_CHUNK", chunk)
    monkeypatch.setattr(meeting, "_MOST_HITS", 17)  # room for one half more than one function may have
    for target, expected in zip(targets, whole, strict=True):
        chunks = list(MeetInTheMiddle(library, target, 4).chunks())
        assert {half for found in chunks for half in found} == expected
        assert len(chunks) >= 4 * 40 / chunk


# ---------------------------------------------------------------- operators and sides


def test_parts_stand_on_both_sides_unless_operands_may_swap():
    sides = {(SYMBOLS[m.kind], m.side) for m in moves(library_of(RATIONAL, 1))}
    assert sides == {("+", 0), ("-", 0), ("-", 1), ("*", 0), ("/", 0), ("/", 1)}
    for move in moves(library_of(languages.REVERSED, 1)):
        assert languages.REVERSED.tokens[move.token] == SYMBOLS[move.kind]


def test_what_cannot_be_undone_is_left_alone():
    assert not moves(library_of(languages.TERNARY, 1))
    assert {SYMBOLS[m.kind] for m in moves(library_of(PIECEWISE, 1))} == {"+", "-", "*"}
    assert {SYMBOLS[m.kind] for m in moves(library_of(languages.STRANGE, 1))} == {"+"}  # a - 2b and ab / (a + b)
    assert {SYMBOLS[m.kind] for m in moves(library_of(languages.UNARY, 1, "nodes"))} == {"+", "*"}


# ---------------------------------------------------------------- known in part


@functools.cache
def combinations(grammar, size, max_size):
    """Outputs of every pair (n, G) as residues of fractions; the prime where there is none."""
    known = pairs.functions(grammar, size)
    return np.array([codes_of(outputs) for outputs in pairs.pairs(grammar, known, max_size)])


PARTIAL = [
    (POLYNOMIAL, 2, 4),
    (HOLES, 2, 3),
    (PIECEWISE, 2, 4),
    pytest.param(WHOLE, 2, 4, marks=pytest.mark.kernels),
]


@pytest.mark.parametrize(("grammar", "size", "max_size"), PARTIAL, ids=languages.label)
@pytest.mark.parametrize("share", [0.1, 0.4, 0.9])
def test_unknown_values_may_be_anything(grammar, size, max_size, share):
    library, made = library_of(grammar, size), combinations(grammar, size, max_size)
    generator, solved = np.random.default_rng(int(10 * share)), []
    for k in range(40):
        known = generator.random(made.shape[1]) < share
        codes = generator.integers(0, 1 << 63, made.shape[1], dtype=np.uint64)  # noise where unknown
        codes[known] = made[generator.integers(len(made))][known]
        if k % 4 == 0 and known.any():
            codes[np.flatnonzero(known)[0]] = residue(Fraction(10**9 + k))
        if not known.any() or (codes[known] >= PRIME).any():
            continue
        possible = (made[:, known] == codes[known]).all(axis=1).any()
        found = all_meetings(library, Target(codes, known), max_size)
        assert bool(found) == possible
        for half in found:
            assert (codes_of(pairs.outputs_of(text_of(library, half)))[known] == codes[known]).all()
        solved.append(possible)
    assert any(solved) and not all(solved)


@pytest.mark.parametrize("grammar", [POLYNOMIAL, HOLES, PIECEWISE], ids=languages.label)
def test_a_target_of_which_one_value_is_known_has_many_halves(grammar):
    library, known = library_of(grammar, 2), np.zeros(len(grammar.grid.points), dtype=bool)
    known[1] = True
    for value in (0, 1, -2, 5):
        codes = np.where(known, np.uint64(residue(Fraction(value))), np.uint64(PRIME))
        found = all_meetings(library, Target(codes, known), 4)
        assert len(found) > 20
        assert all(pairs.outputs_of(text_of(library, half))[1] == value for half in found[::50])


@pytest.mark.parametrize(("grammar", "size"), [(POLYNOMIAL, 3), (RATIONAL, 3), (PIECEWISE, 3), (HOLES, 3)])
def test_a_lookup_finds_the_smallest_function_that_is_right_where_it_matters(grammar, size):
    library, generator = library_of(grammar, size), np.random.default_rng(0)
    whole, missed = library.codes[library.usable], 0
    for k in range(120):
        known = generator.random(whole.shape[1]) < (0.05, 0.2, 1.0)[k % 3]
        codes = generator.integers(0, 1 << 63, whole.shape[1], dtype=np.uint64)
        codes[known] = whole[generator.integers(len(whole))][known]
        if k % 5 == 0:
            codes[known] = (codes[known] + np.uint64(residue(Fraction(k, 7)))) % np.uint64(PRIME)
        right = np.flatnonzero(library.usable & (library.codes[:, known] == codes[known]).all(axis=1))
        assert lookup(library, Target(codes, known)) == (right[0] if len(right) else -1)
        missed += not len(right)
    assert missed > 5


# ---------------------------------------------------------------- hashes that collide


@pytest.fixture(params=["equal weights", "one hash for all"])
def colliding(request, monkeypatch):
    """Libraries whose functions share hashes."""
    weight = int(request.param == "equal weights")
    monkeypatch.setattr(hashes, "weights", lambda num: np.full(num, weight, dtype=np.uint64))
    monkeypatch.setattr(hashes, "exponents", lambda num: np.full(num, weight, dtype=np.uint64))


@pytest.mark.parametrize(
    ("grammar", "size", "max_size", "measure"), [u for u in UNIVERSES if u[0] is not RATIONAL], ids=languages.label
)
def test_functions_that_share_a_hash_are_told_apart(colliding, grammar, size, max_size, measure):
    library, made = Library.build(grammar, size, measure), pairs_of(grammar, size, max_size, measure)
    keys = library.additive(np.ones(library.codes.shape[1], dtype=bool)).keys[library.usable]
    assert len(np.unique(keys)) < library.usable.sum()
    some = sampled(made, 60, seed=4)
    others = [*map(negative, some[:30]), *((o[0] + 1, *o[1:]) for o in some[30:50])]
    assert check_targets(library, made, some, max_size, measure) == len(some)
    check_targets(library, made, others, max_size, measure)
    for row in np.flatnonzero(library.usable):
        assert lookup(library, Target.of(library.codes[row])) == row


# ---------------------------------------------------------------- rests


def undone(symbol, side, wanted, part, whole):
    """The rest at one point by fractions: its value, "any" for any that is not zero, or None where there is none."""
    match symbol, side:
        case "+", _:
            return wanted - part
        case "-", 0:
            return part - wanted
        case "-", 1:
            return wanted + part
        case ("*", _) | ("/", 0) if (part if symbol == "*" else wanted) == 0:
            return "any" if part == wanted == 0 else None
        case "*", _:
            rest = Fraction(wanted) / part
            return None if whole and rest.denominator > 1 else rest
        case "/", 0:
            return Fraction(part) / wanted or None  # nothing is divided by zero
        case "/", 1:
            return wanted * part if part else None
    raise AssertionError(symbol)


@pytest.mark.parametrize(
    "grammar",
    [POLYNOMIAL, RATIONAL, PIECEWISE, HOLES, *(pytest.param(g, marks=pytest.mark.kernels) for g in (TINY, WHOLE))],
    ids=languages.label,
)
@pytest.mark.parametrize("each", [False, True], ids=["one target", "a target per part"])
def test_rests_are_those_of_fractions(grammar, each):
    library, generator = library_of(grammar, 3), np.random.default_rng(5)
    rows = generator.permutation(np.flatnonzero(library.usable))[:30]
    parts = [outputs_at(library, row) for row in rows]
    made, seen = list(pairs.functions(grammar, 3)), {"possible": 0, "impossible": 0, "any": 0}
    for move in moves(library):
        targets = [made[k] for k in generator.integers(len(made), size=len(rows) if each else 1)]
        for k in range(0, len(targets), 2):  # every other one has a rest
            ends = (parts[k], targets[k]) if move.side == 0 else (targets[k], parts[k])
            whole = pairs.combined(SYMBOLS[move.kind], *ends)
            targets[k] = targets[k] if None in whole else whole
        known = generator.random((len(targets), len(made[0]))) < 0.9
        codes = np.array([codes_of(outputs) for outputs in targets])
        codes[~known] = PRIME
        found, sure, kept = rests(library, move, codes, known, rows)
        place = {int(k): n for n, k in enumerate(kept)}
        for k, part in enumerate(parts):
            wanted, where = (targets[k], known[k]) if each else (targets[0], known[0])
            points = [
                undone(SYMBOLS[move.kind], move.side, t, s, grammar.integral)
                for t, s, w in zip(wanted, part, where, strict=True)
                if w
            ]
            assert (None not in points) == (k in place)
            seen["possible" if k in place else "impossible"] += 1
            if k in place:
                expected = [None] * len(where)
                for g, rest in zip(np.flatnonzero(where), points, strict=True):
                    expected[g] = None if rest == "any" else residue(Fraction(rest))
                seen["any"] += "any" in points
                assert sure[place[k]].tolist() == [e is not None for e in expected]
                assert [int(v) for v, e in zip(found[place[k]], expected, strict=True) if e is not None] == [
                    e for e in expected if e is not None
                ]
    assert seen["possible"] > 0 and (grammar is RATIONAL or seen["impossible"] > 0)  # its grid has no zeros
    assert not each or grammar is RATIONAL or seen["any"] > 0


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE, HOLES], ids=languages.label)
def test_a_part_and_its_rest_make_the_target(grammar):
    """Of random functions s and r the rest of ``s op r`` after s is r, wherever it is known."""
    library, generator, compared = library_of(grammar, 3), np.random.default_rng(6), 0
    usable, every = np.flatnonzero(library.usable), np.ones((1, library.codes.shape[1]), dtype=bool)
    for _ in range(60):
        s, r = generator.choice(usable, 2)
        for move in moves(library):
            halves = [library.grammar.index[SYMBOLS[move.kind]]]
            for row in (s, r) if move.side == 0 else (r, s):
                halves += meeting.prefix_of(library, row).tolist()
            target = grid_codes(grammar, token_matrix([Program(grammar, tuple(halves))]))
            if (target == PRIME).any():
                continue
            found, sure, kept = rests(library, move, target, every, np.array([s]))
            assert kept.tolist() == [0] and (found[0] == library.codes[r])[sure[0]].all()
            compared += int(sure.sum())
    assert compared > 1000


@pytest.mark.kernels
def test_a_part_without_a_value_somewhere_has_no_rest():
    library = library_of(TINY, 2)
    gaps, every = np.flatnonzero(~library.usable), np.ones((1, library.codes.shape[1]), dtype=bool)
    assert len(gaps) > 1
    for move in moves(library):
        assert not len(rests(library, move, library.codes[:1], every, gaps)[2])
