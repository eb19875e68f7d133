"""Hash tables of fingerprints against dictionaries and sets."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.language.identity import mix
from synthlab.language.residues import PRIME, UNDEFINED_RESIDUE
from synthlab.universe.hashing import HashIndex, KeyNumbers, KeySet, num_slots

residues = st.one_of(st.integers(0, 3), st.integers(0, PRIME - 1), st.sampled_from([PRIME - 1, PRIME - 2]))
keys = st.tuples(residues, residues)
UNDEFINED = (PRIME, PRIME)


def matrix(rows):
    return np.array(rows, dtype=np.uint64).reshape(-1, 2)


def random_keys(num, seed=0):
    return np.random.default_rng(seed).integers(0, PRIME, size=(num, 2), dtype=np.uint64)


def inserted(key_set, rows):
    """Rows that the set takes as new."""
    fresh = np.empty(max(len(rows), 1), dtype=np.int32)
    count = key_set.insert(matrix(rows), len(rows), UNDEFINED_RESIDUE, fresh)
    return fresh[:count].tolist()


def first_rows(rows, seen):
    """Rows not yet in `seen`, to which they are added."""
    new = []
    for k, row in enumerate(map(tuple, rows)):
        if row != UNDEFINED and row not in seen:
            seen.add(row)
            new.append(k)
    return new


@pytest.mark.parametrize("num", [0, 1, 600, 614, 615, 10**4, 10**7])
def test_there_are_more_slots_than_keys(num):
    slots = num_slots(num)
    assert slots >= 1024 and slots & (slots - 1) == 0
    assert num <= 0.6 * slots


@given(st.lists(st.lists(st.one_of(keys, st.just(UNDEFINED)), max_size=30), max_size=5))
@settings(max_examples=100, deadline=None)
def test_a_key_set_tells_what_is_new_in_order(batches):
    key_set, seen = KeySet(0), set()
    for batch in batches:
        assert inserted(key_set, batch) == first_rows(batch, seen)
    assert key_set.count == len(seen)


def test_only_the_first_rows_of_a_buffer_are_inserted():
    key_set, fresh = KeySet(10), np.empty(4, dtype=np.int32)
    assert key_set.insert(matrix([(1, 1), (2, 2), (3, 3), (4, 4)]), 2, UNDEFINED_RESIDUE, fresh) == 2
    assert inserted(key_set, [(1, 1), (2, 2), (3, 3), (4, 4)]) == [2, 3]


def test_a_key_set_grows_without_losing_keys():
    rows = random_keys(50_000)
    key_set, size = KeySet(0), []
    for start in range(0, len(rows), 777):
        part = rows[start : start + 777]
        assert inserted(key_set, part) == list(range(len(part)))
        size.append(len(key_set.slots))
        assert key_set.count <= 0.6 * size[-1]
    assert key_set.count == len(rows) and len(set(size)) > 3
    assert inserted(key_set, rows) == []


def test_what_is_inserted_does_not_depend_on_the_order():
    rows = random_keys(20_000, seed=3)
    rows[::3] = rows[0]
    distinct = set(map(tuple, rows.tolist()))
    for seed in range(4):
        shuffled = rows[np.random.default_rng(seed).permutation(len(rows))]
        key_set = KeySet(10)
        new = inserted(key_set, shuffled)
        assert set(map(tuple, shuffled[new].tolist())) == distinct
        assert new == first_rows(shuffled.tolist(), set())
        held = key_set.slots[key_set.slots[:, 0] != 0] - np.array([1, 0], dtype=np.uint64)
        assert sorted(map(tuple, held.tolist())) == sorted(distinct)


@pytest.mark.parametrize("num_partitions", [1, 2, 3, 7, 64])
def test_partitions_share_all_keys_without_overlap(num_partitions):
    rows = np.concatenate([random_keys(5000), matrix([(0, 0), (PRIME - 1, 0), (PRIME - 1, PRIME - 1), (0, PRIME - 1)])])
    kept = [inserted(KeySet(0, p, num_partitions), rows) for p in range(num_partitions)]
    assert sorted(itertools.chain.from_iterable(kept)) == list(range(len(rows)))
    sizes = np.array(list(map(len, kept)))
    assert (np.abs(sizes - 5000 / num_partitions) < 5 * np.sqrt(5000 / num_partitions) + 4).all()
    firsts = [rows[k, 0].max() for k in kept]
    assert firsts == sorted(firsts)


def test_a_zero_key_is_not_an_empty_slot():
    rows = [(0, 0), (0, 1), (1, 0), (0, 0)]
    assert inserted(KeySet(0), rows) == [0, 1, 2]
    index = HashIndex(matrix(rows[:3]))
    assert index.find(matrix([(1, 0), (0, 1), (0, 0), (1, 1)])).tolist() == [2, 1, 0, -1]
    assert HashIndex(matrix([(1, 0)])).find(matrix([(0, 0)])).tolist() == [-1]
    numbers, first = KeyNumbers().number(matrix(rows), UNDEFINED_RESIDUE)
    assert numbers.tolist() == [0, 1, 2, 0] and first.tolist() == [0, 1, 2]


def test_zero_keys_survive_growth():
    key_set, numbers = KeySet(0), KeyNumbers()
    assert inserted(key_set, [(0, 0)]) == [0]
    numbers.number(matrix([(0, 0)]), UNDEFINED_RESIDUE)
    rows = random_keys(5000)
    inserted(key_set, rows)
    numbers.number(rows, UNDEFINED_RESIDUE)
    assert inserted(key_set, [(0, 0)]) == []
    assert numbers.number(matrix([(0, 0)]), UNDEFINED_RESIDUE)[0].tolist() == [0]


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_the_index_is_a_dictionary_of_rows(data):
    rows = data.draw(st.lists(keys, min_size=1, max_size=40, unique=True))
    queries = data.draw(st.lists(st.one_of(keys, st.sampled_from(rows), st.just(UNDEFINED)), min_size=1, max_size=40))
    expected = [rows.index(q) if q in rows else -1 for q in queries]
    assert HashIndex(matrix(rows)).find(matrix(queries)).tolist() == expected


@given(st.data(), st.sampled_from([1, 2, 3, 36]))
@settings(max_examples=60, deadline=None)
def test_mixed_rows_of_any_width_are_told_apart(data, width):
    value = st.one_of(residues, st.just(PRIME))
    row = st.lists(value, min_size=width, max_size=width).map(tuple)
    rows = data.draw(st.lists(row, min_size=1, max_size=40, unique=True))
    queries = data.draw(st.lists(st.one_of(row, st.sampled_from(rows)), min_size=1, max_size=40))
    index = HashIndex(mix(np.array(rows, dtype=np.uint64)))
    expected = [rows.index(q) if q in rows else -1 for q in queries]
    assert index.find(mix(np.array(queries, dtype=np.uint64))).tolist() == expected


@pytest.mark.parametrize("step", [1, 1 << 13, 1 << 29, 1 << 45])
def test_the_index_survives_regular_keys(step):
    rows = np.stack([np.arange(5000, dtype=np.uint64) * np.uint64(step) % np.uint64(PRIME), np.zeros(5000)], axis=1)
    rows = rows.astype(np.uint64)
    assert HashIndex(rows).find(rows).tolist() == list(range(5000))
    swapped = np.ascontiguousarray(rows[1:, ::-1])
    assert HashIndex(swapped).find(swapped).tolist() == list(range(4999))
    assert HashIndex(rows).find(swapped).tolist() == [-1] * 4999


def test_the_same_keys_in_another_order_are_found_at_their_rows():
    rows = random_keys(10_000, seed=9)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(rows))
        index = HashIndex(rows[order])
        assert np.array_equal(order[index.find(rows)], np.arange(len(rows)))
    assert index.find(random_keys(10_000, seed=10)).max() == -1


def test_an_empty_index_finds_nothing():
    assert HashIndex(matrix([])).find(matrix([(0, 0), (1, 2)])).tolist() == [-1, -1]
    assert HashIndex(matrix([(1, 2)])).find(matrix([])).tolist() == []


@given(st.lists(st.lists(st.one_of(keys, st.just(UNDEFINED)), max_size=30), max_size=5))
@settings(max_examples=100, deadline=None)
def test_keys_are_numbered_by_first_appearance(batches):
    numbers, known = KeyNumbers(), {}
    for batch in batches:
        before = len(known)
        expected = [-1 if key == UNDEFINED else known.setdefault(key, len(known)) for key in batch]
        got, first = numbers.number(matrix(batch), UNDEFINED_RESIDUE)
        assert got.tolist() == expected
        assert first.tolist() == [expected.index(n) for n in range(before, len(known))]
    assert numbers.count == len(known)


def test_numbers_survive_growth():
    rows, numbers = random_keys(30_000), KeyNumbers()
    for start in range(0, len(rows), 500):
        got, first = numbers.number(rows[start : start + 500], UNDEFINED_RESIDUE)
        assert got.tolist() == list(range(start, start + 500)) and first.tolist() == list(range(500))
    got, first = numbers.number(rows[::-1].copy(), UNDEFINED_RESIDUE)
    assert np.array_equal(got, np.arange(len(rows))[::-1]) and len(first) == 0
