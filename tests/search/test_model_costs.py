"""Best-first search under the costs of what a model proposes."""

from dataclasses import dataclass

import numpy as np
import pairs
import pytest
from proposing import Fixed, Random

from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.language.program import parse, token_matrix
from synthlab.search import filtering, model_costs
from synthlab.search.best_first import BestFirst
from synthlab.search.budget import Budget, Cost, Meter
from synthlab.search.model_costs import ModelCosts
from synthlab.search.portfolio import Portfolio
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Attempt, Problem
from synthlab.search.proposer import Proposals
from synthlab.universe.sampling import PCFG

AMPLE = Budget(seconds=600.0)
UNIFORM = PCFG.of(POLYNOMIAL, {})


def problem_of(text, max_size=4, grammar=POLYNOMIAL):
    return Problem.from_outputs(grammar, pairs.outputs_of(parse(grammar, text)), max_size=max_size)


@dataclass
class Weighted(Fixed):
    """The same texts with given log-probabilities."""

    log_probability: tuple = ()

    def propose(self, outputs, num):
        found = super().propose(outputs, num)
        return Proposals(found.prefix, np.array([self.log_probability[:num]] * len(outputs)), found.cost)


@pytest.fixture
def used(monkeypatch):
    """The PCFGs that searches are started with."""
    found = []

    class Watched(BestFirst):
        def __init__(self, pcfg, name="best-first, PCFG"):
            found.append(pcfg)
            super().__init__(pcfg, name)

    monkeypatch.setattr(model_costs, "BestFirst", Watched)
    return found


def uses_of(*texts):
    """How often every token stands in some texts."""
    return sum(np.bincount(parse(POLYNOMIAL, text).prefix, minlength=len(POLYNOMIAL.tokens)) for text in texts)


# ---------------------------------------------------------------- the costs


def test_every_proposal_counts_by_its_probability(used):
    proposer = Weighted(
        token_matrix([parse(POLYNOMIAL, t) for t in ("x*x", "y+3", "1")]), log_probability=(-2.0, -3.0, -9.0)
    )
    ModelCosts(proposer, 3, UNIFORM).solve(problem_of("x+y"), AMPLE)
    weights = np.exp([0.0, -1.0, -7.0])
    expected = 1 / 8 + sum(w * uses_of(t) for w, t in zip(weights, ("x*x", "y+3", "1"), strict=True))
    np.testing.assert_allclose(used[0].probabilities, expected / expected.sum(), rtol=1e-12)


def test_what_the_model_never_uses_stays_possible(used):
    """Every rule keeps a share of the prior, so that nothing is lost."""
    result = ModelCosts(Fixed.of(POLYNOMIAL, "x*x", "x*x*x"), 2, UNIFORM).solve(problem_of("(y+3)*(y-1)"), AMPLE)
    assert result.found and min(used[0].probabilities) > 0
    assert used[0].probabilities[POLYNOMIAL.index["x"]] > 5 * used[0].probabilities[POLYNOMIAL.index["y"]]


@pytest.mark.parametrize("log_probability", [(0.0,), (-np.inf,)])
def test_without_a_proposal_the_prior_decides(used, log_probability):
    prior = PCFG.of(POLYNOMIAL, {"x": 5.0, "*": 2.0})
    nothing = Weighted(np.full((1, 3), PAD, dtype=np.uint8), log_probability=log_probability)
    result = ModelCosts(nothing, 1, prior).solve(problem_of("x*x+1"), AMPLE)
    np.testing.assert_allclose(used[0].probabilities, prior.probabilities)
    plain = BestFirst(prior).solve(problem_of("x*x+1"), AMPLE)
    assert result.program == plain.program and result.cost.programs == plain.cost.programs


def test_a_proposal_of_the_answers_tokens_makes_it_cheap():
    problem = problem_of("3*3*y*y-y", 5)
    near = ModelCosts(Fixed.of(POLYNOMIAL, "3*y*y*3-3", "3*y-y*3"), 2, UNIFORM).solve(problem, AMPLE)
    far = ModelCosts(Fixed.of(POLYNOMIAL, "x+x*1+2", "2+x+1"), 2, UNIFORM).solve(problem, AMPLE)
    assert near.found and far.found and near.cost.programs < far.cost.programs / 3
    assert {pairs.outputs_of(r.program) for r in (near, far)} == {pairs.outputs_of(parse(POLYNOMIAL, "3*3*y*y-y"))}


def test_without_an_answer_the_search_is_complete():
    result = ModelCosts(Fixed.of(POLYNOMIAL, "x"), 1, UNIFORM).solve(problem_of("x*x*x*y", 3), AMPLE)
    assert (result.found, result.stopped, result.method) == (False, COMPLETE, "best-first, model's PCFG")


# ---------------------------------------------------------------- what it costs


def test_the_model_is_paid_for_once():
    """The seconds that the proposer states stand for those of the clock."""
    proposer = Fixed.of(POLYNOMIAL, "x", cost_of_one=Cost(seconds=1000.0, tokens=20, flops=7.0))
    solver = ModelCosts(proposer, 1, UNIFORM, name="mine")
    result = solver.solve(problem_of("x+y"), Budget(seconds=5000.0))
    assert solver.setup == proposer.training and result.method == "mine" and result.stopped == FOUND
    assert (result.cost.tokens, result.cost.flops) == (20, 7.0) and 1000.0 <= result.cost.seconds < 1060.0
    assert result.cost.programs > 0 and result.cost.lookups == 0


def test_a_proposer_that_takes_time_is_not_paid_twice(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(filtering.time, "perf_counter", lambda: now[0])

    class Slow(Fixed):
        def propose(self, outputs, num):
            now[0] += 30.0
            return super().propose(outputs, num)

    slow = Slow(token_matrix([parse(POLYNOMIAL, "x")]), cost_of_one=Cost(seconds=20.0))
    attempt = Attempt(problem_of("x+y"), Meter(Budget(seconds=5000.0), start=0.0))
    ModelCosts(slow, 1, UNIFORM).search(attempt)
    assert attempt.program is not None and attempt.found_at.seconds == 20.0 and now == [30.0]


def test_a_model_that_eats_the_budget_leaves_nothing_to_search():
    proposer = Fixed.of(POLYNOMIAL, "x", cost_of_one=Cost(tokens=20))
    result = ModelCosts(proposer, 1, UNIFORM).solve(problem_of("x"), Budget(seconds=600.0, tokens=20))
    assert (result.found, result.stopped, result.cost.programs) == (False, SPENT, 0)


@pytest.mark.parametrize("programs", [1, 10, 300])
def test_a_budget_of_programs_is_kept(programs):
    solver = ModelCosts(Fixed.of(POLYNOMIAL, "x"), 1, UNIFORM)
    result = solver.solve(problem_of("x*x*x*x*x*y*y*y+3", 6), Budget(seconds=600.0, programs=programs))
    assert result.stopped == SPENT and result.cost.programs == programs and not result.found


# ---------------------------------------------------------------- many problems


def test_many_problems_ask_once_and_get_what_they_get_alone():
    proposer = Random(grammar=POLYNOMIAL, size=4)
    problems = [problem_of(text) for text in ("x*y+1", "(x+y)*3", "x*x-y", "y*y*y*y", "x*y+1")]
    solver = ModelCosts(proposer, 5, UNIFORM)
    together = solver.solve_all(problems, AMPLE)
    assert proposer.asked == [(5, 5)]
    for one, other in zip(together, [solver.solve(p, AMPLE) for p in problems], strict=True):
        assert (one.program, one.stopped, one.method) == (other.program, other.stopped, other.method) and one.found
        assert (one.cost.programs, one.cost.tokens, one.cost.flops) == (
            other.cost.programs, other.cost.tokens, other.cost.flops,
        )  # fmt: skip
    assert solver.solve_all([], AMPLE) == []


def test_a_portfolio_asks_for_all_problems_at_once():
    proposer = Random(grammar=POLYNOMIAL, size=4)
    whole = Portfolio([ModelCosts(proposer, 5, UNIFORM), BestFirst(UNIFORM)])
    results = whole.solve_all([problem_of(text) for text in ("x*y+1", "(x+y)*3")], AMPLE)
    assert all(r.found for r in results) and proposer.asked == [(2, 5)]


def test_an_interrupt_ends_all_problems():
    class Interrupted(Fixed):
        def propose(self, outputs, num):
            raise KeyboardInterrupt

    solver = ModelCosts(Interrupted.of(POLYNOMIAL, "x"), 1, UNIFORM)
    assert solver.solve(problem_of("x"), AMPLE).stopped == INTERRUPTED
    assert [r.stopped for r in solver.solve_all([problem_of("x"), problem_of("y")], AMPLE)] == [INTERRUPTED] * 2


def test_rational_functions_are_found_too():
    prior = PCFG.of(RATIONAL, {})
    result = ModelCosts(Fixed.of(RATIONAL, "1/x", "x/y"), 2, prior).solve(problem_of("1/(x+y)", 3, RATIONAL), AMPLE)
    assert result.found and pairs.outputs_of(result.program) == pairs.outputs_of(parse(RATIONAL, "1/(x+y)"))
