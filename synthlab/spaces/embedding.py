"""Places of programs that a space was not fitted on: larger ones, a model's candidates, a user's own."""

from __future__ import annotations

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.interpreter import grid_outputs
from synthlab.spaces.semantic import scaled, z_scores
from synthlab.spaces.space import SYNTACTIC, Space
from synthlab.spaces.syntactic import bag_coordinates, known_counts, row_scales, settings_grams

_ROWS_AT_ONCE = 1 << 16


def embed(space: Space, grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    """Places of programs by the projection that a space was fitted with, (P, axes) float32.

    Members of the universe land where they were fitted. A pq-gram that no fitted program has counts in the
    length of the bag, but no axis has a loading for it: what is new is drawn towards the origin. In the semantic
    space a program is placed by its own outputs, NaN if it has none at all.

    Parameters
    ----------
    space
        A fitted space.
    grammar
        The grammar that it was fitted on.
    prefix
        Padded token matrix (P, L), each row one complete tree of any size.

    Raises
    ------
    ConfigurationError
        If the space was fitted on another grammar.
    """
    fitted = bytes(space.model["grammar"]).decode() if space.model else "none"
    if fitted != grammar.digest:
        raise ConfigurationError(f"the space was fitted on grammar {fitted}, not {grammar.digest}: fit it again")
    place = _by_text if space.kind == SYNTACTIC else _by_outputs
    places = np.empty((len(prefix), space.num_axes), dtype=np.float32)
    for start in range(0, len(prefix), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        places[rows] = place(space, grammar, prefix[rows])
    return places


def _by_text(space: Space, grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    counts = known_counts(grammar, prefix, settings_grams(space.settings), space.model["codes"])
    weights = space.model["weights"]
    return bag_coordinates(counts, weights, row_scales(counts, weights, space.settings["weight"]), space.axes)


def _by_outputs(space: Space, grammar: Grammar, prefix: np.ndarray) -> np.ndarray:
    outputs, model = grid_outputs(grammar, prefix), space.model
    scores = z_scores(scaled(outputs, space.settings["scaling"], model), model["mean"], model["deviation"])
    places = scores @ space.axes
    places[np.isnan(outputs).all(axis=1)] = np.nan
    return places
