"""Where a program of any size stands: in a universe, in its spaces, and in a split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from synthlab.errors import SplitError, SynthlabError
from synthlab.language.identity import fingerprints, same_function
from synthlab.language.interpreter import grid_outputs
from synthlab.language.measure import sizes_of
from synthlab.language.program import Program, parse, token_matrix
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.spaces.embedding import embed
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.growth import outside_test
from synthlab.splits.preview import CODES, TRAIN, SplitParts
from synthlab.splits.split import Split, learned_texts
from synthlab.splits.support import region_map
from synthlab.universe.corpus import NO_CLASS, Corpus
from synthlab.universe.counting import rank

Drawn: TypeAlias = Split | SplitParts
"""A split, or the preview of one."""
_ROWS_AT_ONCE = 1 << 14
_TIE = 1e-5


# ---------------------------------------------------------------- in the universe


def find_program(corpus: Corpus, text: str) -> Program:
    """Read any formula in the universe's grammar, be it in the universe or larger.

    Raises
    ------
    ProgramSyntaxError
        With the position and what was expected.
    """
    return parse(corpus.grammar, text)


def program_id_of(corpus: Corpus, program: Program) -> int | None:
    """Id of a program of the universe's grammar; None if it is larger than the universe."""
    row = token_matrix([program])
    if sizes_of(corpus.grammar, row, corpus.measure)[0] > corpus.max_size:
        return None
    return int(rank(corpus.grammar, row, corpus.max_size, corpus.measure)[0])


@dataclass(frozen=True, eq=False)
class Standing:
    """What a universe knows of a program.

    Attributes
    ----------
    program, program_id
        The program, and its id; None if it is larger than the universe.
    class_row
        Class of its function in the universe; `NO_CLASS` if it has none.
    is_function
        Whether it is defined as a function.
    outputs
        On the grid (G,), NaN where there is no value; empty if they leave the exact range.
    problem
        Why class or outputs are unknown, or nothing.
    """

    program: Program
    program_id: int | None
    class_row: int
    is_function: bool
    outputs: np.ndarray
    problem: str = ""

    @property
    def num_missing(self) -> int:
        """Grid points without a value."""
        return int(np.isnan(self.outputs).sum())


def standing_of(corpus: Corpus, program: Program) -> Standing:
    """Look a program up in a universe, whatever its size."""
    program_id, outputs = program_id_of(corpus, program), np.empty(0)
    try:
        outputs = grid_outputs(corpus.grammar, token_matrix([program]))[0]
        row, is_function = _class_of(corpus, program, program_id)
    except SynthlabError as error:  # values beyond the exact range, or too large a program to be proven equal
        return Standing(program, program_id, NO_CLASS, True, outputs, str(error))
    return Standing(program, program_id, row, is_function, outputs)


def _class_of(corpus: Corpus, program: Program, program_id: int | None) -> tuple[int, bool]:
    """Class row in the universe, and whether the program is a function at all."""
    if program_id is not None:
        row = int(corpus.class_index[program_id])
        return row, row != NO_CLASS
    key = fingerprints(corpus.grammar, token_matrix([program]), corpus.seed)[0]
    if key[0] == UNDEFINED_RESIDUE:
        return NO_CLASS, False
    rows = np.flatnonzero((corpus.fingerprints == key).all(axis=1))
    same = len(rows) > 0 and same_function(program, corpus.program(int(corpus.class_id[rows[0]])), corpus.seed)
    return int(rows[0]) if same else NO_CLASS, True


# ---------------------------------------------------------------- in the spaces


class Place(NamedTuple):
    """A program in a space, and what lies nearest to it.

    Attributes
    ----------
    coordinates
        Where it stands (axes,).
    rows, distances
        Nearest rows of the space (k,), its own among them if it has one, and how far they are, in units of the space.
    """

    coordinates: np.ndarray
    rows: np.ndarray
    distances: np.ndarray


def places_of(corpus: Corpus, spaces: Mapping[str, Space], standing: Standing, num: int = 5) -> dict[str, Place]:
    """Place of a program in every space that has one for it, with its nearest rows.

    Raises
    ------
    ConfigurationError
        For a larger program, if a space was fitted on another grammar.
    """
    found = {}
    for name, space in spaces.items():
        at = _coordinates(corpus, space, standing)
        if not np.isnan(at).any():
            found[name] = Place(at, *nearest_rows(space.coordinates, at, num))
    return found


def _coordinates(corpus: Corpus, space: Space, standing: Standing) -> np.ndarray:
    if standing.program_id is not None:
        return space.of_programs(corpus, np.array([standing.program_id]))[0]
    if space.kind == SEMANTIC and (not standing.is_function or not len(standing.outputs)):
        return np.full(space.num_axes, np.nan)
    return embed(space, corpus.grammar, token_matrix([standing.program]))[0]


def nearest_rows(
    coordinates: np.ndarray, place: np.ndarray, num: int, *, among: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows nearest to a place by Euclidean distance, exactly: every row is asked, in blocks.

    Parameters
    ----------
    coordinates
        Of a space (rows, axes); rows with NaN are left out.
    place
        Where to look (axes,).
    num
        How many, at least 1; fewer if there are fewer.
    among
        The rows that are asked (n,), ascending; all by default.

    Returns
    -------
    tuple
        Rows (k,), nearest first, the smaller row of two at one distance (to 1e-5); and distances (k,), float64.
    """
    total = len(coordinates) if among is None else len(among)
    squares, place = np.empty(total, dtype=np.float32), place.astype(np.float32)
    for start in range(0, total, _ROWS_AT_ONCE):
        block = slice(start, min(total, start + _ROWS_AT_ONCE))
        rest = coordinates[block if among is None else among[block]] - place
        np.einsum("ij,ij->i", rest, rest, out=squares[block])
    squares[np.isnan(squares)] = np.inf
    last = np.partition(squares, num - 1)[num - 1] if num < total else np.inf
    near = np.flatnonzero((squares <= last * (1 + _TIE) + _TIE**2) & (squares < np.inf))
    distances = np.sqrt(squares[near].astype(np.float64))
    kept = np.argsort(np.round(distances / _TIE), kind="stable")[:num]
    return near[kept] if among is None else among[near[kept]], distances[kept]


# ---------------------------------------------------------------- in a split


def part_of(corpus: Corpus, spaces: Mapping[str, Space], split: Drawn, standing: Standing) -> str:
    """Part of a split that a program lies in, and the test sets that ask for its function, in words."""
    part = _part_of_program(corpus, spaces, split, standing)
    if standing.class_row == NO_CLASS:
        return part
    sought = standing.class_row if isinstance(split, SplitParts) else corpus.class_id[standing.class_row]
    tests = [name for name, members in split.tests.items() if (members == sought).any()]
    return f"{part}; its function is {'a task of ' + ', '.join(tests) if tests else 'no task'}"


def _part_of_program(corpus: Corpus, spaces: Mapping[str, Space], split: Drawn, standing: Standing) -> str:
    if standing.program_id is None:
        return _side_of_larger(corpus, spaces, split, standing)
    ids = np.array([standing.program_id])
    if isinstance(split, SplitParts):
        return CODES[split.program_codes(ids)[0]]
    return str(region_map(corpus, split, ids).iloc[0])


def _side_of_larger(corpus: Corpus, spaces: Mapping[str, Space], split: Drawn, standing: Standing) -> str:
    """On which side of the region a program lies that the split does not list."""
    larger = "none: larger than the universe"
    if isinstance(split, SplitParts) or not len(split.region):
        return larger
    try:
        is_outside = outside_test(corpus, spaces, split)(token_matrix([standing.program]))[0]
    except SplitError:  # the region holds whole functions of the universe
        return larger
    return f"{larger}, {'outside' if is_outside else 'inside'} the held-out region"


def training_texts(corpus: Corpus, split: Drawn) -> np.ndarray:
    """Ids of every text that a model of a split may be taught, ascending; of a preview those of its whole pool."""
    if isinstance(split, SplitParts):
        return np.flatnonzero(split.program_codes(np.arange(corpus.num_programs)) == TRAIN)
    return learned_texts(corpus, split)


def training_rows(corpus: Corpus, space: Space, texts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a space at which training texts stand (n,), ascending, and the least such text of each (n,)."""
    if space.kind != SEMANTIC:
        return texts, texts
    rows, first = np.unique(corpus.class_index[texts], return_index=True)
    return rows, texts[first]
