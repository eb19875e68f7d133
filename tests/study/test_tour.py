"""Small tables for a first look."""

from fractions import Fraction

import naive
import numpy as np
import pytest

from synthlab.errors import ConfigurationError, ProgramSyntaxError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.language.program import parse, token_matrix
from synthlab.study.tour import answer, answers_over_time, outputs_table
from synthlab.universe.counting import rank


def test_outputs_of_a_polynomial_on_its_grid():
    table = outputs_table(parse(POLYNOMIAL, "x*(y+1)-3"))
    assert len(table) == 36 and table.columns.tolist() == ["x", "y", "value"]
    assert table["value"].tolist() == [x * (y + 1) - 3 for x in range(-2, 4) for y in range(-2, 4)]
    assert table["x"].tolist() == [x for x in range(-2, 4) for _ in range(6)]


def test_outputs_of_a_fraction_with_its_pole():
    table = outputs_table(parse(RATIONAL, "1/(x+x+x-1)"))
    third = np.isclose(table["x"], 1 / 3)
    assert third.sum() == 6 and table.loc[third, "value"].isna().all()
    expected = [float(Fraction(1, 1) / (3 * x - 1)) for x, _ in RATIONAL.grid.points if x != Fraction(1, 3)]
    assert table.loc[~third, "value"].tolist() == pytest.approx(expected)


def test_answers_are_judged_as_functions(trained4):
    formulas = ["x", "y", "x+y", "x*y", "x+1", "2", "x*x", "3*x", "x-y", "y+y+x"]
    table = answer(trained4, formulas)
    assert table["asked"].tolist() == [parse(POLYNOMIAL, f).infix_text() for f in formulas]
    assert table["leaves"].tolist() == [1, 1, 2, 2, 2, 1, 2, 2, 2, 3]
    assert 0 < table["same_function"].sum() < len(formulas)
    for row in table.itertuples():
        texts = [parse(POLYNOMIAL, t).prefix_text().split() for t in (row.asked, row.written)]
        one, two = (naive.expand(naive.tree(t, naive.POLYNOMIAL_ARITIES)) for t in texts)
        assert (one == two) == row.same_function


def test_equal_functions_get_equal_answers(trained4):
    table = answer(trained4, ["x*(y+1)", "x+y*x", "x+x*y+1-1"])
    assert table["written"].nunique() == 1 and table["same_function"].nunique() == 1


@pytest.mark.parametrize("text", ["x+", "z", "x**2", "__import__('os')", ""])
def test_what_is_no_formula_is_refused(trained4, text):
    with pytest.raises(ProgramSyntaxError, match="position"):
        answer(trained4, ["x", text])


def test_outputs_beyond_the_encoder_are_refused(trained4):
    with pytest.raises(ConfigurationError, match="1 tasks have outputs"):
        answer(trained4, ["x", "*".join(["(3*3*3)"] * 11 + ["3"] + ["(2*2*2)"] * 2)])


def test_answers_over_time_are_those_that_were_written_down(trained4):
    table = answers_over_time(trained4, "id", num_tasks=4, num_checks=5)
    assert table.columns.tolist() == [30, 60] and table.shape == (4, 2) and table.index.name == "target"
    known = trained4.answers[trained4.answers["part"] == "id"]
    classes = known["class_id"].unique()[:4]
    for target, class_id in zip(table.index, classes, strict=True):
        assert int(class_id) == rank(POLYNOMIAL, token_matrix([parse(POLYNOMIAL, target)], 7), 4)[0]
        for step in (30, 60):
            row = known[(known["class_id"] == class_id) & (known["step"] == step)].iloc[0]
            assert table.loc[target, step] == row["written"] + " ✓" * (row["status"] == "solved")
    assert answers_over_time(trained4, "id", num_checks=1).columns.tolist() == [30]
    with pytest.raises(ConfigurationError, match="no answers of part 'nobody' over time: choose from id, forced"):
        answers_over_time(trained4, "nobody")
