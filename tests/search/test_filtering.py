"""A model's proposals, filtered by the grid."""

import numpy as np
import pytest
from proposing import Fixed, Random

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.measure import sizes_of
from synthlab.search import filtering
from synthlab.search.budget import Budget, Cost
from synthlab.search.filtering import Filtered, distinct_programs, random_candidates, random_programs
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Problem

AMPLE = Budget(seconds=600.0)


def problem_of(function, max_size=4, grammar=POLYNOMIAL):
    return Problem.from_outputs(grammar, [function(*p) for p in grammar.grid.points], max_size=max_size)


PRODUCT = problem_of(lambda x, y: x * y + 1)


@pytest.fixture
def proposer():
    return Fixed.of(POLYNOMIAL, "x+y", "x*y", "x*y+1", "1+x*y", "x+1")


# ---------------------------------------------------------------- what is submitted


def test_the_first_proposal_that_is_right_is_submitted(proposer):
    result = Filtered(proposer, 5).solve(PRODUCT, AMPLE)
    assert result.program.infix_text() == "x * y + 1" and result.best == result.program
    assert (result.stopped, result.agreement, result.found) == (FOUND, 1.0, True)
    assert result.method == "fixed, best of 5"


def test_without_a_right_one_the_one_right_at_most_points_is_submitted():
    wrong = Fixed.of(POLYNOMIAL, "x+y", "x*y*1+3", "x+3", "x+2")
    result = Filtered(wrong, 4, name="mine").solve(PRODUCT, AMPLE)
    shares = {
        text: sum(f(x, y) == x * y + 1 for x, y in POLYNOMIAL.grid.points) / 36
        for text, f in {"x + y": lambda x, y: x + y, "x + 3": lambda x, y: x + 3, "x + 2": lambda x, y: x + 2}.items()
    }
    assert result.program is None and not result.found and result.stopped == COMPLETE and result.method == "mine"
    assert result.agreement == max(shares.values()) == shares[result.best.infix_text()]


def test_no_more_than_asked_for_is_considered(proposer):
    result = Filtered(proposer, 2).solve(PRODUCT, AMPLE)
    assert not result.found and result.cost.programs == 2 and proposer.asked == [(1, 2)]


def test_proposals_that_are_too_large_are_no_answers():
    large = Fixed.of(POLYNOMIAL, "x*y+2-1", "x+y")
    assert Filtered(large, 2).solve(problem_of(lambda x, y: x * y + 1, 3), AMPLE).best.infix_text() == "x + y"
    assert Filtered(large, 2).solve(PRODUCT, AMPLE).found


def test_texts_that_are_no_programs_and_repetitions_are_passed_over():
    x, y, plus = (POLYNOMIAL.index[t] for t in "xy+")
    texts = [[plus, x, PAD], [PAD, x, y], [plus, x, y], [x, plus, y], [x, PAD, PAD], [200, x, x], [plus, x, y]]
    programs = distinct_programs(POLYNOMIAL, np.array(texts, dtype=np.uint8))
    assert programs.tolist() == [[plus, x, y], [x, PAD, PAD]]
    assert distinct_programs(POLYNOMIAL, np.empty((3, 0), dtype=np.uint8)).shape == (0, 0)
    assert distinct_programs(POLYNOMIAL, np.empty((0, 3), dtype=np.uint8)).shape == (0, 3)
    result = Filtered(Fixed(np.array(texts, dtype=np.uint8)), 7).solve(PRODUCT, AMPLE)
    assert result.cost.programs == 2


def test_a_proposer_without_programs_leaves_nothing_to_submit():
    result = Filtered(Fixed(np.full((4, 3), PAD, dtype=np.uint8)), 4).solve(PRODUCT, AMPLE)
    assert (result.program, result.best, result.agreement, result.stopped) == (None, None, 0.0, COMPLETE)


def test_poles_have_to_be_where_they_are_wanted():
    poles = Fixed.of(RATIONAL, "1/(x+x+x)", "1/(x+x+x-1)")
    outputs = [1 / (3 * x - 1) if 3 * x != 1 else None for x, _ in RATIONAL.grid.points]
    problem = Problem.from_outputs(RATIONAL, outputs, max_size=5)
    assert Filtered(poles, 2).solve(problem, AMPLE).program.infix_text() == "1 / (x + x + x - 1)"


# ---------------------------------------------------------------- costs


def test_the_model_is_paid_for(proposer):
    solver = Filtered(proposer, 5)
    result = solver.solve(PRODUCT, AMPLE)
    assert solver.setup == proposer.training
    assert (result.cost.tokens, result.cost.flops, result.cost.programs, result.cost.lookups) == (20, 7.0, 5, 0)
    assert 0.5 <= result.cost.seconds < 60


@pytest.mark.parametrize(("programs", "found"), [(1, False), (2, False), (3, True), (9, True)])
@pytest.mark.parametrize("axis", ["programs", "tested"])
def test_a_budget_of_programs_considers_so_many(proposer, axis, programs, found):
    result = Filtered(proposer, 5).solve(PRODUCT, Budget(seconds=600.0, **{axis: programs}))
    assert result.found == found and result.cost.programs == min(programs, 5)
    assert result.stopped == (FOUND if found else SPENT)


@pytest.mark.parametrize("limit", [dict(seconds=0.4), dict(tokens=20), dict(flops=6.0)])
def test_a_model_that_spends_the_budget_leaves_none_to_look_at_its_programs(proposer, limit):
    result = Filtered(proposer, 5).solve(PRODUCT, Budget(**({"seconds": 600.0} | limit)))
    assert (result.best, result.stopped, result.cost.programs) == (None, SPENT, 0)


def test_a_budget_of_blocks_is_looked_at_between_them(monkeypatch, proposer):
    monkeypatch.setattr(filtering, "_AT_ONCE", 2)
    assert Filtered(proposer, 5).solve(PRODUCT, AMPLE).cost.programs == 4


def test_fewer_than_one_proposal_is_refused(proposer):
    with pytest.raises(ConfigurationError, match="at least one"):
        Filtered(proposer, 0)


# ---------------------------------------------------------------- many problems


@pytest.fixture(scope="module")
def problems():
    programs = random_programs(POLYNOMIAL, 3, 40, seed=[5])
    return [Problem.from_outputs(POLYNOMIAL, outputs_of(row), max_size=4) for row in programs[:25]]


def outputs_of(row):
    from synthlab.language.interpreter import grid_outputs

    return grid_outputs(POLYNOMIAL, row[None])[0].tolist()


def test_many_problems_are_answered_like_each_alone_but_asked_for_at_once(problems):
    together, alone = Random(grammar=POLYNOMIAL, size=2), Random(grammar=POLYNOMIAL, size=2)
    results = Filtered(together, 30).solve_all(problems, AMPLE)
    singly = [Filtered(alone, 30).solve(p, AMPLE) for p in problems]
    assert together.asked == [(25, 30)] and alone.asked == [(1, 30)] * 25
    assert [(r.program, r.best, r.agreement, r.stopped) for r in results] == [
        (r.program, r.best, r.agreement, r.stopped) for r in singly
    ]
    assert 0 < sum(r.found for r in results) < 25
    assert [r.cost.programs for r in results] == [r.cost.programs for r in singly]


def test_every_problem_pays_an_equal_share_of_the_batch(problems):
    proposer = Random(grammar=POLYNOMIAL, size=3, cost_of_one=Cost(seconds=2.0, tokens=3, flops=0.5))
    results = Filtered(proposer, 5).solve_all(problems, AMPLE)
    assert {(r.cost.tokens, r.cost.flops) for r in results} == {(3, 0.5)}
    assert all(2.0 <= r.cost.seconds < 4.0 for r in results)


def test_no_problems_ask_for_nothing(proposer):
    assert Filtered(proposer, 5).solve_all([], AMPLE) == [] and proposer.asked == []


def test_problems_of_two_grammars_are_refused(proposer):
    with pytest.raises(ConfigurationError, match="polynomial and piecewise"):
        Filtered(proposer, 5).solve_all([PRODUCT, problem_of(max, grammar=PIECEWISE)], AMPLE)


class Interrupted(Fixed):
    """Ctrl-C while the model writes."""

    def texts(self, outputs, num):
        raise KeyboardInterrupt


def test_an_interrupt_ends_one_or_all_with_what_there_is(proposer, monkeypatch):
    slow = Interrupted(proposer.prefix)
    assert Filtered(slow, 5).solve(PRODUCT, AMPLE).stopped == INTERRUPTED
    assert [r.stopped for r in Filtered(slow, 5).solve_all([PRODUCT] * 3, AMPLE)] == [INTERRUPTED] * 3
    consider, calls = filtering.consider_all, []

    def consider_or_interrupt(attempt, prefix):
        calls.append(attempt)
        consider(attempt, prefix[:1])
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(filtering, "consider_all", consider_or_interrupt)
    results = Filtered(proposer, 5).solve_all([PRODUCT] * 4, AMPLE)
    assert [r.stopped for r in results] == [COMPLETE, INTERRUPTED, INTERRUPTED, INTERRUPTED]
    assert results[1].best == results[0].best and results[2].best is None and len(calls) == 2


# ---------------------------------------------------------------- without a model


def test_without_a_proposer_programs_are_random_and_depend_on_the_problem():
    solver = Filtered(None, 40)
    result = solver.solve(PRODUCT, AMPLE)
    assert solver.setup == Cost() and solver.name == "random programs, best of 40" and result.cost.tokens == 0
    assert 0 < result.cost.programs <= 40
    one, same, other = (random_candidates(p, 40, 0) for p in (PRODUCT, PRODUCT, problem_of(lambda x, y: x)))
    assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("grammar", "size", "measure"), [(POLYNOMIAL, 6, "leaves"), (RATIONAL, 5, "nodes"), (POLYNOMIAL, 2, "depth")]
)
def test_random_programs_are_distinct_and_of_every_size(grammar, size, measure):
    programs = random_programs(grammar, size, 300, measure=measure, seed=[3])
    sizes = sizes_of(grammar, programs, measure)
    possible = {"leaves": {1, 2, 3, 4, 5, 6}, "nodes": {1, 3, 5}, "depth": {0, 1, 2}}[measure]
    assert set(sizes.tolist()) == possible and len(np.unique(programs, axis=0)) == len(programs) <= 300
    large = (sizes == max(possible)).sum()
    assert 0.6 * 300 / len(possible) < large < 1.4 * 300 / len(possible)
    assert np.array_equal(distinct_programs(grammar, programs), programs)
