"""Held-out regions as values: a rule on the axes of a space, or on what the texts contain.

A region is data: its settings are JSON, so equal regions have equal keys, and a region drawn on one
universe can be asked of the texts of a larger one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import Grammar
from synthlab.language.measure import sizes_of
from synthlab.language.program import parse
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.splits import constructs
from synthlab.splits.boundaries import Boundary, fit_boundary
from synthlab.splits.split import stratified_classes
from synthlab.universe.corpus import Corpus
from synthlab.universe.counting import rank

SHAPE = "shape"
"""Name of a syntactic space without labels among the spaces (`fit_syntactic` with ``labels="shape"``)."""
BOTH = "both"
_SPACES = (SYNTACTIC, SEMANTIC, SHAPE, BOTH)
SPATIAL_RULES = {
    "quantile": ("axis", "quantile", "above", "direction"),
    "shell": ("inner", "outer"),
    "ball": ("centre", "share"),
    "hull": ("num_axes", "share"),
    "cluster": ("num_clusters", "num_held", "seed", "held"),
    "box": ("box",),
}
"""Rules on coordinates, and the parameters that each reads."""
TEXT_RULES = {
    "root": ("root",),
    "subtree": ("subtree",),
    "size": ("size",),
    "mixed": ("groups",),
    "order": ("upper", "lower"),
    "composed": ("operator",),
    "operand": ("operator", "operand", "place"),
}
"""Rules on texts, and the parameters that each reads."""
PLACEBO = "placebo"
RULES = (*SPATIAL_RULES, *TEXT_RULES, PLACEBO)
_READ = SPATIAL_RULES | TEXT_RULES | {PLACEBO: ("share", "seed")}
_UNSAID = {"direction", "held", "place"}  # said only where they are used, so that older keys stay


@dataclass(frozen=True, kw_only=True)
class Region:
    """A held-out region, by rule.

    Parameters
    ----------
    space
        ``syntactic``, ``semantic``, ``both`` (in either), or ``shape`` (the syntactic space without labels).
        Rules on texts are syntactic.
    rule
        On coordinates: ``quantile``, the half-space beyond a quantile of an axis or direction; ``shell``, between
        two quantiles of the distance to the mean; ``ball``, the nearest to one program; ``hull``, outside the
        convex hull of the most central; ``cluster``, some of k k-means clusters; ``box``, inside intervals of
        axes (a brush).
        On texts: ``root``, one root operator; ``subtree``, programs that contain one (the operands of commutative
        operators have no order); ``size``, programs larger than a size; ``mixed``, operators of more than one
        group; ``order``, an operator of one group somewhere below one of another; ``composed``, an operator
        together with any other operation; ``operand``, a token as operand of an operator.
        ``placebo`` (semantic): classes by lot, stratified by size. Nothing shifts, so any drop is an artefact.
    axis, quantile, above, direction
        For ``quantile``, which is taken over programs (syntactic) or classes (semantic). `direction` replaces the axis
        by a weighted sum of axes, as (axis, weight) pairs.
    inner, outer
        For ``shell``: quantiles of the distance to the mean between which programs are held out.
    centre, share
        For ``ball``: the program in the middle, as text, and the share of programs or classes held out.
    num_axes, share
        For ``hull``: leading axes that span it, and the share that lies outside or on it.
    share, seed
        For ``placebo``: the share of classes held out, and the draw.
    num_clusters, num_held, seed, held
        For ``cluster``: how many clusters there are and are held out, and the draw; or which ones, by number.
    box
        For ``box``: (axis, low, high) for each bounded axis.
    root, subtree, size
        For the rules of these names: an operator, a program as text, a size in the universe's measure.
    groups, upper, lower
        Operators, as tuples of symbols: for ``mixed`` the groups, for ``order`` those above and below.
    operator, operand, place
        For ``composed`` and ``operand``; `place` 0 is the first operand, None any.
    """

    space: str = SYNTACTIC
    rule: str = "quantile"
    axis: int = 0
    quantile: float = 0.7
    above: bool = True
    direction: tuple[tuple[int, float], ...] = ()
    inner: float = 0.7
    outer: float = 1.0
    centre: str = "x"
    share: float = 0.3
    num_axes: int = 2
    num_clusters: int = 20
    num_held: int = 6
    seed: int = 0
    held: tuple[int, ...] = ()
    box: tuple[tuple[int, float, float], ...] = ()
    root: str = "*"
    subtree: str = "x * y"
    size: int = 1
    groups: tuple[tuple[str, ...], ...] = (("+", "-"), ("*",))
    upper: tuple[str, ...] = ("*",)
    lower: tuple[str, ...] = ("+", "-")
    operator: str = "*"
    operand: str = "2"
    place: int | None = None

    def __post_init__(self) -> None:
        for name in ("direction", "box", "groups", "held", "upper", "lower"):  # lists, as JSON has them, are as good
            object.__setattr__(self, name, _tuples(name, getattr(self, name)))
        self._check_kinds()
        if self.space not in _SPACES:
            raise ConfigurationError(f"unknown space {self.space!r}: choose from {', '.join(_SPACES)}")
        if self.rule not in RULES:
            raise ConfigurationError(f"unknown rule {self.rule!r}: choose from {', '.join(RULES)}")
        if self.is_textual and self.space != SYNTACTIC:
            raise ConfigurationError(f"a rule on texts ({self.rule}) is a region of the syntactic space")
        if self.rule == PLACEBO and self.space != SEMANTIC:
            raise ConfigurationError("a placebo holds out whole classes: use space='semantic'")
        for name, rule in (("held", "cluster"), ("direction", "quantile"), ("box", "box")):
            if getattr(self, name) and self.rule != rule:
                raise ConfigurationError(f"{name} belongs to the rule {rule!r}, not to {self.rule!r}: leave it out")
        try:
            self._check_numbers()
        except (TypeError, ValueError) as error:
            if isinstance(error, ConfigurationError):
                raise
            raise ConfigurationError(f"box {self.box}, direction {self.direction}: use numbers ({error})") from None

    def _check_kinds(self) -> None:
        for name in ("space", "rule", "centre", "root", "subtree", "operator", "operand"):
            if not isinstance(getattr(self, name), str):
                raise ConfigurationError(f"{name} {getattr(self, name)!r}: use a text")
        for name in ("quantile", "share", "inner", "outer"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int | float | np.floating):
                raise ConfigurationError(f"{name} {number!r}: use a number")
        groups = [word for group in self.groups for word in (group if isinstance(group, tuple) else (group, None))]
        words = {"groups": groups, "upper": self.upper, "lower": self.lower}
        if not isinstance(self.above, bool | np.bool_):
            raise ConfigurationError(f"above {self.above!r}: use True or False")
        if wrong := [name for name, found in words.items() if not all(isinstance(w, str) for w in found)]:
            raise ConfigurationError(f"{wrong[0]} {getattr(self, wrong[0])!r}: write operators as texts")

    def _check_numbers(self) -> None:
        if any(len(part) != 3 for part in self.box) or any(len(part) != 2 for part in self.direction):
            raise ConfigurationError("a box is written (axis, low, high) per axis, a direction (axis, weight)")
        whole = {name: getattr(self, name) for name in ("axis", "seed", "num_clusters", "num_held", "num_axes", "size")}
        whole |= {"place": 0 if self.place is None else self.place}
        whole |= {f"held[{k}]": number for k, number in enumerate(self.held)}
        whole |= {f"box[{k}]": part[0] for k, part in enumerate((*self.box, *self.direction))}
        for name, number in whole.items():
            if isinstance(number, bool) or not isinstance(number, int | np.integer):
                raise ConfigurationError(f"{name} {number!r}: use a whole number")
        if min(self.seed, self.place or 0, self.size) < 0:
            raise ConfigurationError(f"{whole}: use numbers from 0 on")
        bounds = [float(x) for part in self.box for x in part[1:]]
        if np.isnan(bounds).any() or not np.isfinite([float(weight) for _, weight in self.direction]).all():
            raise ConfigurationError(f"box {self.box}, direction {self.direction}: use numbers")
        for name, number in (("quantile", self.quantile), ("share", self.share)):
            if not 0 < number < 1:
                raise ConfigurationError(f"{name} {number}: use a number between 0 and 1")
        if not 0 <= self.inner < self.outer <= 1 or (self.inner, self.outer) == (0, 1):
            raise ConfigurationError(f"a shell from {self.inner} to {self.outer}: use 0 <= inner < outer <= 1, not all")
        num_held = len(set(self.held)) or self.num_held
        if not 0 < num_held < self.num_clusters:
            raise ConfigurationError(f"{num_held} of {self.num_clusters} clusters: hold out some, not all")
        if self.held and not 0 <= min(self.held) <= max(self.held) < self.num_clusters:
            raise ConfigurationError(f"clusters are numbered 0 to {self.num_clusters - 1}, not {max(self.held)}")
        if self.num_axes < 2:
            raise ConfigurationError(f"a convex hull over {self.num_axes} axes: use at least 2")
        if self.rule == "box" and not self.box:
            raise ConfigurationError("a box needs at least one (axis, low, high)")

    @property
    def is_textual(self) -> bool:
        """Whether the rule reads texts, not coordinates."""
        return self.rule in TEXT_RULES

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of the spaces that decide the region; none for rules on texts."""
        if self.rule not in SPATIAL_RULES:
            return ()
        return (SYNTACTIC, SEMANTIC) if self.space == BOTH else (self.space,)

    @property
    def other_space(self) -> str:
        """Name of the metric space that does not decide the region; empty for regions of both."""
        return {SEMANTIC: SYNTACTIC, BOTH: ""}.get(self.space, SEMANTIC)

    def settings(self) -> dict[str, Any]:
        """Only what the rule uses, so that equal regions have equal keys."""
        used = _READ[self.rule]
        if self.held:
            used = ("num_clusters", "seed", "held")  # nothing is drawn
        if self.direction:
            used = ("quantile", "above", "direction")  # no single axis
        given = {name: value for name, value in asdict(self).items() if name in used}
        empty = {name for name in _UNSAID & given.keys() if given[name] in ((), None)}
        return {"space": self.space, "rule": self.rule} | {k: v for k, v in given.items() if k not in empty}

    def describe(self) -> str:
        """The rule in words."""
        of = f"{self.space} axis {self.axis}"
        if self.direction:
            of = f"{self.space} direction {_sum(self.direction)}"
        held = len(self.held) or self.num_held
        operand = f"{self.operand} under {self.operator}" + ("" if self.place is None else f" at place {self.place}")
        return {
            "quantile": f"{of} {'>' if self.above else '<'} q{100 * self.quantile:.0f}",
            "shell": f"{self.space} shell q{100 * self.inner:.0f} to q{100 * self.outer:.0f}",
            "ball": f"{self.share:.0%} nearest {self.centre} ({self.space})",
            "hull": f"{self.share:.0%} outside the {self.space} hull of {self.num_axes} axes",
            "cluster": f"{held} of {self.num_clusters} {self.space} clusters",
            "box": f"{self.space} box over axes {', '.join(str(b[0]) for b in self.box)}",
            "root": f"root operator {self.root}",
            "subtree": f"subtree {self.subtree}",
            "size": f"size above {self.size}",
            "mixed": f"mixed {' with '.join(' '.join(group) for group in self.groups)}",
            "order": f"{' '.join(self.lower)} below {' '.join(self.upper)}",
            "composed": f"{self.operator} with another operation",
            "operand": operand,
            PLACEBO: f"{self.share:.0%} of the classes by lot",
        }[self.rule]


def _tuples(name: str, value: Any) -> Any:
    """Nested lists as tuples; what is no list is refused."""
    if not isinstance(value, list | tuple):
        raise ConfigurationError(f"{name} {value!r}: write a list")
    return tuple(tuple(part) if isinstance(part, list | tuple) else part for part in value)


def read_region(assignments: Iterable[str], **given: Any) -> Region:
    """A region from texts such as ``share=0.2``, with values in JSON (words need no quotes), and other parameters.

    Raises
    ------
    ConfigurationError
        For a text that sets no parameter of a region.
    """
    known = [field.name for field in fields(Region)]
    for text in assignments:
        name, _, value = text.partition("=")
        if name not in known or not value:
            raise ConfigurationError(f"region {text!r}: write NAME=VALUE with a name of {', '.join(known)}")
        try:
            given[name] = json.loads(value)
        except json.JSONDecodeError:
            given[name] = value
    return Region(**given)


def _sum(direction: tuple[tuple[int, float], ...]) -> str:
    largest = sorted(direction, key=lambda pair: -abs(pair[1]))[:2]
    return " ".join(f"{weight:+.2f}·{axis}" for axis, weight in largest) + (" ..." if len(direction) > 2 else "")


def texts_in(region: Region, grammar: Grammar, prefix: np.ndarray, measure: str = "leaves") -> np.ndarray:
    """Mask (P,) of the texts inside a region whose rule reads texts.

    Raises
    ------
    ConfigurationError
        For operators or tokens that the grammar lacks.
    """
    _check_tokens(region, grammar)
    if region.rule == "root":
        return prefix[:, 0] == grammar.index[region.root]
    if region.rule == "subtree":
        return constructs.has_subtree(grammar, prefix, parse(grammar, region.subtree))
    if region.rule == "size":
        return sizes_of(grammar, prefix, measure) > region.size
    if region.rule == "mixed":
        return constructs.has_mix(grammar, prefix, region.groups)
    if region.rule == "order":
        return constructs.has_below(grammar, prefix, region.upper, region.lower)
    if region.rule == "composed":
        return constructs.has_composed(grammar, prefix, region.operator)
    return constructs.has_operand(grammar, prefix, region.operator, region.operand, region.place)


def _check_tokens(region: Region, grammar: Grammar) -> None:
    named = {
        "root": [region.root],
        "mixed": [symbol for group in region.groups for symbol in group],
        "order": [*region.upper, *region.lower],
        "composed": [region.operator],
        "operand": [region.operator],
    }.get(region.rule, [])
    operators = grammar.tokens[grammar.num_terminals :]
    for symbol in named:
        if symbol not in operators:
            what = "root operator" if region.rule == "root" else "operator"
            raise ConfigurationError(f"unknown {what} {symbol!r}: choose from {' '.join(operators)}")
    if region.rule == "operand" and region.operand not in grammar.tokens:
        raise ConfigurationError(f"unknown operand {region.operand!r}: choose from {' '.join(grammar.tokens)}")
    sides = {"mixed": region.groups, "order": (region.upper, region.lower)}.get(region.rule)
    if sides is not None and (len(sides) < 2 or not all(sides)):
        raise ConfigurationError(f"a region of rule {region.rule!r} needs operators on both sides")


def boundaries(region: Region, corpus: Corpus, spaces: Mapping[str, Space]) -> dict[str, Boundary]:
    """The surfaces that a rule on coordinates means in these spaces, by name; empty for other rules.

    Raises
    ------
    ConfigurationError
        If a space is not there, or has no such axis or centre.
    """
    found = {}
    for kind in region.kinds:
        if kind not in spaces:
            fit = f"fit_syntactic(corpus, labels={kind!r})" if kind == SHAPE else f"fit_{kind}(corpus)"
            raise ConfigurationError(f"the region needs the {kind} space: add {{{kind!r}: {fit}}} to the spaces")
        space = spaces[kind]
        found[kind] = fit_boundary(region, space, centre_of(region, corpus, space))
    return found


def centre_of(region: Region, corpus: Corpus, space: Space) -> np.ndarray | None:
    """Place of the program in the middle of a ball; None for other rules."""
    if region.rule != "ball":
        return None
    program = parse(corpus.grammar, region.centre)
    row = np.array([program.prefix], dtype=np.uint8)
    size = int(sizes_of(corpus.grammar, row, corpus.measure)[0])
    if size > corpus.max_size:
        raise ConfigurationError(
            f"the centre {region.centre!r} has {size} {corpus.measure}, the universe {corpus.max_size}: "
            "choose a smaller one"
        )
    place = int(rank(corpus.grammar, row, corpus.max_size, corpus.measure)[0])
    if space.kind == SEMANTIC:
        place = int(corpus.class_index[place])
    coordinates = space.coordinates[place]
    if place < 0 or np.isnan(coordinates[0]):
        raise ConfigurationError(f"the centre {region.centre!r} is undefined as a function: choose another")
    return coordinates


@dataclass(frozen=True, eq=False)
class HeldOut:
    """A region as it lies in one universe.

    Attributes
    ----------
    region
        The rule.
    inside
        Mask over the programs (P,), bool; undefined programs are in no semantic region.
    surfaces
        From `boundaries`.
    """

    region: Region
    inside: np.ndarray
    surfaces: dict[str, Boundary]


def hold_out(region: Region, corpus: Corpus, spaces: Mapping[str, Space]) -> HeldOut:
    """Ask a region of every program of a universe.

    Raises
    ------
    ConfigurationError
        For an unknown operator, axis or space.
    """
    if region.is_textual:
        return HeldOut(region, texts_in(region, corpus.grammar, corpus.prefix, corpus.measure), {})
    if region.rule == PLACEBO:
        rows = stratified_classes(corpus, region.share, np.random.default_rng([region.seed, 9]))
        return HeldOut(region, np.append(rows, False)[corpus.class_index], {})
    inside, surfaces = np.zeros(corpus.num_programs, dtype=bool), boundaries(region, corpus, spaces)
    for kind, boundary in surfaces.items():
        rows = boundary.contains(spaces[kind].coordinates)
        inside |= np.append(rows, False)[corpus.class_index] if spaces[kind].kind == SEMANTIC else rows
    return HeldOut(region, inside, surfaces)


def programs_in(region: Region, corpus: Corpus, spaces: Mapping[str, Space]) -> np.ndarray:
    """Mask of the programs inside a region, bool (P,); see `hold_out`."""
    return hold_out(region, corpus, spaces).inside
