"""Many regions of one mass: the region is a random factor, so one region is one observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from synthlab.errors import ConfigurationError
from synthlab.spaces.space import SEMANTIC, Space
from synthlab.splits.boundaries import fit_boundary
from synthlab.splits.matching import texts_per_class
from synthlab.splits.regions import Region, centre_of, hold_out
from synthlab.universe.corpus import Corpus

_RULES = ("cluster", "quantile", "ball")
_DIRECTION_AXES = 8
_TRIES = 400
_TRIES_EACH = 8


def regions(
    corpus: Corpus, spaces: Mapping[str, Space], space: str, mass: float, num: int, *, rule: str = "cluster",
    num_clusters: int = 40, tolerance: float = 0.01, seed: int = 0,
) -> list[Region]:  # fmt: skip
    """Draw regions of equal mass, to be held out one at a time.

    Parameters
    ----------
    corpus, spaces
        The universe and its spaces.
    space
        Name of the space that is cut.
    mass
        Share of programs (syntactic) or classes (semantic) in every region.
    num
        How many regions.
    rule
        ``cluster``: unions of k-means clusters, drawn until their mass fits; ``quantile``: half-spaces along random
        directions; ``ball``: the nearest to a random program.
    num_clusters, tolerance
        How finely ``cluster`` cuts the space; how far any mass may be off.
    seed
        Decides the draw.

    Raises
    ------
    ConfigurationError
        If there are not so many distinct regions of this mass.
    """
    if rule not in _RULES:
        raise ConfigurationError(f"comparable regions of rule {rule!r}: choose from {', '.join(_RULES)}")
    if num < 1 or not 0 < mass < 1:
        raise ConfigurationError(f"{num} regions of mass {mass}: at least one, of a mass between 0 and 1")
    if seed < 0:
        raise ConfigurationError(f"seed {seed}: use a number from 0 on")
    generator = np.random.default_rng([seed, 11])
    if space not in spaces:
        raise ConfigurationError(f"there is no space {space!r}: choose from {', '.join(spaces)}")
    if rule == "cluster":
        return _unions(corpus, spaces, space, mass, num, num_clusters, tolerance, seed, generator)
    return _of_one_mass(corpus, spaces, space, mass, num, rule, tolerance, generator)


def _of_one_mass(
    corpus: Corpus, spaces: Mapping[str, Space], name: str, mass: float, num: int, rule: str, tolerance: float,
    generator: np.random.Generator,
) -> list[Region]:  # fmt: skip
    """Half-spaces or balls that hold the mass, ties or not, and different rows."""
    space, found = spaces[name], dict[bytes, Region]()
    placed = ~np.isnan(space.coordinates[:, 0])
    for _ in range(_TRIES_EACH * num):
        region = _half_space(space, name, mass, generator)
        if rule == "ball":
            region = _ball(corpus, space, name, mass, generator)
        rows = fit_boundary(region, space, centre_of(region, corpus, space)).contains(space.coordinates)
        if abs(rows.sum() / placed.sum() - mass) <= tolerance:
            found.setdefault(np.packbits(rows).tobytes(), region)
        if len(found) == num:
            return list(found.values())
    raise ConfigurationError(
        f"{len(found)} of {num} different regions of rule {rule!r} have mass {mass} within {tolerance}: "
        "use rule 'cluster', or a larger tolerance"
    )


def _half_space(space: Space, name: str, mass: float, generator: np.random.Generator) -> Region:
    """A direction that is uniform once every axis is measured in its own deviation."""
    num_axes = min(_DIRECTION_AXES, space.num_axes)
    deviation = np.nanstd(space.coordinates[:, :num_axes], axis=0, dtype=np.float64)
    weights = generator.normal(size=num_axes) / np.maximum(deviation, 1e-12)
    weights = np.round(weights / np.linalg.norm(weights), 6)
    direction = tuple(enumerate(weights.tolist()))
    return Region(space=name, rule="quantile", quantile=round(1 - mass, 6), direction=direction)


def _ball(corpus: Corpus, space: Space, name: str, mass: float, generator: np.random.Generator) -> Region:
    """The nearest to a random program, or to a random class's minimal text."""
    middle = generator.choice(np.flatnonzero(~np.isnan(space.coordinates[:, 0])))
    program = corpus.class_id[middle] if space.kind == SEMANTIC else middle
    return Region(space=name, rule="ball", centre=corpus.program(int(program)).infix_text(), share=mass)


def _unions(
    corpus: Corpus, spaces: Mapping[str, Space], name: str, mass: float, num: int, num_clusters: int,
    tolerance: float, seed: int, generator: np.random.Generator,
) -> list[Region]:  # fmt: skip
    whole = Region(space=name, rule="cluster", num_clusters=num_clusters, num_held=1, seed=seed)
    masses = cluster_masses(corpus, spaces, whole)
    found: dict[tuple[int, ...], None] = {}  # in the order found
    for _ in range(_TRIES * num):
        order = generator.permutation(len(masses))
        cut = int(np.searchsorted(masses[order].cumsum(), mass)) + 1
        for stop in (cut - 1, cut):
            held = tuple(sorted(order[:stop].tolist()))
            if 0 < stop < len(masses) and abs(masses[list(held)].sum() - mass) <= tolerance:
                found[held] = None
        if len(found) >= num:
            break
    if len(found) < num:
        raise ConfigurationError(
            f"{len(found)} of {num} unions of {len(masses)} clusters have mass {mass} within {tolerance}: "
            "use more clusters, or a larger tolerance"
        )
    return [replace(whole, held=held) for held in list(found)[:num]]


def cluster_masses(corpus: Corpus, spaces: Mapping[str, Space], region: Region) -> np.ndarray:
    """Share of programs (syntactic) or classes (semantic) in every cluster of a region of rule ``cluster``."""
    held = hold_out(region, corpus, spaces)
    boundary, space = held.surfaces[region.space], spaces[region.space]
    placed = space.coordinates[~np.isnan(space.coordinates[:, 0])]
    labels = boundary.nearest_centre(placed)
    return np.bincount(labels, minlength=len(boundary.numbers["centres"])) / len(placed)


def region_table(corpus: Corpus, spaces: Mapping[str, Space], chosen: Sequence[Region]) -> pd.DataFrame:
    """What every region holds, so that regions can be compared.

    Returns
    -------
    pandas.DataFrame
        region, programs and classes (shares inside), forced (classes all of whose texts lie inside) and its share,
        mean minimal size of the forced classes, roots (share of programs whose root operator is the region's
        commonest).
    """
    rows = []
    for region in chosen:
        inside = hold_out(region, corpus, spaces).inside
        within = texts_per_class(corpus, inside)
        forced = (within == corpus.multiplicity) & corpus.is_task
        roots = np.bincount(corpus.root[inside], minlength=1)
        rows.append({
            "region": region.describe(), "programs": float(inside.mean()), "classes": float((within > 0).mean()),
            "forced": int(forced.sum()), "forced_share": float(forced.mean()),
            "mean_size": float(corpus.minimal_size[forced].mean()) if forced.any() else np.nan,
            "commonest_root": float(roots.max() / max(1, roots.sum())),
        })  # fmt: skip
    return pd.DataFrame(rows)
