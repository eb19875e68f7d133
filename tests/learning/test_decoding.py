"""Decoding against the full forward pass, token by token and by distribution."""

import copy
import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, Grammar, Grid
from synthlab.language.measure import sizes_of
from synthlab.language.operator import ADD
from synthlab.language.program import prefix_lengths
from synthlab.learning import decoding
from synthlab.learning.decoding import Decoding, decode, first_token_probabilities, nucleus
from synthlab.learning.encoding import patches
from synthlab.learning.networks import Synthesizer
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
    model = Synthesizer(ModelConfig(width=8, layers=1, heads=2), SMALL, 2).eval()
    with torch.no_grad():
        model.network.embed.weight.normal_(std=0.3)
        model.network.head.weight.mul_(0.4)
    corpus = build_corpus(SMALL, 2)
    return model, tasks_of(corpus, corpus.class_id[:1])


def log_probabilities(model, tasks, rows, temperature=1.0):
    """Of every next token after every prefix of the rows, by the full forward pass."""
    features = patches(torch.from_numpy(tasks.outputs.astype(np.float64)), tasks.grammar.grid)
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


WAYS = [dict(), dict(num_samples=5, temperature=1.0, seed=3), dict(beam=6, num_samples=4), dict(grammatical=True)]


@pytest.mark.parametrize("settings", WAYS)
def test_rows_in_blocks_give_the_same_programs(trained_model, tasks4, settings):
    whole = decode(trained_model, tasks4, **settings)
    blocks = decode(trained_model, tasks4, rows_at_once=7, **settings)
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


def test_more_samples_begin_with_the_fewer(trained_model, tasks4):
    few, many = (decode(trained_model, tasks4, num_samples=n, temperature=1.0, seed=8) for n in (3, 11))
    assert np.array_equal(many.prefix[many.rank < 3], few.prefix)


def test_a_task_gets_its_samples_whatever_stands_beside_it(trained_model, tasks4):
    whole = decode(trained_model, tasks4, num_samples=4, temperature=1.0)
    order = np.random.default_rng(0).permutation(len(tasks4))[:9]
    part = decode(trained_model, tasks4.take(order), num_samples=4, temperature=1.0)
    assert np.array_equal(whole.prefix.reshape(len(tasks4), 4, -1)[order].reshape(36, -1), part.prefix)
    minus = replace(tasks4, outputs=np.where(tasks4.outputs == 0, -0.0, tasks4.outputs))
    assert np.array_equal(decode(trained_model, minus, num_samples=4, temperature=1.0).prefix, whole.prefix)


@pytest.mark.parametrize("top_p", [0.3, 0.8, 1.0])
def test_the_nucleus_holds_the_fewest_tokens_of_enough_probability(top_p):
    probability = torch.tensor([[0.5, 0.1, 0.25, 0.15], [0.05, 0.05, 0.05, 0.85]])
    kept = nucleus(probability.log(), top_p).isfinite()
    for row, mask in zip(probability.tolist(), kept.tolist(), strict=True):
        chosen = [p for p, k in zip(row, mask, strict=True) if k]
        assert sum(chosen) >= top_p - 1e-6 and sum(chosen) - min(chosen) < top_p
        assert not any(p > min(chosen) for p, k in zip(row, mask, strict=True) if not k)


def test_samples_of_the_nucleus_follow_its_distribution(small):
    model, tasks = small
    first = first_token_probabilities(model, tasks)[0]
    top_p = float(np.sort(first)[-2:].sum()) - 1e-4  # leaves out the least likely of three
    candidates = decode(model, tasks, num_samples=4000, temperature=1.0, top_p=top_p, seed=2)
    found = np.bincount(candidates.prefix[:, 0], minlength=3)
    assert found[np.argmin(first)] == 0
    kept = np.delete(np.arange(3), np.argmin(first))
    assert chisquare(found[kept], 4000 * first[kept] / first[kept].sum()).pvalue > 1e-3


def test_low_temperature_is_greedy(trained_model, tasks4):
    cold = decode(trained_model, tasks4, num_samples=1, temperature=1e-4)
    assert np.array_equal(cold.prefix, decode(trained_model, tasks4).prefix)


# ---------------------------------------------------------------- beam


def all_texts(model, tasks):
    """Every text that a model of three tokens can write, and its probability, by the full forward pass."""
    texts = [(0, PAD, PAD), (1, PAD, PAD), *((2, *rest) for rest in itertools.product(range(3), repeat=2))]
    tokens = torch.tensor(texts)
    values = log_probabilities(model, tasks, tokens).gather(2, tokens.clamp(max=2)[..., None])[..., 0]
    return texts, torch.where(tokens != PAD, values, 0.0).sum(1).double().numpy()


@pytest.mark.parametrize("num", [1, 4, 11])
def test_a_wide_beam_finds_the_likeliest_texts(small, num):
    model, tasks = small
    texts, values = all_texts(model, tasks)
    best = np.argsort(-values)[:num]
    found = decode(model, tasks, beam=20, num_samples=num)
    assert [tuple(row) for row in found.prefix.tolist()] == [texts[k] for k in best]
    np.testing.assert_allclose(found.log_probability, values[best], atol=1e-5)
    assert found.rank.tolist() == list(range(num)) and not found.independent


def test_a_beam_has_no_more_texts_than_there_are(small):
    model, tasks = small
    found = decode(model, tasks, beam=20, num_samples=20)
    texts, _ = all_texts(model, tasks)
    real = np.isfinite(found.log_probability)
    assert real.sum() == len(texts) and (found.prefix[~real] == PAD).all() and real[: len(texts)].all()


def test_a_beam_of_one_is_greedy_and_a_wider_one_no_worse(trained_model, tasks4):
    greedy, one, wide = decode(trained_model, tasks4), *(decode(trained_model, tasks4, beam=b) for b in (1, 8))
    assert np.array_equal(greedy.prefix, one.prefix)
    assert (wide.log_probability >= greedy.log_probability - 1e-4).mean() > 0.95  # a beam can lose the greedy text
    assert (wide.log_probability > greedy.log_probability + 1e-3).any()


def test_the_score_of_a_beam_is_that_of_its_text(trained_model, tasks4):
    found = decode(trained_model, tasks4, beam=5, num_samples=3)
    tokens = written(found)
    values = log_probabilities(trained_model, tasks4.take(found.task), tokens)
    picked = values.gather(2, tokens.clamp(max=7)[..., None])[..., 0]
    np.testing.assert_allclose(found.log_probability, torch.where(tokens != PAD, picked, 0.0).sum(1), atol=1e-4)
    assert len(found.distinct()) == len(found)  # a beam never repeats a text


# ---------------------------------------------------------------- notations, rules, repetitions


@pytest.fixture(scope="module", params=["prefix", "postfix", "infix"])
def untrained(request):
    torch.manual_seed(1)
    return Synthesizer(ModelConfig(width=16, layers=1, notation=request.param), POLYNOMIAL, 4).eval()


@pytest.mark.parametrize("settings", [dict(), dict(num_samples=6, temperature=2.0), dict(beam=4, num_samples=4)])
def test_masked_to_grammatical_texts_all_are_programs_within_the_bound(untrained, tasks4, settings):
    candidates = decode(untrained, tasks4, grammatical=True, **settings)
    lengths = prefix_lengths(POLYNOMIAL, candidates.prefix)
    assert (lengths > 0).all() and (sizes_of(POLYNOMIAL, candidates.prefix) <= 4).all()
    free = decode(untrained, tasks4, **settings)
    assert (prefix_lengths(POLYNOMIAL, free.prefix) < 0).any() or untrained.config.notation == "prefix"


def test_the_mask_changes_nothing_where_the_answer_is_grammatical_anyway(trained_model, tasks4):
    free, masked = decode(trained_model, tasks4), decode(trained_model, tasks4, grammatical=True)
    fine = (prefix_lengths(POLYNOMIAL, free.prefix) > 0) & (sizes_of(POLYNOMIAL, free.prefix) <= 4)
    assert fine.any() and np.array_equal(free.prefix[fine], masked.prefix[fine])


def test_repetitions_are_dropped_in_order_of_rank(trained_model, tasks4):
    samples = decode(trained_model, tasks4, num_samples=12, temperature=0.7)
    found = samples.distinct()
    for task in range(len(tasks4)):
        expected = list(dict.fromkeys(map(tuple, samples.prefix[samples.task == task].tolist())))
        mine = found.task == task
        assert list(map(tuple, found.prefix[mine].tolist())) == expected
        assert found.rank[mine].tolist() == list(range(len(expected)))
    assert not found.independent and samples.independent and len(found) < len(samples)


def test_a_compiled_step_writes_the_same(trained_model, tasks4):
    torch._dynamo.reset()
    plain, compiled = decode(trained_model, tasks4), decode(trained_model, tasks4, compiled="eager")
    assert np.array_equal(plain.prefix, compiled.prefix)


def test_no_task_no_candidate(trained_model, tasks4):
    assert len(decode(trained_model, tasks4.take(np.arange(0)))) == 0


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    "settings", [dict(num_samples=2), dict(temperature=-0.1), dict(num_samples=0, temperature=1.0)]
)
def test_settings_that_make_no_sense_are_refused(trained_model, tasks4, settings):
    with pytest.raises(ConfigurationError, match="greedy gives one, sampling needs > 0"):
        decode(trained_model, tasks4, **settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(top_p=0.0, temperature=1.0), "share of the probability"),
        (dict(top_p=1.1, temperature=1.0), "share of the probability"),
        (dict(beam=3, num_samples=4), "at most so many candidates"),
        (dict(beam=3, temperature=0.5), "no temperature"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        Decoding(**settings)


@pytest.mark.parametrize("token", [-1, 8])
def test_a_first_token_that_is_none_is_refused(trained_model, tasks4, token):
    with pytest.raises(ConfigurationError, match=f"first token {token}: there are 8"):
        decode(trained_model, tasks4, first_token=token)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e19])
def test_outputs_that_are_no_numbers_are_refused(trained_model, tasks4, bad):
    outputs = tasks4.outputs.astype(np.float64)
    outputs[2, 5] = bad
    with pytest.raises(ConfigurationError, match="1 tasks have outputs"):
        decode(trained_model, replace(tasks4, outputs=outputs))


def test_half_precision_as_on_a_gpu_writes_nearly_the_same(trained_model, tasks4, monkeypatch):
    full = decode(trained_model, tasks4)
    monkeypatch.setattr(decoding, "_for_inference", lambda model: copy.deepcopy(model).to(torch.bfloat16))
    half = decode(trained_model, tasks4)
    assert (half.prefix == full.prefix).all(axis=1).mean() > 0.8
    assert next(trained_model.parameters()).dtype == torch.float32
    alike = (half.prefix == full.prefix).all(axis=1)
    np.testing.assert_allclose(half.log_probability[alike], full.log_probability[alike], atol=0.3)
