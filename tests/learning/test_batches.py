"""The order of training data is a pure function of (seed, epoch, step), on the device or streamed."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from synthlab.errors import ConfigurationError, SplitError
from synthlab.language.grammar import PAD, POLYNOMIAL, RATIONAL
from synthlab.learning import batches
from synthlab.learning.batches import Batches, DeviceData, Order, Place, StreamedData, scrambled, training_data
from synthlab.learning.encoding import patches
from synthlab.learning.networks import Synthesizer
from synthlab.presets import ModelConfig
from synthlab.splits.split import learned_texts

ALL = slice(None)


def steps(order, first=0):
    return [place.items.tolist() for place in order.places(first)]


def at(index, epoch=0):
    return Place(0, epoch, torch.as_tensor(index))


def model_of(grammar=POLYNOMIAL, leaves=3, **changes):
    return Synthesizer(ModelConfig(width=8, layers=1, heads=2, **changes), grammar, leaves)


@pytest.fixture(scope="module")
def model():
    return model_of()


@pytest.fixture(scope="module")
def random3(split3):
    """Another text of each function every epoch."""
    return replace(split3, settings=split3.settings | {"policy": "random"})


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 40), st.integers(0, 5), st.integers(0, 40))
def test_resuming_anywhere_gives_the_remaining_batches(num_items, batch_size, num_steps, seed, first):
    first = min(first, num_steps)
    full = Order(num_items, batch_size, num_steps, seed)
    assert steps(full, first) == steps(full)[first:]
    assert len(steps(full)) == num_steps


@pytest.mark.parametrize(("num_items", "batch_size"), [(12, 4), (13, 4), (5, 5), (7, 100), (1, 1), (64, 1)])
def test_an_epoch_is_a_permutation_without_its_incomplete_batch(num_items, batch_size):
    per_epoch = num_items // min(batch_size, num_items)
    taken = steps(Order(num_items, batch_size, 3 * per_epoch, 0))
    for epoch in range(3):
        seen = [item for batch in taken[epoch * per_epoch : (epoch + 1) * per_epoch] for item in batch]
        assert len(set(seen)) == len(seen) == per_epoch * min(batch_size, num_items)
        assert set(seen) <= set(range(num_items))
    assert all(len(batch) == min(batch_size, num_items) for batch in taken)


def test_epochs_and_seeds_have_orders_of_their_own():
    one, two, other = steps(Order(50, 50, 2, 0)) + steps(Order(50, 50, 1, 1))
    assert sorted(one) == sorted(two) == sorted(other) == list(range(50))
    assert one != two and one != other and two != other


def test_the_order_ignores_every_other_source_of_randomness():
    expected = steps(Order(30, 7, 9, 4))
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    order = Order(30, 7, 9, 4)
    assert steps(order) == expected == steps(order)


@given(st.integers(0, 2**62), st.integers(0, 1000), st.integers(0, 2**40))
def test_scrambled_numbers_depend_on_their_keys_alone(item, seed, epoch):
    items = torch.tensor([item, item + 1, item])
    one, other, same = scrambled(items, seed, epoch).tolist()
    assert one == same != other and 0 <= one < 2**62
    assert scrambled(items[:1], seed, epoch + 1).item() != one != scrambled(items[:1], seed + 1, epoch).item()


@pytest.mark.parametrize("modulus", [2, 3, 7, 64])
def test_scrambled_numbers_are_spread_evenly(modulus):
    draws = torch.cat([scrambled(torch.arange(3000), 5, epoch) % modulus for epoch in range(4)])
    assert chisquare(np.bincount(draws.numpy(), minlength=modulus)).pvalue > 1e-3


# ---------------------------------------------------------------- data


def test_items_are_targets_with_the_outputs_of_their_functions(corpus3, split3, model):
    data = training_data(corpus3, split3, model)
    index = torch.arange(0, len(data), 11)
    seen, tokens = data.batch(at(index))
    programs = split3.targets[index.numpy()]
    assert np.array_equal(tokens.numpy(), corpus3.prefix[programs])
    outputs = corpus3.outputs[corpus3.class_index[programs]].astype(np.float64)
    torch.testing.assert_close(seen, patches(torch.from_numpy(outputs), corpus3.grammar.grid))
    assert len(data) == len(split3.train)


@pytest.mark.parametrize("notation", ["postfix", "infix"])
def test_targets_are_written_in_the_notation_of_the_model(corpus3, split3, notation):
    model = model_of(notation=notation)
    data = training_data(corpus3, split3, model)
    tokens = data.batch(at(torch.arange(50)))[1].numpy()
    back, expected = model.notation.decode(tokens), corpus3.prefix[split3.targets[:50]]
    assert np.array_equal(back[:, :5], expected) and (back[:, 5:] == PAD).all()
    assert ((tokens == model.notation.end).sum(axis=1) == 1).all()


def test_patches_computed_per_batch_are_the_same(corpus3, split3, model, monkeypatch):
    index = torch.tensor([3, 3, 500, 7])
    kept = training_data(corpus3, split3, model).batch(at(index))
    monkeypatch.setattr(batches, "_PATCHES_KEPT", 0)
    data = training_data(corpus3, split3, model)
    assert data._patches is None
    for once, again in zip(kept, data.batch(at(index)), strict=True):
        assert torch.equal(once, again)


@pytest.mark.parametrize(("grammar", "kind"), [(POLYNOMIAL, torch.int16), (RATIONAL, torch.float64)])
def test_outputs_are_kept_in_the_smallest_exact_type(grammar, kind, corpus3, rational3):
    corpus = {"polynomial": corpus3, "rational": rational3}[grammar.name]
    outputs = corpus.outputs[corpus.is_task]
    data = DeviceData(model_of(grammar), corpus.prefix[:1], np.zeros(1), outputs)
    assert data.outputs.dtype == kind and np.array_equal(data.outputs.double().numpy(), outputs)
    large = outputs.astype(np.float64) * 2.0**40
    again = DeviceData(model_of(grammar), corpus.prefix[:1], np.zeros(1), large)
    assert again.outputs.dtype == torch.float64 and np.array_equal(again.outputs.numpy(), large)


@pytest.mark.parametrize("num_processes", [2, 3])
def test_several_processes_share_outputs_and_all_see_the_texts(corpus3, split3, model, num_processes):
    data, place = training_data(corpus3, split3, model), at(torch.arange(12) * 5)
    whole_seen, whole_tokens = data.batch(place)
    shares = [data.batch(place, slice(p, None, num_processes)) for p in range(num_processes)]
    for process, (seen, tokens) in enumerate(shares):
        assert torch.equal(seen, whole_seen[process::num_processes]) and torch.equal(tokens, whole_tokens)


def test_what_is_learned_are_the_targets_not_the_programs_drawn(corpus3, split3, model):
    shown = corpus3.class_id[corpus3.class_index[split3.train]]
    data = training_data(corpus3, replace(split3, targets=shown), model)
    assert np.array_equal(data.texts.numpy(), corpus3.prefix[shown])
    assert (data.texts != PAD).any(dim=1).all()


def test_data_is_no_part_of_a_checkpoint(corpus3, split3, model):
    data = training_data(corpus3, split3, model)
    assert data.state_dict() == {} and not list(data.parameters())


def test_a_split_without_training_programs_is_refused(corpus3, split3, model):
    with pytest.raises(SplitError, match="no training programs"):
        training_data(corpus3, replace(split3, train=split3.train[:0], targets=split3.targets[:0]), model)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 2e18])
def test_outputs_that_are_no_numbers_are_refused(rational3, split3, bad, monkeypatch):
    corpus = replace(rational3)
    corpus.__dict__["outputs"] = np.where(rational3.outputs == rational3.outputs[3], bad, rational3.outputs)
    programs = np.flatnonzero(rational3.class_index >= 0)[:30]
    split, model = replace(split3, train=programs, targets=programs), model_of(RATIONAL)
    with pytest.raises(ConfigurationError, match="no finite numbers"):
        training_data(corpus, split, model)
    stream = training_data(corpus, split, model, streamed=True)
    monkeypatch.setattr(batches, "grid_outputs", lambda grammar, prefix: np.full((len(prefix), 36), bad))
    with pytest.raises(ConfigurationError, match="no finite numbers"):
        stream.fetch(at(torch.arange(5)), ALL)


# ---------------------------------------------------------------- another text every epoch


def test_every_epoch_draws_texts_of_the_same_functions_inside_the_support(corpus3, random3, model):
    data = training_data(corpus3, random3, model, seed=4)
    classes = corpus3.class_index[random3.targets]
    lookup = {tuple(row): k for k, row in enumerate(corpus3.prefix.tolist())}
    drawn = []
    for epoch in range(6):
        tokens = data.batch(at(torch.arange(len(data)), epoch))[1]
        drawn.append(np.array([lookup[tuple(row)] for row in tokens.tolist()]))
        assert np.array_equal(corpus3.class_index[drawn[-1]], classes)
    seen = np.unique(np.concatenate(drawn))
    assert not random3.held_out(corpus3.num_programs)[seen].any()
    assert not np.isin(corpus3.class_id[corpus3.class_index[seen]], random3.reserved).any()
    assert np.isin(seen, learned_texts(corpus3, random3)).all()
    assert (drawn[0] != drawn[1]).mean() > 0.5
    again = training_data(corpus3, random3, model, seed=4).batch(at(torch.arange(len(data)), 3))[1]
    assert np.array_equal(again.numpy(), corpus3.prefix[drawn[3]])
    other = training_data(corpus3, random3, model, seed=5).batch(at(torch.arange(len(data)), 3))[1]
    assert not np.array_equal(other.numpy(), again.numpy())


def test_every_text_of_a_function_is_drawn_equally_often(corpus3, random3, model):
    data = training_data(corpus3, random3, model)
    texts = learned_texts(corpus3, random3)
    item = int(np.argmax(data.counts.numpy()))
    num = int(data.counts[item])
    owner = corpus3.class_index[random3.targets[item]]
    assert num == (corpus3.class_index[texts] == owner).sum() > 5
    rows = [int(data._chosen(torch.tensor([item]), epoch) - data.first[item]) for epoch in range(60 * num)]
    assert chisquare(np.bincount(rows, minlength=num)).pvalue > 1e-3


# ---------------------------------------------------------------- streams


@pytest.mark.parametrize("notation", ["prefix", "infix"])
def test_a_stream_gives_the_batches_of_the_device(corpus3, split3, notation):
    model = model_of(notation=notation)
    kept, stream = (training_data(corpus3, split3, model, streamed=s) for s in (False, True))
    assert isinstance(stream, StreamedData) and len(stream) == len(kept)
    order, share = Order(len(kept), 50, 9, 3), slice(1, None, 2)
    for one, two in zip(Batches(kept, order, 2, share), Batches(stream, order, 2, share), strict=True):
        for a, b in zip(kept.batch(one, share), stream.batch(two, share), strict=True):
            assert torch.equal(a, b)


def test_data_streams_where_it_would_not_fit(corpus3, split3, model):
    fits, streams = (training_data(corpus3, split3, model, free_bytes=b) for b in (1 << 30, 1 << 12))
    assert isinstance(fits, DeviceData) and isinstance(streams, StreamedData)


def test_a_stream_works_from_mapped_ids_and_holds_nothing(corpus3, split3, model, tmp_path):
    shown = corpus3.class_id[corpus3.class_index[split3.targets]]
    for name, ids in (("targets", split3.targets), ("shown", shown)):
        np.save(tmp_path / f"{name}.npy", ids)
    mapped = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("targets", "shown")]
    stream = StreamedData(model, *mapped, 3)
    seen, tokens = stream.batch(stream.fetch(at(torch.arange(20)), ALL))
    expected = training_data(corpus3, split3, model).batch(at(torch.arange(20)))
    assert torch.equal(seen, expected[0]) and torch.equal(tokens, expected[1])
    assert list(stream.buffers()) == []


def test_a_stream_fetches_one_batch_ahead_and_passes_errors_on(corpus3, split3, model, monkeypatch):
    stream = training_data(corpus3, split3, model, streamed=True)
    fetched, original = [], stream.fetch
    monkeypatch.setattr(stream, "fetch", lambda place, share: fetched.append(place.step) or original(place, share))
    taken = iter(Batches(stream, Order(len(stream), 10, 5, 0)))
    next(taken)
    deadline = time.monotonic() + 30
    while fetched != [0, 1] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert fetched == [0, 1] and len(list(taken)) == 4 and fetched == [0, 1, 2, 3, 4]

    def fail(place, share):
        raise OSError("disk gone")

    monkeypatch.setattr(stream, "fetch", fail)
    with pytest.raises(OSError, match="disk gone"):
        list(Batches(stream, Order(len(stream), 10, 5, 0)))


def test_texts_drawn_every_epoch_cannot_stream(corpus3, random3, model):
    with pytest.raises(SplitError, match="keep the data on the device"):
        training_data(corpus3, random3, model, streamed=True)
