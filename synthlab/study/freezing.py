"""Drawing the benchmark: support splits whose tests become frozen tasks."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from synthlab.assessment.ceiling import ceiling
from synthlab.assessment.tasks import tasks_of
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import get_grammar
from synthlab.language.interpreter import evaluate_exact
from synthlab.language.program import Program
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.audit import audit_corpus
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import RESERVED_SHARE, support_settings, support_spaces, support_split
from synthlab.study.benchmark import SCHEMA, Benchmark, json_rows
from synthlab.universe.corpus import Corpus, build_corpus

PARTS = ("id", "matched_id", "open", "forced", "matched_forced")
"""Parts of a split; those of an isolated one are ``isolated_id`` and ``isolated_forced``."""
_ISOLATED = ("id", "forced")
_FIT: dict[str, Callable[[Corpus], Space]] = {SYNTACTIC: fit_syntactic, SEMANTIC: fit_semantic}
_HIDDEN = ["class_id", "fingerprint_0", "fingerprint_1"]


@dataclass(frozen=True, kw_only=True)
class Domain:
    """One universe of the benchmark, and how its tasks are drawn.

    Parameters
    ----------
    grammar, max_size
        The language, and the bound N in leaves.
    regions
        Held-out regions by the name that their tasks bear.
    isolated
        Names of the regions that are also drawn isolated.
    num_tasks
        Largest number of tasks a part.
    reserved, seed
        Share of classes reserved, and the seed of every draw.
    """

    grammar: str
    max_size: int
    regions: Mapping[str, Region] = field(
        default_factory=lambda: {"root": Region(rule="root", root="*"), "cluster": Region(rule="cluster")}
    )
    isolated: Sequence[str] = ("root",)
    num_tasks: int = 200
    reserved: float = RESERVED_SHARE
    seed: int = 0

    def settings(self, region: str, *, isolated: bool) -> dict[str, Any]:
        """Settings of one support split, as JSON; its training set is all that may be learned."""
        drawn = support_settings(
            self.regions[region], num_test=self.num_tasks, reserved=self.reserved, seed=self.seed, isolated=isolated
        )
        plain: dict[str, Any] = json.loads(json.dumps(drawn))
        return plain


DOMAINS = (Domain(grammar="polynomial", max_size=5), Domain(grammar="rational", max_size=4))
"""What the committed benchmark is drawn from."""


def build_benchmark(domains: Sequence[Domain] = DOMAINS) -> Benchmark:
    """Draw all splits and freeze their tests as tasks; a pure function of the domains.

    Raises
    ------
    ConfigurationError
        For a grammar whose identity is not exact.
    SplitError
        If a split cannot be drawn or isolated, or leaks.
    """
    about: dict[str, Any] = {"schema": SCHEMA, "domains": {}, "splits": {}, "parts": []}
    tables: list[pd.DataFrame] = []
    training: dict[str, np.ndarray] = {}
    for domain in domains:
        corpus = build_corpus(get_grammar(domain.grammar), domain.max_size)
        about["domains"][domain.grammar] = _described(corpus)
        for name, region, split in _drawn(domain, corpus):
            frozen = _frozen(split)
            about["splits"][name] = {**_counts(corpus, split), "region": region}
            about["parts"] += _parts(corpus, name, region, frozen)
            tables += [_table(corpus, name, region, part, ids) for part, ids in frozen.items()]
            mask = np.zeros(corpus.num_programs, dtype=bool)
            mask[split.train] = True
            training[name] = np.packbits(mask)
    everything = pd.concat(tables, ignore_index=True)
    return Benchmark(about, everything.drop(columns=_HIDDEN), everything[["task", *_HIDDEN]], training)


def _drawn(domain: Domain, corpus: Corpus) -> Iterator[tuple[str, str, Split]]:
    """Name, region and split of everything that is held out in a domain, audited."""
    spaces: dict[str, Space] = {}
    for region, isolated in [(r, False) for r in domain.regions] + [(r, True) for r in domain.isolated]:
        settings = domain.settings(region, isolated=isolated)
        used = support_spaces(settings)
        spaces |= {kind: _FIT[kind](corpus) for kind in used if kind not in spaces}
        split = support_split(corpus, spaces, settings)
        audit_corpus(split, corpus, {kind: spaces[kind] for kind in used}).require()
        yield f"{domain.grammar}-{region}" + "-isolated" * isolated, region, split


def _frozen(split: Split) -> dict[str, np.ndarray]:
    """Class ids of every part that has tasks, in the order drawn."""
    isolated = split.settings["isolated"]
    parts = {("isolated_" * isolated) + part: split.tests[part] for part in (_ISOLATED if isolated else PARTS)}
    return {part: ids for part, ids in parts.items() if len(ids)}


def _described(corpus: Corpus) -> dict[str, Any]:
    """What a solver has to know of a universe."""
    grammar = corpus.grammar
    if not grammar.exact:
        raise ConfigurationError(f"grammar {grammar.name!r} is no benchmark: its functions are equal on probes only")
    return {
        **corpus.identity, "variables": list(grammar.variables), "constants": list(grammar.constants),
        "operators": [o.symbol for o in grammar.operators],
        "grid": [[str(v) for v in axis] for axis in grammar.grid.axes],
        "programs": corpus.num_programs, "functions": corpus.num_classes,
    }  # fmt: skip


def _counts(corpus: Corpus, split: Split) -> dict[str, Any]:
    """What is said of a split; its settings as they are given, without the keys of the spaces."""
    settings = {name: value for name, value in split.settings.items() if name != "spaces"}
    return {
        "grammar": corpus.grammar.name, "region_text": settings["region_text"], "isolated": settings["isolated"],
        "kind": split.kind, "settings": settings, "key": split.key, "programs": len(split.train),
        "functions": len(np.unique(corpus.class_index[split.train])),
    }  # fmt: skip


def _parts(corpus: Corpus, split: str, region: str, frozen: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Number of tasks per part, and what no solver can pass."""
    bounds = ceiling(corpus, {part: tasks_of(corpus, ids) for part, ids in frozen.items()})
    table = bounds.assign(grammar=corpus.grammar.name, region=region, split=split)
    columns = ["grammar", "region", "part", "split", "num_tasks", "ambiguous_on_grid", "best_possible"]
    return json_rows(table[columns].rename(columns={"num_tasks": "tasks"}))


def _table(corpus: Corpus, split: str, region: str, part: str, class_ids: np.ndarray) -> pd.DataFrame:
    """Tasks of one part with what only the checker may know."""
    rows = corpus.class_rows(class_ids)
    prefix = f"{corpus.grammar.name}-{region}-{part}"
    return pd.DataFrame({
        "task": [f"{prefix}-{number:04d}" for number in range(len(rows))], "grammar": corpus.grammar.name,
        "region": region, "part": part, "split": split, "bound": corpus.max_size, "leaves": corpus.class_leaves[rows],
        "outputs": [exact_outputs(corpus.program(int(k))) for k in class_ids], "class_id": class_ids,
        "fingerprint_0": corpus.fingerprints[rows, 0], "fingerprint_1": corpus.fingerprints[rows, 1],
    })  # fmt: skip


def exact_outputs(program: Program) -> list[str]:
    """Values of a program on its grammar's grid as text: whole numbers, or ``num/den`` in lowest terms."""
    grammar = program.grammar
    points = [dict(zip(grammar.variables, point, strict=True)) for point in grammar.grid.points]
    return [str(evaluate_exact(program, point)) for point in points]
