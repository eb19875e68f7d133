"""Cards of programs: what they say, for members of the universe, larger programs, and what is no function."""

import html
import re

import numpy as np
import pytest

from synthlab.language.grammar import PIECEWISE, Grammar, Grid
from synthlab.language.operator import Operator
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.preview import Preview
from synthlab.splits.regions import Region
from synthlab.universe.corpus import build_corpus
from synthlab.views.explorer.card import (
    NUM_TEXTS,
    card_of,
    distance_text,
    find_program,
    program_card,
    program_id_of,
)
from synthlab.views.explorer.standing import places_of, standing_of


def spaces_of(corpus):
    return {"syntactic": fit_syntactic(corpus, num_axes=8), "semantic": fit_semantic(corpus, num_axes=8)}


def card(corpus, spaces, text, **options):
    standing = standing_of(corpus, find_program(corpus, text))
    return card_of(corpus, spaces, standing, places_of(corpus, spaces, standing, 6), **options)


def facts(text):
    rows = re.findall(r"<tr><th>([^<]*)</th><td>(.*?)</td></tr>", text.split("<h5>")[0])
    return {name: html.unescape(re.sub(r"<[^>]*>", "|", value)) for name, value in rows}


def neighbors(text, head):
    """(distance, program, note) of every row under a head."""
    table = text.split(f"<h5>{head}</h5>")[1].split("</div>")[0]
    rows = re.findall(r"<tr><th>(.*?)</th><td>(.*?)</td><td>(.*?)</td></tr>", table)
    return [tuple(html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in row) for row in rows]


def test_a_card_says_what_the_universe_lists(corpus4, spaces4):
    number = program_id_of(corpus4, find_program(corpus4, "x * y + 1"))
    told = facts(program_card(corpus4, spaces4, number))
    row = corpus4.class_index[number]
    texts = np.flatnonzero(corpus4.class_index == row)
    assert told["prefix"] == "|+ * x y 1|" and told["size"] == "3 leaves, 5 nodes, depth 2"
    assert told["id"] == f"{number:,}"
    assert told["function"] == f"class {corpus4.class_id[row]:,}, computed by {len(texts)} programs"
    assert told["minimal text"] == f"|{corpus4.program(int(corpus4.class_id[row])).infix_text()}|"
    shown = [t for t in told["other texts"].split("|") if t and not t.startswith("and ")]
    assert len(shown) == NUM_TEXTS and "x * y + 1" not in shown
    assert {corpus4.class_index[program_id_of(corpus4, find_program(corpus4, t))] for t in shown} == {row}
    assert f"and {len(texts) - 2 - NUM_TEXTS:,} more" in told["other texts"]
    assert "part of the split" not in told and "identity" not in told and "poles" not in told


def test_neighbours_are_the_nearest_others(corpus4, spaces4):
    number = 712
    text = program_card(corpus4, spaces4, number, neighbors=3)
    rows = {"syntactic": number, "semantic": corpus4.class_index[number]}
    for name, kind in (("syntactic", "programs"), ("semantic", "functions")):
        points = spaces4[name].coordinates.astype(float)
        far = np.linalg.norm(points - points[rows[name]], axis=1)
        wanted = np.sort(np.delete(far, rows[name]))[:3]
        told = neighbors(text, f"nearest {kind}, {name} space")
        assert [distance for distance, *_ in told] == [distance_text(d) for d in wanted]
        assert corpus4.program(number).infix_text() not in [program for _, program, _ in told]
    same = [(p, note) for _, p, note in neighbors(text, "nearest programs, syntactic space") if note]
    assert same and all(note == "same function" for _, note in same)
    assert not any(note for *_, note in neighbors(text, "nearest functions, semantic space"))


def test_a_card_has_both_pictures_and_follows_the_theme(corpus4, spaces4):
    text = program_card(corpus4, spaces4, 712)
    assert text.count("<svg") == 2 and 'aria-label="tree of' in text and 'aria-label="outputs on the grid"' in text
    assert "var(--jp-ui-font-color1" in text and "currentColor" in text


def test_the_part_of_a_split_or_of_its_preview_is_told(corpus4, spaces4, split4):
    held = program_id_of(corpus4, find_program(corpus4, "x * y"))
    assert facts(program_card(corpus4, spaces4, held, split=split4))["part of the split"].startswith("held out; its")
    parts = Preview(corpus4, spaces4).parts(Region(rule="root", root="*"))
    assert facts(program_card(corpus4, spaces4, held, split=parts))["part of the split"].startswith("held out; its")


def test_a_larger_program_has_a_card_too(corpus4, spaces4):
    told = facts(card(corpus4, spaces4, "x + y - y - y + y"))
    assert told["id"] == "none: larger than the universe (up to 4 leaves)" and told["minimal text"] == "|x|"
    new = card(corpus4, spaces4, "x * x * x * x * x * y")
    assert facts(new)["function"] == "no program of up to 4 leaves computes it"
    assert len(neighbors(new, "nearest functions, semantic space")) == 5


def test_what_is_no_function_is_told(rational3):
    told = card(rational3, spaces_of(rational3), "x / (y - y)")
    assert facts(told)["function"].startswith("none: it has no value anywhere")
    assert "it has no place there" in told and told.count("no value</title>") == 36


def test_poles_are_told(rational3):
    told = facts(card(rational3, spaces_of(rational3), "1 / (x - 1 / 2 + 1 / (2 + 2 + 2))"))
    assert told["poles"] == "no value at 6 of 36 grid points"


def test_very_large_programs_are_cut_short(corpus4, spaces4):
    text = card(corpus4, spaces4, "*".join(["x"] * 400))
    assert "exceed the exact range" in facts(text)["function"] and len(text) < 10_000
    assert "a tree of 799 nodes is not drawn" in text and text.count("<svg") == 0


def test_equality_on_probes_is_said():
    corpus = build_corpus(PIECEWISE, 2)
    assert facts(card(corpus, spaces_of(corpus), "min(x, y)"))["identity"].startswith("equal on probes: 36 grid points")


def test_texts_are_escaped():
    less = Operator(symbol="<", arity=2, meaning=lambda a, b: a + 2 * b, precedence=1)
    both = Operator(symbol="&", arity=2, meaning=lambda a, b: a * b, commutative=True, precedence=2)
    grammar = Grammar(name="b", variables=("x", "y"), constants=(1,), operators=(less, both), grid=Grid.regular(0, 0))
    corpus = build_corpus(grammar, 3)
    text = card(corpus, spaces_of(corpus), "x < y & 1")
    assert "x &lt; y &amp; 1" in text
    assert not re.search(r"<[^a-z/!]|&(?!amp;|lt;|gt;|quot;|#x27;)", text)


@pytest.mark.parametrize(("distance", "text"), [(0.0, "0"), (3e-8, "0"), (0.26225, "0.262"), (12.0, "12")])
def test_distances_are_short(distance, text):
    assert distance_text(distance) == text
