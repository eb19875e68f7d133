"""Where programs stand: ids, functions, places and parts against what the universe and the split list."""

import languages
import numpy as np
import pytest

from synthlab.errors import ProgramSyntaxError
from synthlab.language.grammar import POLYNOMIAL
from synthlab.language.program import parse
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.preview import Preview
from synthlab.splits.proximity import nearest_training
from synthlab.splits.regions import Region
from synthlab.splits.support import region_map, support_settings, support_split
from synthlab.universe.corpus import NO_CLASS, build_corpus
from synthlab.views.explorer.standing import (
    find_program,
    nearest_rows,
    part_of,
    places_of,
    program_id_of,
    standing_of,
    training_rows,
    training_texts,
)


def stand(corpus, text):
    return standing_of(corpus, find_program(corpus, text))


@pytest.fixture(scope="module")
def rational_spaces(rational3):
    return {"syntactic": fit_syntactic(rational3, num_axes=8), "semantic": fit_semantic(rational3, num_axes=8)}


@pytest.mark.parametrize(("grammar", "size", "measure"), [(POLYNOMIAL, 3, "leaves"), (languages.UNARY, 2, "depth")])
def test_every_program_is_found_by_its_text_in_either_notation(grammar, size, measure):
    corpus = build_corpus(grammar, size, measure=measure)
    for number in range(0, corpus.num_programs, 7):
        program = corpus.program(number)
        assert find_program(corpus, program.infix_text()) == program == find_program(corpus, program.prefix_text())
        assert program_id_of(corpus, program) == number


def test_larger_programs_have_no_id(corpus3):
    assert program_id_of(corpus3, parse(POLYNOMIAL, "x + x + x + x")) is None
    with pytest.raises(ProgramSyntaxError, match="position 2"):
        find_program(corpus3, "x $ y")


def test_a_program_stands_in_its_class(corpus3):
    for number in range(0, corpus3.num_programs, 11):
        standing = standing_of(corpus3, corpus3.program(number))
        assert (standing.program_id, standing.class_row) == (number, corpus3.class_index[number])
        assert np.array_equal(standing.outputs, corpus3.outputs[standing.class_row])
        assert standing.is_function and not standing.problem and standing.num_missing == 0


@pytest.mark.parametrize(
    ("text", "equal"), [("x + y - y - y + y", "x"), ("(x + 1) * (x + 1) - x * x - 1", "x + x"), ("x * y * x * y", None)]
)
def test_a_larger_program_finds_its_function(corpus3, text, equal):
    standing = stand(corpus3, text)
    wanted = NO_CLASS if equal is None else stand(corpus3, equal).class_row
    assert standing.program_id is None and standing.is_function and standing.class_row == wanted


@pytest.mark.parametrize(("text", "size"), [("x / (y - y)", 3), ("1 / (x - x + y - y)", 5)])
def test_what_is_no_function_has_no_semantic_place(rational3, rational_spaces, text, size):
    standing = stand(rational3, text)
    assert not standing.is_function and standing.class_row == NO_CLASS and not standing.problem
    assert standing.num_missing == 36 and (standing.program_id is None) == (size > 3)
    assert list(places_of(rational3, rational_spaces, standing)) == ["syntactic"]


def test_poles_are_counted(rational3, rational_spaces):
    standing = stand(rational3, "1 / (x - 1 / 2 + 1 / (2 + 2 + 2))")  # 0 at x = 1/3
    assert standing.is_function and standing.num_missing == 6
    assert set(places_of(rational3, rational_spaces, standing)) == {"syntactic", "semantic"}


def test_values_beyond_the_exact_range_are_told(corpus3, spaces4, corpus4):
    standing = stand(corpus4, "*".join(["3"] * 60))
    assert "exceed the exact range" in standing.problem and not len(standing.outputs)
    assert list(places_of(corpus4, spaces4, standing)) == ["syntactic"]
    huge = stand(corpus4, "*".join(["(x - x + 1)"] * 40))  # small values, large coefficients
    assert huge.problem and len(huge.outputs) == 36


def test_places_of_members_are_those_of_the_spaces(corpus4, spaces4):
    standing = standing_of(corpus4, corpus4.program(1234))
    places = places_of(corpus4, spaces4, standing, 4)
    rows = {"syntactic": 1234, "semantic": corpus4.class_index[1234]}
    for name, (coordinates, near, far) in places.items():
        assert np.array_equal(coordinates, spaces4[name].coordinates[rows[name]])
        assert rows[name] in near and far[0] < 1e-6 and len(near) == 4


def test_a_larger_text_of_a_function_stands_where_the_function_does(corpus4, spaces4):
    place = places_of(corpus4, spaces4, stand(corpus4, "x + y - y - y + y"))["semantic"]
    row = stand(corpus4, "x").class_row
    assert place.rows[0] == row and place.distances[0] < 1e-4
    assert np.allclose(place.coordinates, spaces4["semantic"].coordinates[row], atol=1e-4)


@pytest.mark.parametrize("num", [1, 5, 40_000])
@pytest.mark.parametrize("among", [False, True])
def test_nearest_rows_are_those_of_all_distances(num, among):
    generator = np.random.default_rng(0)
    points = generator.normal(size=(40_000, 3)).astype(np.float32)
    points[7] = np.nan
    place, asked = points[11] + 0.1, np.flatnonzero(generator.random(40_000) < 0.5) if among else np.arange(40_000)
    rows, distances = nearest_rows(points, place, num, among=asked if among else None)
    known = asked[asked != 7]
    truth = np.linalg.norm(points[known].astype(float) - place, axis=1)
    assert len(rows) == min(num, len(known)) and set(rows) <= set(known)
    assert np.allclose(distances, np.sort(truth)[: len(rows)], atol=1e-5)
    assert np.allclose(distances, np.linalg.norm(points[rows].astype(float) - place, axis=1), atol=1e-5)


def test_ties_go_to_the_smaller_row():
    points = np.zeros((9, 2), dtype=np.float32)
    points[3] = 5
    assert nearest_rows(points, np.zeros(2), 4)[0].tolist() == [0, 1, 2, 4]


# ---------------------------------------------------------------- in a split


def test_parts_are_those_of_the_split(corpus4, spaces4, split4):
    ids = np.arange(0, corpus4.num_programs, 997)
    parts = region_map(corpus4, split4, ids)
    for number, part in zip(ids, parts, strict=True):
        told = part_of(corpus4, spaces4, split4, standing_of(corpus4, corpus4.program(int(number))))
        asked = [
            name for name, members in split4.tests.items() if corpus4.class_id[corpus4.class_index[number]] in members
        ]
        assert told == f"{part}; its function is " + (f"a task of {', '.join(asked)}" if asked else "no task")


def told(corpus, spaces, split, standing):
    """Part of a program, and the tests that ask for its function."""
    part, tests = part_of(corpus, spaces, split, standing).split("; its function is ")
    return part, set() if tests == "no task" else set(tests.removeprefix("a task of ").split(", "))


def test_a_preview_says_what_its_split_says(corpus4, spaces4):
    region = Region(rule="root", root="*")
    split = support_split(corpus4, spaces4, support_settings(region, num_test=corpus4.num_classes))
    parts = Preview(corpus4, spaces4).parts(region)
    for number in range(0, corpus4.num_programs, 1999):
        standing = standing_of(corpus4, corpus4.program(number))
        drawn, preview = (told(corpus4, spaces4, each, standing) for each in (split, parts))
        assert preview == (drawn[0], drawn[1] - {"matched_id", "matched_forced"})
    assert np.array_equal(training_texts(corpus4, parts), np.sort(split.train))


def test_larger_programs_lie_on_a_side_of_the_region(corpus4, spaces4, split4):
    held, free = (stand(corpus4, text) for text in ("(x + y) * (x + 1) * (y + 2)", "x * y * y * y + y * y"))
    assert part_of(corpus4, spaces4, split4, held) == "none: larger than the universe, inside the held-out region"
    assert "outside the held-out region" in part_of(corpus4, spaces4, split4, free)
    cells = Region(space="semantic", rule="cluster", num_clusters=5, num_held=2)
    semantic = support_split(corpus4, spaces4, support_settings(cells))
    density = density_split(corpus4, spaces4, density_settings(regime="random", num_train=500))
    preview = Preview(corpus4, spaces4).parts(cells)
    for split in (semantic, density, preview):
        assert part_of(corpus4, spaces4, split, held) == "none: larger than the universe"


def test_nearest_training_rows_are_those_of_the_proximity_report(corpus4, spaces4, split4):
    report = nearest_training(corpus4, spaces4, split4, "id").iloc[::9]
    texts = training_texts(corpus4, split4)
    for name, space in spaces4.items():
        rows, owners = training_rows(corpus4, space, texts)
        assert len(rows) == len(owners) and set(owners) <= set(texts)
        for class_id, far in zip(report["class_id"], report[f"{name}_distance"], strict=True):
            place = places_of(corpus4, {name: space}, standing_of(corpus4, corpus4.program(class_id)))[name]
            assert nearest_rows(space.coordinates, place.coordinates, 1, among=rows)[1][0] == pytest.approx(
                far, abs=1e-4
            )
