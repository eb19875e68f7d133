"""Models and searches side by side on equal terms; Wilson's interval against published values."""

import functools
from dataclasses import fields

import numpy as np
import pytest
from proposing import Fixed

from synthlab.assessment.correctness import SOLVED, UNGRAMMATICAL, check
from synthlab.assessment.metrics import wilson
from synthlab.assessment.tasks import tasks_of
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.language.identity import grid_codes
from synthlab.language.program import parse, token_matrix
from synthlab.learning.decoding import decode
from synthlab.search.budget import Budget, Cost
from synthlab.search.filtering import Filtered
from synthlab.search.library import Library
from synthlab.search.problem import COMPLETE, FOUND, INTERRUPTED, SPENT, Problem, Result, Solver
from synthlab.search.residuals import ResidualSearch
from synthlab.search.symbolic import METHOD, Enumeration, LibraryLookup
from synthlab.study.proposers import ModelProposer
from synthlab.study.solvers import solve, submitted
from synthlab.universe.corpus import build_corpus

AMPLE = Budget(seconds=600.0)
COLUMNS = [
    "method", "class_id", "leaves", "found", "solved", "stopped", "agreement", "seconds", "programs", "lookups",
    "tokens", "flops", "tested",
]  # fmt: skip


@pytest.mark.parametrize(
    ("successes", "num", "low", "high"),
    [
        # Newcombe (1998), Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (50, 100, 0.4038, 0.5962),
        (10, 10, 0.7225, 1.0),
    ],
)
def test_the_interval_of_wilson(successes, num, low, high):
    assert wilson(successes, num) == pytest.approx((low, high), abs=5e-5)
    assert wilson(num - successes, num) == pytest.approx((1 - high, 1 - low), abs=5e-5)


# ---------------------------------------------------------------- search


@pytest.fixture(scope="module")
def four(corpus4):
    return tasks_of(corpus4, corpus4.class_id[[2, 30, 500, 1500]])


def test_search_solves_what_its_budget_allows(four):
    table = solve(Enumeration(), four, AMPLE)
    assert table.columns.tolist() == COLUMNS and set(table["method"]) == {METHOD}
    assert table["solved"].all() and table["class_id"].tolist() == four.class_id.tolist()
    assert table["leaves"].tolist() == four.class_leaves.tolist() and set(table["stopped"]) == {FOUND}
    stopped = solve(Enumeration(), four, Budget(seconds=600.0, programs=1))
    assert stopped["solved"].tolist() == [True, False, False, False]  # the first is a leaf
    assert stopped["stopped"].tolist() == [FOUND] + [SPENT] * 3 and stopped["agreement"].tolist() == [1.0, 0, 0, 0]
    assert (stopped["programs"] <= table["programs"]).all() and (table["tested"] == table["programs"]).all()


@pytest.mark.parametrize("make", [LibraryLookup, functools.partial(ResidualSearch, part_size=1)])
def test_a_library_solves_by_lookups(four, make):
    table = solve(make(Library.build(POLYNOMIAL, 3)), four, AMPLE)
    assert table["solved"].all() and (table["programs"] == 0).all() and (table["lookups"] > 0).all()
    assert (table["tested"] == table["lookups"]).all() and (table["agreement"] == 1).all()


def test_a_bound_of_its_own_may_be_given(four):
    small, large = (solve(Enumeration(), four, AMPLE, max_size=size) for size in (2, 5))
    assert small["found"].tolist() == small["solved"].tolist() == (four.class_leaves <= 2).tolist()
    assert not small["found"].all() and small["stopped"].tolist()[-1] == COMPLETE
    assert large["solved"].all()


def test_a_larger_answer_is_right_where_the_bound_allows_it(four):
    """The bound on answers is the solver's and the checker's."""
    padded = Fixed.of(POLYNOMIAL, *(f"{leaf}*1*1*1*1" for leaf in ("x", "y", "1", "2", "3")))
    tables = [solve(Filtered(padded, 5), four, AMPLE, max_size=size) for size in (None, 5)]
    assert not tables[0]["found"].any() and not tables[0]["solved"].any()
    assert tables[1]["solved"].tolist() == (four.class_leaves == 1).tolist() == [True, False, False, False]


def test_solved_means_the_same_function_and_found_right_on_the_grid():
    """On a grid of one point many functions are right, and one is meant."""
    from dataclasses import replace

    from synthlab.language.grammar import Grid

    grammar = replace(POLYNOMIAL, name="one-point", grid=Grid.regular(0, 0, start=2, num=1))
    corpus = build_corpus(grammar, 2)
    tasks = tasks_of(corpus, corpus.class_id[:20])
    table = solve(Enumeration(), tasks, AMPLE)
    assert table["found"].all() and (table["agreement"] == 1.0).all()
    assert 0 < table["solved"].sum() < 20 and table["solved"].iloc[0]
    assert (table["found"] >= table["solved"]).all()


def test_a_solver_is_given_nothing_but_outputs_and_a_bound(four):
    seen = []

    class Curious(Solver):
        name = "curious"

        def search(self, attempt):
            seen.append(attempt.problem)

    table = solve(Curious(), four, AMPLE)
    assert not table["found"].any() and {type(p) for p in seen} == {Problem}
    assert all({f.name for f in fields(p)} == {"grammar", "max_size", "measure", "outputs", "codes"} for p in seen)


def test_no_tasks_make_an_empty_table(four):
    table = solve(Enumeration(), four.take(slice(0, 0)), AMPLE)
    assert len(table) == 0 and table.columns.tolist() == COLUMNS


def test_an_interrupt_is_written_down(four):
    class Impatient(Solver):
        name = "impatient"

        def search(self, attempt):
            attempt.consider(token_matrix([parse(POLYNOMIAL, "1")]))
            raise KeyboardInterrupt

    table = solve(Impatient(), four, AMPLE)
    assert set(table["stopped"][1:]) == {INTERRUPTED} and table["programs"].tolist()[2:] == [0, 0]


# ---------------------------------------------------------------- what is submitted


def test_one_candidate_a_task_is_submitted(four):
    right, wrong = parse(POLYNOMIAL, "x*y+1"), parse(POLYNOMIAL, "x")
    results = [
        Result("m", right, right, 1.0, Cost(), FOUND), Result("m", None, wrong, 0.5, Cost(), SPENT),
        Result("m", None, None, 0.0, Cost(), SPENT), Result("m", None, right, 0.9, Cost(), INTERRUPTED),
    ]  # fmt: skip
    candidates = submitted(four, results)
    assert candidates.task.tolist() == [0, 1, 2, 3] and candidates.rank.tolist() == [0] * 4
    assert np.isnan(candidates.log_probability).all() and candidates.prefix.shape == (4, 7)
    assert candidates.prefix[1].tolist() == [POLYNOMIAL.index["x"]] + [PAD] * 6
    assert (candidates.prefix[2] == PAD).all() and (candidates.prefix[0] == candidates.prefix[3]).all()
    assert check(four, candidates).status[2] == UNGRAMMATICAL
    assert submitted(four, results, 3).prefix.shape == (4, 5) and submitted(four, [], 3).prefix.shape == (0, 5)


# ---------------------------------------------------------------- models


@pytest.fixture(scope="module")
def sixty(corpus4):
    return tasks_of(corpus4, corpus4.class_id[:60])


def test_the_model_answers_greedily(trained4, sixty):
    expected = check(sixty, decode(trained4.model(), sixty)).status == SOLVED
    solver = Filtered(ModelProposer(trained4, how="beam", grammatical=False), 1, name="model, greedy")
    table = solve(solver, sixty, AMPLE)
    assert table.columns.tolist() == COLUMNS and set(table["method"]) == {"model, greedy"}
    assert table["solved"].tolist() == expected.tolist() and 5 < expected.sum() < 60
    assert set(table["programs"]) <= {0, 1} and (table["lookups"] == 0).all() and (table["seconds"] > 0).all()
    assert (table["tokens"] > 0).all() and (table["flops"] > 0).all()


def test_samples_are_filtered_by_the_grid_and_one_is_submitted(trained4, sixty):
    proposer = ModelProposer(trained4, how="samples", temperature=1.2, max_size=4)
    table = solve(Filtered(proposer, 12), sixty, AMPLE)
    written = zip(proposer.propose(sixty.outputs, 12).prefix, sixty.codes, strict=True)
    right = np.array([(grid_codes(POLYNOMIAL, texts) == codes).all(axis=1) for texts, codes in written])
    assert table["found"].tolist() == table["solved"].tolist() == right.any(axis=1).tolist()
    assert table["solved"].sum() > 5 + right[:, 0].sum()
    assert table["programs"].between(1, 12).all() and (table["programs"] > 1).any()


def test_a_model_and_a_search_see_the_same_tasks(trained4, sixty):
    solvers = [Filtered(ModelProposer(trained4, how="beam"), 4), Enumeration()]
    tables = [solve(solver, sixty, AMPLE) for solver in solvers]
    assert tables[0]["class_id"].tolist() == tables[1]["class_id"].tolist()
    assert tables[0]["solved"].sum() < tables[1]["solved"].sum() == 60
    assert solvers[0].setup.flops > 0 == solvers[1].setup.flops


def test_rational_tasks_are_judged_too(rational3):
    tasks = tasks_of(rational3, rational3.class_id[rational3.is_task][::40])
    tables = [solve(s, tasks, AMPLE) for s in (Enumeration(), LibraryLookup(Library.build(RATIONAL, 2)))]
    assert all(table["solved"].all() for table in tables)
