"""Models as proposers: what decoding writes, at a cost that can be counted by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synthlab.assessment.correctness import SOLVED, check
from synthlab.assessment.metrics import wilson
from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL
from synthlab.language.measure import sizes_of
from synthlab.language.program import prefix_lengths
from synthlab.learning.decoding import decode
from synthlab.presets import ModelConfig
from synthlab.search.budget import Cost
from synthlab.study.proposers import ModelProposer, tuned_proposer, tuned_temperature


@pytest.fixture(scope="module")
def tasks(corpus4):
    return tasks_of(corpus4, corpus4.class_id[:60])


WAYS = {
    "beam": (dict(), dict(beam=6)),
    "distinct": (dict(temperature=1.3, seed=2), dict(beam=6, distinct=True, temperature=1.3, seed=2)),
    "samples": (dict(temperature=0.8, seed=3), dict(temperature=0.8, seed=3)),
}


@pytest.mark.parametrize("how", WAYS)
def test_a_model_proposes_what_it_writes(trained4, tasks, how):
    settings, decoding = WAYS[how]
    found = ModelProposer(trained4, how=how, **settings).propose(tasks.outputs, 6)
    expected = decode(trained4.model(), tasks, num_samples=6, grammatical=True, max_size=4, **decoding)
    assert found.prefix.shape == (60, 6, 7) and found.prefix.dtype == np.uint8
    assert np.array_equal(found.prefix.reshape(360, 7), expected.prefix)
    assert np.array_equal(found.log_probability.ravel(), expected.log_probability)
    assert (prefix_lengths(POLYNOMIAL, expected.prefix) > 0).all()
    free = ModelProposer(trained4, how=how, grammatical=False, **settings).propose(tasks.outputs, 6)
    assert (prefix_lengths(POLYNOMIAL, free.prefix.reshape(360, 7)) < 0).any()


def test_a_wider_beam_proposes_its_best(trained4, tasks):
    narrow, wide = (ModelProposer(trained4, how="beam", width=w).propose(tasks.outputs, 2) for w in (None, 40))
    expected = decode(trained4.model(), tasks, num_samples=2, beam=40, grammatical=True)
    assert np.array_equal(wide.prefix.reshape(120, 7), expected.prefix)
    assert wide.log_probability.mean() > narrow.log_probability.mean()
    assert wide.cost.tokens > 4 * narrow.cost.tokens and wide.cost.flops > 4 * narrow.cost.flops
    enough = ModelProposer(trained4, how="beam", width=1).propose(tasks.outputs, 2)
    assert np.array_equal(enough.prefix, narrow.prefix)


@pytest.mark.parametrize("how", ["distinct", "samples"])
def test_asked_for_more_a_proposer_begins_with_the_same(trained4, tasks, how):
    proposer = ModelProposer(trained4, how=how, seed=1)
    few, many = (proposer.propose(tasks.outputs, num).prefix for num in (3, 10))
    assert np.array_equal(many[:, :3], few)
    other = ModelProposer(trained4, how=how, seed=2).propose(tasks.outputs, 3).prefix
    assert not np.array_equal(other, few)


def test_only_distinct_programs_are_all_different(trained4, tasks):
    drawn, sampled = (ModelProposer(trained4, how=h).propose(tasks.outputs, 12).prefix for h in ("distinct", "samples"))
    assert all(len(np.unique(texts, axis=0)) == 12 for texts in drawn)
    assert any(len(np.unique(texts, axis=0)) < 12 for texts in sampled)


@pytest.mark.parametrize("how", WAYS)
def test_proposals_stay_within_their_bound(trained4, tasks, how):
    found = ModelProposer(trained4, how=how, max_size=2).propose(tasks.outputs, 5).prefix.reshape(300, 7)
    assert set(sizes_of(POLYNOMIAL, found)) == {1, 2}


def test_the_bound_of_the_universe_holds_where_the_model_has_room_for_more(trained4, tasks):
    roomy = replace(
        trained4, corpus=trained4.corpus | {"max_size": 3}, model_config=ModelConfig(width=16, layers=1, room=1)
    )
    found = ModelProposer(roomy, how="samples", temperature=2.0).propose(tasks.outputs, 9).prefix
    assert found.shape == (60, 9, 7) and sizes_of(POLYNOMIAL, found.reshape(540, 7)).max() == 3


def test_where_programs_end_nothing_more_is_proposed(trained4, tasks):
    for how in ("beam", "distinct"):
        found = ModelProposer(trained4, how=how, max_size=1).propose(tasks.outputs[:3], 10)
        leaves = POLYNOMIAL.num_terminals
        assert leaves < 10 and np.isfinite(found.log_probability).sum(axis=1).tolist() == [leaves] * 3
        assert ((found.prefix == PAD).all(axis=2) == np.isneginf(found.log_probability)).all()


def test_no_outputs_no_proposals(trained4, tasks):
    found = ModelProposer(trained4, how="distinct").propose(tasks.outputs[:0], 4)
    assert found.prefix.shape == (0, 4, 7) and found.cost.tokens == 0 and found.cost.flops == 0


# ---------------------------------------------------------------- cost


def operations(run):
    """Of reading a task and of one more token, for one layer of width 16: matrices, attention to all positions."""
    rows, features, positions, vocabulary = 6, 6 * 20, 6 + 7, len(POLYNOMIAL.tokens)
    layer, head = 2 * 12 * 16**2 + 4 * positions * 16, 2 * 16 * vocabulary
    return (rows + 1) * layer + rows * 2 * features * 16 + head, layer + head


def test_samples_cost_the_tokens_that_they_have(trained4, tasks):
    found = ModelProposer(trained4, how="samples").propose(tasks.outputs, 4)
    lengths = (found.prefix != PAD).sum(axis=2)
    assert found.cost.tokens == lengths.sum() and found.cost.seconds > 0
    reading, step = operations(trained4)
    assert found.cost.flops == 240 * reading + 240 * (lengths.max() - 1) * step  # every row is computed to the end
    assert (found.cost.programs, found.cost.lookups) == (0, 0)


def test_a_beam_reads_once_and_costs_the_tokens_of_all_its_texts(trained4, tasks):
    reading, step = operations(trained4)
    for how in ("beam", "distinct"):
        one, many = (ModelProposer(trained4, how=how, grammatical=False).propose(tasks.outputs, n) for n in (1, 8))
        assert one.cost.tokens == (one.prefix != PAD).sum()
        shared = [
            {tuple(text[:k]) for text in texts for k in range(1, (text != PAD).sum() + 1)} for texts in many.prefix
        ]
        assert sum(map(len, shared)) <= many.cost.tokens <= 60 * 8 * 7  # what texts share is written once
        assert many.cost.flops == 60 * reading + 60 * 8 * 6 * step  # some text of every beam of 8 runs to the end


def test_a_text_takes_a_third_of_what_training_spends_on_a_program(trained4):
    reading, step = operations(trained4)
    a_program = trained4.cost["flops"] / trained4.cost["samples"]
    assert (reading + 6 * step) * 3 == pytest.approx(a_program, rel=0.1)


def test_training_is_told_apart(trained4):
    proposer = ModelProposer(trained4, how="beam")
    assert proposer.training == Cost(seconds=trained4.cost["seconds"], flops=trained4.cost["flops"])
    assert proposer.training.seconds > 0 and proposer.training.flops > 1e9


def test_names_tell_model_and_way(trained4):
    names = [ModelProposer(trained4, how=how, **settings).name for how, (settings, _) in WAYS.items()]
    assert names == ["16x1, beam", "16x1, distinct at 1.3", "16x1, samples at 0.8"]


# ---------------------------------------------------------------- temperature


@pytest.mark.parametrize("how", ["samples", "distinct"])
def test_the_best_temperature_solves_most_validation_tasks(trained4, tasks, how):
    tried = (0.2, 0.7, 1.5, 4.0)
    table = tuned_temperature(trained4, tasks, num_samples=6, temperatures=tried, how=how, seed=5)
    assert table.columns.tolist() == ["temperature", "solved", "low", "high", "best"]
    decoding = dict(num_samples=6, grammatical=True, seed=5) | (
        dict(beam=6, distinct=True) if how == "distinct" else {}
    )
    model, expected = trained4.model(), []
    for temperature in tried:
        outcome = check(tasks, decode(model, tasks, temperature=temperature, **decoding)).submitted()
        expected.append(int((outcome == SOLVED).sum()))
    assert table["temperature"].tolist() == list(tried)
    assert table["solved"].tolist() == [num / 60 for num in expected] and len(set(expected)) > 2
    assert [(low, high) for low, high in zip(table["low"], table["high"])] == [wilson(num, 60) for num in expected]
    assert table["best"].tolist() == [place == np.argmax(expected) for place in range(4)]
    best = tuned_proposer(trained4, tasks, num_samples=6, temperatures=tried, how=how, seed=5)
    assert (best.how, best.seed, best.max_size) == (how, 5, 4)
    assert best.temperature == tried[int(np.argmax(expected))]


def test_of_equally_good_temperatures_the_first_is_best(trained4, tasks):
    table = tuned_temperature(trained4, tasks, num_samples=2, temperatures=(0.9, 0.9))
    assert table["solved"].nunique() == 1 and table["best"].tolist() == [True, False]
    assert isinstance(table, pd.DataFrame) and table["best"].dtype == bool


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(how="greedy"), "unknown way 'greedy' to propose: choose from beam, distinct, samples"),
        (dict(how="samples", width=4), "only a beam has one"),
        (dict(how="beam", width=0), "of at least 1"),
        (dict(how="samples", temperature=0.0), "samples need one over 0"),
        (dict(how="distinct", temperature=float("nan")), "samples need one over 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(trained4, settings, message):
    with pytest.raises(ConfigurationError, match=message):
        ModelProposer(trained4, **settings)


def test_questions_that_make_no_sense_are_refused(trained4, tasks):
    proposer = ModelProposer(trained4, how="beam")
    with pytest.raises(ConfigurationError, match="0 proposals: ask for at least one"):
        proposer.propose(tasks.outputs, 0)
    for outputs in (tasks.outputs[:, :35], tasks.outputs[0]):
        with pytest.raises(ConfigurationError, match="give one row of 36, the grid's points, per task"):
            proposer.propose(outputs, 2)
    with pytest.raises(ConfigurationError, match="1 tasks have outputs that are no finite numbers"):
        proposer.propose(np.where(np.arange(36) == 3, np.nan, tasks.outputs[:1]), 2)


def test_tuning_on_nothing_is_refused(trained4, tasks):
    with pytest.raises(ConfigurationError, match="0 tasks and 5 temperatures"):
        tuned_temperature(trained4, tasks.take(np.arange(0)), num_samples=2)
    with pytest.raises(ConfigurationError, match="60 tasks and 0 temperatures"):
        tuned_temperature(trained4, tasks, num_samples=2, temperatures=())
