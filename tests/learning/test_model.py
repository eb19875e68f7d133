"""The transformers against a second implementation in NumPy, and who may look at whom."""

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch._dynamo.testing import CompileCounter

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import POLYNOMIAL, RATIONAL
from synthlab.learning.model import num_parameters, prefix_mask
from synthlab.learning.networks import Synthesizer
from synthlab.presets import ModelConfig

LENGTH, ROWS = 7, 6  # of programs with four leaves, and of the grid


KINDS = {"decoder": {}, "tied": {"tied": True}, "encoder-decoder": {"network": "encoder-decoder"}}


@pytest.fixture(params=KINDS)
def model(request):
    torch.manual_seed(3)
    made = Synthesizer(ModelConfig(width=16, layers=2, **KINDS[request.param]), POLYNOMIAL, 4).eval()
    with torch.no_grad():  # large weights, so that nothing hides in rounding
        for weight in made.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return made


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(9)
    rows = torch.randn(5, ROWS, 120, generator=generator)
    return rows, torch.randint(0, 8, (5, LENGTH), generator=generator)


def normalized(x, norm):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + norm.eps) * of(norm.weight) + of(norm.bias)


def of(parameter):
    return parameter.detach().double().numpy()


def heads_in_numpy(q, k, v, heads, seen):
    """Attention, one position and one head at a time; `seen(i)` are the positions that i looks at."""
    mixed, size = np.zeros_like(q), q.shape[1] // heads
    for head in range(heads):
        part = slice(head * size, (head + 1) * size)
        for i in range(len(q)):
            scores = np.exp([q[i, part] @ k[j, part] / np.sqrt(size) for j in seen(i)])
            mixed[i, part] = scores / scores.sum() @ v[list(seen(i)), part]
    return mixed


def block_in_numpy(block, x, seen, grid=None):
    attention = block.attention
    q, k, v = np.split(normalized(x, block.norm_attention) @ of(attention.queries_keys_values.weight).T, 3, axis=1)
    x = x + heads_in_numpy(q, k, v, attention.heads, seen) @ of(attention.merge.weight).T
    if grid is not None:
        q = normalized(x, block.norm_cross) @ of(block.cross.queries.weight).T
        k, v = np.split(grid @ of(block.cross.keys_values.weight).T, 2, axis=1)
        x = x + heads_in_numpy(q, k, v, attention.heads, lambda _: range(ROWS)) @ of(block.cross.merge.weight).T
    hidden = normalized(x, block.norm_forward) @ of(block.expand.weight).T + of(block.expand.bias)
    hidden = hidden * (1 + erf(hidden / np.sqrt(2))) / 2
    return x + hidden @ of(block.contract.weight).T + of(block.contract.bias)


def in_numpy(model, rows, tokens):
    """Logits of one example as the papers write it."""
    network = model.network
    grid = rows.numpy() @ of(network.read_row.weight).T + of(network.read_row.bias)
    text = of(network.embed.weight)[[model.shape.vocabulary, *tokens[:-1].tolist()]]
    places = of(network.place)
    if model.config.network == "encoder-decoder":
        grid, text = grid + places[:ROWS], text + places[ROWS:]
        for block in network.encoder:
            grid = block_in_numpy(block, grid, lambda _: range(ROWS))
        grid = normalized(grid, network.norm_encoder)
        for block in network.blocks:
            text = block_in_numpy(block, text, lambda i: range(i + 1), grid)
    else:
        x = np.concatenate([grid, text]) + places
        for block in network.blocks:
            x = block_in_numpy(block, x, lambda i: range(ROWS) if i < ROWS else range(i + 1))
        text = x[ROWS:]
    head = of(network.embed.weight)[:-1] if model.config.tied else of(network.head.weight)
    return normalized(text, network.norm) @ head.T


def test_logits_are_those_of_the_second_implementation(model, batch):
    rows, tokens = batch
    with torch.no_grad():
        found = model(rows, tokens).numpy()
    for example in range(2):
        np.testing.assert_allclose(found[example], in_numpy(model, rows[example].double(), tokens[example]), atol=2e-4)


def test_cached_steps_give_the_logits_of_the_full_pass(model, batch):
    rows, tokens = batch
    with torch.no_grad():
        full = model(rows, tokens)
        logits, cache = model.start(rows)
        for position in range(LENGTH):
            torch.testing.assert_close(logits, full[:, position], atol=1e-5, rtol=1e-5)
            if position + 1 < LENGTH:
                logits, cache = model.step(tokens[:, position], torch.tensor([position]), cache)


@pytest.mark.parametrize("position", range(LENGTH))
def test_a_token_changes_only_the_logits_behind_it(model, batch, position):
    rows, tokens = batch
    changed = tokens.clone()
    changed[:, position] = (changed[:, position] + 3) % 8
    with torch.no_grad():
        before, after = model(rows, tokens), model(rows, changed)
    torch.testing.assert_close(after[:, : position + 1], before[:, : position + 1], atol=1e-6, rtol=0)
    moved = (after - before).abs().amax(dim=(0, 2)) > 1e-4
    assert moved.tolist() == [p > position for p in range(LENGTH)]


@pytest.mark.parametrize("row", range(ROWS))
def test_every_row_of_the_grid_reaches_every_logit(model, batch, row):
    rows, tokens = batch
    changed = rows.clone()
    changed[:, row] += 0.5
    with torch.no_grad():
        moved = (model(changed, tokens) - model(rows, tokens)).abs().amax(dim=(0, 2))
    assert (moved > 1e-3).all()


def test_rows_look_at_all_rows_and_tokens_backwards():
    mask = prefix_mask(2, 3).int().tolist()
    assert mask == [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]


def test_examples_of_a_batch_do_not_mix(model, batch):
    rows, tokens = batch
    with torch.no_grad():
        together = model(rows, tokens)
        alone = torch.cat([model(rows[k : k + 1], tokens[k : k + 1]) for k in range(5)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_values_behind_the_end_do_not_matter(model, batch):
    rows, tokens = batch
    ended, other = tokens.clone(), tokens.clone()
    ended[:, 4:], other[:, 4:] = -100, 99
    with torch.no_grad():
        torch.testing.assert_close(model(rows, ended)[:, :5], model(rows, other)[:, :5], atol=0, rtol=0)


def test_a_network_without_a_cache_decodes_by_full_passes(model, batch):
    rows, tokens = batch
    with torch.no_grad():
        logits, cache = model.start(rows)
        plain = Plain(model)
        again, remembered = plain.start(rows)
        assert not plain.keeps_cache and model.keeps_cache
        for position in range(LENGTH - 1):
            torch.testing.assert_close(logits, again, atol=1e-5, rtol=1e-5)
            place = torch.tensor([position])
            logits, cache = model.step(tokens[:, position], place, cache)
            again, remembered = plain.step(tokens[:, position], place, remembered)


class Plain(Synthesizer):
    """The same weights behind a network of nothing but a forward pass."""

    def __init__(self, model):
        super().__init__(model.config, model.grammar, 4)
        self.network = torch.nn.ModuleList([model.network])
        self.network.forward = model.network.forward


def test_every_step_has_the_same_shapes_and_compiles_once(model, batch):
    rows, tokens = batch
    counter = CompileCounter()
    torch._dynamo.reset()
    step = torch.compile(model.step, backend=counter, fullgraph=True, dynamic=False)
    with torch.inference_mode():
        logits, cache = model.start(rows)
        for position in range(LENGTH - 1):
            place = torch.tensor([position])
            expected, _ = model.step(tokens[:, position], place, [kept.clone() for kept in cache])
            logits, cache = step(tokens[:, position], place, cache)
            torch.testing.assert_close(logits, expected)
    assert counter.frame_count == 1


@pytest.mark.parametrize(("grammar", "leaves", "length", "tokens"), [(POLYNOMIAL, 4, 7, 8), (RATIONAL, 3, 5, 8)])
@pytest.mark.parametrize(("width", "layers"), [(8, 1), (16, 1), (32, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_weights_is_that_of_the_formula(grammar, leaves, length, tokens, width, layers, kind):
    attention, forward = 2 * width + 4 * width**2, 2 * width + (4 * width**2 + 4 * width) + (4 * width**2 + width)
    blocks = layers * (attention + forward)
    if kind == "encoder-decoder":
        blocks += layers * (2 * attention + forward) + 2 * width
    outside = (120 * width + width) + (tokens + 1) * width + (6 + length) * width + 2 * width
    head = 0 if kind == "tied" else width * tokens
    config = ModelConfig(width=width, layers=layers, **KINDS[kind])
    assert num_parameters(Synthesizer(config, grammar, leaves)) == outside + head + blocks


def test_the_seed_decides_the_weights():
    weights = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        weights.append(
            torch.nn.utils.parameters_to_vector(Synthesizer(ModelConfig(width=8, layers=1), POLYNOMIAL, 3).parameters())
        )
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(width=10), "width must be a multiple"),
        (dict(width=8, heads=3), "width must be a multiple"),
        (dict(width=0), "width 0: use 1 or more"),
        (dict(layers=0), "layers 0: use 1 or more"),
        (dict(heads=0), "heads 0: use 1 or more"),
    ],
)
def test_models_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        ModelConfig(**settings)
