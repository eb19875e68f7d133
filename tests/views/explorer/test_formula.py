"""The formula panel without a browser: a text is asked, and the panel's HTML is read."""

import html
import re
from dataclasses import replace

import numpy as np
import pytest

from synthlab.errors import ProgramSyntaxError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.program import parse
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.preview import Preview
from synthlab.splits.regions import Region
from synthlab.views.explorer import formula
from synthlab.views.explorer.formula import FormulaPanel, caret_lines, status_text
from synthlab.views.explorer.standing import training_texts


@pytest.fixture
def panel(corpus4, spaces4, split4, trained4):
    seen = []
    made = FormulaPanel(
        corpus4,
        spaces4,
        split=lambda: split4,
        run=trained4,
        on_place=lambda *told: seen.append(told),
        library=3,
        num_candidates=3,
    )
    made.seen = seen
    return made


def shown(panel):
    return html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", panel.answer.value, flags=re.S))


def heads(panel):
    return re.findall(r"<h5>(.*?)</h5>", panel.answer.value)


def test_it_opens_empty_with_both_notations_as_examples(panel, corpus4):
    assert panel.answer.value.startswith('<div id="formula">') and not shown(panel).strip()
    infix, prefix = panel.field.placeholder.split(" or ")
    assert parse(POLYNOMIAL, infix) == parse(POLYNOMIAL, prefix)
    panel.button.click()
    assert not shown(panel).strip() and panel.seen == []


def test_a_formula_gets_card_neighbours_and_answers(panel):
    panel.field.value = "x * y + 1"
    assert heads(panel) == [
        "nearest programs, syntactic space", "nearest functions, semantic space",
        "nearest training programs, syntactic space", "nearest training programs, semantic space",
        "what the model 16x1 answers, from the grid outputs alone",
        "what search answers, from the grid outputs alone, in up to 6 leaves",
    ]  # fmt: skip
    text = shown(panel)
    assert "+ * x y 1" in text and "greedy" in text and "beam 3" in text and "beam 4" not in text
    assert "same function" in text.split("what search answers")[1] and "..." not in text
    assert "another split" not in text and panel.button.disabled is False


def test_places_are_handed_on(panel, corpus4, spaces4):
    panel.ask("x * y + 1")
    places = {name: place for name, *place in panel.seen}
    assert list(places) == ["syntactic", "semantic"] == [name for name, *_ in panel.seen]
    for name, (coordinates, rows, distances) in places.items():
        assert np.array_equal(coordinates, spaces4[name].coordinates[rows[0]]) and distances[0] == 0
    panel.ask("x * (")
    assert [name for name, *_ in panel.seen[2:]] == list(places)
    assert all(np.isnan(place).all() and not len(rows) and not len(far) for _, place, rows, far in panel.seen[2:])


def test_nearest_training_programs_are_trained_on(panel, corpus4, split4):
    panel.ask("x * (y + 1)")
    trained = {corpus4.program(int(i)).infix_text() for i in training_texts(corpus4, split4)}
    for space in ("syntactic", "semantic"):
        table = panel.answer.value.split(f"nearest training programs, {space} space</h5>")[1].split("</div>")[0]
        near = [html.unescape(t) for t in re.findall("<code>(.*?)</code>", table)]
        assert len(near) == 5 and set(near) <= trained


def test_it_asks_once_for_an_enter_and_a_click_and_again_for_another_split(panel, corpus4, spaces4):
    panel.field.value = "x + y"
    panel.button.click()
    assert len(panel.seen) == 2
    parts = Preview(corpus4, spaces4).parts(Region(rule="root", root="+"))
    panel.split = lambda: parts
    panel.ask("x + y")
    assert len(panel.seen) == 4 and "held out; its function is" in shown(panel)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("x + * y", ["x + * y", "    ^", "position 4: expected x, y, 1, 2, 3 or '(', found '*'"]),
        ("x +\n(y", ["x + (y", "      ^", "position 6: expected an operator or ')', found the end"]),
    ],
)
def test_a_mistake_is_shown_with_a_caret(panel, text, lines):
    with pytest.raises(ProgramSyntaxError) as caught:
        parse(POLYNOMIAL, text)
    assert caret_lines(text, caught.value).split("\n") == lines
    panel.ask(text)
    assert all(line.strip() in shown(panel) for line in lines) and 'role="alert"' in panel.answer.value


def test_a_mistake_in_a_long_text_is_shown_with_what_is_near():
    text = "x + " * 100 + "$" + " + x" * 100
    with pytest.raises(ProgramSyntaxError) as caught:
        parse(POLYNOMIAL, text)
    first, caret, _ = caret_lines(text, caught.value).split("\n")
    assert first[caret.index("^")] == "$" and len(first) < 140 and first.startswith("... ") and first.endswith(" ...")


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "x + <b>y</b>", "&amp;"])
def test_hostile_texts_are_escaped(panel, text):
    panel.ask(text)
    assert "position" in shown(panel) and "<script" not in panel.answer.value and "<b>" not in panel.answer.value


def test_it_works_without_split_and_model(corpus4, spaces4):
    panel = FormulaPanel(corpus4, spaces4, library=3)
    panel.ask("x * x * x * x * y")
    assert "there is no split yet" in shown(panel) and "what the model" not in shown(panel)
    assert "larger than the universe" in shown(panel) and "same function" in shown(panel)


def test_poles_and_undefined_programs_stop_no_other_part(rational3):
    spaces = {"syntactic": fit_syntactic(rational3, num_axes=8), "semantic": fit_semantic(rational3, num_axes=8)}
    seen = []
    panel = FormulaPanel(rational3, spaces, on_place=lambda *told: seen.append(told), library=2)
    panel.ask("x / (y - y)")
    assert "it has no value anywhere" in shown(panel) and [len(rows) for _, _, rows, _ in seen] == [6, 0]
    assert "no value at 36 of 36 grid points: only a function" in shown(panel)
    panel.ask("1 / (x - 1 / 2 + 1 / (2 + 2 + 2))")
    assert "no value at 6 of 36 grid points: only a function" in shown(panel) and all(
        len(rows) for _, _, rows, _ in seen[2:]
    )


def test_errors_appear_in_their_part_and_the_others_go_on(panel, monkeypatch):
    panel.on_place = lambda *_: 1 / 0
    monkeypatch.setattr(formula, "program_solver", lambda *_: [][0])
    panel.ask("x + y")
    text = shown(panel)
    assert "ZeroDivisionError: division by zero" in text and "what search answers  IndexError" in text
    assert "greedy" in text and panel.button.disabled is False


def test_a_run_of_another_universe_or_split_is_told(panel, rational3, split4):
    other = replace(split4, settings=split4.settings | {"seed": 9})
    panel.split = lambda: other
    panel.ask("x + y")
    assert "It was not trained on the present split, or that is not drawn yet." in shown(panel)
    spaces = {"syntactic": fit_syntactic(rational3, num_axes=8)}
    other = FormulaPanel(rational3, spaces, run=panel.run, library=2)
    other.ask("x + y")
    assert "the run belongs to polynomial" in shown(other)


@pytest.mark.parametrize(("status", "text"), [("solved", "same function"), ("right on grid", "right on grid")])
def test_judgements_have_a_mark_and_a_colour(status, text):
    assert text in status_text(status) and "color: #" in status_text(status)
