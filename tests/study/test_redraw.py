"""A split from the lines that decide it: equal to the one it was drawn as, bit by bit."""

import numpy as np
import pytest

from synthlab import Region, redraw
from synthlab.errors import ConfigurationError, SplitError
from synthlab.language.grammar import get_grammar
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.mcd import mcd_settings, mcd_split
from synthlab.splits.support import support_settings, support_split
from synthlab.store import Store
from synthlab.study import trials
from synthlab.study.redraw import redrawing_lines
from synthlab.universe.corpus import build_corpus

REGIONS = [
    Region(rule="root", root="*"),
    Region(rule="cluster", num_clusters=30, held=(1, 4, 5), seed=2),
    Region(space="semantic", rule="box", box=((0, -2.5, 1.0), (3, -1.0, 4.0))),
    Region(space="both", quantile=0.8, axis=1, above=False),
]


@pytest.fixture(scope="module")
def spaces3(corpus3):
    return {"syntactic": fit_syntactic(corpus3), "semantic": fit_semantic(corpus3)}


def run(lines, monkeypatch, tmp_path):
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path / "redrawn"))
    names = {}
    exec(lines, names)
    return names["split"]


def equal(first, second):
    assert first.key == second.key and first.tests.keys() == second.tests.keys()
    pairs = [(getattr(first, n), getattr(second, n)) for n in ("train", "targets", "reserved", "region")]
    pairs += [(first.tests[n], second.tests[n]) for n in first.tests]
    assert all(np.array_equal(*pair) for pair in pairs)


@pytest.mark.parametrize("region", REGIONS, ids=Region.describe)
def test_three_lines_draw_the_same_support_split(region, corpus3, spaces3, monkeypatch, tmp_path):
    settings = support_settings(region, reserved=0.25, num_train=40, seed=3, match=("size",), regime="class")
    split = support_split(corpus3, spaces3, settings)
    lines = redrawing_lines(split, corpus3, spaces3)
    assert len(lines.splitlines()) == 3
    equal(run(lines, monkeypatch, tmp_path), split)


def test_two_lines_draw_the_same_density_split(corpus3, spaces3, monkeypatch, tmp_path):
    split = density_split(corpus3, spaces3, density_settings(regime="dual", num_train=90, num_cells=6, match_size=True))
    lines = redrawing_lines(split, corpus3, spaces3)
    assert len(lines.splitlines()) == 2 and "num_cells=6" in lines and "seed" not in lines
    equal(run(lines, monkeypatch, tmp_path), split)


def test_another_grammar_and_measure_are_said(monkeypatch, tmp_path):
    corpus = build_corpus(get_grammar("rational"), 5, measure="nodes")
    split = support_split(corpus, {}, support_settings(Region(rule="root", root="/")))
    lines = redrawing_lines(split, corpus, {})
    assert "redraw('support', 'rational', 5, 'nodes', region=region)" in lines
    equal(run(lines, monkeypatch, tmp_path), split)


def test_spaces_of_their_own_settings_are_spelled_out(corpus3, monkeypatch, tmp_path):
    spaces = {
        "syntactic": fit_syntactic(corpus3, num_axes=8, q=2, weighting="tfidf"),
        "semantic": fit_semantic(corpus3, num_axes=4),
    }
    split = support_split(
        corpus3, spaces, support_settings(Region(space="both", rule="cluster", num_clusters=9, num_held=2))
    )
    lines = redrawing_lines(split, corpus3, spaces)
    assert "fit_syntactic(corpus, p=2, q=2, num_axes=8, weighting='tfidf')" in lines
    equal(run(lines, monkeypatch, tmp_path), split)


def test_a_split_by_compound_divergence_is_redrawn(corpus3, tmp_path):
    settings = mcd_settings(num_programs=150, num_starts=1, num_sweeps=20)
    equal(redraw("mcd", "polynomial", 3, store=Store(tmp_path), **settings), mcd_split(corpus3, settings))


def test_what_was_drawn_is_loaded(tmp_path, monkeypatch):
    store, region = Store(tmp_path), Region(rule="root", root="+")
    first = redraw("support", "polynomial", 3, store=store, region=region)
    monkeypatch.setitem(trials._KINDS, "support", (lambda *_: 1 / 0, trials._KINDS["support"][1]))
    equal(redraw("support", "polynomial", 3, store=store, region=region), first)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("other", {}, "unknown kind of split 'other': choose from density"),
        ("density", {"regim": "random"}, "unexpected keyword argument 'regim'.*density_settings"),
        ("support", {}, "missing 1 required positional argument: 'region'"),
    ],
)
def test_what_cannot_be_drawn_is_refused(kind, settings, message, tmp_path):
    with pytest.raises(ConfigurationError, match=message):
        redraw(kind, "polynomial", 3, store=Store(tmp_path), **settings)


def test_an_empty_region_is_refused(tmp_path):
    region = Region(rule="box", box=((0, 50.0, 60.0),))
    with pytest.raises(SplitError, match="is empty"):
        redraw("support", "polynomial", 3, store=Store(tmp_path), region=region)
