"""Leakage audit: recomputed from the saved ids and the grammar alone, never from what the splitter knew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthlab.errors import ArtifactError, SplitError
from synthlab.language.grammar import Grammar, get_grammar
from synthlab.language.identity import fingerprints
from synthlab.language.program import Program
from synthlab.language.residues import UNDEFINED_RESIDUE
from synthlab.splits.split import Split
from synthlab.universe.corpus import Corpus
from synthlab.universe.counting import program_counts, unrank
from synthlab.universe.hashing import KeyNumbers

_NUM_NAMED = 3


@dataclass(frozen=True)
class AuditReport:
    """Result of an audit: one finding per check.

    Attributes
    ----------
    findings
        (check, number of offenders, a few of them as text), in the order checked.
    """

    findings: tuple[tuple[str, int, tuple[str, ...]], ...]

    @property
    def passed(self) -> bool:
        """Whether no check found an offender."""
        return all(num == 0 for _, num, _ in self.findings)

    def frame(self) -> pd.DataFrame:
        """Checks with their offenders."""
        rows = [(check, num, "; ".join(names)) for check, num, names in self.findings]
        return pd.DataFrame(rows, columns=["check", "offenders", "examples"])

    def require(self) -> None:
        """Refuse a split that leaks.

        Raises
        ------
        SplitError
            Naming the failed checks and some offenders.
        """
        failed = [f"{check}: {num:,} ({'; '.join(names)})" for check, num, names in self.findings if num]
        if failed:
            raise SplitError(f"the split leaks - {' | '.join(failed)} - draw it again")


class _Evidence:
    """Texts and functions of a split's parts, recomputed from ids."""

    def __init__(self, split: Split, grammar: Grammar) -> None:
        self.grammar, self.seed = grammar, split.corpus["seed"]
        self.bound = split.corpus["max_size"], split.corpus["measure"]
        self.num_programs = sum(program_counts(grammar, *self.bound))
        self.numbers = KeyNumbers()

    def texts(self, ids: np.ndarray) -> np.ndarray:
        return unrank(self.grammar, ids, *self.bound)

    def functions(self, ids: np.ndarray) -> np.ndarray:
        """Functions as numbers that are equal where they are; -1 where there is none."""
        keys = fingerprints(self.grammar, self.texts(ids), self.seed)
        return self.numbers.number(keys, UNDEFINED_RESIDUE)[0]

    def finding(self, check: str, ids: np.ndarray) -> tuple[str, int, tuple[str, ...]]:
        shown = self.texts(ids[:_NUM_NAMED]) if len(ids) else ()
        return check, len(ids), tuple(Program.from_row(self.grammar, row).infix_text() for row in shown)


def audit(split: Split, grammar: Grammar | None = None) -> AuditReport:
    """Check a split for leaks.

    Checks: parts are not empty; no training or target text computes a tested or reserved function; targets
    compute what their programs compute; no training or target text lies in the held-out region (root
    regions are recomputed from the texts, others are taken from the saved mask); no forced function has a text
    outside the region, and every ID function has one.

    Raises
    ------
    ArtifactError
        If the grammar is not the one the split was drawn with.
    """
    grammar = grammar or get_grammar(split.corpus["grammar"])
    if grammar.digest != split.corpus["digest"]:
        raise ArtifactError(
            f"the split was drawn with grammar {split.corpus['digest']}, not {grammar.digest}: draw it again"
        )
    evidence = _Evidence(split, grammar)
    seen = np.unique(np.concatenate([split.train, split.targets]))
    seen_functions = evidence.functions(seen)
    tested = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *split.tests.values()]))
    needed = {"train", "id"} if split.kind == "support" else {"train", *split.tests}
    empty = [name for name, ids in {"train": split.train, **split.tests}.items() if name in needed and not len(ids)]
    differs = evidence.functions(split.train) != evidence.functions(split.targets)
    findings = [
        (f"empty part {', '.join(empty)}" if empty else "empty part", len(empty), ()),
        evidence.finding("tested function in training", seen[np.isin(seen_functions, evidence.functions(tested))]),
        evidence.finding(
            "reserved function in training", seen[np.isin(seen_functions, evidence.functions(split.reserved))]
        ),
        evidence.finding("target computes another function", split.train[differs]),
    ]
    if split.kind == "support":
        findings += _region_findings(split, evidence, seen)
    return AuditReport(tuple(findings))


def _region_findings(split: Split, evidence: _Evidence, seen: np.ndarray) -> list[tuple[str, int, tuple[str, ...]]]:
    held_out = split.held_out(evidence.num_programs)
    rule = split.settings["region"]
    if rule["rule"] == "root":
        root = evidence.texts(np.arange(evidence.num_programs))[:, 0]
        held_out = held_out | (root == evidence.grammar.index[rule["root"]])
    outside = np.flatnonzero(~held_out)
    outside_functions = evidence.functions(outside)
    nothing = np.empty(0, dtype=np.int64)
    forced, in_distribution = (split.tests.get(part, nothing) for part in ("forced", "id"))
    reachable = forced[np.isin(evidence.functions(forced), outside_functions)]
    unreachable = in_distribution[~np.isin(evidence.functions(in_distribution), outside_functions)]
    return [
        evidence.finding("held-out text in training", seen[held_out[seen]]),
        evidence.finding("forced function with a text outside the region", reachable),
        evidence.finding("ID function without a text outside the region", unreachable),
    ]


def audit_corpus(split: Split, corpus: Corpus) -> AuditReport:
    """Audit a split that belongs to a corpus.

    Raises
    ------
    ArtifactError
        If the split was drawn on another corpus.
    """
    if split.corpus != corpus.identity:
        raise ArtifactError("the split was drawn on another corpus: draw it again, or load its corpus")
    return audit(split, corpus.grammar)
