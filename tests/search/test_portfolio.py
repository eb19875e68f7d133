"""A portfolio is what its parts are, under one budget."""

import pytest
from proposing import Fixed, Random

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.program import parse, token_matrix
from synthlab.search.budget import Budget, Cost, Meter
from synthlab.search.completion import Completion
from synthlab.search.edits import Edits
from synthlab.search.filtering import Filtered
from synthlab.search.library import Library
from synthlab.search.portfolio import Portfolio
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Problem, Solver

AMPLE = Budget(seconds=600.0)


class Part(Solver):
    """Tries given texts one after the other, each with a look-up and a second on the clock; notes its budget."""

    def __init__(self, name, *texts, clock=None, interrupt=False):
        self.name, self.texts, self.clock, self.interrupt = name, texts, clock, interrupt
        self.setup, self.budgets = Cost(seconds=10.0, programs=len(name)), []

    def search(self, attempt):
        self.budgets.append(attempt.meter.budget)
        for text in self.texts:
            if attempt.over:
                return
            if self.clock is not None:
                self.clock[0] += 1.0
            attempt.meter.lookups += 1
            attempt.meter.charge(Cost(seconds=0.25, tokens=3, flops=1.5))
            attempt.consider(token_matrix([parse(POLYNOMIAL, text)]))
        if self.interrupt:
            raise KeyboardInterrupt


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until it is set; a meter starts when it is first read."""
    now = [100.0]

    def seconds(meter):
        return now[0] - vars(meter).setdefault("zero", now[0]) + meter.charged

    monkeypatch.setattr(Meter, "seconds", property(seconds))
    return now


PROBLEM = Problem.from_outputs(POLYNOMIAL, [x * y + 1 for x, y in POLYNOMIAL.grid.points], max_size=4)
RIGHT, CLOSE, FAR = "x*y+1", "x*y+y", "x-3"


# ---------------------------------------------------------------- costs and answers


def test_costs_of_all_parts_add_up_exactly(clock):
    parts = [Part("a", FAR, FAR, clock=clock), Part("b", CLOSE, clock=clock), Part("c", FAR, FAR, FAR, clock=clock)]
    alone = [part.solve(PROBLEM, AMPLE) for part in parts]
    result = Portfolio(parts).solve(PROBLEM, AMPLE)
    assert result.cost == sum((r.cost for r in alone), Cost())
    assert result.cost == Cost(seconds=7.5, programs=6, lookups=6, tokens=18, flops=9.0)
    assert result.best == max(alone, key=lambda r: r.agreement).best and result.agreement > 0
    assert (result.stopped, result.method, result.found) == (COMPLETE, "a + b + c", False)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_first_right_program_ends_the_search_and_is_paid_for_until_then(place, clock):
    texts = [[FAR, FAR], [CLOSE], [FAR]]
    texts[place] = [FAR, RIGHT, FAR]
    parts = [Part(str(k), *t, clock=clock) for k, t in enumerate(texts)]
    alone = [part.solve(PROBLEM, AMPLE) for part in parts]
    result = Portfolio(parts, name="all").solve(PROBLEM, AMPLE)
    assert result.program == alone[place].program and result.stopped == FOUND and result.method == "all"
    assert result.cost == sum((r.cost for r in alone[: place + 1]), Cost())
    assert [len(part.budgets) for part in parts] == [2] * (place + 1) + [1] * (2 - place)


def test_the_best_so_far_of_all_parts_is_kept_whichever_comes_last(clock):
    for parts in ([CLOSE, FAR], [FAR, CLOSE]):
        result = Portfolio([Part(t, t, clock=clock) for t in parts]).solve(PROBLEM, AMPLE)
        assert result.best == parse(POLYNOMIAL, CLOSE)


def test_what_was_spent_before_the_first_part_counts(clock):
    inner = Portfolio([Part("a", FAR, clock=clock), Part("b", RIGHT, clock=clock)])
    result = Portfolio([Part("c", FAR, clock=clock), inner]).solve(PROBLEM, AMPLE)
    assert result.method == "c + a + b"
    assert result.cost == Cost(seconds=3.75, programs=3, lookups=3, tokens=9, flops=4.5)


def test_an_interrupt_in_a_part_submits_the_best_so_far(clock):
    parts = [Part("a", FAR, clock=clock), Part("b", CLOSE, clock=clock, interrupt=True), Part("c", RIGHT, clock=clock)]
    result = Portfolio(parts).solve(PROBLEM, AMPLE)
    assert result.stopped == INTERRUPTED and result.best == parse(POLYNOMIAL, CLOSE)
    assert result.cost.programs == 2 and parts[2].budgets == []
    results = Portfolio(parts).solve_all([PROBLEM] * 3, AMPLE)
    assert [r.stopped for r in results] == [INTERRUPTED] * 3 and [r.cost.programs for r in results] == [2, 0, 0]


# ---------------------------------------------------------------- budgets


def test_each_part_has_its_share_and_the_last_one_what_is_left(clock):
    parts = [Part("a", FAR, clock=clock), Part("b", FAR, FAR, clock=clock), Part("c", FAR, clock=clock)]
    Portfolio(parts, [0.25, 0.5, 0.25]).solve(PROBLEM, Budget(seconds=40.0, programs=20, tested=101, flops=60.0))
    assert [part.budgets for part in parts] == [
        [Budget(seconds=10.0, programs=5, tested=25, flops=15.0)],
        [Budget(seconds=20.0, programs=10, tested=50, flops=30.0)],
        [Budget(seconds=36.25, programs=17, tested=95, flops=55.5)],
    ]


def test_shares_are_equal_by_default_and_never_more_than_is_left(clock):
    greedy = Part("a", *[FAR] * 9, clock=clock)
    greedy.search = lambda attempt: attempt.meter.charge(Cost(programs=8, seconds=1.0))
    parts = [greedy, Part("b", FAR, clock=clock), Part("c", FAR, clock=clock)]
    Portfolio(parts).solve(PROBLEM, Budget(seconds=30.0, programs=10))
    assert parts[1].budgets == [Budget(seconds=10.0, programs=2)]
    assert parts[2].budgets == [Budget(seconds=27.75, programs=1)]


@pytest.mark.parametrize("axis", ["programs", "lookups", "tested", "tokens"])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_tiny_budgets_are_kept(axis, limit):
    parts = [Part(name, *[FAR] * 9) for name in "abc"]
    result = Portfolio(parts).solve(PROBLEM, Budget(seconds=600.0, **{axis: limit}))
    step = {"programs": 1, "lookups": 1, "tested": 2, "tokens": 3}[axis]
    spent = getattr(result.cost, axis)
    assert result.stopped == SPENT and limit <= spent < limit + step * len(parts)
    assert [len(part.budgets) for part in parts[:2]] == [int(limit >= 3)] * 2 or spent >= limit


def test_time_that_is_up_ends_the_search(clock):
    parts = [Part("a", *[FAR] * 100, clock=clock), Part("b", *[FAR] * 100, clock=clock)]
    result = Portfolio(parts, [0.5, 0.5]).solve(PROBLEM, Budget(seconds=20.0))
    assert result.stopped == SPENT and result.cost.seconds == 20.0 and result.cost.programs == 16


def test_endless_time_can_be_shared():
    part = Part("a", FAR)
    Portfolio([part, Part("b", FAR)]).solve(PROBLEM, Budget(seconds=float("inf"), programs=10))
    assert part.budgets == [Budget(seconds=float("inf"), programs=5)]


# ---------------------------------------------------------------- real parts


def test_models_are_asked_once_for_many_problems_with_the_same_answers_as_alone():
    library, proposer = Library.build(POLYNOMIAL, 2), Random(grammar=POLYNOMIAL, size=3)
    targets = [lambda x, y, k=k: x * y + k * x - y for k in range(4)] + [lambda x, y: x, lambda x, y: x * x * y * 2 + x]
    problems = [Problem.from_outputs(POLYNOMIAL, [t(*p) for p in POLYNOMIAL.grid.points], max_size=5) for t in targets]
    parts = [Filtered(proposer, 5), Completion(library, proposer, 8), Edits(None, 10, rounds=2)]
    portfolio, budget = Portfolio(parts), Budget(seconds=600.0, tested=900)
    together = portfolio.solve_all(problems, budget)
    assert sorted(proposer.asked) == [(6, 5), (6, 8)]
    alone = [portfolio.solve(p, budget) for p in problems]
    kept = [[(r.program, r.best, r.stopped, r.cost.tested, r.cost.tokens) for r in some] for some in (together, alone)]
    assert kept[0] == kept[1] and 0 < sum(r.found for r in together) < 6
    assert portfolio.solve_all([], budget) == []


def test_a_portfolio_finds_what_any_part_finds_under_its_share():
    library, proposer = Library.build(POLYNOMIAL, 2), Fixed.of(POLYNOMIAL, "x*y+3", "x+y")
    parts = [Filtered(proposer, 2), Completion(library, proposer, 2)]
    for k in range(1, 9):
        problem = Problem.from_outputs(POLYNOMIAL, [x * y + k for x, y in POLYNOMIAL.grid.points], max_size=4)
        alone = [part.solve(problem, AMPLE).found for part in parts]
        assert Portfolio(parts).solve(problem, AMPLE).found == any(alone)


def test_what_parts_share_was_prepared_once():
    library, proposer = Library.build(POLYNOMIAL, 2), Fixed.of(POLYNOMIAL, "x")
    other = Part("else")
    parts = [Filtered(proposer, 2), Completion(library, proposer, 2), Completion(library, None, 2), other]
    portfolio = Portfolio([*parts, Portfolio([Filtered(proposer, 1), other])])
    assert portfolio.setup == proposer.training + library.cost + other.setup
    assert Portfolio([Edits(None, 1, 1)]).setup == Cost()


@pytest.mark.parametrize("shares", [[0.5], [0.5, 0.6], [1.0, 0.0], [-0.5, 0.5], [float("nan"), 0.1]])
def test_shares_that_do_not_fit_are_refused(shares):
    with pytest.raises(ConfigurationError, match="give each a positive one"):
        Portfolio([Part("a"), Part("b")], shares)


def test_no_solvers_are_refused():
    with pytest.raises(ConfigurationError, match="at least one"):
        Portfolio([])
