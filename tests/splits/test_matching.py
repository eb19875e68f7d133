"""What else differs between parts: degrees, histograms, and matched subsets."""

from collections import Counter

import naive
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.language.grammar import PAD
from synthlab.splits.matching import PROPERTIES, histograms, matched_tests, paired_by_cell, text_bins, total_degrees
from synthlab.splits.regions import Region
from synthlab.splits.support import support_settings, support_split

ROOT = Region(rule="root", root="*")


def test_degrees_are_those_of_the_expanded_polynomials(corpus4):
    expected = []
    for row in corpus4.prefix[corpus4.class_id]:
        text = [corpus4.grammar.tokens[t] for t in row if t != PAD]
        expected.append(naive.degree(naive.expand(naive.tree(text, naive.POLYNOMIAL_ARITIES))))
    assert total_degrees(corpus4).tolist() == expected


def test_rational_functions_that_are_no_polynomials_have_no_degree(rational3):
    degrees = dict(zip(rational3.class_frame()["program"], total_degrees(rational3).tolist(), strict=True))
    assert degrees["x / y"] == degrees["1 / x"] == -1
    assert (degrees["x"], degrees["x * y"], degrees["x / 2"], degrees["1"]) == (1, 2, 1, 0)


@given(st.lists(st.integers(0, 4), max_size=30), st.lists(st.integers(0, 4), max_size=30))
@settings(max_examples=100, deadline=None)
def test_pairs_lie_in_one_cell_and_are_as_many_as_there_are(first, second):
    one, two = paired_by_cell(np.array(first, dtype=int), np.array(second, dtype=int), np.random.default_rng(0))
    assert [first[k] for k in one] == [second[k] for k in two]
    assert len(one) == (Counter(first) & Counter(second)).total()
    assert len({*one.tolist()}) == len(one) and len({*two.tolist()}) == len(two)


def test_bins_of_texts_are_factors_of_four():
    counts = np.array([0, 1, 3, 4, 15, 16, 63, 64])
    assert text_bins(counts).tolist() == [-1, 0, 0, 1, 1, 2, 2, 3]


def naive_properties(corpus, function, right):
    """What a function is matched by, from its least text alone."""
    text = [corpus.grammar.tokens[t] for t in corpus.prefix[function] if t != PAD]
    bag = Counter(text)
    return {
        "size": sum(t not in "+-*" for t in text),
        "degree": naive.degree(naive.expand(naive.tree(text, naive.POLYNOMIAL_ARITIES))),
        "texts": next(k for k in range(20) if right < 4 ** (k + 1)),
        "root": text[0],
        "operators": tuple(bag[o] for o in "+-*"),
        "labels": tuple(bag[leaf] for leaf in "xy123"),
    }


@pytest.mark.parametrize(
    "by", [("size",), ("operators", "size"), ("labels",), ("root", "degree"), ("texts",), PROPERTIES]
)
def test_matched_tests_agree_in_whatever_is_asked(corpus4, spaces4, naive4, by):
    region = Region(rule="quantile", axis=1)
    split = support_split(corpus4, spaces4, support_settings(region, reserved=0.25, num_test=9999, match=by))
    held_out = split.held_out(len(naive4))
    number = np.array([n for _, n in naive4])
    sides = []
    for name in ("id", "forced"):
        found = []
        for function in split.tests[f"matched_{name}"].tolist():
            texts = number == number[function]
            right = int((texts & ~held_out).sum()) if name == "id" else int(texts.sum())
            properties = naive_properties(corpus4, function, right)
            found.append(tuple(properties[p] for p in by))
        sides.append(found)
    assert sides[0] == sides[1] and len(sides[0]) > 0


def test_more_conditions_leave_fewer_pairs(corpus4, spaces4):
    left = []
    for by in ((), ("size",), ("size", "degree"), PROPERTIES):
        settings = support_settings(ROOT, reserved=0.25, num_test=9999, match=by)
        left.append(len(support_split(corpus4, spaces4, settings).tests["matched_id"]))
    assert left[0] == min(len(support_split(corpus4, spaces4, settings).tests[n]) for n in ("id", "forced"))
    assert left == sorted(left, reverse=True) and left[0] > left[-1]


def test_an_unknown_property_is_refused():
    with pytest.raises(ConfigurationError, match="cannot match by 'colour': choose from size, degree"):
        support_settings(ROOT, match=("size", "colour"))


def test_strata_are_conditions_as_well(corpus4):
    rows = np.arange(40)
    tests = {"id": rows[:20], "forced": rows[20:]}
    strata = {"id": np.arange(20) % 5, "forced": np.arange(20) % 2}
    texts = dict.fromkeys(tests, corpus4.multiplicity)
    found = matched_tests(corpus4, tests, texts, 0, (), strata)
    pairs = [strata[name][np.searchsorted(tests[name], found[f"matched_{name}"])].tolist() for name in tests]
    assert pairs[0] == pairs[1] and Counter(pairs[0]) == Counter({0: 4, 1: 4})


def test_histograms_count_every_part_and_quantity(corpus4, split4, naive4):
    table = histograms(corpus4, split4)
    sums = table.groupby(["part", "quantity"])["share"].sum()
    np.testing.assert_allclose(sums, 1)
    assert set(table["part"]) == {"train", *(name for name, ids in split4.tests.items() if len(ids))}
    items = table.set_index(["part", "quantity", "value"])["items"].sort_index()
    texts = {"forced": split4.tests["forced"], "train": split4.targets}
    for part, ids in texts.items():
        tokens = Counter(t for k in ids.tolist() for t in naive4[k][0])
        assert {v: items[part, "operator", v] for v in "+-*"} == {v: tokens[v] for v in "+-*"}
        assert {v: items[part, "label", v] for v in "xy123"} == {v: tokens[v] for v in "xy123"}
    sizes = Counter(sum(t not in "+-*" for t in naive4[k][0]) for k in split4.tests["forced"].tolist())
    assert {int(v): n for v, n in items["forced", "size"].items()} == dict(sizes)
    roots = Counter(naive4[k][0][0] for k in split4.tests["forced"].tolist())
    assert {v: n for v, n in items["forced", "root"].items() if n} == dict(roots)
    multiplicity = Counter(n for _, n in naive4)
    bins = Counter(int(np.log2(multiplicity[naive4[k][1]])) // 2 for k in split4.tests["id"].tolist())
    assert {v: n for v, n in items["id", "texts"].items() if n} == {f"{4**k}-{4 ** (k + 1) - 1}": bins[k] for k in bins}


def test_histograms_of_another_corpus_are_refused(corpus3, split4):
    with pytest.raises(ArtifactError, match="another corpus"):
        histograms(corpus3, split4)
