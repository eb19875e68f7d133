"""What a solver is given, what it hands in, and what is refused."""

from dataclasses import fields
from fractions import Fraction

import languages
import numpy as np
import pairs
import pytest

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.program import parse, token_matrix
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.search.budget import Budget, Cost, Meter
from synthlab.search.problem import (
    COMPLETE,
    FOUND,
    INTERRUPTED,
    SPENT,
    Attempt,
    Problem,
    Solver,
    texts_matrix,
    with_setup,
)

AMPLE = Budget(seconds=600.0)


def problem_of(text, max_size=4, grammar=POLYNOMIAL, measure="leaves"):
    return Problem.from_outputs(grammar, pairs.outputs_of(parse(grammar, text)), max_size=max_size, measure=measure)


# ---------------------------------------------------------------- from a task


def test_a_solver_sees_outputs_and_a_bound_only(corpus4):
    tasks = tasks_of(corpus4, corpus4.class_id[[3, 700]])
    problem = Problem.of(tasks, 1)
    assert {f.name for f in fields(problem)} == {"grammar", "max_size", "measure", "outputs", "codes"}
    for name in ("class_id", "class_leaves", "fingerprints", "weight", "seed"):
        assert hasattr(tasks, name) and not hasattr(problem, name)
    assert np.array_equal(problem.outputs, tasks.outputs[1]) and np.array_equal(problem.codes, tasks.codes[1])
    assert (problem.max_size, problem.measure, problem.grammar) == (4, "leaves", POLYNOMIAL)
    assert Problem.of(tasks, 0, 6).max_size == 6 and Problem.of(tasks, 0, 1).max_size == 1


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE, languages.FLOORED], ids=languages.label)
def test_exact_outputs_state_the_same_problem_as_a_task(grammar):
    from synthlab.universe.corpus import build_corpus

    corpus = build_corpus(grammar, 2)
    tasks = tasks_of(corpus, corpus.class_id[corpus.is_task])
    for row, class_id in enumerate(tasks.class_id):
        given, outputs = Problem.of(tasks, row), pairs.outputs_of(corpus.program(class_id))
        made = Problem.from_outputs(grammar, outputs, max_size=2)
        assert np.array_equal(made.codes, given.codes) and made.codes.dtype == given.codes.dtype
        np.testing.assert_allclose(made.outputs, given.outputs.astype(float), rtol=1e-12)
        assert np.issubdtype(made.outputs.dtype, np.integer) == grammar.integral


# ---------------------------------------------------------------- from outputs


def test_a_missing_output_is_a_gap():
    outputs = [None if x == 1 else x for x, _ in RATIONAL.grid.points]
    outputs[7] = None
    problem = Problem.from_outputs(RATIONAL, outputs, max_size=3)
    assert np.flatnonzero(problem.codes == UNDEFINED_RESIDUE).tolist() == [7] and np.isnan(problem.outputs[7])
    whole = Problem.from_outputs(POLYNOMIAL, [3] * 35 + [None], max_size=3)
    assert np.isnan(whole.outputs[35]) and whole.codes[35] == PRIME and (whole.outputs[:35] == 3).all()


@pytest.mark.parametrize("number", [int, np.int64, np.int8, float, np.float64, np.float32, Fraction, str])
def test_whole_numbers_of_every_kind_are_read(number):
    problem = Problem.from_outputs(POLYNOMIAL, [number(k - 9) for k in range(36)], max_size=3)
    assert problem.outputs.tolist() == list(range(-9, 27)) and problem.outputs.dtype == np.int64
    assert problem.codes.tolist() == [k % PRIME for k in range(-9, 27)]


def test_fractions_are_residues_and_shown_as_floats():
    for grammar in (RATIONAL, POLYNOMIAL):  # no polynomial has these outputs, but they may be asked for
        values = [Fraction(k - 9, 7) for k in range(36)]
        problem = Problem.from_outputs(grammar, values, max_size=3)
        assert problem.outputs.tolist() == [float(v) for v in values]
        assert [int(c) * 7 % PRIME for c in problem.codes] == [(k - 9) % PRIME for k in range(36)]


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (0.5, r"output 0\.5 is a rounded number: give whole numbers or fractions"),
        (np.float32(1) / 3, "is a rounded number"),
        (float("nan"), "is a rounded number"),
        (float("inf"), "is a rounded number"),
        ("x", "output 'x' is no number: use None where there is no value"),
        ("1/0", "is no number"),
        (1j, "is no number"),
        ([1], "is no number"),
        (2**60, r"reaches 2\^60: equal residues would not mean equal numbers"),
        (-(2**60), r"reaches 2\^60"),
        (2.0**60, r"reaches 2\^60"),
        (np.int64(-(2**63)), r"reaches 2\^60"),
        (Fraction(1, 2**60), r"reaches 2\^60"),
    ],
)
def test_what_is_no_exact_number_is_refused(value, match):
    with pytest.raises(ConfigurationError, match=match):
        Problem.from_outputs(POLYNOMIAL, [1] * 35 + [value], max_size=3)


def test_large_whole_numbers_are_told_apart():
    largest = 2**60 - 1
    problem = Problem.from_outputs(POLYNOMIAL, [largest, -largest] * 18, max_size=3)
    assert problem.outputs.tolist() == [largest, -largest] * 18
    assert problem.codes.tolist() == [largest, PRIME - largest] * 18


@pytest.mark.parametrize("value", [2**59, -(2**40), Fraction(3, 2**40)])
def test_numbers_that_are_equal_to_fractions_modulo_the_prime_are_refused(value):
    """2^61 is 1 modulo 2^61 - 1, so that 2^59 would be answered by 1 / (2 * 2)."""
    assert 2**59 * 4 % PRIME == 1
    with pytest.raises(ConfigurationError, match=r"reaches 2\^40"):
        Problem.from_outputs(RATIONAL, [value] * 36, max_size=3)
    assert Problem.from_outputs(RATIONAL, [2**40 - 1] * 36, max_size=3).codes[0] == 2**40 - 1


@pytest.mark.parametrize("num", [0, 1, 35, 37])
def test_too_few_or_too_many_outputs_are_refused(num):
    with pytest.raises(ConfigurationError, match=f"{num} outputs for a grid of 36 points"):
        Problem.from_outputs(POLYNOMIAL, [1] * num, max_size=3)


def test_a_target_without_any_value_is_refused():
    with pytest.raises(ConfigurationError, match="nothing to look for"):
        Problem.from_outputs(RATIONAL, [None] * 36, max_size=3)


@pytest.mark.parametrize(
    ("bound", "match"),
    [
        (dict(max_size=0), "universe of 0 leaves is empty"),
        (dict(max_size=-2), "is empty"),
        (dict(max_size=3, measure="height"), "unknown measure 'height'"),
    ],
)
def test_bounds_without_programs_are_refused(bound, match):
    with pytest.raises(ConfigurationError, match=match):
        Problem.from_outputs(POLYNOMIAL, [1] * 36, **bound)
    assert Problem.from_outputs(POLYNOMIAL, [1] * 36, max_size=0, measure="depth").max_size == 0


def test_grammars_that_are_compared_on_floats_take_no_exact_outputs():
    with pytest.raises(ConfigurationError, match="'halves' is compared on floats: take outputs from a task"):
        Problem.from_outputs(languages.HALVES, [1] * 36, max_size=3)


# ---------------------------------------------------------------- from examples


@pytest.fixture
def examples():
    return [((x, y), x * y - 1) for x, y in POLYNOMIAL.grid.points]


def test_examples_may_come_in_any_order_and_twice(examples):
    shuffled = [examples[k] for k in np.random.default_rng(0).permutation(36)]
    shuffled += [((float(x), str(y)), Fraction(value)) for (x, y), value in examples[::5]]
    problem = Problem.from_examples(POLYNOMIAL, shuffled, max_size=3)
    assert problem.outputs.tolist() == [value for _, value in examples]
    assert np.array_equal(problem.codes, problem_of("x*y-1", 3).codes)


def test_contradictory_examples_are_refused_with_their_point(examples):
    with pytest.raises(ConfigurationError, match="contradictory outputs at x=-2, y=-1: 1 and 5"):
        Problem.from_examples(POLYNOMIAL, [*examples, ((-2, -1), 5)], max_size=3)
    with pytest.raises(ConfigurationError, match="contradictory outputs at x=-2, y=-1: 1 and None"):
        Problem.from_examples(POLYNOMIAL, [*examples, ((-2, -1), None)], max_size=3)


@pytest.mark.parametrize("foreign", [(9, 9), (Fraction(1, 2), 0), (0,), (0, 0, 0), ()])
def test_foreign_and_missing_points_are_counted(examples, foreign):
    with pytest.raises(ConfigurationError, match="2 points of the grid have no output and 1 outputs belong to none"):
        Problem.from_examples(POLYNOMIAL, [*examples[2:], (foreign, 1)], max_size=3)
    with pytest.raises(ConfigurationError, match="0 points of the grid have no output and 1 outputs belong to none"):
        Problem.from_examples(POLYNOMIAL, [*examples, (foreign, 1)], max_size=3)
    with pytest.raises(ConfigurationError, match="36 points of the grid have no output and 0"):
        Problem.from_examples(POLYNOMIAL, [], max_size=3)


@pytest.mark.parametrize("point", [("a", 0), (float("nan"), 0), 3, (None, 1), ("1/0", 2)])
def test_inputs_that_are_no_points_are_refused(examples, point):
    with pytest.raises(ConfigurationError, match="is no point: give one number per variable"):
        Problem.from_examples(POLYNOMIAL, [*examples, (point, 1)], max_size=3)


def test_a_gap_may_be_an_example():
    points = RATIONAL.grid.points
    problem = Problem.from_examples(RATIONAL, [(p, None if p[0] == points[0][0] else 2) for p in points], max_size=3)
    assert (problem.codes == UNDEFINED_RESIDUE).sum() == 6 and np.isnan(problem.outputs).sum() == 6
    with pytest.raises(ConfigurationError, match="nothing to look for"):
        Problem.from_examples(RATIONAL, [(p, None) for p in points], max_size=3)


# ---------------------------------------------------------------- candidates


def attempt_at(text, max_size=4, budget=AMPLE, **options):
    return Attempt(problem_of(text, max_size, **options), Meter(budget))


def matrix_of(*texts, grammar=POLYNOMIAL):
    return token_matrix([parse(grammar, text) for text in texts])


def points_right(text, wanted, grammar=POLYNOMIAL):
    outputs = [pairs.outputs_of(parse(grammar, t)) for t in (text, wanted)]
    return sum(a == b for a, b in zip(*outputs, strict=True))


def test_candidates_are_compared_point_by_point():
    attempt, texts = attempt_at("x*y"), ["x", "y+1", "x*x", "x+y"]
    right = attempt.consider(matrix_of(*texts))
    assert right.tolist() == [points_right(text, "x*y") for text in texts]
    best = texts[int(right.argmax())]
    assert attempt.best.tolist() == matrix_of("x+y", best)[1].tolist() and attempt.program is None
    assert attempt.agreement == right.max() / 36 and not attempt.over and attempt.meter.programs == 4
    result = attempt.result("mine", COMPLETE)
    assert (result.method, result.program, result.best.infix_text()) == (
        "mine",
        None,
        parse(POLYNOMIAL, best).infix_text(),
    )
    assert (result.agreement, result.stopped, result.found) == (right.max() / 36, COMPLETE, False)


def test_a_worse_or_equal_candidate_does_not_replace_the_best():
    attempt = attempt_at("x*y")
    for texts in (("x+y", "y+x"), ("y+x",), ("1",)):
        attempt.consider(matrix_of(*texts))
    assert attempt.result("m", SPENT).best.infix_text() == "x + y"


def test_the_first_right_candidate_is_kept_and_ends_the_attempt():
    attempt = attempt_at("x*y+1")
    right = attempt.consider(matrix_of("x", "x*y+1", "1+y*x"))
    assert right.tolist()[1:] == [36, 36] and attempt.over
    at = attempt.found_at
    assert attempt.consider(matrix_of("1+x*y")).tolist() == [-1] and attempt.found_at is at
    result = attempt.result("m", SPENT)
    assert result.program.infix_text() == result.best.infix_text() == "x * y + 1"
    assert (result.agreement, result.stopped, result.cost.programs) == (1.0, FOUND, 3)


def test_what_was_found_costs_what_had_been_spent_then():
    attempt = attempt_at("x+y")
    attempt.meter.lookups = 5
    attempt.consider(matrix_of("x+y"))
    attempt.meter.lookups, attempt.meter.tokens = 50, 9
    assert (attempt.result("m", SPENT).cost.lookups, attempt.result("m", SPENT).cost.tokens) == (5, 0)
    lost = attempt_at("x+y")
    lost.meter.lookups = 50
    assert lost.result("m", SPENT).cost.lookups == 50


@pytest.mark.parametrize(("measure", "bound"), [("leaves", 3), ("nodes", 5), ("depth", 2)])
def test_candidates_beyond_the_bound_do_not_count(measure, bound):
    attempt = attempt_at("x*y+1", bound, measure=measure)
    assert attempt.consider(matrix_of("((x*y+2)-1)", "x*1*y*1+1")).tolist() == [-1, -1]
    assert attempt.best is None and attempt.result("m", SPENT).best is None and attempt.agreement < 0
    assert attempt.result("m", SPENT).agreement == 0.0
    assert attempt.consider(matrix_of("x*y*1*1+1", "x*y+1")).tolist() == [-1, 36] and attempt.over


def test_no_candidates_are_no_progress():
    attempt = attempt_at("x*y")
    assert attempt.consider(np.empty((0, 7), dtype=np.uint8)).tolist() == []
    assert attempt.best is None and not attempt.over


@pytest.mark.parametrize("limits", [dict(programs=3), dict(tested=3), dict(tested=5, programs=3)])
def test_a_budget_of_programs_is_not_exceeded(limits):
    attempt = attempt_at("x*y", budget=Budget(seconds=600.0, **limits))
    right = attempt.consider(matrix_of("x", "y", "1", "x*y", "y*x"))
    assert len(right) == 3 == attempt.meter.programs and attempt.over and attempt.program is None


def test_a_lookup_is_not_counted_as_executed():
    attempt = attempt_at("x*y", budget=Budget(seconds=600.0, programs=1))
    assert attempt.consider(matrix_of("x", "y", "x*y"), executed=False).tolist()[2] == 36
    assert attempt.meter.programs == 0 and attempt.program is not None


def test_gaps_have_to_be_where_they_are_wanted():
    attempt = attempt_at("1/(x+x+x-1)", 5, grammar=RATIONAL)
    right = attempt.consider(matrix_of("x", "1/(x+x+x-1)", "1/(x+x+x-2)", grammar=RATIONAL)).tolist()
    assert right[1] == 36 > max(right[0], right[2])


# ---------------------------------------------------------------- solvers


class Guesses(Solver):
    """Hands in one text after the other, and may be interrupted."""

    name, setup = "guesses", Cost(seconds=2.0, flops=8.0)

    def __init__(self, *texts, interrupted=None):
        self.texts, self.interrupted = texts, interrupted

    def search(self, attempt):
        for number, text in enumerate(self.texts):
            if attempt.over:
                return
            if number == self.interrupted:
                raise KeyboardInterrupt
            attempt.consider(matrix_of(text))


@pytest.mark.parametrize(
    ("solver", "budget", "stopped", "best"),
    [
        (Guesses("x", "x*y"), AMPLE, FOUND, "x * y"),
        (Guesses("1", "x", "x*x"), AMPLE, COMPLETE, "x"),
        (Guesses("x+y", "x*y"), Budget(seconds=600.0, programs=1), SPENT, "x + y"),
        (Guesses("x+y", "x*y", interrupted=1), AMPLE, INTERRUPTED, "x + y"),
        (Guesses("x*y", interrupted=0), AMPLE, INTERRUPTED, None),
        (Guesses(), AMPLE, COMPLETE, None),
    ],
)
def test_a_result_says_why_the_search_stopped(solver, budget, stopped, best):
    result = solver.solve(problem_of("x*y"), budget)
    assert (result.method, result.stopped) == ("guesses", stopped) and result.found == (stopped == FOUND)
    assert (None if result.best is None else result.best.infix_text()) == best


def test_every_problem_has_a_budget_of_its_own():
    problems = [problem_of(text) for text in ("x*y", "x+y", "y-x")]
    results = Guesses("y-x", "x+y", "x*y").solve_all(problems, Budget(seconds=600.0, programs=2))
    assert [r.found for r in results] == [False, True, True] and [r.cost.programs for r in results] == [2, 2, 1]
    assert Guesses().solve_all([], AMPLE) == []


def test_an_interrupt_ends_all_problems():
    results = Guesses("x*y", "1", interrupted=1).solve_all([problem_of(t) for t in ("x*y", "x+y", "x*y")], AMPLE)
    assert [r.stopped for r in results] == [FOUND, INTERRUPTED, INTERRUPTED]
    assert results[1].best.infix_text() == "x * y" and results[2].best is None and results[2].cost.programs == 0


def test_the_preparation_may_be_added_to_the_cost():
    result = Guesses("x*y").solve(problem_of("x*y"), AMPLE)
    whole = with_setup(result, Guesses.setup)
    assert whole.cost == result.cost + Cost(seconds=2.0, flops=8.0) and whole.program == result.program


def test_texts_of_unequal_length_become_rows():
    texts = [np.array(row) for row in ([0], [5, 0, 1], [6, 5, 0, 1, 2], [5, 5, 5, 0, 1, 2, 3])]
    matrix = texts_matrix(POLYNOMIAL, texts, 3, "leaves")
    assert matrix.tolist() == [[0, PAD, PAD, PAD, PAD], [5, 0, 1, PAD, PAD], [6, 5, 0, 1, 2]]
    assert matrix.dtype == np.uint8 and texts_matrix(POLYNOMIAL, [], 3, "leaves").shape == (0, 5)
