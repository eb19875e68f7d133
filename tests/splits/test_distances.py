"""Distances of two samples against double loops, SciPy, exact permutation laws and analytic values."""

import itertools
import math
import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from synthlab.errors import ConfigurationError, SplitError
from synthlab.splits import distances, neighbors
from synthlab.splits.distances import energy_distance, mmd, sliced_wasserstein
from synthlab.splits.neighbors import density_coverage, knn_ratios


def gaussian(num, axes=3, shift=0.0, seed=0):
    return (np.random.default_rng(seed).standard_normal((num, axes)) + shift).astype(np.float32)


def length(one, other):
    return math.sqrt(sum((float(a) - float(b)) ** 2 for a, b in zip(one, other, strict=True)))


def means_of_pairs(first, second, kernel):
    """Mean kernel across samples and within each, over ordered pairs of different items."""
    across = [kernel(length(a, b)) for a in first for b in second]
    within = [[kernel(length(a, b)) for a, b in itertools.permutations(rows, 2)] for rows in (first, second)]
    return [sum(values) / len(values) for values in (across, *within)]


SHAPES = pytest.mark.parametrize("shape", [(2, 2, 1), (7, 4, 2), (5, 13, 6)])


# ---------------------------------------------------------------- energy distance and MMD


@SHAPES
@pytest.mark.parametrize("block", [3, 1024])
def test_energy_distance_is_the_double_loop_whatever_the_blocks(shape, block, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK", block)
    n, m, axes = shape
    first, second = gaussian(n, axes), gaussian(m, axes, 0.4, seed=1)
    found = energy_distance(first, second, permutations=3)
    between, one, other = means_of_pairs(first, second, lambda d: d)
    assert [found.between, *found.within] == pytest.approx([between, one, other], rel=1e-5)
    assert found.value == pytest.approx(2 * between - one - other, rel=1e-4, abs=1e-5)


@SHAPES
@pytest.mark.parametrize("bandwidth", [None, 0.7])
def test_mmd_is_the_double_loop_with_the_median_of_all_pairs(shape, bandwidth):
    n, m, axes = shape
    first, second = gaussian(n, axes), gaussian(m, axes, 0.4, seed=1)
    pooled = [*first, *second]
    width = bandwidth or float(np.median([length(a, b) for a, b in itertools.combinations(pooled, 2)]))
    between, one, other = means_of_pairs(first, second, lambda d: math.exp(-(d**2) / (2 * width**2)))
    found = mmd(first, second, bandwidth=bandwidth, permutations=0)
    assert found.bandwidth == pytest.approx(width, rel=1e-6)
    assert [found.between, *found.within] == pytest.approx([between, one, other], rel=1e-5)
    assert found.value == pytest.approx(one + other - 2 * between, abs=1e-6)
    assert math.isnan(found.p_value)


@pytest.mark.parametrize("measure", [energy_distance, mmd])
def test_blocks_in_single_precision_and_threads_change_neither_value_nor_p_value(measure, monkeypatch):
    samples = gaussian(40, 4), gaussian(25, 4, 0.2, seed=1)
    whole = measure(*samples, permutations=60)
    monkeypatch.setattr(distances, "_SMALL", 0)
    monkeypatch.setattr(distances, "BLOCK", 16)
    found = measure(*samples, permutations=60)
    assert str(found) == str(measure(*samples, permutations=60))
    assert found.value == pytest.approx(whole.value, abs=1e-6)
    assert 1 / 61 < found.p_value == whole.p_value < 1


def test_bandwidth_of_many_items_is_the_median_of_a_sample():
    first, second = gaussian(1500), gaussian(900, seed=1)
    everything = stats.chi(df=3).median() * math.sqrt(2)  # differences of standard normal vectors
    assert mmd(first, second, permutations=0).bandwidth == pytest.approx(everything, rel=0.05)


@pytest.mark.parametrize("numbers", [(6, 6), (9, 4)])
def test_energy_distance_is_the_square_of_scipys(numbers):
    first, second = (gaussian(num, 1, k, seed=k) for k, num in enumerate(numbers))
    found = energy_distance(first, second, permutations=0)
    n, m = numbers
    with_pairs_of_an_item_and_itself = 2 * found.between - found.within[0] * (n - 1) / n - found.within[1] * (m - 1) / m
    assert with_pairs_of_an_item_and_itself == pytest.approx(stats.energy_distance(first[:, 0], second[:, 0]) ** 2)


def test_energy_distance_of_equal_laws_is_zero_on_average_at_any_size():
    for numbers in ((3, 3), (4, 40)):
        found = [energy_distance(gaussian(numbers[0], seed=2 * k), gaussian(numbers[1], seed=2 * k + 1), permutations=0)
                 for k in range(400)]  # fmt: skip
        values = np.array([f.value for f in found])
        assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
        assert (values < 0).any()


def exact_share(first, second):
    """Share of all relabellings whose energy distance is at least that of the labels given, in fractions."""
    pooled, n = [*first, *second], len(first)

    def value(chosen):
        rest = [k for k in range(len(pooled)) if k not in chosen]
        mean = lambda a, b, num: Fraction(sum(abs(pooled[i] - pooled[j]) for i in a for j in b), num)  # noqa: E731
        m = len(rest)
        return 2 * mean(chosen, rest, n * m) - mean(chosen, chosen, n * (n - 1)) - mean(rest, rest, m * (m - 1))

    values = [value(chosen) for chosen in itertools.combinations(range(len(pooled)), n)]
    return sum(v >= values[0] for v in values) / len(values)


@pytest.mark.parametrize("samples", [([0, 1, 2], [5, 6, 7]), ([0, 3, 1, 4], [2, 2, 5]), ([0, 0, 1, 1], [1, 2, 2, 3])])
def test_p_value_is_the_share_of_relabellings_with_ties_counted(samples):
    first, second = samples
    columns = [np.array(part, dtype=np.float32)[:, None] for part in samples]
    share, permutations = exact_share(first, second), 4000
    assert 0.05 < share < 1
    deviation = math.sqrt(share * (1 - share) / permutations)
    assert energy_distance(*columns, permutations=permutations).p_value == pytest.approx(share, abs=4 * deviation)


@pytest.mark.parametrize("measure", [energy_distance, mmd])
def test_p_values_are_uniform_for_equal_laws(measure):
    p_values = [measure(gaussian(7, 2, seed=[k, 0]), gaussian(9, 2, seed=[k, 1]), permutations=19, seed=k).p_value
                for k in range(500)]  # fmt: skip
    counts = np.bincount(np.round(np.array(p_values) * 20).astype(int), minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("measure", [energy_distance, mmd])
def test_p_value_of_a_shift_is_the_least_there_is(measure):
    assert measure(gaussian(60), gaussian(80, shift=1.0, seed=1), permutations=99).p_value == 1 / 100


@pytest.mark.parametrize("measure", [energy_distance, mmd])
def test_seed_decides_the_permutations(measure):
    samples = gaussian(20), gaussian(20, seed=1)
    found = [measure(*samples, permutations=50, seed=seed) for seed in (0, 0, 1)]
    assert str(found[0]) == str(found[1])
    assert found[0].p_value != found[2].p_value
    assert found[0].value == found[2].value


# ---------------------------------------------------------------- transport


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_one_axis_gives_the_wasserstein_distance_of_scipy(n, m, seed):
    first, second = gaussian(n, 1, seed=[seed, 0]), gaussian(m, 1, 0.5, seed=[seed, 1])
    expected = stats.wasserstein_distance(first[:, 0], second[:, 0])
    assert sliced_wasserstein(first, second, num_directions=3) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("axes", [2, 5])
def test_sliced_wasserstein_of_a_translation_is_its_mean_projection(axes):
    first, move = gaussian(30, axes), np.linspace(1, 2, axes, dtype=np.float32)
    mean_projection = math.gamma(axes / 2) / (math.sqrt(math.pi) * math.gamma((axes + 1) / 2))  # of a unit vector
    expected = float(np.linalg.norm(move)) * mean_projection
    assert sliced_wasserstein(first, first + move, num_directions=8000) == pytest.approx(expected, rel=0.03)


# ---------------------------------------------------------------- neighbours


def nearest(place, others, k):
    return sorted(length(place, other) for other in others)[k - 1]


@SHAPES
def test_neighbour_ratios_are_the_double_loop(shape):
    n, m, axes = shape
    first, second = gaussian(n, axes), gaussian(m, axes, 0.5, seed=1)
    neighbors = (1,) if n < 5 else (1, 3)
    found = knn_ratios(first, second, neighbors=neighbors)
    for column, k in enumerate(neighbors):
        scale = np.median([nearest(first[i], np.delete(first, i, axis=0), k) for i in range(n)])
        expected = [nearest(place, first, k) / scale for place in second]
        assert found.scale[column] == pytest.approx(scale, rel=1e-5)
        assert found.ratios[:, column] == pytest.approx(expected, rel=1e-5)
        assert found.median[column] == pytest.approx(np.median(expected), rel=1e-5)


def test_copies_of_training_places_count_once_in_neighbour_ratios():
    first, second = gaussian(12), gaussian(5, seed=1)
    once, often = knn_ratios(first, second), knn_ratios(np.repeat(first, [9, *[2] * 11], axis=0), second)
    assert often.num_places == once.num_places == 12
    assert often.ratios == pytest.approx(once.ratios, rel=1e-5)


def test_neighbour_ratio_is_one_for_equal_laws_and_grows_with_the_distance():
    first = gaussian(2000)
    near, far = (knn_ratios(first, gaussian(1000, shift=shift, seed=1)).median for shift in (0, 4))
    assert near == pytest.approx([1, 1], abs=0.08)
    assert (far > 3).all()


# ---------------------------------------------------------------- density and coverage


@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("block", [2, 1024])
def test_density_and_coverage_are_the_double_loop(k, block, monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK", block)
    first, second = gaussian(9, 2), gaussian(7, 2, 0.5, seed=1)
    radii = [nearest(first[i], np.delete(first, i, axis=0), k) for i in range(9)]
    held = [[length(first[i], place) <= radii[i] for place in second] for i in range(9)]
    found = density_coverage(first, second, k=k)
    assert found.density == pytest.approx(sum(map(sum, held)) / (k * 7))
    assert found.coverage == pytest.approx(sum(map(any, held)) / 9)


@pytest.mark.parametrize("numbers", [(10, 10), (40, 15), (8, 100)])
def test_expected_coverage_counts_the_orders_of_neighbours(numbers):
    n, m = numbers
    found = density_coverage(gaussian(n), gaussian(m, seed=1), k=4)
    assert found.expected_coverage == pytest.approx(float(1 - Fraction(math.comb(n - 1, 4), math.comb(n - 1 + m, 4))))


@pytest.mark.parametrize("numbers", [(300, 300), (300, 60)])
def test_equal_laws_have_density_one_and_the_expected_coverage(numbers):
    found = [density_coverage(gaussian(numbers[0], 4, seed=[k, 0]), gaussian(numbers[1], 4, seed=[k, 1]))
             for k in range(30)]  # fmt: skip
    assert np.mean([f.density for f in found]) == pytest.approx(1, abs=0.03)
    assert np.mean([f.coverage for f in found]) == pytest.approx(found[0].expected_coverage, abs=0.015)


def test_large_equal_numbers_give_the_published_expectation():
    assert density_coverage(gaussian(3000, 1), gaussian(3000, 1, seed=1)).expected_coverage == pytest.approx(
        0.97, abs=0.002
    )


def test_a_sample_covers_itself_and_nothing_far_away():
    first = gaussian(50)
    assert density_coverage(first, first).coverage == 1
    far = density_coverage(first, first + 100)
    assert (far.density, far.coverage) == (0, 0)


def test_copies_count_once_and_numbers_can_be_made_equal():
    first, second = gaussian(40), gaussian(15, seed=1)
    once, often = (
        density_coverage(first, second),
        density_coverage(np.repeat(first, 3, axis=0), np.tile(second, (4, 1))),
    )
    assert (often.num_first, often.num_second) == (40, 15)
    assert (often.density, often.coverage) == (once.density, once.coverage)
    equal = density_coverage(first, second, equal_numbers=True)
    assert (equal.num_first, equal.num_second) == (15, 15)
    assert equal == density_coverage(first, second, equal_numbers=True)


# ---------------------------------------------------------------- laws

MEASURES = {
    "energy": lambda a, b: energy_distance(a, b, permutations=0).value,
    "mmd": lambda a, b: mmd(a, b, permutations=0).value,
    "wasserstein": sliced_wasserstein,
    "ratio": lambda a, b: float(knn_ratios(a, b, neighbors=(2,)).median[0]),
    "density": lambda a, b: density_coverage(a, b, k=2).density,
    "coverage": lambda a, b: density_coverage(a, b, k=2).coverage,
}
by_measure = pytest.mark.parametrize("name", MEASURES)
cases = given(st.integers(3, 12), st.integers(3, 12), st.integers(1, 4), st.integers(0, 10**6))
few = settings(max_examples=15, deadline=None)


def drawn(n, m, axes, seed):
    return gaussian(n, axes, seed=[seed, 0]), gaussian(m, axes, 0.7, seed=[seed, 1])


@by_measure
@cases
@few
def test_order_of_rows_does_not_matter(name, n, m, axes, seed):
    first, second = drawn(n, m, axes, seed)
    generator = np.random.default_rng(seed)
    shuffled = generator.permutation(first), generator.permutation(second)
    assert MEASURES[name](*shuffled) == pytest.approx(MEASURES[name](first, second), rel=1e-4, abs=1e-5)


@by_measure
@cases
@few
def test_places_can_be_moved_together(name, n, m, axes, seed):
    first, second = drawn(n, m, axes, seed)
    move = np.float32(np.random.default_rng(seed).integers(-8, 8, size=axes))
    assert MEASURES[name](first + move, second + move) == pytest.approx(
        MEASURES[name](first, second), rel=1e-3, abs=1e-4
    )


@by_measure
@pytest.mark.parametrize("unit", [2.0**-30, 2.0**20])
def test_only_lengths_follow_the_unit(name, unit):
    first, second = drawn(9, 7, 3, 5)
    expected = MEASURES[name](first, second) * (unit if name in ("energy", "wasserstein") else 1)
    assert MEASURES[name](first * np.float32(unit), second * np.float32(unit)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["energy", "mmd", "wasserstein"])
@cases
@few
def test_distances_of_laws_are_symmetric(name, n, m, axes, seed):
    first, second = drawn(n, m, axes, seed)
    assert MEASURES[name](second, first) == pytest.approx(MEASURES[name](first, second), rel=1e-4, abs=1e-5)


@by_measure
def test_constant_columns_change_nothing(name):
    first, second = drawn(9, 8, 2, 3)
    padded = [np.column_stack([rows, np.full(len(rows), 7, dtype=np.float32)]) for rows in (first, second)]
    if name == "wasserstein":  # projections shrink as directions get an axis more
        assert 0 < MEASURES[name](*padded) < MEASURES[name](first, second)
    else:
        assert MEASURES[name](*padded) == pytest.approx(MEASURES[name](first, second), rel=1e-4)


# ---------------------------------------------------------------- degenerate samples


def test_identical_samples_are_as_close_as_can_be():
    rows = gaussian(25)
    assert sliced_wasserstein(rows, rows) == 0
    for measure in (energy_distance, mmd):
        found = measure(rows, rows, permutations=99)
        assert found.value < 0  # pairs of an item with its copy count across, not within
        assert found.p_value == 1
    assert (knn_ratios(rows, rows).ratios[:, 0] < 1e-6).all()


def test_a_single_place_has_no_distance_from_itself():
    rows = np.full((8, 3), 5, dtype=np.float32)
    assert sliced_wasserstein(rows, rows[:4]) == 0
    for measure in (energy_distance, mmd):
        found = measure(rows, rows[:4], permutations=19)
        assert (found.value, found.p_value) == (0, 1)


@pytest.mark.parametrize(
    ("measure", "numbers", "least"),
    [(energy_distance, (1, 5), "2 and 2"), (energy_distance, (5, 1), "2 and 2"), (mmd, (2, 1), "2 and 2"),
     (sliced_wasserstein, (0, 3), "1 and 1"), (knn_ratios, (5, 2), "6 and 1"), (knn_ratios, (9, 0), "6 and 1"),
     (density_coverage, (5, 5), "6 and 1"), (density_coverage, (6, 0), "6 and 1")],
)  # fmt: skip
def test_too_few_items_are_refused_with_their_numbers(measure, numbers, least):
    message = rf"needs {least} items, there are {numbers[0]} and {numbers[1]}: draw more$"
    with pytest.raises(SplitError, match=message):
        measure(gaussian(numbers[0]), gaussian(numbers[1]))


@pytest.mark.parametrize("measure", [knn_ratios, density_coverage])
def test_copies_do_not_stand_in_for_missing_places(measure):
    with pytest.raises(SplitError, match="distinct places needs 6 and 1 items, there are 3 and 2"):
        measure(np.repeat(gaussian(3), 5, axis=0), gaussian(2, seed=1))


def test_equal_numbers_can_be_too_few():
    with pytest.raises(SplitError, match="needs 6 and 1 items, there are 4 and 4"):
        density_coverage(gaussian(30), gaussian(4, seed=1), equal_numbers=True)


@pytest.mark.parametrize("measure", [energy_distance, mmd, sliced_wasserstein, knn_ratios, density_coverage])
def test_rows_without_a_place_are_refused_with_their_numbers(measure):
    first, second = gaussian(10), gaussian(12, seed=1)
    first[[2, 4], 1], second[3, 0] = np.nan, np.inf
    with pytest.raises(ConfigurationError, match=r"^2 of 10 and 1 of 12 rows have NaN or infinity: leave out"):
        measure(first, second)


@pytest.mark.parametrize("shapes", [((4, 2), (4, 3)), ((4,), (4,)), ((4, 0), (4, 0))])
def test_samples_of_different_spaces_are_refused(shapes):
    with pytest.raises(ConfigurationError, match=re.escape(f"{shapes[0]} and {shapes[1]}")):
        energy_distance(*(np.zeros(shape, dtype=np.float32) for shape in shapes))


@pytest.mark.parametrize(
    ("measure", "options", "message"),
    [(energy_distance, {"permutations": -1}, "-1 permutations"), (mmd, {"bandwidth": 0.0}, "bandwidth 0.0"),
     (mmd, {"bandwidth": math.inf}, "bandwidth inf"), (sliced_wasserstein, {"num_directions": 0}, "0 directions"),
     (knn_ratios, {"neighbors": ()}, "at least one k"), (knn_ratios, {"neighbors": (0,)}, "from 1 on"),
     (density_coverage, {"k": 0}, "balls of 0")],
)  # fmt: skip
def test_options_out_of_range_are_refused(measure, options, message):
    with pytest.raises(ConfigurationError, match=message):
        measure(gaussian(10), gaussian(10, seed=1), **options)
