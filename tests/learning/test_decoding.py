"""Decoding against the full forward pass, token by token and by distribution."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, Grammar, Grid
from synthlab.language.operator import ADD
from synthlab.language.program import prefix_lengths
from synthlab.learning import decoding
from synthlab.learning.decoding import decode
from synthlab.learning.encoding import row_features
from synthlab.learning.run import new_model
from synthlab.presets import ModelConfig
from synthlab.universe.corpus import build_corpus

SMALL = Grammar(name="small", variables=("x",), constants=(1,), operators=(ADD,), grid=Grid.regular(0, num=3))


@pytest.fixture(scope="module")
def tasks4(corpus4):
    return tasks_of(corpus4, corpus4.class_id[::40])


@pytest.fixture(scope="module")
def trained_model(trained4):
    return trained4.model()


@pytest.fixture(scope="module")
def small():
    """A random model of three tokens, and one task."""
    torch.manual_seed(0)
    model = new_model(ModelConfig(width=8, layers=1, heads=2), SMALL, 2).eval()
    with torch.no_grad():
        model.embed.weight.normal_(std=0.3)
        model.head.weight.mul_(0.4)
    corpus = build_corpus(SMALL, 2)
    return model, tasks_of(corpus, corpus.class_id[:1])


def log_probabilities(model, tasks, rows, temperature=1.0):
    """Of every next token after every prefix of the rows, by the full forward pass."""
    features = row_features(torch.from_numpy(tasks.outputs.astype(np.float64)), tasks.grammar.grid)
    with torch.no_grad():
        return (
            model(features.expand(len(rows), -1, -1) if len(tasks) == 1 else features, rows) / temperature
        ).log_softmax(-1)


def written(candidates):
    return torch.from_numpy(candidates.prefix.astype(np.int64))


# ---------------------------------------------------------------- greedy


def test_greedy_takes_the_likeliest_token_of_the_full_pass(trained_model, tasks4):
    tokens = written(decode(trained_model, tasks4))
    best = log_probabilities(trained_model, tasks4, tokens).argmax(-1)
    inside = tokens != PAD
    assert torch.equal(best[inside], tokens[inside])
    assert len(np.unique(tokens[:, :3].numpy(), axis=0)) > 3


@pytest.mark.parametrize("settings", [dict(), dict(num_samples=3, temperature=1.5, seed=2)])
def test_the_score_is_the_sum_of_the_log_probabilities(trained_model, tasks4, settings):
    candidates = decode(trained_model, tasks4, **settings)
    tokens, inside = written(candidates), written(candidates) != PAD
    values = log_probabilities(trained_model, tasks4.take(candidates.task), tokens)
    picked = values.gather(2, tokens.clamp(max=7)[..., None])[..., 0]
    expected = torch.where(inside, picked, 0.0).sum(1)
    np.testing.assert_allclose(candidates.log_probability, expected.numpy(), atol=1e-4)


def test_a_program_ends_where_no_operand_is_missing(trained_model, tasks4):
    candidates = decode(trained_model, tasks4, num_samples=5, temperature=2.0)
    lengths = prefix_lengths(tasks4.grammar, candidates.prefix)
    complete = lengths > 0
    assert 0 < complete.sum() < len(complete)
    assert np.array_equal((candidates.prefix != PAD).sum(axis=1)[complete], lengths[complete])
    assert (candidates.prefix[~complete] != PAD).all()  # what does not close runs to the end


def test_one_greedy_candidate_a_task_in_order(trained_model, tasks4):
    candidates = decode(trained_model, tasks4)
    assert candidates.task.tolist() == list(range(len(tasks4))) and set(candidates.rank.tolist()) == {0}
    assert candidates.prefix.shape == (len(tasks4), 7) and candidates.prefix.dtype == np.uint8


def test_rows_in_blocks_give_the_same_programs(trained_model, tasks4, monkeypatch):
    whole = decode(trained_model, tasks4)
    monkeypatch.setattr(decoding, "_ROWS_AT_ONCE", 7)
    blocks = decode(trained_model, tasks4)
    assert np.array_equal(whole.prefix, blocks.prefix)
    np.testing.assert_allclose(whole.log_probability, blocks.log_probability, atol=1e-5)


def test_only_the_outputs_are_read(trained_model, tasks4):
    blind = replace(
        tasks4, class_id=tasks4.class_id * 0, class_leaves=tasks4.class_leaves * 0, weight=tasks4.weight * 0,
        fingerprints=tasks4.fingerprints * 0, codes=tasks4.codes * 0, seed=0, max_size=0,
    )  # fmt: skip
    assert np.array_equal(decode(trained_model, blind).prefix, decode(trained_model, tasks4).prefix)
    other = replace(tasks4, outputs=tasks4.outputs[::-1].copy())
    assert not np.array_equal(decode(trained_model, other).prefix, decode(trained_model, tasks4).prefix)


# ---------------------------------------------------------------- sampling


def test_the_seed_decides_the_samples(trained_model, tasks4):
    one, same, other = (decode(trained_model, tasks4, num_samples=4, temperature=1.0, seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.prefix, same.prefix) and np.array_equal(one.log_probability, same.log_probability)
    assert not np.array_equal(one.prefix, other.prefix)
    assert one.task.tolist() == [t for t in range(len(tasks4)) for _ in range(4)]
    assert one.rank.tolist() == [0, 1, 2, 3] * len(tasks4)
    by_task = one.prefix.reshape(len(tasks4), 4, -1)
    assert not (by_task[:, 0] == by_task[:, 1]).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_samples_follow_the_distribution_of_the_model(small, temperature):
    model, tasks = small
    texts = [(0, PAD, PAD), (1, PAD, PAD), *((2, *rest) for rest in itertools.product(range(3), repeat=2))]
    tokens = torch.tensor(texts)
    values = log_probabilities(model, tasks, tokens, temperature).gather(2, tokens.clamp(max=2)[..., None])[..., 0]
    expected = torch.where(tokens != PAD, values, 0.0).sum(1).exp().double().numpy()
    assert expected.sum() == pytest.approx(1, abs=1e-5) and expected.min() > 0.001
    candidates = decode(model, tasks, num_samples=6000, temperature=temperature, seed=5)
    found = dict.fromkeys(texts, 0)
    for row in candidates.prefix.tolist():
        found[tuple(row)] += 1
    assert chisquare(list(found.values()), 6000 * expected / expected.sum()).pvalue > 1e-3


def test_low_temperature_is_greedy(trained_model, tasks4):
    cold = decode(trained_model, tasks4, num_samples=1, temperature=1e-4)
    assert np.array_equal(cold.prefix, decode(trained_model, tasks4).prefix)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "settings", [dict(num_samples=2), dict(temperature=-0.1), dict(num_samples=0, temperature=1.0)]
)
def test_settings_that_make_no_sense_are_refused(trained_model, tasks4, settings):
    with pytest.raises(ConfigurationError, match="greedy gives one, sampling needs > 0"):
        decode(trained_model, tasks4, **settings)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e19])
def test_outputs_that_are_no_numbers_are_refused(trained_model, tasks4, bad):
    outputs = tasks4.outputs.astype(np.float64)
    outputs[2, 5] = bad
    with pytest.raises(ConfigurationError, match="1 tasks have outputs"):
        decode(trained_model, replace(tasks4, outputs=outputs))
