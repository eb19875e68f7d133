"""Holes in proposals are filled by exactly the functions that brute force fills them with."""

import functools
import itertools
from fractions import Fraction

import brute
import languages
import naive
import numpy as np
import pytest
from proposing import Fixed, Random

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL, Grammar, Grid
from synthlab.language.operator import ADD, DIVIDE, MULTIPLY
from synthlab.language.program import parse, token_matrix
from synthlab.search import completion
from synthlab.search.budget import Budget, Cost
from synthlab.search.completion import Completion, PartialLookup
from synthlab.search.holes import Holes
from synthlab.search.library import Library
from synthlab.search.meeting import Target, lookup
from synthlab.search.problem import COMPLETE, FOUND, SPENT, Problem
from synthlab.universe.counting import program_counts
from synthlab.universe.sampling import sample_programs

AMPLE = Budget(seconds=600.0)


@functools.cache
def library_of(grammar, size, measure="leaves"):
    return Library.build(grammar, size, measure)


# ---------------------------------------------------------------- brute force


def trees_of(grammar, prefix):
    arities = languages.arities(grammar)
    return [naive.tree([grammar.tokens[t] for t in row if t != PAD], arities) for row in prefix.tolist()]


@functools.lru_cache(maxsize=1 << 18)
def outputs_of(grammar, tree):
    """Exact outputs on the grid, None where there is none."""
    if len(tree) == 1:
        points = [[int(v) if grammar.integral else v for v in point] for point in grammar.grid.points]
        if tree[0] not in grammar.variables:
            return (Fraction(int(tree[0])),) * len(points) if not grammar.integral else (int(tree[0]),) * len(points)
        return tuple(point[grammar.variables.index(tree[0])] for point in points)
    return tuple(value(tree[0], operands) for operands in zip(*(outputs_of(grammar, t) for t in tree[1:]), strict=True))


def value(operator, operands):
    try:
        return None if None in operands else brute.MEANINGS[operator](*operands)
    except ZeroDivisionError:
        return None


def places(tree):
    """Functions that put something in the place of each proper subtree below operators that can be undone."""
    if tree[0] not in {"+", "-", "*", "/", "neg"}:
        return
    for k in range(1, len(tree)):
        before, after = tree[:k], tree[k + 1 :]
        yield lambda new, before=before, after=after: (*before, new, *after)
        for inner in places(tree[k]):
            yield lambda new, before=before, after=after, inner=inner: (*before, inner(new), *after)


def fillers(library, meet=False):
    """What may fill a hole: functions of the library that have values everywhere, or two of them."""
    known = trees_of(library.grammar, library.table.text()[library.usable])
    pairs = itertools.product(["+", "-", "*", "/"], known, known) if meet else []
    return [*known, *((o, a, b) for o, a, b in pairs if o in library.grammar.index)]


def reachable(library, texts, max_size, meet=False):
    """Outputs of proposals within the bound, and of all that filling one hole makes of any proposal."""
    grammar, found, new = library.grammar, set(), fillers(library, meet)
    for tree in trees_of(grammar, texts):
        for candidate in [tree, *(fill(filler) for fill in places(tree) for filler in new)]:
            if naive.size_of(candidate, library.table.measure) <= max_size:
                found.add(outputs_of(grammar, candidate))
    return [o for o in found if None not in o]


def programs_of(grammar, size, measure, num, seed):
    """Random programs of the largest size up to one that has any."""
    sizes = [s for s in range(measure != "depth", size + 1) if program_counts(grammar, s, measure)[-1]]
    return sample_programs(grammar, sizes[-1], num, measure=measure, seed=seed)


def problems_of(grammar, reached, max_size, measure, seed, num=25):
    """Problems of which some are solved by brute force, and some probably not."""
    order = np.random.default_rng(seed).permutation(len(reached))[:num]
    drawn = [programs_of(grammar, size, measure, num, seed) for size in (max_size - 1, max_size)]
    others = [outputs_of(grammar, tree) for texts in drawn for tree in trees_of(grammar, texts)]
    targets = [*(reached[k] for k in order), *(o for o in others if None not in o)]
    return [(t, Problem.from_outputs(grammar, t, max_size=max_size, measure=measure)) for t in dict.fromkeys(targets)]


CASES = [
    (POLYNOMIAL, 2, 5, "leaves"),
    (RATIONAL, 2, 4, "leaves"),
    (PIECEWISE, 2, 4, "leaves"),
    (POLYNOMIAL, 3, 7, "nodes"),
    (languages.UNARY, 3, 6, "nodes"),
    (languages.MULADD, 2, 6, "nodes"),
    (languages.REVERSED, 2, 4, "leaves"),
    (POLYNOMIAL, 0, 2, "depth"),
    (languages.UNARY, 0, 2, "depth"),
    (languages.AVERAGE, 2, 4, "leaves"),
]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(("grammar", "size", "max_size", "measure"), CASES, ids=languages.label)
def test_what_brute_force_completes_is_solved_and_nothing_else(grammar, size, max_size, measure, seed):
    library = library_of(grammar, size, measure)
    texts = programs_of(grammar, max_size, measure, 3, seed)
    reached = reachable(library, texts, max_size)
    solver = Completion(library, Fixed(texts), len(texts))
    solved = 0
    for outputs, problem in problems_of(grammar, reached, max_size, measure, seed):
        result = solver.solve(problem, AMPLE)
        assert result.found == (outputs in set(reached))
        if result.found:
            (tree,) = trees_of(grammar, token_matrix([result.program]))
            assert outputs_of(grammar, tree) == outputs and naive.size_of(tree, measure) <= max_size
            solved += 1
    assert solved >= 5


MEETING = [
    (POLYNOMIAL, 1, 4, "leaves"),
    (POLYNOMIAL, 2, 5, "leaves"),
    (PIECEWISE, 2, 5, "leaves"),
    (languages.AVERAGE, 2, 5, "leaves"),
    (RATIONAL, 1, 4, "leaves"),
    (languages.UNARY, 2, 7, "nodes"),
]


@pytest.mark.parametrize(("grammar", "size", "max_size", "measure"), MEETING, ids=languages.label)
def test_meeting_fills_holes_with_two_functions_as_brute_force_does(grammar, size, max_size, measure):
    library = library_of(grammar, size, measure)
    texts = programs_of(grammar, max_size, measure, 2, 6)
    reached = reachable(library, texts, max_size, meet=True)
    one, two = (Completion(library, Fixed(texts), 3, meet=meet) for meet in (False, True))
    more = 0
    for outputs, problem in problems_of(grammar, reached, max_size, measure, 6, 40):
        result = two.solve(problem, AMPLE)
        assert result.found == (outputs in reached)
        more += result.found and not one.solve(problem, AMPLE).found
    assert more >= 5


# ---------------------------------------------------------------- look-ups where something is unknown


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE], ids=languages.label)
def test_partial_lookups_find_the_smallest_functions_that_agree_where_outputs_are_known(grammar):
    library = library_of(grammar, 3)
    generator = np.random.default_rng(5)
    whole = np.flatnonzero(library.usable)
    codes = library.codes[generator.choice(whole, 300)]
    codes[::7] ^= np.uint64(1)  # what no function has
    known = generator.random(codes.shape) < generator.random((300, 1)) ** 0.5
    known[:40] = True
    known[40:60], known[60:90, 3:] = False, False
    lookup_ = PartialLookup(library)
    agree = [
        whole[(library.codes[whole][:, mask] == wanted[mask]).all(axis=1)].tolist()
        for wanted, mask in zip(codes, known, strict=True)
    ]
    assert lookup_.first(codes, known).tolist() == [rows[0] if rows else -1 for rows in agree]
    assert min(map(len, agree)) == 0 and max(map(len, agree)) == len(whole)
    for room in (1, 2, 3, 9):
        for k in range(0, 300, 3):
            expected = [row for row in agree[k] if library.table.sizes[row] <= room][: completion._MOST_ROWS]
            assert lookup_.all(codes[k], known[k], room).tolist() == expected
    for k in range(40):
        assert lookup(library, Target.of(codes[k])) == (agree[k][0] if agree[k] else -1)


def solve(grammar, function, *texts, size=2, max_size=6, budget=AMPLE, **options):
    library = library_of(grammar, size)
    problem = Problem.from_outputs(grammar, [function(*p) for p in grammar.grid.points], max_size=max_size)
    return Completion(library, Fixed.of(grammar, *texts), len(texts), **options).solve(problem, budget)


FACTORS = [
    "x*y*(x+2)",
    "x*(y*(x+3))",
    "(x-1)*(x+y)",
    "(y+2)*(x-1)*x",
    "y*(x*2)",
    "x*y*1+(x-x)",
    "(x+1)*(y+1)",
    "1*(x-y)*y",
]


@pytest.mark.parametrize("size", [1, 2])
def test_factors_that_are_zero_somewhere_hide_nothing(size):
    target = tuple(x * y * (x - 1) for x, y in POLYNOMIAL.grid.points)
    found = []
    for text in FACTORS:
        reached = reachable(library_of(POLYNOMIAL, size), token_matrix([parse(POLYNOMIAL, text)]), 4)
        found.append(solve(POLYNOMIAL, lambda x, y: x * y * (x - 1), text, size=size, max_size=4).found)
        assert found[-1] == (target in reached)
    assert 0 < sum(found) < len(FACTORS)


def test_where_anything_will_do_the_smallest_function_stands():
    result = solve(RATIONAL, lambda x, y: 0, "(x-x)*(2/(y-y))", size=2, max_size=6)
    assert result.program.infix_text() == "(x - x) * x"
    assert result.cost.lookups == 1


SMALL = Grammar(
    name="small", variables=("x",), constants=(1,), operators=(ADD, MULTIPLY, DIVIDE), grid=Grid(((0, 1),))
)  # fmt: skip


def test_divisors_that_vanish_where_outputs_say_nothing_are_passed_over():
    library = library_of(SMALL, 2)
    first = PartialLookup(library).all(np.array([0, 2], dtype=np.uint64), np.array([False, True]), 2)
    assert library.table.text(first[:2]).tolist() == token_matrix([parse(SMALL, "x+x"), parse(SMALL, "x+1")]).tolist()
    result = solve(SMALL, lambda x: Fraction(x, x + 1), "x/1", max_size=3)
    assert result.program.infix_text() == "x / (x + 1)"


def test_targets_with_poles_are_completed_where_they_have_values():
    result = solve(
        RATIONAL, lambda x, y: y / (3 * x - 1) if 3 * x != 1 else None, "x/(x+x+x-1)", "2/x", size=1, max_size=5
    )
    assert result.program.infix_text() == "y / (x + x + x - 1)"


# ---------------------------------------------------------------- proposals


def test_proposals_come_before_holes():
    result = solve(POLYNOMIAL, lambda x, y: x * y + 1, "x*y+2", "1+x*y")
    assert result.program.infix_text() == "1 + x * y" and result.cost.lookups == 0


def test_earlier_proposals_are_completed_first():
    result = solve(POLYNOMIAL, lambda x, y: x * y + 1, "x-1", "x*y+3", "x*y-1", size=1)
    assert result.program.infix_text() == "x * y + 1"


def test_what_is_no_program_too_large_or_undefined_may_still_be_completed_or_ignored():
    texts = np.full((3, 11), PAD, dtype=np.uint8)
    texts[0, [0, 2, 3]], texts[1, :7] = (5, 0, 0), (5, 5, 5, 0, 1, 1, 1)
    texts[2] = token_matrix([parse(POLYNOMIAL, "x*y*y*3*2+1")])
    library = library_of(POLYNOMIAL, 2)
    problem = Problem.from_outputs(POLYNOMIAL, [x - y + 1 for x, y in POLYNOMIAL.grid.points], max_size=3)
    assert Completion(library, Fixed(texts), 3).solve(problem, AMPLE).program.leaves == 3
    nothing = Completion(library, Fixed(texts[:1]), 3).solve(problem, AMPLE)
    assert (nothing.best, nothing.stopped, nothing.cost.tested) == (None, COMPLETE, 0)


def test_undefined_parts_are_replaced():
    result = solve(RATIONAL, lambda x, y: x + y * 2, "x+1/(x-x)", size=2, max_size=3)
    assert result.program.infix_text() in {"x + y * 2", "x + 2 * y", "x + (y + y)"}


def test_larger_proposals_than_exact_numbers_hold_are_no_trouble():
    large = " * ".join(["3"] * 60) + " + min(x, y)"
    grammar = Grammar(
        name="large", variables=("x", "y"), constants=(3,), operators=PIECEWISE.operators, grid=PIECEWISE.grid
    )
    result = solve(grammar, lambda x, y: min(x, y) + 3, large, size=1, max_size=3)
    assert result.found and result.program.leaves == 3


# ---------------------------------------------------------------- costs


def test_equal_wishes_are_looked_up_once():
    same = ["x*y+1", "1+x*y", "x*y+1*1", "y*x+1"]
    problem = Problem.from_outputs(POLYNOMIAL, [x**3 + 7 * y for x, y in POLYNOMIAL.grid.points], max_size=6)
    prefix = token_matrix([parse(POLYNOMIAL, t) for t in same])
    holes = Holes.of(problem, prefix)
    rows = holes.rows()
    wishes = {(holes.codes[r][holes.known[r]].tobytes(), holes.known[r].tobytes()) for r in rows}
    result = Completion(library_of(POLYNOMIAL, 2), Fixed(prefix), 4).solve(problem, AMPLE)
    assert result.cost.lookups == len(wishes) < len(rows) and result.cost.programs == 4
    assert result.stopped == COMPLETE and result.best is not None


@pytest.mark.parametrize("meet", [False, True])
@pytest.mark.parametrize("axis", ["lookups", "tested", "programs"])
@pytest.mark.parametrize("limit", [1, 2, 5, 11, 40])
def test_budgets_are_kept(axis, limit, meet, monkeypatch):
    monkeypatch.setattr("synthlab.search.meeting._CHUNK", 4)
    monkeypatch.setattr(completion, "_AT_ONCE", 3)
    result = solve(
        POLYNOMIAL, lambda x, y: x**5 + 7 * y * y, "x*y+1", "x*y*2-y", "x-y*3", "x*x*x",
        max_size=12, budget=Budget(seconds=600.0, **{axis: limit}), meet=meet,
    )  # fmt: skip
    spent = getattr(result.cost, axis)
    assert not result.found
    if result.stopped == SPENT:
        assert limit <= spent < limit + 4
    else:
        assert result.stopped == COMPLETE and spent < limit
    assert result.cost.programs == min(4, limit if axis != "lookups" else 4)


def test_a_larger_budget_of_lookups_completes_what_a_smaller_one_does_not():
    texts = ["x+1", "y-3", "x*y+3"]
    found = [
        solve(POLYNOMIAL, lambda x, y: x * y + x, *texts, size=1, budget=Budget(seconds=600.0, lookups=n))
        for n in (1, 99)
    ]
    assert [r.found for r in found] == [False, True]
    assert [r.stopped for r in found] == [SPENT, FOUND]


def test_time_that_is_up_ends_the_search():
    expensive = Fixed.of(POLYNOMIAL, "x*y+3", cost_of_one=Cost(seconds=50.0))
    problem = Problem.from_outputs(POLYNOMIAL, [x * y + x for x, y in POLYNOMIAL.grid.points], max_size=4)
    solver = Completion(library_of(POLYNOMIAL, 2), expensive, 1)
    late = solver.solve(problem, Budget(seconds=50.0))
    assert (late.found, late.stopped, late.cost.tested) == (False, SPENT, 0)
    assert solver.solve(problem, Budget(seconds=600.0)).found


def test_setup_is_the_library_and_the_training():
    library, proposer = library_of(POLYNOMIAL, 2), Fixed.of(POLYNOMIAL, "x")
    assert Completion(library, proposer, 1).setup == proposer.training + library.cost
    assert Completion(library, None, 1).setup == library.cost
    assert library.cost.programs > 0


# ---------------------------------------------------------------- many problems, and refusals


def test_many_problems_are_answered_like_each_alone_but_asked_for_at_once():
    library = library_of(POLYNOMIAL, 2)
    texts = sample_programs(POLYNOMIAL, 5, 30, seed=9)
    problems = [
        Problem.from_outputs(POLYNOMIAL, outputs_of(POLYNOMIAL, tree), max_size=5)
        for tree in trees_of(POLYNOMIAL, texts)
    ]
    proposer = Random(grammar=POLYNOMIAL, size=4)
    together = Completion(library, proposer, 12).solve_all(problems, AMPLE)
    assert proposer.asked == [(30, 12)]
    alone = [Completion(library, proposer, 12).solve(p, AMPLE) for p in problems]
    kept = [[(r.program, r.best, r.stopped, r.cost.tested, r.cost.tokens) for r in some] for some in (together, alone)]
    assert kept[0] == kept[1] and 0 < sum(r.found for r in together) < 30


def test_a_library_of_another_language_is_refused():
    problem = Problem.from_outputs(RATIONAL, [x for x, _ in RATIONAL.grid.points], max_size=3)
    with pytest.raises(ConfigurationError, match="build one for it"):
        Completion(library_of(POLYNOMIAL, 2), Fixed.of(RATIONAL, "x"), 1).solve(problem, AMPLE)


def test_meeting_by_depth_is_refused():
    with pytest.raises(ConfigurationError, match="depth"):
        Completion(library_of(POLYNOMIAL, 0, "depth"), None, 1, meet=True)
