"""Universes and spaces by name: their keys are known before they are made, and each is made once."""

from dataclasses import replace

import numpy as np
import pytest

from synthlab.errors import ConfigurationError, GrammarError
from synthlab.language.grammar import get_grammar
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.store import Store
from synthlab.study import workspace as workspaces
from synthlab.study.workspace import SPACES, Universe, Workspace
from synthlab.universe.corpus import build_corpus

SMALL = Universe(max_size=2)
UNIVERSES = [SMALL, Universe(grammar="rational", max_size=2), Universe(max_size=3, measure="nodes")]


@pytest.mark.parametrize("universe", UNIVERSES, ids=str)
def test_keys_are_those_of_what_is_made(universe, store):
    workspace = Workspace(store)
    keys = [universe.corpus_key, *(universe.space_key(name) for name in SPACES)]
    assert not store.root.exists()  # nothing was made to know them
    built = build_corpus(get_grammar(universe.grammar), universe.max_size, measure=universe.measure)
    fitted = [fit_syntactic(built), fit_semantic(built), fit_syntactic(built, labels="shape")]
    assert keys == [built.key, *(space.key for space in fitted)] and len(set(keys)) == 4
    corpus, spaces = workspace.corpus(universe), workspace.spaces(universe, SPACES)
    assert [corpus.key, *(spaces[name].key for name in ("syntactic", "semantic", "shape"))] == keys
    assert corpus.measure == universe.measure and np.array_equal(corpus.prefix, built.prefix)
    assert np.array_equal(spaces["shape"].coordinates, fitted[2].coordinates)
    assert all(store.has("space", key) for key in keys[1:]) and store.verify() == []


def test_every_field_of_a_universe_makes_another_corpus():
    others = [SMALL, replace(SMALL, grammar="rational"), replace(SMALL, max_size=3), replace(SMALL, measure="nodes")]
    assert len({u.corpus_key for u in others}) == len({u.space_key("shape") for u in others}) == len(others)
    assert str(SMALL) == "polynomial, <= 2 leaves"


def test_each_is_made_once_however_often_it_is_opened(store, monkeypatch):
    made = Workspace(store)
    corpus, spaces = made.corpus(SMALL), made.spaces(SMALL, SPACES)

    def never(*arguments, **changes):
        raise AssertionError("made again")

    for name in ("build_corpus", "fit_syntactic", "fit_semantic"):
        monkeypatch.setattr(workspaces, name, never)
    assert made.corpus(Universe(max_size=2)) is corpus
    assert all(made.spaces(SMALL, (name,))[name] is space for name, space in spaces.items())
    loaded = Workspace(Store(store.root))
    assert loaded.corpus(SMALL).key == corpus.key
    for name, space in loaded.spaces(SMALL, SPACES).items():
        assert space.key == spaces[name].key and space.explained.tolist() == spaces[name].explained.tolist()


def test_only_the_spaces_that_are_asked_for_are_fitted(store):
    workspace = Workspace(store)
    assert list(workspace.spaces(SMALL, ())) == [] and not store.root.exists()
    assert list(workspace.spaces(SMALL, ("shape",))) == ["shape"]
    assert len(list((store.root / "space").glob("*"))) == 1
    assert set(workspace.spaces(SMALL)) == {"syntactic", "semantic"}


def test_unknown_names_are_refused_in_one_line(store):
    with pytest.raises(GrammarError, match="unknown grammar 'klingon': choose from "):
        Workspace(store).corpus(Universe(grammar="klingon"))
    with pytest.raises(ConfigurationError, match="there is no space 'time': choose from syntactic, semantic, shape"):
        Workspace(store).spaces(SMALL, ("semantic", "time"))
