"""MCD splits: what moves, what bounds it, and how near the search comes to the best there is."""

import itertools
from collections import Counter, defaultdict

import naive
import numpy as np
import pytest
import scipy.sparse as sp
from benchmarks.mcd import published_greedy

from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.splits.audit import audit_corpus
from synthlab.splits.mcd import ClassBags, _choose_test, class_bags, drawn_programs, mcd_report, mcd_settings, mcd_split
from synthlab.splits.split import Split
from synthlab.universe.corpus import build_corpus

BOUND = 0.02
QUICK = dict(num_starts=2, num_sweeps=80)


@pytest.fixture(scope="module")
def settings4():
    return mcd_settings(num_programs=6_000, num_test=100, **QUICK)


@pytest.fixture(scope="module")
def mcd4(corpus4, settings4):
    return mcd_split(corpus4, settings4)


@pytest.fixture(scope="module")
def control4(corpus4, settings4):
    return mcd_split(corpus4, settings4 | {"control": True})


@pytest.fixture(scope="module")
def function_of(naive4):
    """Number of the polynomial of every program."""
    return np.array([number for _, number in naive4])


def held_functions(split, function_of):
    return set(function_of[split.held_out(len(function_of))].tolist())


# ---------------------------------------------------------------- oracles


def chernoff_divergence(first, second, alpha):
    """1 - C of two Counters."""
    sums = sum(first.values()), sum(second.values())
    return 1 - sum((first[k] / sums[0]) ** alpha * (second[k] / sums[1]) ** (1 - alpha) for k in first.keys() & second)


def tokens_of(programs, naive4):
    return Counter(token for p in programs for token in naive4[p][0])


def compounds_in(programs, naive4):
    """Compounds of depth 1 and 2 of some programs, as nested tuples of labels."""
    found = set()
    for p in programs:
        for node in naive.subtrees(naive.tree(naive4[p][0], naive.POLYNOMIAL_ARITIES)):
            if len(node) > 1:
                found.add((node[0], *(child[0] for child in node[1:])))
                if any(len(child) > 1 for child in node[1:]):
                    found.add((node[0], *((child[0], *(below[0] for below in child[1:])) for child in node[1:])))
    return found


def divergence_of(classes, is_test):
    """Atom and compound divergence and test share of a choice, in plain NumPy."""
    values = []
    for matrix, alpha in ((classes.atoms, 0.5), (classes.bags.toarray(), 0.1)):
        train, test = matrix[~is_test].sum(axis=0), matrix[is_test].sum(axis=0)
        values.append(1 - ((train / train.sum()) ** alpha * (test / test.sum()) ** (1 - alpha)).sum())
    return (*values, classes.sizes[is_test].sum() / classes.sizes.sum())


# ---------------------------------------------------------------- what moves


def test_no_function_straddles_the_split(mcd4, control4, function_of):
    for split in (mcd4, control4):
        trained = set(function_of[split.train].tolist()) | set(function_of[split.targets].tolist())
        held, reserved = held_functions(split, function_of), set(function_of[split.reserved].tolist())
        assert not trained & reserved and held < reserved
        assert {*function_of[split.tests["compound"]].tolist()} <= held
        assert {*function_of[split.tests["id"]].tolist()} <= reserved - held


def test_the_region_is_every_text_of_the_compound_functions(mcd4, corpus4, function_of):
    held_out = mcd4.held_out(len(function_of))
    held = set(function_of[corpus4.class_id[np.unique(corpus4.class_index[held_out])]].tolist())
    assert set(np.flatnonzero(held_out).tolist()) == {p for p, n in enumerate(function_of.tolist()) if n in held}


def test_every_drawn_program_is_trained_on_or_of_a_reserved_function(mcd4, corpus4, settings4, function_of):
    drawn = drawn_programs(corpus4, settings4)
    reserved = set(function_of[mcd4.reserved].tolist())
    assert len(set(drawn.tolist())) == 6_000
    assert set(mcd4.train.tolist()) == {p for p in drawn.tolist() if function_of[p] not in reserved}
    assert len(mcd4.train) == len(set(mcd4.train.tolist())) and (np.diff(mcd4.train) < 0).any()


def test_the_id_test_is_its_share_of_the_train_side_of_every_size(mcd4, corpus4, settings4):
    drawn_rows = np.unique(corpus4.class_index[drawn_programs(corpus4, settings4)])
    held = np.unique(corpus4.class_index[mcd4.held_out(corpus4.num_programs)])
    train_side = np.setdiff1d(drawn_rows, held)
    reserved = np.setdiff1d(corpus4.class_rows(mcd4.reserved), held)
    assert np.isin(reserved, train_side).all()
    for size in (1, 2, 3, 4):
        there, taken = ((corpus4.minimal_size[rows] == size).sum() for rows in (train_side, reserved))
        assert taken == round(0.15 * there)


def test_tests_are_capped_and_what_is_reserved_is_not(mcd4, corpus4, settings4):
    more = mcd_split(corpus4, settings4 | {"num_test": 10_000})
    assert {name: len(ids) for name, ids in mcd4.tests.items()} == {"id": 100, "compound": 100}
    assert np.array_equal(more.reserved, mcd4.reserved) and np.array_equal(more.train, mcd4.train)
    assert sorted([*more.tests["id"], *more.tests["compound"]]) == more.reserved.tolist()
    assert all(set(mcd4.tests[name].tolist()) < set(more.tests[name].tolist()) for name in more.tests)


def test_minimal_targets_are_the_least_drawn_texts_of_their_functions(corpus4, settings4, function_of):
    split = mcd_split(
        corpus4, settings4 | {"policy": "minimal inside the support", "num_train": 2_000, "control": True}
    )
    least, reserved = {}, set(function_of[split.reserved].tolist())
    for p in drawn_programs(corpus4, settings4).tolist():
        least.setdefault(function_of[p], p)
    assert len(split.train) == 2_000 and not reserved & set(function_of[split.train].tolist())
    assert split.targets.tolist() == [least[n] for n in function_of[split.train]]


def test_splits_pass_the_audit(mcd4, control4, corpus4):
    for split in (mcd4, control4):
        audit_corpus(split, corpus4).require()


def test_equal_settings_give_an_equal_split_and_other_seeds_another(mcd4, corpus4, settings4, store):
    again = mcd_split(corpus4, settings4)
    loaded = Split.load(store, again.save(store))
    other = mcd_split(corpus4, settings4 | {"seed": 1, "num_starts": 1, "num_sweeps": 2, "max_atom_divergence": 0.5})
    for part, ids in mcd4.payload().items():
        assert np.array_equal(again.payload()[part], ids) and np.array_equal(loaded.payload()[part], ids)
    assert mcd4.key == again.key != other.key and mcd4.kind == loaded.kind == "mcd" and not mcd4.joint_shift
    assert not np.array_equal(other.train, mcd4.train)


def test_functions_with_a_pole_on_the_grid_are_not_drawn():
    from synthlab.language.grammar import RATIONAL

    corpus = build_corpus(RATIONAL, 2)
    drawn = drawn_programs(corpus, mcd_settings(num_programs=None))
    usable = [p for p, row in enumerate(corpus.class_index) if row >= 0 and not np.isnan(corpus.outputs[row]).any()]
    assert drawn.tolist() == usable


# ---------------------------------------------------------------- bounds and divergences


def test_the_bounds_hold_for_what_is_trained_and_tested(mcd4, corpus4, settings4, naive4):
    drawn = drawn_programs(corpus4, settings4)
    held = drawn[mcd4.held_out(corpus4.num_programs)[drawn]]
    atom = chernoff_divergence(tokens_of(mcd4.train, naive4), tokens_of(held, naive4), 0.5)
    assert atom <= BOUND
    assert abs(len(held) / 6_000 - 0.2) <= 0.005 + 1 / 6_000


def test_the_bound_holds_for_small_training_sets(corpus4, settings4, naive4):
    split = mcd_split(corpus4, settings4 | {"num_train": 300})
    drawn = drawn_programs(corpus4, settings4)
    held = drawn[split.held_out(corpus4.num_programs)[drawn]]
    assert len(split.train) == 300
    assert chernoff_divergence(tokens_of(split.train, naive4), tokens_of(held, naive4), 0.5) <= BOUND


def test_compounds_diverge_far_more_than_in_the_control_of_the_same_sizes(mcd4, control4, corpus4):
    found, control = (mcd_report(corpus4, split).set_index("part") for split in (mcd4, control4))
    assert found.loc["compound", "compound_divergence"] > 1.7 * control.loc["compound", "compound_divergence"]
    assert found.loc["compound", "compound_divergence"] > 1.7 * found.loc["id", "compound_divergence"]
    assert abs(found.loc["compound", "programs"] / control.loc["compound", "programs"] - 1) < 0.03
    assert control.loc["compound", "programs"] == 1_200


@pytest.mark.parametrize("seed", [0, 1])
def test_the_search_outdoes_the_published_greedy_within_its_own_bounds(corpus3, seed):
    classes = class_bags(corpus3, drawn_programs(corpus3, mcd_settings(num_programs=1_500)))
    greedy = published_greedy(classes.bags, classes.atoms, classes.sizes, 0.2, seed=seed)
    atom, compound, share = divergence_of(classes, greedy)
    random = np.random.default_rng(seed).random(len(greedy)) < 0.2
    assert compound > divergence_of(classes, random)[1] + 0.05 and abs(share - 0.2) < 0.03  # a fair opponent
    settings = mcd_settings(test_share=share, max_atom_divergence=atom, num_sweeps=100, seed=seed)
    found = divergence_of(classes, _choose_test(classes, settings, atom))
    assert found[1] >= compound and found[0] <= atom and abs(found[2] - share) < 0.006


def few_classes(corpus, num, seed):
    """Some classes of a few texts, as a universe of their own."""
    small = np.flatnonzero((corpus.multiplicity > 1) & (corpus.multiplicity < 9))
    rows = np.random.default_rng(seed).permutation(small)[:num]
    return class_bags(corpus, np.flatnonzero(np.isin(corpus.class_index, rows)))


@pytest.mark.parametrize("seed", [1, 3, 4, 7])
def test_the_search_comes_within_a_hundredth_of_the_best_of_all_choices(corpus3, seed):
    classes = few_classes(corpus3, 12, seed)
    share, bound = 0.3, 0.06
    values = {}
    for choice in itertools.product([False, True], repeat=len(classes.rows)):
        is_test = np.array(choice)
        if is_test.any() and not is_test.all():
            values[choice] = divergence_of(classes, is_test)
    tolerance = 0.002 + 1 / len(classes.programs)
    allowed = {c: v for c, v in values.items() if v[0] <= bound and abs(v[2] - share) <= tolerance}
    best = max(v[1] for v in allowed.values())
    settings = mcd_settings(test_share=share, max_atom_divergence=bound, num_starts=8, num_sweeps=200)
    found = divergence_of(classes, _choose_test(classes, settings, bound))
    assert np.median([v[1] for v in allowed.values()]) < 0.95 * best
    assert found[1] >= 0.99 * best and found[0] <= bound


@pytest.mark.kernels
def test_a_short_search_keeps_the_bounds_and_outdoes_its_start(corpus3):
    classes = few_classes(corpus3, 60, 0)
    settings = mcd_settings(max_atom_divergence=0.1, num_starts=1, num_sweeps=8)
    start, found = (
        divergence_of(classes, _choose_test(classes, settings | {"control": c}, 0.1)) for c in (True, False)
    )
    assert found[0] <= 0.1 and abs(found[2] - 0.2) <= 0.005 + 1 / len(classes.programs)
    assert found[1] > start[1] + 0.05


def test_bags_are_sums_over_the_texts_of_a_class(corpus3):
    programs = drawn_programs(corpus3, mcd_settings(num_programs=700))
    classes = class_bags(corpus3, programs)
    sums = defaultdict(Counter)
    for p in programs.tolist():
        sums[int(corpus3.class_index[p])].update(t for t in corpus3.prefix[p].tolist() if t < 255)
    assert classes.rows.tolist() == sorted(sums)
    for row, atoms in zip(classes.rows.tolist(), classes.atoms.tolist(), strict=True):
        assert atoms == [sums[row][t] for t in range(len(POLYNOMIAL.tokens))]
    assert np.array_equal(classes.rows[classes.group], corpus3.class_index[programs])
    assert classes.sizes.sum() == 700 and isinstance(classes, ClassBags) and sp.issparse(classes.bags)


# ---------------------------------------------------------------- report


def test_the_report_counts_what_the_split_holds(mcd4, corpus4, settings4, naive4, function_of):
    report = mcd_report(corpus4, mcd4).set_index("part")
    drawn = drawn_programs(corpus4, settings4).tolist()
    held = held_functions(mcd4, function_of)
    functions = {"id": set(function_of[mcd4.reserved].tolist()) - held, "compound": held}
    known = compounds_in(mcd4.train, naive4)
    assert list(report.index) == ["id", "compound"]
    for part, numbers in functions.items():
        programs = [p for p in drawn if function_of[p] in numbers]
        compounds = compounds_in(programs, naive4)
        row = report.loc[part]
        assert (row["classes"], row["programs"], row["tested"]) == (len(numbers), len(programs), 100)
        assert (row["compounds"], row["unseen_compounds"]) == (len(compounds), len(compounds - known))
        atom = chernoff_divergence(tokens_of(mcd4.train, naive4), tokens_of(programs, naive4), 0.5)
        assert row["atom_divergence"] == pytest.approx(atom, abs=1e-9)
    assert report.loc["compound", "atom_divergence"] <= BOUND


def test_a_split_of_another_kind_or_corpus_has_no_report(split3, corpus3, corpus4, mcd4):
    with pytest.raises(ArtifactError, match="a support split"):
        mcd_report(corpus3, split3)
    with pytest.raises(ArtifactError, match="one of another corpus"):
        mcd_report(corpus3, mcd4)


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(test_share=0), "test_share 0: use a number between 0 and 1"),
        (dict(test_share=1.0), r"test_share 1\.0"),
        (dict(reserved=1), "reserved 1"),
        (dict(max_atom_divergence=0), "max_atom_divergence 0"),
        (dict(num_test=0), "num_test 0"),
        (dict(num_starts=0), "num_starts 0"),
        (dict(num_sweeps=-1), "num_sweeps -1"),
        (dict(seed=-1), "seed -1"),
        (dict(num_programs=0), "num_programs 0"),
        (dict(policy="shortest"), "target policy 'shortest': choose from as sampled, minimal"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ConfigurationError, match=message):
        mcd_settings(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(num_programs=100_000), "100,000 of 2,330 programs that compute a task: lower num_programs"),
        (dict(num_programs=None, max_atom_divergence=1e-9), r"of 2,330 programs in 278 classes has an atom divergence"),
        (dict(num_programs=2, control=True), r"too few classes \(2 programs in 2 classes, of which 0 are tested"),
        (dict(num_programs=2), "of 2 programs in 2 classes"),
        (dict(num_programs=1), "of 1 programs in 1 classes"),
        (dict(num_programs=500, num_train=450), "450 training programs asked of a pool of .*500 programs in"),
        (dict(num_programs=2_000, num_train=1), "1 training programs of 2,000 have an atom"),
    ],
)
def test_a_split_that_cannot_be_is_refused_with_its_counts(corpus3, settings, message):
    with pytest.raises(SplitError, match=message):
        mcd_split(corpus3, mcd_settings(**(dict(num_starts=1, num_sweeps=30) | settings)))
