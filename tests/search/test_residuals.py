"""Whatever three small functions make is found by taking one of them off, with a guide or without."""

import functools
import itertools
from dataclasses import dataclass, field, replace
from fractions import Fraction

import languages
import numpy as np
import pairs
import pytest

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL, Grid
from synthlab.language.program import parse
from synthlab.search import meeting, residuals
from synthlab.search.budget import Budget, Cost
from synthlab.search.library import Library
from synthlab.search.meeting import rests
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Problem
from synthlab.search.residuals import ResidualSearch
from synthlab.search.symbolic import LibraryLookup

AMPLE = Budget(seconds=600.0)
HOLES = replace(RATIONAL, name="holes", grid=Grid.regular(0, 0, start=-1, num=4))
"""Quotients on whole numbers: zeros and poles everywhere."""


@functools.cache
def library_of(grammar, size, measure="leaves"):
    return Library.build(grammar, size, measure)


def problem_of(grammar, outputs, max_size, measure="leaves"):
    return Problem.from_outputs(grammar, outputs, max_size=max_size, measure=measure)


def hard(text="(x*y+1)*(x*y+2)+x*x", max_size=8):
    return problem_of(POLYNOMIAL, pairs.outputs_of(parse(POLYNOMIAL, text)), max_size)


def symbols_of(grammar):
    return [o.symbol for o in grammar.operators if o.symbol in pairs.UNDONE]


def nested(grammar, known, part_size, levels):
    """What parts and two known functions make: least size by outputs, functions of one more part at each level."""
    made = {}
    for (left, a), (right, b) in itertools.product(known.items(), repeat=2):
        for symbol in symbols_of(grammar):
            made.setdefault(pairs.combined(symbol, left, right), a + b)
    parts = {outputs: size for outputs, size in known.items() if size <= part_size}
    for _ in range(levels):
        below, made = {o: size for o, size in made.items() if None not in o}, {}
        for (part, a), (rest, b) in itertools.product(parts.items(), below.items()):
            for symbol, ends in itertools.product(symbols_of(grammar), ((part, rest), (rest, part))):
                made.setdefault(pairs.combined(symbol, *ends), a + b)
    return {outputs: size for outputs, size in made.items() if None not in outputs}


def check(result, outputs, max_size, measure="leaves"):
    assert result.found and result.stopped == FOUND and pairs.outputs_of(result.program) == outputs
    assert (result.program.leaves if measure == "leaves" else result.program.nodes) <= max_size


@dataclass
class Scores:
    """A guide that judges wanted outputs by some function of them, and remembers what it was asked."""

    judge: object
    training: Cost = field(default_factory=lambda: Cost(seconds=7.0, programs=11, flops=13.0))
    asked: list = field(default_factory=list)

    def __call__(self, codes, known):
        self.asked.append(len(codes))
        return np.array([self.judge(row, where) for row, where in zip(codes, known, strict=True)], dtype=np.float32)


def noise(row, known):
    """Without any sense."""
    return float((int(row[known].sum()) * 2654435761 % 1009) / 1009)


# ---------------------------------------------------------------- what is found


@pytest.mark.parametrize(
    ("grammar", "size"), [(POLYNOMIAL, 1), (RATIONAL, 1), (PIECEWISE, 1), (HOLES, 1)], ids=languages.label
)
def test_every_function_that_three_leaves_make_is_found(grammar, size):
    """All of ``s op (a op b)`` and ``(a op b) op s``."""
    made = nested(grammar, pairs.functions(grammar, size), size, 1)
    solver, chosen = ResidualSearch(library_of(grammar, size), part_size=size), list(made.items())
    for outputs, leaves in chosen[:: 1 + len(chosen) // 100]:
        check(solver.solve(problem_of(grammar, outputs, leaves), AMPLE), outputs, leaves)


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE, HOLES], ids=languages.label)
@pytest.mark.parametrize(("depth", "size", "part_size", "num"), [(1, 2, 2, 25), (2, 1, 1, 15), (2, 2, 1, 8)])
def test_parts_are_taken_off_as_often_as_asked(grammar, depth, size, part_size, num):
    """Random programs of two functions of the library and one part a level, found within their own size."""
    known, generator = pairs.functions(grammar, size), np.random.default_rng(depth)
    items, parts = list(known), [outputs for outputs, leaves in known.items() if leaves <= part_size]
    solver, once = (ResidualSearch(library_of(grammar, size), part_size=part_size, depth=d) for d in (depth, 1))
    solved, beyond = 0, 0
    while solved < num:
        first, second = (items[k] for k in generator.integers(len(items), size=2))
        outputs, leaves = (
            pairs.combined(generator.choice(symbols_of(grammar)), first, second),
            known[first] + known[second],
        )
        for _ in range(depth):
            part = parts[generator.integers(len(parts))]
            ends = (part, outputs) if generator.random() < 0.5 else (outputs, part)
            outputs, leaves = pairs.combined(generator.choice(symbols_of(grammar)), *ends), leaves + known[part]
        if None in outputs:
            continue
        problem = problem_of(grammar, outputs, leaves)
        check(solver.solve(problem, AMPLE), outputs, leaves)
        solved, beyond = solved + 1, beyond + (not LibraryLookup(library_of(grammar, size)).solve(problem, AMPLE).found)
        if depth == 2 and size == 2 and solved < 3:
            assert once.solve(problem, AMPLE).stopped in (FOUND, COMPLETE)
    assert beyond > 0


@pytest.mark.parametrize("text", ["(x*x-y)/2", "2/(y-x*x)", "y-x*x/2", "(2-x*x)/y", "2/(x*x-y)", "(x*x/y-2)/x"])
def test_parts_stand_where_they_were_taken_off(text):
    """On the left or on the right, one inside the other."""
    outputs, leaves = pairs.outputs_of(parse(RATIONAL, text)), parse(RATIONAL, text).leaves
    result = ResidualSearch(library_of(RATIONAL, 1), part_size=1, depth=leaves - 2).solve(
        problem_of(RATIONAL, outputs, leaves), AMPLE
    )
    check(result, outputs, leaves)


def test_a_pole_where_a_value_does_not_matter_is_avoided(monkeypatch):
    """A product that is zero says nothing of the other factor there, but the factor needs a value."""
    monkeypatch.setattr(residuals, "_LEAST_KNOWN", 1)
    small = replace(HOLES, name="small-holes", grid=Grid.regular(0, 0, start=-1, num=3))
    outputs = tuple(map(Fraction, ["-1", "-1", "0", "-2/3", "-1/2", "0", "-1/2", "-1/3", "0"]))
    check(ResidualSearch(library_of(small, 2), part_size=2).solve(problem_of(small, outputs, 6), AMPLE), outputs, 6)


def test_a_rest_that_is_hardly_known_is_passed_over(monkeypatch):
    """Below a part that is zero nearly everywhere anything would do."""
    grammar = replace(POLYNOMIAL, name="two-points", grid=Grid.regular(0, 0, start=0, num=3))
    library, guide = library_of(grammar, 2), Scores(lambda row, known: float(known.sum()))
    outputs = pairs.outputs_of(parse(grammar, "(x*y)*(x*x*y*y*3+2)"))
    counts = []
    for least in (1, 4, 5):
        monkeypatch.setattr(residuals, "_LEAST_KNOWN", least)
        ResidualSearch(library, guide, part_size=2).solve(problem_of(grammar, outputs, 9), AMPLE)
        counts.append(guide.asked.pop())
    assert counts[0] == counts[1] > counts[2] > 0


@pytest.mark.parametrize("grammar", [POLYNOMIAL, languages.UNARY, languages.MULADD], ids=languages.label)
def test_nodes_are_bounded_too(grammar):
    library, known = library_of(grammar, 3, "nodes"), pairs.functions(grammar, 3, "nodes")
    solver, generator, items, found = ResidualSearch(library, part_size=3), np.random.default_rng(0), list(known), 0
    for _ in range(25):
        s, a, b = (items[k] for k in generator.integers(len(items), size=3))
        first, second = generator.choice(symbols_of(grammar), 2)
        outputs, nodes = pairs.combined(first, s, pairs.combined(second, a, b)), known[s] + known[a] + known[b] + 2
        check(solver.solve(problem_of(grammar, outputs, nodes, "nodes"), AMPLE), outputs, nodes, "nodes")
        found += solver.solve(problem_of(grammar, outputs, nodes - 1, "nodes"), AMPLE).found
    assert found < 25


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE], ids=languages.label)
@pytest.mark.parametrize("judge", [lambda row, known: 0.0, noise], ids=["indifferent", "noise"])
def test_a_guide_changes_the_order_and_not_what_is_found(grammar, judge):
    library, guide = library_of(grammar, 2), Scores(judge)
    plain, guided = (ResidualSearch(library, g, part_size=1) for g in (None, guide))
    reachable = nested(grammar, pairs.functions(grammar, 1), 1, 1)
    targets = [*list(reachable)[::21][:10], *list(pairs.functions(grammar, 3))[-10:]]
    targets += [tuple(v * v + w for v, w in zip(a, b, strict=True)) for a, b in itertools.pairwise(targets[:8])]
    answers = []
    for outputs in targets:
        one, other = (s.solve(problem_of(grammar, outputs, 5), AMPLE) for s in (plain, guided))
        assert (one.found, one.stopped) == (other.found, other.stopped)
        for result in (one, other):
            assert not result.found or pairs.outputs_of(result.program) == outputs
        answers.append(one.found)
    assert any(answers) and not all(answers) and guide.asked


# ---------------------------------------------------------------- the order


def test_without_a_guide_the_smallest_parts_come_first(monkeypatch):
    library, sizes = library_of(POLYNOMIAL, 3), []
    original = ResidualSearch._complete

    def watched(solver, attempt, rest):
        sizes.append(rest.size)
        original(solver, attempt, rest)

    monkeypatch.setattr(ResidualSearch, "_complete", watched)
    result = ResidualSearch(library, part_size=2).solve(hard("x*x*x*x*x*x*x*x+y*y*y*y*y*y*y*y*y", 6), AMPLE)
    assert not result.found and sizes == sorted(sizes) and set(sizes) == {0, 1, 2}
    assert sizes.count(0) == 1 and len(sizes) > 50


def test_what_the_guide_likes_best_comes_first():
    """A guide that knows the answer needs one rest."""
    library, wanted = library_of(POLYNOMIAL, 3), pairs.outputs_of(parse(POLYNOMIAL, "(x*y+1)*(x*y+2)"))
    codes = np.array([v % meeting.PRIME for v in wanted], dtype=np.uint64)
    guide = Scores(lambda row, known: float(known.all() and (row == codes).all()))
    guided, plain = (ResidualSearch(library, g, part_size=2).solve(hard(), AMPLE) for g in (guide, None))
    assert guided.found and plain.found and guided.cost.lookups < plain.cost.lookups
    assert guided.cost.lookups <= 1 + 2 * len(meeting.moves(library)) * len(library) and len(guide.asked) == 1


@pytest.mark.parametrize("patience", [1, 3, 7])
def test_after_some_patience_parts_are_taken_off_a_rest(monkeypatch, patience):
    events, original = [], ResidualSearch._complete

    def watched(solver, attempt, rest):
        events.append("look")
        original(solver, attempt, rest)

    def judge(row, known):
        events.append("judge")
        return 0.0

    monkeypatch.setattr(ResidualSearch, "_complete", watched)
    solver = ResidualSearch(library_of(POLYNOMIAL, 1), Scores(judge), part_size=1, depth=2, patience=patience)
    solver.solve(hard("x*x*x*x*x*x*x*x", 6), Budget(seconds=600.0, lookups=600))
    runs = ["".join(group) for key, group in itertools.groupby(e[0] for e in events) if key == "l"]
    assert [len(run) for run in runs[:3]] == [1, patience, patience]


def test_more_levels_find_more():
    library, problem = library_of(POLYNOMIAL, 1), hard("(x*y+1)*y", 4)
    results = [ResidualSearch(library, part_size=1, depth=depth).solve(problem, AMPLE) for depth in (1, 2, 3)]
    assert [r.found for r in results] == [False, True, True] and results[0].stopped == COMPLETE


def test_larger_parts_find_more():
    library, problem = library_of(POLYNOMIAL, 2), hard("(x+3)*(y-2)-x*x", 6)
    results = [ResidualSearch(library, part_size=size).solve(problem, AMPLE) for size in (1, 2)]
    assert [r.found for r in results] == [False, True]


def test_only_what_fits_is_asked_for():
    """Rests leave room for two leaves at least, and halves are enumerated up to half of what is left."""
    library, guide = library_of(POLYNOMIAL, 2), Scores(noise)
    result = ResidualSearch(library, guide, part_size=1).solve(hard("x*x*x*x*x*y*y*y+3", 4), AMPLE)
    assert 15 < guide.asked[0] <= 20 and result.cost.lookups == 1 + 4 * 40 + guide.asked[0] * 4 * 5
    nodes, guide = library_of(POLYNOMIAL, 3, "nodes"), Scores(noise)
    outputs = pairs.outputs_of(parse(POLYNOMIAL, "x*x*x*x*x*y*y*y+3"))
    for bound, least, most in ((4, 15, 20), (6, 100, 160)):
        ResidualSearch(nodes, guide, part_size=3).solve(problem_of(POLYNOMIAL, outputs, bound, "nodes"), AMPLE)
        assert least < guide.asked.pop() <= most


# ---------------------------------------------------------------- budgets and refusals


@pytest.mark.parametrize("limits", [dict(lookups=1), dict(lookups=500), dict(tested=2000)])
@pytest.mark.parametrize("guide", [None, Scores(noise)], ids=["plain", "guided"])
def test_budgets_are_kept_within_a_chunk(monkeypatch, limits, guide):
    monkeypatch.setattr(meeting, "_CHUNK", 16)
    problem = hard("x*x*x*x*x*x*x*x+y*y*y*y*y*y*y*y*y", 8)
    result = ResidualSearch(library_of(POLYNOMIAL, 2), guide, part_size=2).solve(
        problem, Budget(seconds=600.0, **limits)
    )
    (most,) = limits.values()
    assert result.stopped == SPENT and most <= result.cost.lookups < most + 16 and result.cost.programs == 0


def test_seconds_end_the_search():
    result = ResidualSearch(library_of(POLYNOMIAL, 3), part_size=3, depth=9).solve(
        hard("x*x*x*x*x*x*x*x+y*y*y*y*y*y*y*y*y", 9), Budget(seconds=0.05)
    )
    assert result.stopped == SPENT and result.cost.seconds >= 0.05 and not result.found


@pytest.mark.parametrize("where", ["rests", "guide"])
def test_an_interrupt_ends_the_search(monkeypatch, where):
    def interrupted(*arguments):
        raise KeyboardInterrupt

    guide = Scores(interrupted) if where == "guide" else None
    if guide is None:
        monkeypatch.setattr(residuals, "rests", interrupted)
    result = ResidualSearch(library_of(POLYNOMIAL, 1), guide, part_size=1).solve(hard(), AMPLE)
    assert result.stopped == INTERRUPTED and result.cost.lookups > 0 and result.best is None


@pytest.mark.parametrize(
    "options", [dict(part_size=0), dict(part_size=3), dict(depth=0), dict(patience=0), dict(part_size=-1, depth=2)]
)
def test_settings_without_a_sense_are_refused(options):
    with pytest.raises(ConfigurationError, match="parts come from a library of 2, the others are at least 1"):
        ResidualSearch(library_of(POLYNOMIAL, 2), **{"part_size": 1, **options})


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(languages.BOUNDS, 3, "nodes"), (languages.TERNARY, 3, "leaves"), (languages.CHOICES, 2, "leaves")],
    ids=languages.label,
)
def test_grammars_without_an_operator_that_can_be_undone_have_their_library(grammar, size, measure):
    library = Library.build(grammar, size, measure)
    solver = ResidualSearch(library, part_size=1)
    assert {m.kind for m in meeting.moves(library)} <= {1}
    for row, found in ((len(library) - 1, True), (0, True)):
        problem = Problem(grammar, size, measure, np.zeros(library.codes.shape[1]), library.codes[row])
        assert solver.solve(problem, AMPLE).found == found
    strange = problem_of(grammar, [k * k * k for k in range(library.codes.shape[1])], 9, measure)
    assert solver.solve(strange, AMPLE).stopped == COMPLETE


def test_library_and_guide_are_the_preparation():
    library, guide = library_of(POLYNOMIAL, 2), Scores(noise)
    plain, guided = ResidualSearch(library, part_size=1), ResidualSearch(library, guide, part_size=1)
    assert plain.setup == library.cost and guided.setup == library.cost + guide.training
    assert (plain.name, guided.name) == ("meet in the middle, two levels", "meet in the middle, guided")
    assert ResidualSearch(library, guide, part_size=1, name="mine").name == "mine"


def test_rests_of_rests_stay_unknown_where_they_were():
    library, every = library_of(POLYNOMIAL, 2), np.ones((1, 36), dtype=bool)
    target, x, one = (
        np.array([[v % meeting.PRIME for v in pairs.outputs_of(parse(POLYNOMIAL, t))]], dtype=np.uint64)
        for t in ("x*(y*y*3+1)", "x", "1")
    )
    rows = [np.flatnonzero((library.codes == codes).all(axis=1)) for codes in (x, one)]
    plus, times = (next(m for m in meeting.moves(library) if m.token == POLYNOMIAL.index[t]) for t in "+*")
    first, known, _ = rests(library, times, target, every, rows[0])
    second, sure, _ = rests(library, plus, first, known, rows[1])
    assert known.tolist() == sure.tolist() == [[x != 0 for x, _ in POLYNOMIAL.grid.points]]
    assert second[0][sure[0]].tolist() == [3 * y * y for x, y in POLYNOMIAL.grid.points if x != 0]
