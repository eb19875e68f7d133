"""Decoding against the full forward pass, token by token and by distribution."""

import copy
import itertools
import math
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import PAD, POLYNOMIAL, Grammar, Grid
from synthlab.language.measure import sizes_of
from synthlab.language.operator import ADD
from synthlab.language.program import prefix_lengths
from synthlab.learning import decoding
from synthlab.learning.beams import with_maximum
from synthlab.learning.costs import step_flops
from synthlab.learning.decoding import (
    Decoding,
    Work,
    decode,
    decoding_flops,
    first_token_probabilities,
    nucleus,
    write_programs,
)
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


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(num_samples=3, temperature=1.5, seed=2),
        dict(beam=4, num_samples=4, distinct=True, temperature=1.5),
        dict(beam=4, num_samples=4, distinct=True, temperature=0.6, grammatical=True),
    ],
)
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


DISTINCT = dict(beam=6, num_samples=5, distinct=True, temperature=1.3, seed=4)
WAYS = [
    dict(), dict(num_samples=5, temperature=1.0, seed=3), dict(beam=6, num_samples=4), dict(grammatical=True), DISTINCT,
]  # fmt: skip


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


# ---------------------------------------------------------------- without replacement


NUM_DRAWS = 20_000


@pytest.fixture
def drawn(small, monkeypatch):
    """Draws of k texts for many outputs (N, k), by number of the text, from a model that reads them all alike."""
    model, tasks = small
    features = patches(torch.from_numpy(tasks.outputs.astype(np.float64)), tasks.grammar.grid)
    monkeypatch.setattr(model, "read", lambda outputs: features.expand(len(outputs), -1, -1))
    outputs = np.arange(NUM_DRAWS)[:, None] * np.array([1.0, 0.0, -2.0])

    def draw(num, num_outputs=NUM_DRAWS, **settings):
        how = Decoding(beam=num, num_samples=num, distinct=True, **settings)
        texts, _ = write_programs(model, outputs[:num_outputs], how)
        codes = np.array([int.from_bytes(bytes(text)) for text in TEXTS])
        order = np.argsort(codes)
        found = (texts.astype(int) * [1 << 16, 1 << 8, 1]).sum(axis=-1)
        rows = np.searchsorted(codes[order], found)
        assert (codes[order][rows] == found).all()
        return order[rows]

    return draw


TEXTS = [(0, PAD, PAD), (1, PAD, PAD), *((2, *rest) for rest in itertools.product(range(3), repeat=2))]


def probabilities(small, temperature, grammatical):
    """Of every text of the small model, by the full forward pass; with two leaves at most, no `+` follows the first."""
    tokens = torch.tensor(TEXTS)
    values = log_probabilities(*small, tokens, temperature).double()
    if grammatical:
        values[:, 1:, 2] = -torch.inf
        values = values.log_softmax(-1)
    picked = values.gather(2, tokens.clamp(max=2)[..., None])[..., 0]
    found = torch.where(tokens != PAD, picked, 0.0).sum(1).exp().numpy()
    return found / found.sum()


def agrees(counts, expected):
    """Chi-squared test of counts, with all cells in which fewer than five are expected taken as one."""
    assert not counts[expected == 0].any()
    rare = expected < 5
    counts, expected = (np.append(v[~rare], v[rare].sum()) for v in (counts, expected))
    kept = expected > 1
    return chisquare(counts[kept], expected[kept] / expected[kept].sum() * counts[kept].sum()).pvalue > 1e-3


LAWS = [(0.6, False), (1.0, False), (1.0, True), (2.5, True)]


@pytest.mark.parametrize(("temperature", "grammatical"), LAWS)
def test_distinct_draws_follow_the_law_of_a_sample_without_replacement(small, drawn, temperature, grammatical):
    p = probabilities(small, temperature, grammatical)
    texts = drawn(3, temperature=temperature, grammatical=grammatical, seed=6)
    assert agrees(np.bincount(texts[:, 0], minlength=11), NUM_DRAWS * p)
    pairs, pair_law = np.zeros((11, 11)), np.outer(p, p) / (1 - p)[:, None] * (1 - np.eye(11))
    np.add.at(pairs, (texts[:, 0], texts[:, 1]), 1)
    assert agrees(pairs.ravel(), NUM_DRAWS * pair_law.ravel())
    included = np.zeros(11)
    for i, j, k in itertools.permutations(range(11), 3):
        included[[i, j, k]] += p[i] * p[j] / (1 - p[i]) * p[k] / (1 - p[i] - p[j])
    error = np.sqrt(NUM_DRAWS * included * (1 - included)) + 1
    assert (np.abs(np.bincount(texts.ravel(), minlength=11) - NUM_DRAWS * included) < 4.5 * error).all()


def test_more_distinct_draws_begin_with_the_fewer_until_all_texts_are_drawn(drawn):
    every = drawn(11, num_outputs=300, temperature=1.0, seed=1)
    assert (np.sort(every, axis=1) == np.arange(11)).all() and len(np.unique(every, axis=0)) > 250
    for num in (1, 2, 5):
        assert np.array_equal(drawn(num, num_outputs=300, temperature=1.0, seed=1), every[:, :num])
    assert not np.array_equal(drawn(11, num_outputs=300, temperature=1.0, seed=2), every)


def test_there_are_no_more_distinct_texts_than_there_are(small):
    model, tasks = small
    found = decode(model, tasks, beam=20, num_samples=20, distinct=True, temperature=1.0, grammatical=True)
    real = np.isfinite(found.log_probability)
    assert real.tolist() == [True] * 6 + [False] * 14 and (found.prefix[~real] == PAD).all()
    assert len(np.unique(found.prefix[:6], axis=0)) == 6 and (prefix_lengths(SMALL, found.prefix[:6]) > 0).all()


def test_distinct_draws_do_not_repeat_and_are_no_independent_samples(trained_model, tasks4):
    found = decode(trained_model, tasks4, **(DISTINCT | dict(num_samples=6)))
    assert len(found.distinct()) == len(found) == 6 * len(tasks4) and not found.independent
    assert found.rank.tolist() == list(range(6)) * len(tasks4)
    by_rank = found.log_probability.reshape(-1, 6)
    assert (np.diff(by_rank, axis=1) > 0).any(axis=1).mean() > 0.5  # in the order of drawing


def test_a_task_gets_its_distinct_draws_whatever_stands_beside_it(trained_model, tasks4):
    whole = decode(trained_model, tasks4, **DISTINCT)
    order = np.random.default_rng(0).permutation(len(tasks4))[:9]
    part = decode(trained_model, tasks4.take(order), **DISTINCT)
    assert np.array_equal(whole.prefix.reshape(len(tasks4), 5, -1)[order].reshape(45, -1), part.prefix)


def test_the_first_cold_draw_is_greedy(trained_model, tasks4):
    cold = decode(trained_model, tasks4, beam=3, distinct=True, temperature=1e-4)
    assert np.array_equal(cold.prefix, decode(trained_model, tasks4).prefix)


def test_distinct_draws_start_with_a_token_that_is_given(trained_model, tasks4):
    found = decode(trained_model, tasks4, first_token=5, grammatical=True, **DISTINCT)
    assert (found.prefix[:, 0] == 5).all() and len(found.distinct()) == len(found)
    leaf_sized = decode(trained_model, tasks4, first_token=5, grammatical=True, max_size=1, **DISTINCT)
    assert np.isneginf(leaf_sized.log_probability).all() and (leaf_sized.prefix == PAD).all()  # 5 is an operator


def test_gumbel_variables_are_moved_below_their_maximum():
    perturbed = torch.tensor([[0.3, -1.2, 2.0, -torch.inf], [-5.0, -5.0 - 1e-12, -900.0, -40.0]], dtype=torch.float64)
    maximum = torch.tensor([-0.7, 3.0], dtype=torch.float64)
    moved = with_maximum(perturbed, maximum)
    exact = (
        -math.log(math.exp(0.7) - math.exp(-2.0) + math.exp(-0.3)),
        -math.log(math.exp(0.7) - math.exp(-2) + math.exp(1.2)),
    )
    np.testing.assert_allclose(moved[0].tolist(), [*exact, -0.7, -np.inf], rtol=1e-12)
    # far below the maximum, a value hardly moves; far above it, differences of tiny numbers decide
    np.testing.assert_allclose(moved[1, 2:].tolist(), [-900.0, -40.0], rtol=1e-12)
    close = -math.log(math.exp(-3.0) + math.exp(5.0) * math.expm1(1e-12))
    assert moved[1, 0] == 3.0 and moved[1, 1].item() == pytest.approx(close, rel=1e-6)
    assert with_maximum(perturbed, torch.full((2,), -torch.inf, dtype=torch.float64)).isneginf().all()


# ---------------------------------------------------------------- outputs alone, and what writing takes


@pytest.mark.parametrize("settings", WAYS)
@pytest.mark.parametrize("rows_at_once", [None, 7])
def test_outputs_are_enough_to_write_programs(trained_model, tasks4, settings, rows_at_once):
    expected = decode(trained_model, tasks4, **settings)
    prefix, found = write_programs(trained_model, tasks4.outputs, Decoding(**settings), rows_at_once=rows_at_once)
    num = settings.get("num_samples", 1)
    assert prefix.shape == (len(tasks4), num, 7) and found.shape == (len(tasks4), num) and prefix.dtype == np.uint8
    assert np.array_equal(prefix.reshape(-1, 7), expected.prefix)
    np.testing.assert_allclose(found.ravel(), expected.log_probability, atol=1e-5)


def test_programs_for_no_outputs(untrained, tasks4):
    prefix, found = write_programs(untrained, tasks4.outputs[:0], Decoding(num_samples=3, temperature=1.0))
    width = untrained.shape.max_tokens - (untrained.config.notation != "prefix")
    assert prefix.shape == (0, 3, width) and found.shape == (0, 3)


def test_samples_take_as_many_tokens_as_they_have(trained_model, tasks4):
    how = Decoding(num_samples=3, temperature=1.0)
    alone, together = Work(), Work()
    prefix, _ = write_programs(trained_model, tasks4.outputs, how, rows_at_once=1, work=alone)
    lengths = (prefix != PAD).sum(axis=2)
    assert astuple(alone) == (lengths.sum(), lengths.size, (lengths - 1).sum())
    write_programs(trained_model, tasks4.outputs, how, work=together)
    assert astuple(together) == (lengths.sum(), lengths.size, lengths.size * (lengths.max() - 1))
    write_programs(trained_model, tasks4.outputs, how, rows_at_once=100, work=together)  # a last block of few is filled
    blocks = -(-lengths.size // 100)
    assert lengths.size % 100 and (together.tokens, together.reads) == (2 * lengths.sum(), lengths.size + 100 * blocks)


def tokens_of_a_beam(model, tasks, width):
    """Texts that grow in every step of a beam search, by the full forward pass."""
    beams, num_tokens = [((), 0.0)], 0
    for position in range(3):
        grown = []
        for text, score in beams:
            if text and (text[0] < 2 or len(text) == 3):
                grown.append((text, score))
                continue
            row = torch.tensor([[*text, *[0] * (3 - len(text))]])
            values = log_probabilities(model, tasks, row)[0, position].tolist()
            grown += [((*text, token), score + value) for token, value in enumerate(values)]
        beams = sorted(grown, key=lambda beam: -beam[1])[:width]
        num_tokens += sum(len(text) == position + 1 for text, _ in beams)
    return num_tokens


@pytest.mark.parametrize("width", [1, 2, 3, 5, 20])
def test_a_beam_takes_the_tokens_of_all_its_texts(small, width):
    model, tasks = small
    work = Work()
    write_programs(model, np.repeat(tasks.outputs, 5, axis=0), Decoding(beam=width), rows_at_once=2 * width, work=work)
    assert work.tokens == 5 * tokens_of_a_beam(model, tasks, width)
    assert work.reads == 6 and work.steps in (0, 2 * 6 * width)  # three blocks of two


@pytest.mark.parametrize("network", ["decoder", "encoder-decoder"])
def test_reading_and_writing_a_text_take_one_forward_pass(network):
    model = Synthesizer(ModelConfig(width=16, layers=2, network=network), POLYNOMIAL, 4)
    shape = model.shape
    seen = torch.zeros(1, shape.num_patches, shape.patch_features)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(seen, torch.zeros(1, shape.max_tokens, dtype=torch.long))
    reading, step = decoding_flops(model)
    assert reading + (shape.max_tokens - 1) * step == counter.get_total_flops()
    unread = 2 * shape.num_patches * shape.patch_features * 16  # nobody needs the gradient of the patches
    assert step_flops(model, 1) == 3 * counter.get_total_flops() - unread


def test_operations_are_those_of_the_matrices_and_of_attention():
    model = Synthesizer(ModelConfig(width=16, layers=3), POLYNOMIAL, 4)
    shape = model.shape
    rows, features, vocabulary, positions = 6, shape.patch_features, 8, 6 + 7
    layers = 3 * (2 * 12 * 16**2 + 4 * positions * 16)
    head = 2 * 16 * vocabulary
    assert decoding_flops(model) == ((rows + 1) * layers + rows * 2 * features * 16 + head, layers + head)


# ---------------------------------------------------------------- notations, rules, repetitions


@pytest.fixture(scope="module", params=["prefix", "postfix", "infix"])
def untrained(request):
    torch.manual_seed(1)
    return Synthesizer(ModelConfig(width=16, layers=1, notation=request.param), POLYNOMIAL, 4).eval()


@pytest.mark.parametrize(
    "settings",
    [
        dict(),
        dict(num_samples=6, temperature=2.0),
        dict(beam=4, num_samples=4),
        dict(beam=6, num_samples=6, distinct=True, temperature=2.0),
    ],
)
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
        (dict(beam=3, num_samples=4, distinct=True, temperature=1.0), "at most so many candidates"),
        (dict(beam=3, distinct=True, temperature=1.0, top_p=0.9), "no temperature or top_p"),
        (dict(beam=3, distinct=True), "give beam, and a temperature over 0"),
        (dict(num_samples=3, distinct=True, temperature=1.0), "give beam, and a temperature over 0"),
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
