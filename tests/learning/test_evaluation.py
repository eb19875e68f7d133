"""From a run to per-class results; runs are tied to the universe and the grammar they were trained on."""

from dataclasses import replace

import naive
import numpy as np
import pytest
import safetensors.torch

from synthlab.assessment.tasks import tasks_by_part, tasks_of
from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.program import parse
from synthlab.learning import evaluation
from synthlab.learning.decoding import decode
from synthlab.learning.evaluation import evaluate_run, failures, root_given, train_cached
from synthlab.learning.run import Run, run_key
from synthlab.presets import ModelConfig, TrainingConfig

MODEL, SHORT = ModelConfig(width=8, layers=1, heads=2), TrainingConfig(num_steps=4, batch_size=16, num_checks=0)


@pytest.fixture
def mixed(corpus4, split4):
    """Test sets on which the short run is often right and always wrong."""
    return replace(split4, tests={"small": corpus4.class_id[:60], "forced": split4.tests["forced"]})


def is_solved(grammar, written, target):
    """By expanded polynomials; `written` may be no text at all."""
    try:
        texts = [parse(grammar, text).prefix_text().split() for text in (written, target)]
    except Exception:
        return False
    one, two = (naive.expand(naive.tree(t, naive.POLYNOMIAL_ARITIES)) for t in texts)
    return one == two


def test_results_are_those_of_the_written_programs(trained4, corpus4, mixed):
    table = evaluate_run(trained4, corpus4, mixed)
    model = trained4.model()
    for part, tasks in tasks_by_part(corpus4, mixed).items():
        rows = table[table["part"] == part]
        assert rows["class_id"].tolist() == tasks.class_id.tolist()
        written = decode(model, tasks).frame(corpus4.grammar)["program"]
        targets = corpus4.frame(tasks.class_id)["program"]
        expected = [is_solved(corpus4.grammar, w, t) for w, t in zip(written, targets, strict=True)]
        assert rows["solved"].tolist() == rows["submitted"].tolist() == expected
        assert rows["num_correct"].tolist() == [int(e) for e in expected]
        assert ((rows["status"] == "solved") == rows["solved"]).all()
    assert set(table["part"]) == set(mixed.tests) and set(table["num_samples"]) == {1}
    assert 5 < table["solved"].sum() < 60


def test_samples_count_and_the_right_one_is_submitted(trained4, corpus4, mixed):
    table = evaluate_run(trained4, corpus4, mixed, num_samples=20, temperature=1.2)
    assert set(table["num_samples"]) == {20} and table["num_correct"].between(0, 20).all()
    assert table["num_correct"].sum() > 50
    # no function of four leaves is right on the grid and wrong elsewhere, so a right sample is always found
    assert ((table["num_correct"] > 0) == table["submitted"]).all()
    assert (table["solved"] <= table["submitted"]).all() and table["solved"].sum() < table["submitted"].sum()


def test_failures_put_target_and_answer_side_by_side(trained4, corpus4, mixed):
    table = failures(trained4, corpus4, mixed, "small")
    assert sorted(table["class_id"]) == sorted(mixed.tests["small"])
    solved = table["status"] == "solved"
    assert solved.is_monotonic_increasing and 5 < solved.sum() < 60
    for row in table.itertuples():
        assert row.target == corpus4.program(row.class_id).infix_text()
        assert is_solved(corpus4.grammar, row.written, row.target) == (row.status == "solved")


# ---------------------------------------------------------------- refusals


def test_giving_the_root_away_forces_the_first_token_only(trained4, corpus4, mixed):
    table = root_given(trained4, corpus4, mixed, "*").set_index("part")
    greedy = evaluate_run(trained4, corpus4, mixed).groupby("part")["solved"].mean()
    model, token = trained4.model(), corpus4.grammar.index["*"]
    for part, tasks in tasks_by_part(corpus4, mixed).items():
        forced = decode(model, tasks, first_token=token)
        assert (forced.prefix[:, 0] == token).all()
        written = [corpus4.grammar.tokens[t] for t in decode(model, tasks).prefix[:, 0]]
        assert table.loc[part, "free"] == pytest.approx(greedy[part])
        assert 0 <= table.loc[part, "probability_of_root"] <= 1
        if "*" not in written:
            assert table.loc[part, "probability_of_root"] < 0.5


def test_the_root_comes_first_in_prefix_notation_only(trained4, corpus4, mixed):
    other = replace(trained4, model_config=replace(trained4.model_config, notation="postfix"))
    with pytest.raises(ConfigurationError, match="in postfix notation the root does not come first"):
        root_given(other, corpus4, mixed, "*")


@pytest.mark.parametrize("work", [evaluate_run, lambda *a: failures(*a, "id")])
def test_another_universe_is_refused(trained4, corpus3, split3, work):
    with pytest.raises(ArtifactError, match=r"belongs to polynomial <= 4 leaves.*load that corpus, or train again"):
        work(trained4, corpus3, split3)


def test_a_checkpoint_of_another_grammar_is_refused_with_both_digests(trained4, corpus4):
    other = replace(trained4, corpus=trained4.corpus | {"digest": "0123456789abcdef"})
    with pytest.raises(ArtifactError) as caught:
        other.model()
    assert "0123456789abcdef" in str(caught.value) and corpus4.grammar.digest in str(caught.value)
    with pytest.raises(ArtifactError, match="0123456789abcdef"):
        other.require_corpus(corpus4)


# ---------------------------------------------------------------- carrier


def test_a_saved_run_is_the_same_run(trained4, store, corpus4, split4):
    store.name(trained4, "mine")
    loaded = Run.load(store, "mine")
    assert loaded.key == trained4.key == run_key(corpus4, split4, trained4.model_config, trained4.training)
    assert (loaded.weights, loaded.cost, loaded.steps_done) == (trained4.weights, trained4.cost, 60)
    assert loaded.frame().equals(trained4.history) and loaded.training == trained4.training
    tasks = tasks_by_part(corpus4, split4)["id"]
    assert np.array_equal(decode(loaded.model(), tasks).prefix, decode(trained4.model(), tasks).prefix)
    assert repr(loaded) == "Run(16x1, 5,664 weights, 60 steps)"


def test_half_weights_are_smaller_and_nearly_the_same(trained4, corpus4):
    half = replace(trained4, weights=trained4.half_weights())
    assert len(half.weights) < 0.6 * len(trained4.weights)
    full = safetensors.torch.load(trained4.weights)
    for name, weight in safetensors.torch.load(half.weights).items():
        np.testing.assert_allclose(weight.float(), full[name], rtol=1e-3, atol=1e-6)
    tasks = tasks_of(corpus4, corpus4.class_id)
    same = decode(half.model(), tasks).prefix == decode(trained4.model(), tasks).prefix
    assert same.all(axis=1).mean() > 0.95


def test_what_was_trained_is_loaded(corpus3, split3, store, monkeypatch):
    first = train_cached(corpus3, split3, MODEL, SHORT, store=store, progress=False)
    monkeypatch.setattr(evaluation, "train", None)  # a second training would fail
    again = train_cached(corpus3, split3, MODEL, SHORT, store=store, progress=False)
    assert again.weights == first.weights and store.verify() == []
    with pytest.raises(TypeError):
        train_cached(corpus3, split3, MODEL, replace(SHORT, seed=1), store=store, progress=False)


@pytest.mark.parametrize("change", [dict(model=MODEL), dict(training=SHORT), dict(split=None), dict(corpus=None)])
def test_every_setting_decides_the_key(trained4, corpus3, corpus4, split3, split4, change):
    settings = [corpus4, split4, trained4.model_config, trained4.training]
    other = [
        corpus3 if "corpus" in change else corpus4, split3 if "split" in change else split4,
        change.get("model", settings[2]), change.get("training", settings[3]),
    ]  # fmt: skip
    assert run_key(*settings) != run_key(*other)


def test_an_interrupted_run_has_a_key_and_a_name_of_its_own(trained4):
    part = replace(trained4, steps_done=17)
    assert part.key != trained4.key
    assert repr(part) == "Run(16x1, 5,664 weights, 17 steps (interrupted))"
