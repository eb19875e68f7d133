"""Nothing stale is loaded: whatever decides a result decides its key, and whatever does not, does not."""

from dataclasses import asdict, fields, replace
from fractions import Fraction

import numpy as np
import pytest

from synthlab import presets
from synthlab.errors import ArtifactError
from synthlab.language import grammar as grammars
from synthlab.language.grammar import Grammar, Grid
from synthlab.language.identity import FINGERPRINT_SEED
from synthlab.language.operator import ADD, MULTIPLY, Operator
from synthlab.learning.run import Run
from synthlab.presets import ModelConfig, TrainingConfig, get_preset
from synthlab.spaces.projection import Projection
from synthlab.spaces.semantic import semantic_settings
from synthlab.spaces.space import Space
from synthlab.spaces.syntactic import syntactic_settings
from synthlab.splits.density import density_settings
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings
from synthlab.store import Store, content_key
from synthlab.study.contests import Contest
from synthlab.study.tables import preset_key
from synthlab.study.trials import Measures, Outcomes, Trial
from synthlab.study.verdict import Verdict
from synthlab.study.workspace import Universe
from synthlab.universe.building import Enumeration
from synthlab.universe.corpus import Corpus, build_corpus
from synthlab.universe.shards import ShardedUniverse, enumerate_functions_on_disk

FAULT = "another grammar, operator, grid, encoding or version"


def means(weight=1, **changes):
    """A language with an operator of its own, in which one thing is changed."""
    operator = {"symbol": "mean", "arity": 2, "meaning": lambda a, b: (a + weight * b) / 2, "integral": False}
    operator |= changes.pop("operator", {})
    grammar = {
        "name": "stale", "variables": ("x", "y"), "constants": (1, 2), "operators": (ADD, Operator(**operator)),
        "grid": Grid.regular(0, 0),
    }  # fmt: skip
    return Grammar(**(grammar | changes))


LANGUAGES = {
    "a production more": lambda: means(operators=(*means().operators, MULTIPLY)),
    "a production fewer": lambda: means(operators=(ADD,)),
    "productions in another order": lambda: means(operators=means().operators[::-1]),
    "another meaning of a symbol": lambda: means(operator={"meaning": lambda a, b: (a - b) / 2}),
    "another value that the meaning closes over": lambda: means(weight=3),
    "a meaning that is no field function": lambda: means(operator={"field": None}),
    "another symbol": lambda: means(operator={"symbol": "average"}),
    "commutative": lambda: means(operator={"commutative": True}),
    "another precedence": lambda: means(operator={"precedence": 2}),
    "other constants": lambda: means(constants=(1, 3)),
    "constants in another order": lambda: means(constants=(2, 1)),
    "other variables": lambda: means(variables=("x", "z")),
    "another grid": lambda: means(grid=Grid.regular(1, 0)),
    "another grid in one variable": lambda: means(grid=Grid.regular(0, Fraction(1, 2))),
    "another name": lambda: means(name="stale2"),
}


def keys_of(grammar):
    """Keys of everything that is made from a language, by stage."""
    corpus = Corpus.describe(grammar, 3)
    corpus_key = content_key(Corpus.stage, Corpus.schema, corpus)
    space = content_key(Space.stage, Space.schema, Space.describe("semantic", corpus_key, semantic_settings()))
    settings = density_settings(regime="random", num_train=9, num_test=3)
    split = content_key(Split.stage, Split.schema, Split.describe("density", corpus, settings))
    model, training = ModelConfig(width=8, layers=1), TrainingConfig(num_steps=2)
    return {
        "corpus": corpus_key, "space": space, "split": split,
        "universe": Enumeration(grammar, 3, "leaves", 0, Store("nowhere"), "texts").begin(9).key,
        "projection": content_key(Projection.stage, Projection.schema, Projection.describe(space, {"seed": 0})),
        "run": content_key(Run.stage, Run.schema, Run.describe(corpus, split, model, training)),
        "verdict": content_key(Verdict.stage, Verdict.schema, Verdict.describe(split, model, training)),
    }  # fmt: skip


@pytest.fixture
def known(monkeypatch):
    """Make a language the one that is known by its name."""

    def make(grammar):
        monkeypatch.setitem(grammars._REGISTRY, grammar.name, grammar)
        return grammar

    return make


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("change", LANGUAGES)
def test_any_change_of_a_language_is_another_key_in_every_stage(change, known, fired):
    before, after = known(means()), LANGUAGES[change]()
    old = keys_of(before) | {"outcomes": trial().key}
    new = keys_of(known(after)) | {"outcomes": trial(universe=Universe(grammar=after.name, max_size=3)).key}
    assert all(old[stage] != new[stage] for stage in old)
    assert keys_of(means()) == {stage: key for stage, key in old.items() if stage != "outcomes"}  # made anew, the same
    fired()


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("change", ["another meaning of a symbol", "another grid", "another precedence"])
def test_what_was_made_with_another_meaning_of_the_same_name_is_refused(store, known, change, fired):
    grammar = known(means())
    key = build_corpus(grammar, 2).save(store)
    universe = enumerate_functions_on_disk(grammar, 3, store=store, partitions=1).key
    known(LANGUAGES[change]())
    with pytest.raises(ArtifactError, match=r"was made with grammar .*, not .*: enumerate it again"):
        Corpus.load(store, key)
    with pytest.raises(ArtifactError, match=r"was made with another grammar 'stale': enumerate it again"):
        ShardedUniverse.load(store, universe)
    assert store.verify() == []  # whole, and of another language
    fired(2)


# ---------------------------------------------------------------- operators that call other code

FACTOR = {"value": 1}


def helper(a):
    return FACTOR["value"] * a


@pytest.mark.fault(FAULT)
@pytest.mark.parametrize("field", ["meaning", None])
def test_a_helper_that_changes_under_an_operator_changes_the_key(field, monkeypatch, fired):
    """The key hashes what an operator does, not how it is written, so code that it calls counts too."""

    def language():
        return means(operator={"meaning": lambda a, b: helper(a) + helper(b), "field": field})

    one, other_text = language(), means(operator={"meaning": lambda a, b: b * 1 + a, "field": field})
    assert other_text.digest == one.digest
    monkeypatch.setitem(FACTOR, "value", 2)
    assert language().digest != one.digest
    fired()


@pytest.mark.fault(FAULT)
def test_a_threshold_inside_an_operator_without_code_changes_the_key(fired):
    """Such operators are known by their values at 2048 points: a threshold that moves between them is found."""

    def language(threshold):
        meaning = lambda a, b: np.where(a > threshold, a, b)  # noqa: E731
        return means(operator={"meaning": meaning, "field": None})

    assert len({language(t).digest for t in (-40, -0.5, 0.5, 3, 3.5, 30, 500, 5000)}) == 8
    fired(8)


# ---------------------------------------------------------------- settings of every stage


def trial(**changes):
    settings = density_settings(regime="random", num_train=9, num_test=3)
    return Trial(**({
        "tags": {"group": "density", "seed": 0}, "universe": Universe(grammar="stale", max_size=3), "kind": "density",
        "settings": settings, "model": ModelConfig(width=8, layers=1, heads=2), "training": TrainingConfig(num_steps=2),
    } | changes))  # fmt: skip


def another(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value, "another"]
    return 1 if value is None else f"{value}?"


WORDS = ("prefix", "infix", "features", "floats", "cosine", "wsd")


def varied(config):
    """A configuration with one field changed at a time, as far as it allows that; by name."""
    for field in fields(config):
        for value in (another(getattr(config, field.name)), 0.5, 1, 2, 16, *WORDS):
            try:
                changed = replace(config, **{field.name: value})
            except (TypeError, ValueError):
                continue
            if changed != config:
                yield field.name, changed
                break


@pytest.mark.fault(FAULT)
def test_every_setting_of_model_training_and_measures_is_another_key(known, fired):
    """Encoding, notation, seed and all others, for runs, verdicts and outcomes."""
    known(means())
    base, names = trial(), set()
    keys = [trial(measures=m).key for _, m in varied(Measures(num_samples=1)) if m.extra_size <= base.model.room]
    for part in ("model", "training"):
        for name, config in varied(getattr(base, part)):
            if name == "network":  # code of one's own, which must be registered
                continue
            settings = {"model": base.model, "training": base.training} | {part: config}
            keys += [
                trial(**settings).key,
                content_key(Run.stage, Run.schema, Run.describe({}, "split", *settings.values())),
                content_key(Verdict.stage, Verdict.schema, Verdict.describe("split", *settings.values())),
            ]
            names.add(name)
    assert len({base.key, *keys}) == 1 + len(keys)
    assert {f.name for c in (base.model, base.training) for f in fields(c)} - names <= {"network"}
    fired(len(keys))


@pytest.mark.fault(FAULT)
def test_every_setting_of_spaces_and_splits_is_another_key(fired):
    syntactic = [
        syntactic_settings(), syntactic_settings(p=1), syntactic_settings(q=2), syntactic_settings(num_axes=8),
        syntactic_settings(weighting="l1"), syntactic_settings(labels="shape"), syntactic_settings(window=2),
    ]  # fmt: skip
    semantic = [semantic_settings(), semantic_settings(num_axes=8), semantic_settings(scaling="none")]
    keys = [content_key("space", 2, Space.describe("syntactic", "corpus", s)) for s in syntactic]
    keys += [content_key("space", 2, Space.describe("semantic", "corpus", s)) for s in semantic]
    for settings in (
        density_settings(regime="random", num_train=9, num_test=3),
        support_settings(Region(rule="root", root="*")),
    ):
        keys.append(content_key("split", 4, Split.describe("kind", {}, settings)))
        for name, value in settings.items():
            other = {**value, "root": "+"} if isinstance(value, dict) else another(value)
            keys.append(content_key("split", 4, Split.describe("kind", {}, settings | {name: other})))
    assert len(set(keys)) == len(keys)
    fired(len(keys))


@pytest.mark.fault(FAULT)
def test_another_version_is_another_key_in_every_stage(monkeypatch, fired):
    stages = (Corpus, Space, Projection, Split, Run, Outcomes, Contest, Verdict)
    keys = [content_key(c.stage, c.schema + k, {"made": "of this"}) for c in stages for k in (0, 1)]
    assert len(set(keys)) == len(keys)
    before = preset_key(get_preset("tiny"))
    monkeypatch.setattr("synthlab.study.tables.RUN_SCHEMA", presets.RUN_SCHEMA + 1)
    assert preset_key(get_preset("tiny")) != before
    fired(len(stages) + 1)


@pytest.mark.fault(FAULT)
def test_bound_measure_and_seed_of_a_universe_are_another_key(fired):
    grammar = means()
    texts = [Corpus.describe(grammar, 3), Corpus.describe(grammar, 4), Corpus.describe(grammar, 3, "nodes")]
    texts.append(Corpus.describe(grammar, 3, seed=FINGERPRINT_SEED + 1))
    keys = {content_key("corpus", 2, described) for described in texts}
    for size, measure, seed, what, pieces in (
        (3, "leaves", 0, "texts", 9), (4, "leaves", 0, "texts", 9), (3, "nodes", 0, "texts", 9),
        (3, "leaves", 1, "texts", 9), (3, "leaves", 0, "functions", 9), (3, "leaves", 0, "texts", 8),
    ):  # fmt: skip
        keys.add(Enumeration(grammar, size, measure, seed, Store("nowhere"), what).begin(pieces).key)
    assert len(keys) == 10
    fired(10)


# ---------------------------------------------------------------- what decides nothing


def test_labels_names_progress_and_order_decide_no_key(known, store):
    known(means())
    base = trial()
    assert trial(tags={"seed": 0, "group": "other", "note": "mine"}).key == base.key
    assert trial(settings=dict(reversed(base.settings.items()))).key == base.key
    tiny = get_preset("tiny")
    assert preset_key(replace(tiny, name="mine", seeds=(7,))) == preset_key(tiny)
    corpus = build_corpus(known(means()), 2)
    key = corpus.save(store)
    store.name(corpus, "mine")
    store.name(corpus, "another-name")
    folder = store.folder("corpus", key)
    folder.rename(folder.with_name(f"relabelled-{key}"))
    assert Corpus.load(store, "mine").key == key == Corpus.load(store, key).key and store.verify() == []
    again = enumerate_functions_on_disk(known(means()), 3, store=store, partitions=2, num_workers=1)
    other = enumerate_functions_on_disk(means(), 3, store=store, partitions=2, num_workers=3, progress=True)
    assert again.key == other.key and asdict(TrainingConfig()) == asdict(TrainingConfig())
