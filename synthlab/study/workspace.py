"""Universes and their spaces by name: loaded if they were made before, made once if not."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from synthlab.errors import ConfigurationError
from synthlab.language.grammar import get_grammar
from synthlab.spaces.semantic import fit_semantic, semantic_settings
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.spaces.syntactic import fit_syntactic, syntactic_settings
from synthlab.splits.regions import SHAPE, Region
from synthlab.store import Store, content_key
from synthlab.universe.corpus import Corpus, build_corpus


@dataclass(frozen=True, kw_only=True)
class Universe:
    """Which programs there are: a grammar by name, and the bound N of a measure of size."""

    grammar: str = "polynomial"
    max_size: int = 4
    measure: str = "leaves"

    @property
    def corpus_key(self) -> str:
        """Key of its corpus, without building it."""
        described = Corpus.describe(get_grammar(self.grammar), self.max_size, self.measure)
        return content_key(Corpus.stage, Corpus.schema, described)

    def space_key(self, name: str) -> str:
        """Key of one of its spaces, without fitting it."""
        kind, settings, _ = _SPACES[name]
        return content_key(Space.stage, Space.schema, Space.describe(kind, self.corpus_key, settings()))

    def __str__(self) -> str:
        return f"{self.grammar}, <= {self.max_size} {self.measure}"


_SPACES: dict[str, tuple[str, Callable[[], dict[str, Any]], Callable[[Corpus], Space]]] = {
    SYNTACTIC: (SYNTACTIC, syntactic_settings, lambda corpus: fit_syntactic(corpus)),
    SEMANTIC: (SEMANTIC, semantic_settings, lambda corpus: fit_semantic(corpus)),
    SHAPE: (
        SYNTACTIC,
        lambda: syntactic_settings(labels="shape"),
        lambda corpus: fit_syntactic(corpus, labels="shape"),
    ),
}
SPACES = tuple(_SPACES)
"""Spaces that every universe has: syntactic, semantic, and syntactic without labels."""


class Workspace:
    """Universes and spaces of one store; each is opened once.

    Parameters
    ----------
    store
        Where they are kept.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._corpora: dict[Universe, Corpus] = {}
        self._spaces: dict[tuple[Universe, str], Space] = {}
        self.drawn: dict[tuple[Any, ...], list[Region]] = {}
        """Regions drawn so far, by what they were drawn from."""

    def corpus(self, universe: Universe) -> Corpus:
        """Every program of a universe."""
        if universe not in self._corpora:
            grammar = get_grammar(universe.grammar)

            def build() -> Corpus:
                return build_corpus(grammar, universe.max_size, measure=universe.measure)

            self._corpora[universe] = self.store.cached(Corpus, universe.corpus_key, build)
        return self._corpora[universe]

    def spaces(self, universe: Universe, names: Iterable[str] = (SYNTACTIC, SEMANTIC)) -> dict[str, Space]:
        """Spaces of a universe by name.

        Raises
        ------
        ConfigurationError
            For a name that is not one of `SPACES`.
        """
        return {name: self._space(universe, name) for name in names}

    def _space(self, universe: Universe, name: str) -> Space:
        if name not in _SPACES:
            raise ConfigurationError(f"there is no space {name!r}: choose from {', '.join(SPACES)}")
        if (universe, name) not in self._spaces:
            fit = _SPACES[name][2]
            found = self.store.cached(Space, universe.space_key(name), lambda: fit(self.corpus(universe)))
            self._spaces[universe, name] = found
        return self._spaces[universe, name]
