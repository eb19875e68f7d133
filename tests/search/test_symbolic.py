"""Enumeration finds the smallest program for outputs, a library whatever two of its functions make, within budgets."""

import functools
from dataclasses import replace

import languages
import numpy as np
import pairs
import pytest

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.identity import grid_codes
from synthlab.language.interpreter import grid_outputs
from synthlab.language.program import parse, token_matrix
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.search import meeting, symbolic
from synthlab.search.budget import Budget, Cost, Meter
from synthlab.search.library import Library
from synthlab.search.meeting import MeetInTheMiddle, Target
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Problem
from synthlab.search.residuals import ResidualSearch
from synthlab.search.symbolic import METHOD, Enumeration, LibraryLookup
from synthlab.study.solvers import submitted
from synthlab.universe import enumeration

AMPLE = Budget(seconds=600.0)


@functools.cache
def library_of(grammar, size, measure="leaves"):
    return Library.build(grammar, size, measure)


def problem_of(grammar, text, max_size, measure="leaves"):
    """Outputs of a program of any grammar; gaps included."""
    row = token_matrix([parse(grammar, text)])
    return Problem(grammar, max_size, measure, grid_outputs(grammar, row)[0], grid_codes(grammar, row)[0])


def problems_of(tasks, max_size=None):
    return [Problem.of(tasks, row, max_size) for row in range(len(tasks))]


def outputs_of(text, grammar=POLYNOMIAL):
    return pairs.outputs_of(parse(grammar, text))


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a hundred candidates."""
    monkeypatch.setattr(enumeration, "BLOCK", 100)


# ---------------------------------------------------------------- enumeration


@pytest.mark.parametrize("seed", range(30))
def test_the_smallest_program_is_found(corpus4, seed):
    class_id = np.random.default_rng(seed).choice(corpus4.class_id)
    tasks = tasks_of(corpus4, np.array([class_id]))
    found = Enumeration().solve(Problem.of(tasks, 0), AMPLE)
    assert found.program.leaves == tasks.class_leaves[0] and found.best == found.program
    assert list(pairs.outputs_of(found.program)) == tasks.outputs[0].tolist()
    assert found.cost.programs > 0 and found.cost.seconds > 0 and found.method == METHOD
    assert (found.stopped, found.agreement, found.cost.lookups) == (FOUND, 1.0, 0)


def test_rational_targets_are_found_exactly(rational3):
    for class_id in np.random.default_rng(4).choice(rational3.class_id, 15, replace=False):
        tasks = tasks_of(rational3, np.array([class_id]))
        found = Enumeration().solve(Problem.of(tasks, 0), AMPLE)
        assert found.program.leaves == tasks.class_leaves[0]
        assert pairs.outputs_of(found.program) == pairs.outputs_of(rational3.program(class_id))


@pytest.mark.parametrize(
    ("grammar", "text", "size", "measure"),
    [
        (PIECEWISE, "min(x, y) * max(1, x) + 2", 6, "leaves"),
        (languages.UNARY, "square(x + neg(y)) + 1", 7, "nodes"),
        (languages.UNARY, "square(x + neg(y)) + 1", 4, "depth"),
        (languages.FLOORED, "(x // 2 - y) % 2", 4, "leaves"),
        (languages.AVERAGE, "mean(x, mean(1, y)) * y", 4, "leaves"),
        (languages.HALVES, "mean(x, min(1, y))", 3, "leaves"),
        (languages.TERNARY, "mid(x, y, mid(1, 1, x))", 5, "leaves"),
    ],
    ids=languages.label,
)
def test_programs_of_every_grammar_and_measure_are_found(grammar, text, size, measure):
    problem = problem_of(grammar, text, size, measure)
    found = Enumeration(name="mine").solve(problem, AMPLE)
    assert found.method == "mine" and np.array_equal(
        grid_codes(grammar, token_matrix([found.program]))[0], problem.codes
    )
    sizes = {"leaves": found.program.leaves, "nodes": found.program.nodes, "depth": found.program.depth}
    assert sizes[measure] <= size


def test_targets_beyond_the_universe_are_found():
    found = Enumeration().solve(problem_of(POLYNOMIAL, "(x+y)*(x-y)*3+x", 6), AMPLE)
    assert found.program.leaves <= 6
    assert pairs.outputs_of(found.program) == tuple((x + y) * (x - y) * 3 + x for x, y in POLYNOMIAL.grid.points)


@pytest.mark.parametrize(("text", "leaves"), [("x*x*x*y", 3), ("x+y", 1), ("x*y*3-1", 3)])
def test_without_a_program_there_is_none_but_there_are_costs(text, leaves):
    found = Enumeration().solve(problem_of(POLYNOMIAL, text, leaves), AMPLE)
    assert (found.program, found.best, found.agreement, found.stopped) == (None, None, 0.0, COMPLETE)
    assert found.cost.seconds > 0 and found.cost.programs >= POLYNOMIAL.num_terminals


def test_a_target_with_poles_is_matched_pole_by_pole():
    problem = problem_of(RATIONAL, "1/(x+x+x-1)", 5)
    assert (problem.codes == UNDEFINED_RESIDUE).sum() == 6
    found = Enumeration().solve(problem, AMPLE)
    expected = tuple(1 / (3 * x - 1) if x * 3 != 1 else None for x, _ in RATIONAL.grid.points)
    assert pairs.outputs_of(found.program) == expected


@pytest.mark.parametrize("programs", [1, 5, 6, 100, 777, 5000])
@pytest.mark.parametrize("axis", ["programs", "tested"])
def test_the_budget_of_programs_is_kept_within_a_block(small_blocks, axis, programs):
    hard = problem_of(POLYNOMIAL, "x*x*x*x*x*y*y*y+3", 5)
    found = Enumeration().solve(hard, Budget(seconds=600.0, **{axis: programs}))
    assert found.program is None and found.stopped == SPENT
    assert programs <= found.cost.programs == found.cost.tested < programs + 100


def test_a_larger_budget_finds_what_a_smaller_one_does_not(small_blocks):
    target = problem_of(POLYNOMIAL, "3*y*y*x", 4)
    few, many = (Enumeration().solve(target, Budget(seconds=600.0, programs=n)) for n in (300, 10**6))
    assert few.program is None and many.program is not None
    assert few.cost.programs < many.cost.programs < 10**6


def test_time_that_is_up_ends_the_search(monkeypatch, small_blocks):
    monkeypatch.setattr(Meter, "seconds", property(lambda meter: meter.programs / 100))
    found = Enumeration().solve(problem_of(POLYNOMIAL, "3*y*y*x", 4), Budget(seconds=6.0))
    assert found.program is None and 600 <= found.cost.programs < 700
    assert found.cost.seconds == found.cost.programs / 100


# ---------------------------------------------------------------- enumeration for many problems


@pytest.fixture(scope="module")
def tasks(corpus4):
    return tasks_of(corpus4, corpus4.class_id[[3, 20, 150, 900, 2000]])


def test_every_task_gets_one_program_and_its_cost(tasks):
    results = Enumeration().solve_all(problems_of(tasks), AMPLE)
    assert [r.program.leaves for r in results] == tasks.class_leaves.tolist()
    assert (check(tasks, submitted(tasks, results)).status == SOLVED).all()
    assert sorted(r.cost.programs for r in results) == [r.cost.programs for r in results]
    assert {r.method for r in results} == {METHOD} and {r.stopped for r in results} == {FOUND}


def test_only_the_exact_outputs_are_read(tasks):
    blind = replace(
        tasks, class_id=tasks.class_id * 0, class_leaves=tasks.class_leaves * 0, weight=tasks.weight * 0,
        fingerprints=tasks.fingerprints * 0, outputs=tasks.outputs * 0, seed=0,
    )  # fmt: skip
    seen, unseen = (Enumeration().solve_all(problems_of(t), AMPLE) for t in (tasks, blind))
    assert [r.program for r in seen] == [r.program for r in unseen]


def test_what_is_not_found_is_not_submitted(tasks):
    results = Enumeration().solve_all(problems_of(tasks, 2), AMPLE)
    assert [r.found for r in results] == (tasks.class_leaves <= 2).tolist() and 0 < sum(r.found for r in results) < 5
    assert [r.best is None for r in results] == (tasks.class_leaves > 2).tolist()
    assert {r.stopped for r in results} == {FOUND, COMPLETE}


@pytest.mark.parametrize("programs", [None, 1, 6, 250, 2000])
def test_together_every_problem_gets_what_it_gets_alone(small_blocks, corpus4, programs):
    chosen = np.random.default_rng(0).choice(corpus4.class_id, 12, replace=False)
    problems = problems_of(tasks_of(corpus4, chosen)) + problems_of(tasks_of(corpus4, chosen[:2]))  # two twice
    budget = Budget(seconds=600.0, programs=programs)
    together, alone = Enumeration().solve_all(problems, budget), [Enumeration().solve(p, budget) for p in problems]
    for one, other in zip(together, alone, strict=True):
        assert (one.program, one.cost.programs, one.stopped) == (other.program, other.cost.programs, other.stopped)
        assert (one.best, one.agreement, one.method) == (other.best, other.agreement, other.method)
    assert any(r.found for r in together) == (programs is None or programs > 6)
    assert all(r.found for r in together) == (programs is None)


def test_bounds_measures_and_grammars_may_be_mixed():
    problems = [
        problem_of(POLYNOMIAL, "x*y+1", 3), problem_of(POLYNOMIAL, "x*y+1", 2), problem_of(RATIONAL, "x/y", 2),
        problem_of(POLYNOMIAL, "x*y+1", 5, "nodes"), problem_of(POLYNOMIAL, "x*y+1", 2, "depth"),
        problem_of(POLYNOMIAL, "x", 3),
    ]  # fmt: skip
    results = Enumeration().solve_all(problems, AMPLE)
    assert [r.found for r in results] == [True, False, True, True, True, True]
    for problem, result in zip(problems, results, strict=True):
        again = Enumeration().solve(problem, AMPLE)
        assert (result.program, result.cost.programs) == (again.program, again.cost.programs)
    assert Enumeration().solve_all([], AMPLE) == []


@pytest.mark.parametrize("num", [1, 5])
def test_an_interrupted_enumeration_hands_in_what_was_found(monkeypatch, small_blocks, tasks, num):
    original, calls = symbolic._Sought.after_block, []

    def watched(sought, *arguments):
        calls.append(1)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return original(sought, *arguments)

    monkeypatch.setattr(symbolic._Sought, "after_block", watched)
    results = Enumeration().solve_all(problems_of(tasks)[-num:], AMPLE)
    assert results[-1].stopped == INTERRUPTED and results[-1].program is None and results[-1].cost.programs > 0
    assert [r.stopped for r in results[:2]] == [FOUND] * 2 or num == 1


def test_an_interrupt_ends_problems_of_mixed_bounds_too(monkeypatch, tasks):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(symbolic, "grow", interrupted)
    problems = [Problem.of(tasks, row, bound) for row, bound in ((4, 4), (3, 3), (2, 4))]
    assert [r.stopped for r in Enumeration().solve_all(problems, AMPLE)] == [INTERRUPTED] * 3
    assert Enumeration().solve(problems[0], AMPLE).stopped == INTERRUPTED


# ---------------------------------------------------------------- a library


SOLVERS = [LibraryLookup, functools.partial(ResidualSearch, part_size=1)]
by_solver = pytest.mark.parametrize("solver", SOLVERS, ids=["once", "twice"])


@pytest.mark.parametrize(
    ("grammar", "size", "max_size", "measure"),
    [
        (POLYNOMIAL, 2, 4, "leaves"),
        (POLYNOMIAL, 3, 6, "nodes"),
        (RATIONAL, 1, 2, "leaves"),
        (PIECEWISE, 2, 4, "leaves"),
    ],
    ids=languages.label,
)
def test_a_library_solves_what_is_in_it_and_what_two_of_its_functions_make(grammar, size, max_size, measure):
    solver, known = LibraryLookup(library_of(grammar, size, measure)), pairs.functions(grammar, size, measure)
    made = {o for o in pairs.pairs(grammar, known, max_size, measure) if None not in o} | set(known)
    larger = pairs.functions(grammar, size + 1, measure)
    for outputs in [*list(made)[::7], *list(larger)[::5]]:
        result = solver.solve(Problem.from_outputs(grammar, outputs, max_size=max_size, measure=measure), AMPLE)
        assert result.found == (outputs in made) and result.cost.programs == 0 < result.cost.lookups
        if result.found:
            assert pairs.outputs_of(result.program) == outputs and result.agreement == 1.0 and result.stopped == FOUND
            assert (result.program.leaves if measure == "leaves" else result.program.nodes) <= max_size
        else:
            assert (result.best, result.agreement, result.stopped) == (None, 0.0, COMPLETE)


@by_solver
def test_a_function_in_the_library_costs_one_lookup(solver):
    library = library_of(POLYNOMIAL, 3)
    result = solver(library).solve(problem_of(POLYNOMIAL, "x*y+x", 3), AMPLE)
    assert result.program.leaves == 3 and (result.cost.lookups, result.cost.programs) == (1, 0)


@by_solver
def test_a_function_that_is_too_large_is_no_answer(solver):
    result = solver(library_of(POLYNOMIAL, 3)).solve(problem_of(POLYNOMIAL, "x*y+1", 2), AMPLE)
    assert (result.found, result.stopped) == (False, COMPLETE)


def test_the_smaller_halves_come_first():
    library = library_of(POLYNOMIAL, 3)
    result = LibraryLookup(library).solve(problem_of(POLYNOMIAL, "x*(y*y+2)", 6), AMPLE)
    assert result.program.leaves == 4 and result.cost.lookups <= 1 + 4 * library.num_up_to(1)


def test_of_several_answers_the_shortest_is_handed_in():
    library, known = library_of(POLYNOMIAL, 3), np.arange(36) == 7
    target = Target(np.full(36, 2, dtype=np.uint64), known)
    found = [half for chunk in MeetInTheMiddle(library, target, 6).chunks() for half in chunk]
    sizes = [len(half.text(library)) // 2 + 1 for half in found]
    assert [half.size(library) for half in found] == sizes and len(set(sizes)) > 2
    assert symbolic.smallest(library, found[::-1]).size(library) == min(sizes) < max(sizes)


def test_what_is_enumerated_may_be_limited():
    text = "(x+y+2)*(x*y-1)"
    library, problem = library_of(POLYNOMIAL, 3), problem_of(POLYNOMIAL, text, 6)
    results = [LibraryLookup(library, largest=most).solve(problem, AMPLE) for most in (1, 2, 3)]
    assert [r.found for r in results] == [False, False, True] and pairs.outputs_of(results[2].program) == outputs_of(
        text
    )
    assert [r.cost.lookups for r in results[:2]] == [1 + 4 * library.num_up_to(s) for s in (1, 2)]


@pytest.mark.parametrize("axis", ["lookups", "tested"])
@pytest.mark.parametrize("most", [1, 2, 50, 120])
@by_solver
def test_a_budget_of_lookups_is_kept_within_a_chunk(monkeypatch, solver, axis, most):
    monkeypatch.setattr(meeting, "_CHUNK", 10)
    hard = problem_of(POLYNOMIAL, "x*x*x*x*x*y*y*y+3", 6)
    result = solver(library_of(POLYNOMIAL, 2)).solve(hard, Budget(seconds=600.0, **{axis: most}))
    assert result.stopped == SPENT and most <= result.cost.lookups < most + 10 and not result.found


@by_solver
def test_time_ends_the_lookups(monkeypatch, solver):
    monkeypatch.setattr(meeting, "_CHUNK", 10)
    monkeypatch.setattr(Meter, "seconds", property(lambda meter: meter.lookups / 100))
    hard = problem_of(POLYNOMIAL, "x*x*x*x*x*y*y*y+3", 6)
    result = solver(library_of(POLYNOMIAL, 2)).solve(hard, Budget(seconds=1.0))
    assert result.stopped == SPENT and 100 <= result.cost.lookups < 110


@by_solver
def test_an_interrupted_lookup_has_nothing_to_hand_in(monkeypatch, solver):
    chunks = MeetInTheMiddle.chunks

    def interrupted(search, most=None):
        yield next(iter(chunks(search, most)))
        raise KeyboardInterrupt

    monkeypatch.setattr(MeetInTheMiddle, "chunks", interrupted)
    problems = [problem_of(POLYNOMIAL, text, 4) for text in ("x+y", "x*x*x*y", "x", "x+1")]
    results = solver(library_of(POLYNOMIAL, 2)).solve_all(problems, AMPLE)
    assert [r.stopped for r in results] == [FOUND, INTERRUPTED, INTERRUPTED, INTERRUPTED]
    assert results[1].cost.lookups == 6 and results[1].best is None


@by_solver
def test_a_target_with_a_gap_is_given_up_at_once(solver):
    for text in ("1/(x+x+x-1)", "(x+x+x-1)/(x+x+x-1)"):
        result = solver(library_of(RATIONAL, 3)).solve(problem_of(RATIONAL, text, 8), AMPLE)
        assert (result.program, result.best, result.stopped, result.cost.tested) == (None, None, COMPLETE, 0)


@by_solver
@pytest.mark.parametrize("value", [0, 1, -1, 6, 40])
def test_constants_are_found(solver, value):
    problem = Problem.from_outputs(POLYNOMIAL, [value] * 36, max_size=6)
    result = solver(library_of(POLYNOMIAL, 3)).solve(problem, AMPLE)
    assert set(pairs.outputs_of(result.program)) == {value} and result.program.leaves <= 6


@by_solver
def test_problems_of_other_grammars_and_measures_are_refused(solver):
    own = solver(library_of(POLYNOMIAL, 2))
    for problem in (problem_of(RATIONAL, "x", 3), problem_of(POLYNOMIAL, "x", 3, "nodes")):
        with pytest.raises(ConfigurationError, match="a library of 'polynomial' by leaves for a problem of"):
            own.solve(problem, AMPLE)


@by_solver
def test_depths_do_not_add_up(solver):
    with pytest.raises(ConfigurationError, match="a library by depth does not meet in the middle"):
        solver(library_of(POLYNOMIAL, 1, "depth"))


def test_building_the_library_is_the_preparation():
    library = library_of(POLYNOMIAL, 3)
    assert LibraryLookup(library).setup == library.cost and Enumeration().setup == Cost()
    assert LibraryLookup(library).name == "meet in the middle" and LibraryLookup(library, name="mine").name == "mine"
