"""Inline pictures: well-formed, complete, and true to the tree and the outputs."""

import re
from xml.etree import ElementTree

import languages
import numpy as np
import pytest

from synthlab.language.grammar import POLYNOMIAL, RATIONAL, Grid
from synthlab.language.interpreter import grid_outputs
from synthlab.language.program import parse, token_matrix
from synthlab.views.explorer.pictures import MOST_NODES, outputs_svg, short_number, tree_svg


def outputs(program):
    return grid_outputs(program.grammar, token_matrix([program]))[0]


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter("text")]


@pytest.mark.parametrize(
    ("grammar", "text"), [(POLYNOMIAL, "x"), (POLYNOMIAL, "x * (y + 1) - 2"), (languages.TERNARY, "mid(x, y, 1)")]
)
def test_a_tree_has_a_mark_for_every_token_and_a_line_for_every_operand(grammar, text):
    program = parse(grammar, text)
    picture = ElementTree.fromstring(tree_svg(program))
    assert sorted(texts(tree_svg(program))) == sorted(program.prefix_text().split())
    assert len(list(picture.iter("line"))) == program.nodes - 1
    assert len(list(picture.iter("rect"))) == program.leaves
    assert len(list(picture.iter("circle"))) == program.nodes - program.leaves
    assert picture.get("aria-label") == f"tree of {program.infix_text()}"


def test_very_large_trees_are_not_drawn():
    leaves = (MOST_NODES + 1) // 2
    assert tree_svg(parse(POLYNOMIAL, "+".join("x" * leaves))) != ""
    assert tree_svg(parse(POLYNOMIAL, "+".join("x" * (leaves + 1)))) == ""


def test_a_heat_map_shows_outputs_where_they_belong():
    program = parse(POLYNOMIAL, "x - 2 * y")
    svg = outputs_svg(POLYNOMIAL.grid, POLYNOMIAL.variables, outputs(program))
    cells = re.findall(r'<rect x="(\d+)" y="(\d+)"[^>]*fill="rgb\((\d+,\d+,\d+)\)"><title>([^<]*)</title>', svg)
    places = sorted((int(x), -int(y), value) for x, y, _, value in cells)
    assert [float(value) for *_, value in places] == outputs(program).tolist()  # x to the right, then y upwards
    colors = {float(value): color for *_, color, value in cells}
    assert colors[min(colors)] == "68,1,84" and colors[max(colors)] == "253,231,37"
    ElementTree.fromstring(svg)


def test_poles_are_hatched_and_constants_drawn():
    svg = outputs_svg(RATIONAL.grid, RATIONAL.variables, outputs(parse(RATIONAL, "x / (y - y)")))
    assert svg.count("no value") == 36 and "rgb(" not in svg
    svg = outputs_svg(POLYNOMIAL.grid, POLYNOMIAL.variables, outputs(parse(POLYNOMIAL, "2 + 1")))
    assert svg.count("rgb(68,1,84)") == 36


@pytest.mark.parametrize(("names", "num"), [(("x",), 6), (("x", "y", "z"), 216)])
def test_grids_of_other_dimensions_are_drawn(names, num):
    grid = Grid.regular(*[0] * len(names))
    svg = outputs_svg(grid, names, np.arange(num))
    assert svg.count("<title>") == num
    assert ("y, z" in texts(svg)) == (len(names) == 3) and "x" in texts(svg)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-3.0, "-3"), (12345.0, "12345"), (123456.0, "1.2e5"), (-2 / 3, "-0.67"), (7 / 3, "2.33"),
     (1234.5, "1.2e3"), (0.0001234, "1.2e-4")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert short_number(value) == text
