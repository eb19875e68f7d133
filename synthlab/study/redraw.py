"""A split again, from the few lines that decide it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from synthlab.errors import ConfigurationError
from synthlab.spaces.space import Space
from synthlab.splits.density import density_settings
from synthlab.splits.mcd import mcd_settings
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings
from synthlab.store import Store
from synthlab.study.trials import draw_split, spaces_read
from synthlab.study.workspace import Universe, Workspace
from synthlab.universe.corpus import Corpus

_SETTINGS: dict[str, Callable[..., dict[str, Any]]] = {
    "density": density_settings, "support": support_settings, "mcd": mcd_settings,
}  # fmt: skip


def redraw(
    kind: str, grammar: str, max_size: int, measure: str = "leaves", *, store: Store | None = None, **settings: Any
) -> Split:
    """Draw a split, or load it if the store has it.

    Parameters
    ----------
    kind
        ``density``, ``support`` or ``mcd``.
    grammar, max_size, measure
        The universe that it is drawn from.
    store
        Keeps universe, spaces and split; the default store if None.
    **settings
        Arguments of `density_settings`, `support_settings` (with its ``region``) or `mcd_settings`.

    Raises
    ------
    ConfigurationError
        For an unknown kind or setting.
    SplitError
        If these settings draw no split.
    """
    if kind not in _SETTINGS:
        raise ConfigurationError(f"unknown kind of split {kind!r}: choose from {', '.join(_SETTINGS)}")
    try:
        chosen = _SETTINGS[kind](**settings)
    except TypeError as error:
        raise ConfigurationError(f"{error}: look at help of {_SETTINGS[kind].__name__}") from None
    workspace, universe = Workspace(store or Store()), Universe(grammar=grammar, max_size=max_size, measure=measure)
    spaces = workspace.spaces(universe, spaces_read(kind, chosen))
    return draw_split(workspace.corpus(universe), spaces, workspace.store, kind, chosen)


def redrawing_lines(split: Split, corpus: Corpus, spaces: dict[str, Space]) -> str:
    """Lines of Python that draw the same split without anything else: three, unless spaces have their own settings."""
    given = _unusual(split)
    universe = Universe(grammar=corpus.grammar.name, max_size=corpus.max_size, measure=corpus.measure)
    read = spaces_read(split.kind, split.settings)
    usual = corpus.key == universe.corpus_key and all(spaces[name].key == universe.space_key(name) for name in read)
    region = [f"region = {_region_text(given.pop('region'))}"] if "region" in given else []
    arguments = [f"{name}={value!r}" for name, value in given.items()]
    if region:
        arguments.insert(0, "region=region")
    if usual:
        place = [repr(split.kind), repr(universe.grammar), repr(universe.max_size)]
        place += [repr(universe.measure)] if universe.measure != "leaves" else []
        names = "Region, redraw" if region else "redraw"
        return "\n".join(
            [f"from synthlab import {names}", *region, f"split = redraw({', '.join([*place, *arguments])})"]
        )
    return _long_lines(split, corpus, {name: spaces[name] for name in read}, region, arguments)


def _unusual(split: Split) -> dict[str, Any]:
    """Settings that differ from their defaults, and those without any."""
    declared = inspect.signature(_SETTINGS[split.kind]).parameters
    given = {name: value for name, value in split.settings.items() if name in declared}
    default = {name: list(p.default) if isinstance(p.default, tuple) else p.default for name, p in declared.items()}
    return {name: value for name, value in given.items() if value != default[name]}


def _region_text(settings: dict[str, Any]) -> str:
    default = {field.name: field.default for field in fields(Region)}
    region = Region(**settings)
    used = {name: getattr(region, name) for name in region.settings() if getattr(region, name) != default[name]}
    return f"Region({', '.join(f'{name}={value!r}' for name, value in used.items())})"


def _long_lines(split: Split, corpus: Corpus, spaces: dict[str, Space], region: list[str], arguments: list[str]) -> str:
    """The same with universe and spaces spelled out."""
    bound = f"{corpus.max_size}, measure={corpus.measure!r}, seed={corpus.seed}"
    fits = ", ".join(f"{name!r}: {_fit_text(space)}" for name, space in spaces.items())
    kind, places = split.kind, "" if split.kind == "mcd" else "spaces, "
    return "\n".join(
        [
            "from synthlab import Region, build_corpus, get_grammar",
            "from synthlab.spaces.semantic import fit_semantic",
            "from synthlab.spaces.syntactic import fit_syntactic",
            f"from synthlab.splits.{kind} import {kind}_settings, {kind}_split",
            f"corpus = build_corpus(get_grammar({corpus.grammar.name!r}), {bound})",
            f"spaces = {{{fits}}}",
            *region,
            f"split = {kind}_split(corpus, {places}{kind}_settings({', '.join(arguments)}))",
        ]
    )


def _fit_text(space: Space) -> str:
    arguments = {"weighting" if name == "weight" else name: value for name, value in space.settings.items()}
    return f"fit_{space.kind}(corpus, {', '.join(f'{name}={value!r}' for name, value in arguments.items())})"
