"""Search finds the smallest program for outputs, sees nothing else, and keeps to its budget."""

from dataclasses import replace

import naive
import numpy as np
import pytest

from synthlab.assessment.correctness import SOLVED, UNGRAMMATICAL, check
from synthlab.assessment.tasks import tasks_of
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.language.identity import grid_codes
from synthlab.language.program import parse, token_matrix
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.search.budget import Budget, Meter
from synthlab.search.symbolic import METHOD, search_by_enumeration, solve_tasks
from synthlab.universe import enumeration

AMPLE = Budget(seconds=600.0)


def codes_of(grammar, text):
    return grid_codes(grammar, token_matrix([parse(grammar, text)]))[0]


def outputs_of(program, arities):
    tree = naive.tree(program.prefix_text().split(), arities)
    points = program.grammar.grid.points
    return [naive.walk(tree, dict(zip("xy", p, strict=True)), naive.FRACTION_MEANINGS) for p in points]


@pytest.mark.parametrize("seed", range(30))
def test_the_smallest_program_is_found(corpus4, seed):
    class_id = np.random.default_rng(seed).choice(corpus4.class_id)
    tasks = tasks_of(corpus4, np.array([class_id]))
    found = search_by_enumeration(POLYNOMIAL, tasks.codes[0], AMPLE, max_size=4)
    assert found.program.leaves == tasks.class_leaves[0]
    assert outputs_of(found.program, naive.POLYNOMIAL_ARITIES) == tasks.outputs[0].tolist()
    assert found.executed > 0 and found.seconds > 0 and found.method == METHOD


def test_rational_targets_are_found_exactly(rational3):
    for class_id in np.random.default_rng(4).choice(rational3.class_id, 15, replace=False):
        tasks = tasks_of(rational3, np.array([class_id]))
        found = search_by_enumeration(RATIONAL, tasks.codes[0], AMPLE, max_size=3)
        assert found.program.leaves == tasks.class_leaves[0]
        expected = outputs_of(rational3.program(class_id), naive.RATIONAL_ARITIES)
        assert outputs_of(found.program, naive.RATIONAL_ARITIES) == expected


def test_targets_beyond_the_universe_are_found():
    found = search_by_enumeration(POLYNOMIAL, codes_of(POLYNOMIAL, "(x+y)*(x-y)*3+x"), AMPLE, max_size=6)
    assert found.program.leaves <= 6
    expected = [(x + y) * (x - y) * 3 + x for x, y in POLYNOMIAL.grid.points]
    assert outputs_of(found.program, naive.POLYNOMIAL_ARITIES) == expected


@pytest.mark.parametrize(("text", "leaves"), [("x*x*x*y", 3), ("x+y", 1), ("x*y*3-1", 3)])
def test_without_a_program_there_is_none_but_there_are_costs(text, leaves):
    found = search_by_enumeration(POLYNOMIAL, codes_of(POLYNOMIAL, text), AMPLE, max_size=leaves)
    assert found.program is None and found.seconds > 0
    assert found.executed >= POLYNOMIAL.num_terminals


def test_a_target_with_poles_is_matched_pole_by_pole():
    codes = codes_of(RATIONAL, "1/(x+x+x-1)")
    assert (codes == UNDEFINED_RESIDUE).sum() == 6
    found = search_by_enumeration(RATIONAL, codes, AMPLE, max_size=5)
    outputs = outputs_of(found.program, naive.RATIONAL_ARITIES)
    expected = [1 / (3 * x - 1) if x * 3 != 1 else None for x, _ in RATIONAL.grid.points]
    assert outputs == expected


# ---------------------------------------------------------------- budget


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a hundred candidates."""
    monkeypatch.setattr(enumeration, "BLOCK", 100)


@pytest.mark.parametrize("programs", [1, 5, 6, 100, 777, 5000])
def test_the_budget_of_programs_is_kept_within_a_block(small_blocks, programs):
    hard = codes_of(POLYNOMIAL, "x*x*x*x*x*y*y*y+3")
    found = search_by_enumeration(POLYNOMIAL, hard, Budget(seconds=600.0, programs=programs), max_size=5)
    assert found.program is None and programs <= found.executed < programs + 100


def test_a_larger_budget_finds_what_a_smaller_one_does_not(small_blocks):
    target = codes_of(POLYNOMIAL, "3*y*y*x")
    few, many = (
        search_by_enumeration(POLYNOMIAL, target, Budget(seconds=600.0, programs=n), max_size=4) for n in (300, 10**6)
    )
    assert few.program is None and many.program is not None
    assert few.executed < many.executed < 10**6


def test_time_that_is_up_ends_the_search(monkeypatch, small_blocks):
    monkeypatch.setattr(Meter, "seconds", property(lambda meter: meter.executed / 100))
    target = codes_of(POLYNOMIAL, "3*y*y*x")
    found = search_by_enumeration(POLYNOMIAL, target, Budget(seconds=6.0), max_size=4)
    assert found.program is None and 600 <= found.executed < 700 and found.seconds == found.executed / 100


# ---------------------------------------------------------------- tasks


@pytest.fixture(scope="module")
def tasks(corpus4):
    return tasks_of(corpus4, corpus4.class_id[[3, 20, 150, 900, 2000]])


def test_every_task_gets_one_candidate_and_its_cost(tasks):
    candidates, costs = solve_tasks(tasks, AMPLE)
    assert candidates.task.tolist() == [0, 1, 2, 3, 4] and candidates.rank.tolist() == [0] * 5
    assert np.isnan(candidates.log_probability).all()
    assert (check(tasks, candidates).status == SOLVED).all()
    assert costs["found"].all() and costs["class_id"].tolist() == tasks.class_id.tolist()
    assert costs["executed"].is_monotonic_increasing and set(costs["method"]) == {METHOD}


def test_only_the_exact_outputs_are_read(tasks):
    blind = replace(
        tasks, class_id=tasks.class_id * 0, class_leaves=tasks.class_leaves * 0, weight=tasks.weight * 0,
        fingerprints=tasks.fingerprints * 0, outputs=tasks.outputs * 0, seed=0,
    )  # fmt: skip
    assert np.array_equal(solve_tasks(blind, AMPLE)[0].prefix, solve_tasks(tasks, AMPLE)[0].prefix)


def test_unsolved_tasks_submit_nothing(tasks):
    candidates, costs = solve_tasks(tasks, AMPLE, max_size=2)
    found = tasks.class_leaves <= 2
    assert costs["found"].tolist() == found.tolist() and 0 < found.sum() < 5
    assert (candidates.prefix[~found] == PAD).all() and candidates.prefix.shape == (5, 3)
    status = check(tasks, candidates).status
    assert (status[found] == SOLVED).all() and (status[~found] == UNGRAMMATICAL).all()
