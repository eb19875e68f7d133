"""Model and search side by side on equal terms; Wilson's interval against published values."""

import pytest

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.metrics import wilson
from synthlab.assessment.tasks import tasks_of
from synthlab.learning.decoding import decode
from synthlab.search.budget import Budget
from synthlab.study.solvers import solve_by_model, solve_by_search

COLUMNS = ["method", "class_id", "leaves", "solved", "seconds", "executed"]


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


def test_search_solves_what_its_budget_allows(corpus4):
    tasks = tasks_of(corpus4, corpus4.class_id[[2, 30, 500, 1500]])
    table = solve_by_search(tasks, Budget(seconds=600.0))
    assert table.columns.tolist() == COLUMNS
    assert table["solved"].all() and table["class_id"].tolist() == tasks.class_id.tolist()
    stopped = solve_by_search(tasks, Budget(seconds=600.0, programs=1))
    assert stopped["solved"].tolist() == [True, False, False, False]  # the first is a leaf
    assert (stopped["executed"] <= table["executed"]).all()


def test_the_model_answers_greedily(trained4, corpus4):
    tasks = tasks_of(corpus4, corpus4.class_id[:60])
    expected = check(tasks, decode(trained4.model(), tasks)).status == SOLVED
    table = solve_by_model(trained4, tasks)
    assert table.columns.tolist() == COLUMNS
    assert table["solved"].tolist() == expected.tolist() and 5 < expected.sum() < 60
    assert set(table["executed"]) == {1} and table["method"].unique().tolist() == ["model, greedy"]
    assert table["seconds"].nunique() == 1 and table["seconds"].iloc[0] > 0


def test_samples_are_filtered_by_the_grid_and_one_is_submitted(trained4, corpus4):
    tasks = tasks_of(corpus4, corpus4.class_id[:60])
    evaluation = check(tasks, decode(trained4.model(), tasks, num_samples=12, temperature=1.2))
    table = solve_by_model(trained4, tasks, num_samples=12, temperature=1.2)
    assert table["solved"].tolist() == (evaluation.num_correct() > 0).tolist()
    assert table["solved"].sum() > 5 + (evaluation.first_status() == SOLVED).sum()
    assert set(table["executed"]) == {12} and set(table["method"]) == {"model, 12 samples filtered by the grid"}
