"""Local search makes allowed edits, never accepts a worse program, and keeps to its budget."""

import math
from fractions import Fraction

import brute
import languages
import naive
import numpy as np
import pytest
from proposing import Fixed

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.program import parse, token_matrix
from synthlab.search import edits
from synthlab.search.budget import Budget, Cost
from synthlab.search.edits import Edits, Neighbors, log_errors
from synthlab.search.problem import COMPLETE, FOUND, SPENT, Problem
from synthlab.universe.sampling import sample_programs

AMPLE = Budget(seconds=600.0)


def problem_of(function, max_size, grammar=POLYNOMIAL, measure="leaves"):
    outputs = [function(*p) for p in grammar.grid.points]
    return Problem.from_outputs(grammar, outputs, max_size=max_size, measure=measure)


def trees_of(grammar, prefix):
    arities = languages.arities(grammar)
    return [naive.tree([grammar.tokens[t] for t in row if t != PAD], arities) for row in prefix.tolist()]


# ---------------------------------------------------------------- neighbors


def changed_tokens(tree, arities):
    """Trees with one token changed into another of the same arity."""
    for token, arity in arities.items():
        if arity == len(tree) - 1 and token != tree[0]:
            yield (token, *tree[1:])
    for k in range(1, len(tree)):
        yield from ((*tree[:k], new, *tree[k + 1 :]) for new in changed_tokens(tree[k], arities))


def replaced_subtrees(tree, pool, most):
    """Trees with one subtree of few tokens replaced by one of a pool."""
    if len(naive.flatten(tree)) <= most:
        yield from pool
    for k in range(1, len(tree)):
        yield from ((*tree[:k], new, *tree[k + 1 :]) for new in replaced_subtrees(tree[k], pool, most))


@pytest.mark.kernels
@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [
        (POLYNOMIAL, 5, "leaves"),
        (languages.MULADD, 8, "nodes"),
        (languages.TERNARY, 5, "leaves"),
        (languages.UNARY, 2, "depth"),
    ],
    ids=languages.label,
)
def test_edits_change_one_token_or_one_small_subtree_within_the_bound(grammar, size, measure):
    ones = np.ones(len(grammar.grid.points), dtype=np.uint64)
    problem = Problem(grammar, size, measure, ones, ones)
    neighbors = Neighbors(problem, np.random.default_rng(1))
    texts = np.full((3, 40), PAD, dtype=np.uint8)
    drawn = sample_programs(grammar, size, 3, measure=measure, seed=2)
    texts[:, : drawn.shape[1]] = drawn
    pool, arities = trees_of(grammar, neighbors._pool), languages.arities(grammar)
    allowed = [
        (set(changed_tokens(tree, arities)), set(replaced_subtrees(tree, pool, neighbors._pool.shape[1])))
        for tree in trees_of(grammar, texts)
    ]
    edited, rows = neighbors.of(texts, np.arange(3000) % 3)
    assert edited.shape[1] == 40 and len(edited) == len(rows)
    found = [set() for _ in range(3)]
    for tree, row in zip(trees_of(grammar, edited), rows, strict=True):
        assert tree in allowed[row][0] | allowed[row][1] and naive.size_of(tree, measure) <= size
        found[row].add(tree)
    for kept, (changed, replaced) in zip(found, allowed, strict=True):
        assert changed <= kept and kept - changed and kept <= changed | replaced


@pytest.mark.parametrize("grammar", [POLYNOMIAL, RATIONAL, PIECEWISE, languages.REVERSED], ids=languages.label)
def test_errors_are_those_of_exact_outputs(grammar):
    texts = sample_programs(grammar, 4, 40, seed=3)
    wanted = [Fraction(x, 3) + 2 * y if not grammar.integral else x + 2 * y for x, y in grammar.grid.points]
    problem = Problem.from_outputs(grammar, wanted, max_size=4)
    errors = log_errors(problem, texts)
    for tree, error in zip(trees_of(grammar, texts), errors, strict=True):
        points = [dict(zip(grammar.variables, p, strict=True)) for p in grammar.grid.points]
        values = [naive.walk(tree, p, brute.MEANINGS) for p in points]
        gaps = [1e18 if v is None else float(abs(v - w)) for v, w in zip(values, wanted, strict=True)]
        assert error == pytest.approx(sum(map(math.log1p, gaps)), rel=1e-9)


def test_values_missing_where_they_are_wanted_missing_are_no_error():
    problem = problem_of(lambda x, y: 1 / (3 * x - 1) if 3 * x != 1 else None, 5, RATIONAL)
    texts = token_matrix([parse(RATIONAL, t) for t in ("1/(x+x+x-1)", "1/(x+x+x-2)")])
    right, wrong = log_errors(problem, texts)
    assert right == pytest.approx(0, abs=1e-9) and wrong > 6 * math.log(1e18)


# ---------------------------------------------------------------- search


def test_a_near_miss_is_repaired():
    near = Fixed.of(POLYNOMIAL, "x*y*3+y-1", "x+x")
    problem = problem_of(lambda x, y: x * y * 3 + y - 2, 5)
    result = Edits(near, 2, rounds=20).solve(problem, AMPLE)
    assert result.found and result.stopped == FOUND and result.method == "fixed, 2 edited"
    assert result.cost.programs > 2 and result.cost.tokens == 20


def test_random_programs_find_small_functions():
    result = Edits(None, 50, rounds=200).solve(problem_of(lambda x, y: x * y + 2, 4), AMPLE)
    assert result.found and result.cost.tokens == 0
    assert [(x * y + 2) for x, y in POLYNOMIAL.grid.points] == [
        naive.walk(tree, dict(zip("xy", p, strict=True)), brute.MEANINGS)
        for tree in trees_of(POLYNOMIAL, token_matrix([result.program]))
        for p in POLYNOMIAL.grid.points
    ]


HARD = problem_of(lambda x, y: x**4 * y**3 + 17 * x, 6)


def test_programs_only_get_better(monkeypatch):
    history, improve = [], edits._improve

    def recorded(attempt, parents, merit, neighbors):
        before, texts = merit.copy(), parents.copy()
        improve(attempt, parents, merit, neighbors)
        gain = merit[1] - before[1]
        assert ((gain > 0) | ((gain == 0) & (merit[0] >= before[0]))).all()
        np.testing.assert_allclose(merit[0], -log_errors(HARD, parents))
        history.append((parents != texts).any())

    monkeypatch.setattr(edits, "_improve", recorded)
    Edits(None, 30, rounds=12).solve(HARD, AMPLE)
    assert len(history) == 12 and any(history)


def test_more_rounds_are_never_worse_and_the_same_seed_finds_the_same():
    results = [Edits(None, 30, rounds=rounds, seed=5).solve(HARD, AMPLE) for rounds in (1, 10, 10, 40)]
    agreements = [r.agreement for r in results]
    assert agreements == sorted(agreements) and results[1].best == results[2].best
    assert results[1].cost.programs == results[2].cost.programs < results[3].cost.programs
    assert all(r.stopped == COMPLETE for r in results)


@pytest.mark.parametrize("axis", ["programs", "tested"])
@pytest.mark.parametrize("limit", [1, 2, 29, 31, 600, 1000])
def test_budgets_are_kept_exactly(axis, limit):
    result = Edits(None, 30, rounds=5).solve(HARD, Budget(seconds=600.0, **{axis: limit}))
    assert result.cost.programs == limit and result.stopped == SPENT and result.best is not None


def test_time_that_is_up_ends_the_search():
    slow = Fixed.of(POLYNOMIAL, "x", cost_of_one=Cost(seconds=9.0))
    result = Edits(slow, 1, rounds=5).solve(HARD, Budget(seconds=9.0))
    assert result.cost.programs == 0 and result.stopped == SPENT


def test_proposals_that_are_all_too_large_give_way_to_random_programs():
    large = Fixed.of(POLYNOMIAL, "x*y*3+y-1")
    result = Edits(large, 1, rounds=5).solve(problem_of(lambda x, y: x * 9 + y, 3), AMPLE)
    assert result.best.leaves <= 3 and result.cost.programs > 100


@pytest.mark.parametrize(
    ("grammar", "size", "measure"),
    [(PIECEWISE, 4, "leaves"), (RATIONAL, 5, "nodes"), (POLYNOMIAL, 2, "depth"), (languages.FLOORED, 3, "leaves")],
    ids=languages.label,
)
def test_every_grammar_and_measure_can_be_searched(grammar, size, measure):
    problem = problem_of(lambda x, y: x, size, grammar, measure)
    assert Edits(None, 20, rounds=30).solve(problem, AMPLE).found


def test_many_problems_are_answered_like_each_alone():
    problems = [problem_of(lambda x, y, k=k: x * y + k, 3) for k in range(1, 6)]
    proposer = Fixed.of(POLYNOMIAL, "x*y", "y+1")
    together = Edits(proposer, 2, rounds=15).solve_all(problems, AMPLE)
    assert proposer.asked == [(5, 2)]
    assert [r.best for r in together] == [Edits(proposer, 2, rounds=15).solve(p, AMPLE).best for p in problems]
    found = [r.found for r in together]
    assert any(found[:3]) and not any(found[3:])  # x y + 4 has more than three leaves


def test_no_rounds_are_refused():
    with pytest.raises(ConfigurationError, match="at least one"):
        Edits(None, 5, rounds=0)
