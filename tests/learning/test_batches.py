"""The order of training data is a pure function of (seed, epoch, step)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synthlab.errors import ConfigurationError, SplitError
from synthlab.language.grammar import PAD
from synthlab.learning import batches
from synthlab.learning.batches import DeviceData, Order
from synthlab.learning.encoding import row_features


def steps(order):
    return [index.tolist() for index in order]


@given(st.integers(1, 60), st.integers(1, 20), st.integers(1, 40), st.integers(0, 5), st.integers(0, 40))
def test_resuming_anywhere_gives_the_remaining_batches(num_items, batch_size, num_steps, seed, first):
    first = min(first, num_steps)
    full = Order(num_items, batch_size, num_steps, seed)
    rest = Order(num_items, batch_size, num_steps, seed, first)
    assert steps(rest) == steps(full)[first:]
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


@pytest.mark.parametrize("num_processes", [2, 3])
def test_several_processes_share_every_batch(num_processes):
    whole = steps(Order(40, 12, 7, 2))
    parts = [steps(Order(40, 12, 7, 2, process=p, num_processes=num_processes)) for p in range(num_processes)]
    for batch, *shares in zip(whole, *parts, strict=True):
        assert sorted(batch) == sorted(item for share in shares for item in share)
        assert {len(share) for share in shares} == {12 // num_processes}


# ---------------------------------------------------------------- data


def test_items_are_targets_with_the_outputs_of_their_functions(corpus3, split3):
    data = DeviceData(corpus3, split3)
    index = torch.arange(0, len(data), 11)
    rows, tokens = data.batch(index)
    programs = split3.targets[index.numpy()]
    assert np.array_equal(tokens.numpy(), corpus3.prefix[programs])
    outputs = corpus3.outputs[corpus3.class_index[programs]].astype(np.float64)
    torch.testing.assert_close(rows, row_features(torch.from_numpy(outputs), corpus3.grammar.grid))
    assert len(data) == len(split3.train)


def test_features_computed_per_batch_are_the_same(corpus3, split3, monkeypatch):
    index = torch.tensor([3, 3, 500, 7])
    kept = DeviceData(corpus3, split3).batch(index)
    monkeypatch.setattr(batches, "_FEATURES_KEPT", 0)
    data = DeviceData(corpus3, split3)
    assert data._features is None
    for once, again in zip(kept, data.batch(index), strict=True):
        assert torch.equal(once, again)


def test_what_is_learned_are_the_targets_not_the_programs_drawn(corpus3, split3):
    shown = corpus3.class_id[corpus3.class_index[split3.train]]
    data = DeviceData(corpus3, replace(split3, targets=shown))
    assert np.array_equal(data.tokens.numpy(), corpus3.prefix[shown])
    assert (data.tokens != PAD).any(dim=1).all()


def test_data_is_no_part_of_a_checkpoint(corpus3, split3):
    data = DeviceData(corpus3, split3)
    assert data.state_dict() == {} and not list(data.parameters())


def test_a_split_without_training_programs_is_refused(corpus3, split3):
    with pytest.raises(SplitError, match="no training programs"):
        DeviceData(corpus3, replace(split3, train=split3.train[:0], targets=split3.targets[:0]))


def test_outputs_that_are_no_numbers_are_refused(rational3, split3):
    corpus = replace(rational3)
    corpus.__dict__["outputs"] = np.where(rational3.outputs == rational3.outputs[3], np.nan, rational3.outputs)
    programs = np.flatnonzero(rational3.class_index >= 0)[:30]
    with pytest.raises(ConfigurationError, match="no finite numbers"):
        DeviceData(corpus, replace(split3, train=programs, targets=programs))
