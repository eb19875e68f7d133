"""Answers of model and search to one program: from outputs alone, judged like those of a test set."""

import languages
import numpy as np
import pytest

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import BudgetExceeded, ConfigurationError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.language.program import parse
from synthlab.learning.evaluation import failures
from synthlab.search.residuals import ResidualSearch
from synthlab.search.symbolic import Enumeration
from synthlab.study.formula_answers import (
    answer_bound,
    answer_model,
    answer_search,
    library_size,
    program_solver,
    task_of,
)
from synthlab.universe.counting import program_counts


@pytest.fixture(scope="module")
def solver():
    return program_solver(POLYNOMIAL, 3)


def test_a_program_is_the_task_that_its_class_is(corpus4):
    known = tasks_of(corpus4, corpus4.class_id[[40]])
    asked = task_of(corpus4.program(int(corpus4.class_id[40])), 4)
    for name in ("outputs", "codes", "fingerprints", "class_leaves", "max_size", "measure", "seed"):
        assert np.array_equal(getattr(known, name), getattr(asked, name)), name


def test_only_functions_of_the_whole_grid_are_tasks():
    with pytest.raises(ConfigurationError, match="no value at 6 of 36 grid points"):
        task_of(parse(RATIONAL, "1 / (x - 1 / 2 + 1 / (2 + 2 + 2))"), 4)
    with pytest.raises(BudgetExceeded, match="may exceed"):
        task_of(parse(POLYNOMIAL, "*".join(["(x - x + 1)"] * 40)), 4)


def test_the_greedy_answer_is_the_one_of_the_evaluation(trained4, corpus4, split4):
    table = failures(trained4, corpus4, split4, "id")
    some = table.iloc[np.linspace(0, len(table) - 1, 8).astype(int)]
    assert (some["status"] == "solved").any()
    for row in some.itertuples():
        answers = answer_model(trained4, parse(POLYNOMIAL, row.target), num=3)
        assert tuple(answers.loc[0, ["method", "program", "status"]]) == ("greedy", row.written, row.status)


def test_a_beam_answers_in_order_of_probability(trained4):
    table = answer_model(trained4, parse(POLYNOMIAL, "x + y"), num=8, model=trained4.model())
    beam = table[table["method"] == "beam"]
    assert len(table) == 9 and beam["rank"].tolist() == list(range(8)) and beam["program"].is_unique
    assert (np.diff(beam["log_probability"]) <= 0).all() and "solved" in set(beam["status"])
    for program, status in zip(beam["program"], beam["status"], strict=True):
        value = parse(POLYNOMIAL, program)
        assert (status == "solved") == np.array_equal(
            task_of(value, 4).outputs, task_of(parse(POLYNOMIAL, "x + y"), 4).outputs
        )


def test_models_write_one_grammar_only(trained4):
    with pytest.raises(ConfigurationError, match="the model writes 'polynomial'"):
        answer_model(trained4, parse(RATIONAL, "x + y"))


@pytest.mark.parametrize("text", ["x * y + 1", "(x + 1) * (y + 2) - 3", "x * x * x - y * y"])
def test_search_finds_the_function(solver, text):
    (answer,) = answer_search(parse(POLYNOMIAL, text), solver, max_size=6, seconds=30).itertuples()
    assert answer.status == "solved" and answer.agreement == 1 and answer.stopped == "found"
    assert answer.tested >= 1 and answer.setup_seconds > 0
    found, target = (task_of(parse(POLYNOMIAL, t), 6) for t in (answer.program, text))
    assert np.array_equal(found.fingerprints, target.fingerprints)


def test_search_says_that_it_found_nothing(solver):
    text = "*".join(["x"] * 9) + " + y * y * y * y * y"
    (answer,) = answer_search(parse(POLYNOMIAL, text), solver, max_size=4, seconds=0.5).itertuples()
    assert answer.program == "" and answer.status == "ungrammatical" and answer.stopped != "found"


@pytest.mark.parametrize(
    ("grammar", "measure", "size", "bound"),
    [
        (POLYNOMIAL, "leaves", 4, 8),
        (RATIONAL, "leaves", 4, 8),
        (POLYNOMIAL, "nodes", 8, 17),
        (POLYNOMIAL, "depth", 2, 3),
    ],
)
def test_libraries_are_as_large_as_is_quickly_built(grammar, measure, size, bound):
    assert library_size(grammar, measure) == size and answer_bound(size, measure) == bound
    counts = [sum(program_counts(grammar, s, measure)) for s in (size, size + 1)]
    assert counts[0] <= 500_000 < counts[1]


def test_where_no_library_can_be_there_is_enumeration():
    assert isinstance(program_solver(POLYNOMIAL, 2, "nodes"), ResidualSearch)
    assert isinstance(program_solver(POLYNOMIAL, 2, "depth"), Enumeration)
    halves = languages.HALVES
    (answer,) = answer_search(parse(halves, "mean(x, y)"), program_solver(halves, 2), max_size=3).itertuples()
    assert answer.status == "solved" and answer.program == "mean(x, y)"
