"""Support shifts: a region of a space is never trained on; what of it can still be reached?

Test sets (classes): `id` reserved, with a text outside the region; `open` reserved, with texts on both
sides (syntactic regions); `forced` all texts up to N inside the region; `matched_id` and `matched_forced`
subsets of id and forced with one joint histogram of size, degree and number of texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from sklearn.cluster import MiniBatchKMeans

from synthlab.errors import ConfigurationError, SplitError
from synthlab.language.identity import ResiduePoints
from synthlab.language.interpreter import evaluate
from synthlab.language.residues import combine_arrays
from synthlab.language.tracing import SUBTRACT
from synthlab.spaces.projection import distinct_rows
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.splits.density import draw_by_regime
from synthlab.splits.split import Split, check_pool, check_sizes, choose_targets, reserve_classes, training_pool
from synthlab.universe.corpus import Corpus

RESERVED_SHARE = 0.15
RULES = ("quantile", "cluster", "root", "box")
BOTH = "both"
_FIT_ROWS = 20_000
_MAX_DEGREE = 60


@dataclass(frozen=True, kw_only=True)
class Region:
    """A held-out region of a space, by rule.

    Parameters
    ----------
    space
        ``syntactic``, ``semantic`` or ``both`` (in either).
    rule
        ``quantile``: beyond a quantile of one axis; ``cluster``: some of k k-means clusters; ``root``:
        programs with one root operator (syntactic); ``box``: inside intervals of two axes (a brush).
    axis, quantile, above
        For ``quantile``; the quantile is taken over programs (syntactic) or classes (semantic).
    num_clusters, num_held, seed
        For ``cluster``: how many clusters there are and are held out, and the draw.
    root
        For ``root``: the operator.
    box
        For ``box``: (axis, low, high) for each bounded axis.
    """

    space: str = SYNTACTIC
    rule: str = "quantile"
    axis: int = 0
    quantile: float = 0.7
    above: bool = True
    num_clusters: int = 20
    num_held: int = 6
    seed: int = 0
    root: str = "*"
    box: tuple[tuple[int, float, float], ...] = ()

    def __post_init__(self) -> None:
        if self.space not in (SYNTACTIC, SEMANTIC, BOTH):
            raise ConfigurationError(f"unknown space {self.space!r}: choose syntactic, semantic or both")
        if self.rule not in RULES:
            raise ConfigurationError(f"unknown rule {self.rule!r}: choose from {', '.join(RULES)}")
        if self.rule == "root" and self.space != SYNTACTIC:
            raise ConfigurationError("a root operator is a region of the syntactic space: use space='syntactic'")
        if not 0 < self.quantile < 1:
            raise ConfigurationError(f"quantile {self.quantile}: use a number between 0 and 1")
        if not 0 < self.num_held < self.num_clusters:
            raise ConfigurationError(f"{self.num_held} of {self.num_clusters} clusters: hold out some, not all")
        if self.rule == "box" and not self.box:
            raise ConfigurationError("a box needs at least one (axis, low, high)")

    def settings(self) -> dict[str, Any]:
        """Only what the rule uses, so that equal regions have equal keys."""
        used = {
            "quantile": ("axis", "quantile", "above"),
            "cluster": ("num_clusters", "num_held", "seed"),
            "root": ("root",),
            "box": ("box",),
        }[self.rule]
        return {"space": self.space, "rule": self.rule} | {k: v for k, v in asdict(self).items() if k in used}

    def describe(self) -> str:
        """The rule in words."""
        return {
            "quantile": f"{self.space} axis {self.axis} {'>' if self.above else '<'} q{100 * self.quantile:.0f}",
            "cluster": f"{self.num_held} of {self.num_clusters} {self.space} clusters",
            "root": f"root operator {self.root}",
            "box": f"{self.space} box over axes {', '.join(str(b[0]) for b in self.box)}",
        }[self.rule]


def programs_in(region: Region, corpus: Corpus, spaces: Mapping[str, Space]) -> np.ndarray:
    """Mask of the programs inside a region, bool (P,); undefined programs are in no semantic region.

    Raises
    ------
    ConfigurationError
        For an unknown operator or axis.
    """
    if region.rule == "root":
        token = corpus.grammar.index.get(region.root, -1)
        if token < corpus.grammar.num_terminals:
            known = " ".join(corpus.grammar.tokens[corpus.grammar.num_terminals :])
            raise ConfigurationError(f"unknown root operator {region.root!r}: choose from {known}")
        return corpus.root == token
    inside = np.zeros(corpus.num_programs, dtype=bool)
    for kind in (SYNTACTIC, SEMANTIC) if region.space == BOTH else (region.space,):
        rows = _rows_in(region, spaces[kind])
        inside |= rows if kind == SYNTACTIC else np.append(rows, False)[corpus.class_index]
    return inside


def _rows_in(region: Region, space: Space) -> np.ndarray:
    placed = ~np.isnan(space.coordinates[:, 0])
    if region.rule == "quantile":
        values = space.axis(region.axis)
        bound = np.quantile(values[placed], region.quantile)
        return placed & (values > bound if region.above else values < bound)
    if region.rule == "box":
        return placed & np.all(
            [(space.axis(a) >= low) & (space.axis(a) <= high) for a, low, high in region.box], axis=0
        )
    vectors = space.coordinates
    fitted = vectors[distinct_rows(vectors, _FIT_ROWS, region.seed)]
    num_clusters = min(region.num_clusters, len(fitted))
    model = MiniBatchKMeans(num_clusters, random_state=region.seed, n_init=1, batch_size=4096).fit(fitted)
    held = np.random.default_rng([region.seed, 3]).permutation(num_clusters)[: region.num_held]
    labels = np.full(len(vectors), -1)
    labels[placed] = model.predict(vectors[placed])
    return np.isin(labels, held)


def support_settings(
    region: Region,
    *,
    num_train: int | None = None,
    num_test: int = 1000,
    regime: str = "random",
    num_cells: int = 100,
    reserved: float = RESERVED_SHARE,
    policy: str = "as sampled",
    seed: int = 0,
) -> dict[str, Any]:
    """Settings of a support split, for its key; `num_train` None takes the whole pool."""
    return dict(
        region=region.settings(),
        region_text=region.describe(),
        num_train=num_train,
        num_test=num_test,
        regime=regime,
        num_cells=num_cells,
        reserved=reserved,
        policy=policy,
        seed=seed,
    )


def support_split(
    corpus: Corpus, spaces: Mapping[str, Space], settings: dict[str, Any], *, inside: np.ndarray | None = None
) -> Split:
    """Draw a support split around a held-out region.

    Parameters
    ----------
    corpus, spaces
        The universe and its spaces by kind.
    settings
        From `support_settings`.
    inside
        The region as a mask over programs, if it is already known.

    Raises
    ------
    SplitError
        If the region is empty, holds everything, or leaves a pool smaller than the training set.
    """
    seed = settings["seed"]
    check_sizes(settings)
    region = Region(**_tuples(settings["region"]))
    held_out = programs_in(region, corpus, spaces) if inside is None else inside
    if not held_out.any() or held_out.all():
        where = "empty" if not held_out.any() else "the whole universe"
        raise SplitError(
            f"the region ({region.describe()}) is {where}: {int(held_out.sum()):,} of "
            f"{corpus.num_programs:,} programs; move its bounds"
        )
    reserved = reserve_classes(corpus, settings["reserved"], seed)
    pool = training_pool(corpus, reserved, held_out)
    num_train = len(pool) if settings["num_train"] is None else settings["num_train"]
    check_pool(
        pool,
        num_train,
        f"{int(held_out.sum()):,} of {corpus.num_programs:,} programs are held out and "
        f"{int(reserved.sum()):,} of {corpus.num_classes:,} classes reserved",
    )
    train = draw_by_regime(
        corpus, spaces, pool, settings["regime"], num_train, num_cells=settings["num_cells"], seed=seed
    )
    tests = _test_classes(corpus, reserved, held_out, is_semantic=region.space == SEMANTIC)
    tests |= matched_tests(corpus, tests, held_out, seed)
    tests = _at_most(tests, settings["num_test"], seed)
    return Split(
        "support",
        corpus.identity,
        settings,
        train,
        choose_targets(corpus, train, pool, settings["policy"]),
        {name: corpus.class_id[rows] for name, rows in tests.items()},
        corpus.class_id[reserved],
        np.packbits(held_out),
    )


def _tuples(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | ({"box": tuple(tuple(b) for b in settings["box"])} if "box" in settings else {})


def texts_per_class(corpus: Corpus, programs: np.ndarray) -> np.ndarray:
    """Number of texts of every class (C,) among the programs of a mask."""
    chosen = corpus.class_index[programs & (corpus.class_index >= 0)]
    return np.bincount(chosen, minlength=corpus.num_classes)


def _test_classes(
    corpus: Corpus, reserved: np.ndarray, held_out: np.ndarray, *, is_semantic: bool
) -> dict[str, np.ndarray]:
    outside, inside = texts_per_class(corpus, ~held_out) > 0, texts_per_class(corpus, held_out) > 0
    tests = {"id": reserved & outside, "forced": inside & ~outside & corpus.is_task}
    if not is_semantic:
        tests["open"] = reserved & outside & inside
    return {name: np.flatnonzero(mask) for name, mask in tests.items()}


def matched_tests(
    corpus: Corpus, tests: Mapping[str, np.ndarray], held_out: np.ndarray, seed: int
) -> dict[str, np.ndarray]:
    """Subsets of id and forced with exactly one joint histogram of size, degree and number of texts.

    Texts are those that count as right answers: outside the region for id, all up to N for forced, in bins
    of a factor of four. Entry k of one subset lies in the same bin as entry k of the other.
    """
    degree = total_degrees(corpus)
    texts = {"id": texts_per_class(corpus, ~held_out), "forced": corpus.multiplicity}
    bins: dict[str, np.ndarray] = {}
    for name, counts in texts.items():
        rows = tests[name]
        bins[name] = np.stack([corpus.minimal_size[rows], degree[rows], np.log2(counts[rows]).astype(int) // 2], axis=1)
    generator = np.random.default_rng([seed, 4])
    pairs: dict[str, list[np.ndarray]] = {"id": [], "forced": []}
    for cell in np.unique(np.concatenate([bins["id"], bins["forced"]]), axis=0):
        alike = {name: tests[name][(bins[name] == cell).all(axis=1)] for name in bins}
        num = min(map(len, alike.values()))
        for name in pairs:
            pairs[name].append(generator.permutation(alike[name])[:num])
    return {f"matched_{name}": np.concatenate(parts).astype(np.int64) for name, parts in pairs.items()}


def total_degrees(corpus: Corpus) -> np.ndarray:
    """Total degree of every class as a polynomial (C,); -1 where it is none, or its degree exceeds 60.

    Operators without a field function have no degree: all classes of their grammars get -1.

    A polynomial of degree d has vanishing (d+1)-th differences along any line; they are taken modulo the
    prime on a random line, which is exact but for a chance below 1e-17.
    """
    degree = np.full(corpus.num_classes, -1, dtype=np.int64)
    if not corpus.grammar.exact:
        return degree
    for num_points in (int(corpus.class_leaves.max()) + 2, _MAX_DEGREE + 2):
        rows = np.flatnonzero(degree < 0)
        degree[rows] = _degrees_on_line(corpus, rows, num_points)
    return degree


def _degrees_on_line(corpus: Corpus, rows: np.ndarray, num_points: int) -> np.ndarray:
    """Degrees up to `num_points` - 2 of some classes; -1 where it is larger."""
    grammar = corpus.grammar
    draws = np.random.default_rng(5).integers(2, 1 << 60, size=(2, len(grammar.variables)))
    line = [tuple(Fraction(int(a) + t * int(b)) for a, b in zip(*draws, strict=True)) for t in range(num_points)]
    values = evaluate(grammar, corpus.prefix[corpus.class_id[rows]], ResiduePoints(grammar, line))
    degree = np.full(len(rows), -1, dtype=np.int64)
    for order in range(num_points - 1):
        values = combine_arrays(SUBTRACT, values[:, 1:], values[:, :-1])
        degree[(degree < 0) & (values == 0).all(axis=1)] = order
    return degree


def _at_most(tests: dict[str, np.ndarray], num_test: int, seed: int) -> dict[str, np.ndarray]:
    """Uniform subsets of at most `num_test` classes; matched pairs stay pairs."""
    order = {name: np.random.default_rng([seed, 6]).permutation(len(rows))[:num_test] for name, rows in tests.items()}
    return {name: rows[order[name]] for name, rows in tests.items()}


def region_map(corpus: Corpus, split: Split, program_ids: np.ndarray) -> pd.Series:
    """Part of the split that each program belongs to: train, reserved, held out, or unused."""
    held_out = split.held_out(corpus.num_programs)[program_ids]
    reserved = np.isin(corpus.class_index[program_ids], corpus.class_rows(split.reserved))
    trained = np.isin(program_ids, split.train)
    return pd.Series(np.select([held_out, reserved, trained], ["held out", "reserved", "train"], "unused"))
