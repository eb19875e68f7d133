"""Leakage audit: recomputed from the saved ids, the grammar and the spaces, not from what the splitter knew.

Taken on trust is only which functions are reserved (not how many of every size) and which programs an MCD split drew;
and the mask of a region cut in spaces where these are neither given nor those of the default settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from synthlab.errors import ArtifactError, SplitError
from synthlab.language.grammar import Grammar, get_grammar
from synthlab.language.program import parse
from synthlab.spaces.embedding import embed
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.space import SEMANTIC, SYNTACTIC, Space
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.boundaries import fit_boundary
from synthlab.splits.declared import declared, malformed
from synthlab.splits.evidence import ROWS_AT_ONCE, Evidence, Finding, among
from synthlab.splits.isolation import MAX_AUC, settled
from synthlab.splits.regions import SHAPE, Region, texts_in
from synthlab.splits.separability import classifier_auc
from synthlab.splits.split import RANDOM_TEXT, Split
from synthlab.universe.corpus import Corpus

MAX_FITTED = 500_000
"""Programs of the largest universe whose spaces an audit fits by itself."""
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class AuditReport:
    """Result of an audit: one finding per check.

    Attributes
    ----------
    findings
        (check, number of offenders, a few of them as text), in the order checked.
    """

    findings: tuple[Finding, ...]

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


def audit(split: Split, grammar: Grammar | None = None, spaces: Mapping[str, Space] | None = None) -> AuditReport:
    """Check a split for leaks.

    Checks: parts are not empty; no tested text, tree up to the order of commutative operands, function, or
    behaviour on 64 hidden inputs is in training (nor any reserved function); targets compute what their programs
    compute; everything is a function, and tested ones have no poles on the grid; tests other than forced are of
    reserved functions; no training or target text lies in the held-out region; no forced function has a text outside
    it, every ID function has one, and open functions have both; matched tests are parts of theirs; all is as the
    settings declare (`declared.declared`). Regions whose rule reads texts are recomputed from the texts. Others are
    taken from the saved mask; where the spaces are given, their surface is fitted anew and asked of a fresh embedding
    of all texts of training and tests, and an isolated
    split must be one.

    Parameters
    ----------
    split
        What is checked: training programs, targets and tests alike.
    grammar
        By default the registered grammar of the split's universe.
    spaces
        The spaces that the split was drawn with.

    Raises
    ------
    ArtifactError
        If the grammar or a space is not the one that the split was drawn with.
    """
    grammar = grammar or get_grammar(split.corpus["grammar"])
    if grammar.digest != split.corpus["digest"]:
        raise ArtifactError(
            f"the split was drawn with grammar {split.corpus['digest']}, not {grammar.digest}: draw it again"
        )
    evidence = Evidence(split, grammar)
    if broken := malformed(split, evidence.num_programs):
        return AuditReport(tuple(broken))
    trained = np.zeros(evidence.num_programs, dtype=bool)
    trained[split.train] = trained[split.targets] = True
    if split.settings["policy"] == RANDOM_TEXT and split.kind != "mcd":  # every text that may be drawn is taught
        functions = evidence.all_functions
        trained |= among(functions, functions[split.targets]) & ~split.held_out(evidence.num_programs)
    seen = np.flatnonzero(trained)
    held_out = _held_out(split, evidence)
    findings = [_empty_parts(split), *_leaks(split, evidence, seen), *declared(split, evidence, held_out)]
    if split.kind == "support":
        findings += _region_findings(split, evidence, seen, held_out)
        if spaces is not None:
            findings += _space_findings(split, evidence, seen, spaces)
    return AuditReport(tuple(findings))


def _empty_parts(split: Split) -> Finding:
    needed = {"train", "id"} if split.kind == "support" else {"train", *split.tests}
    empty = [name for name, ids in {"train": split.train, **split.tests}.items() if name in needed and not len(ids)]
    return (f"empty part {', '.join(empty)}" if empty else "empty part"), len(empty), ()


def _leaks(split: Split, evidence: Evidence, seen: np.ndarray) -> list[Finding]:
    """What training knows of the tests."""
    tested = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *split.tests.values()]))
    functions, tested_functions = evidence.functions(seen), evidence.functions(tested)
    reserved = evidence.functions(split.reserved)
    at = np.searchsorted(seen, split.train), np.searchsorted(seen, split.targets)
    differs = functions[at[0]] != functions[at[1]]
    unreserved = [ids for name, ids in split.tests.items() if "forced" not in name or split.kind == "density"]
    named = np.unique(np.concatenate([split.reserved, tested]))
    kept_apart = np.unique(np.concatenate([np.empty(0, dtype=np.int64), *unreserved]))
    checks = [
        ("tested text in training", seen[among(seen, tested)]),
        ("tested tree in training, but for the order of operands",
         seen[among(evidence.canonical(seen), evidence.canonical(tested))]),
        ("tested function in training", seen[among(functions, tested_functions)]),
        ("tested function on hidden inputs in training",
         seen[among(evidence.hidden_keys(seen), evidence.hidden_keys(tested))]),
        ("reserved function in training", seen[among(functions, reserved)]),
        ("test function that was not reserved", kept_apart[~among(evidence.functions(kept_apart), reserved)]),
        ("target computes another function", split.train[differs]),
        ("training text that is no function", seen[functions < 0]),
        ("test function with a pole on the grid", tested[evidence.poles(tested)]),
        ("class id that is no function", named[evidence.functions(named) < 0]),
    ]  # fmt: skip
    return [evidence.finding(check, ids) for check, ids in checks]


def _held_out(split: Split, evidence: Evidence) -> np.ndarray:
    """Mask of the held-out programs (P,), from the texts where the region's rule reads them."""
    if split.kind == "support" and (region := Region(**split.settings["region"])).is_textual:
        everything = evidence.texts(np.arange(evidence.num_programs))
        return texts_in(region, evidence.grammar, everything, evidence.bound[1])
    return split.held_out(evidence.num_programs)


def _region_findings(split: Split, evidence: Evidence, seen: np.ndarray, held_out: np.ndarray) -> list[Finding]:
    """What training and the tests have to do with the held-out region, over all texts of the universe."""
    findings = []
    if Region(**split.settings["region"]).is_textual:
        wrong = np.flatnonzero(split.held_out(evidence.num_programs) != held_out)
        findings = [evidence.finding("saved mask that is not the region's", wrong)]
    functions = evidence.all_functions
    findings.append(evidence.finding("held-out text in training", seen[held_out[seen]]))
    inside, outside = (np.unique(functions[mask]) for mask in (held_out, ~held_out))
    for part, ids in split.tests.items():
        found = functions[ids]
        reached, held = among(found, outside), among(found, inside)
        if "forced" in part:
            findings.append(evidence.finding(f"{part} function with a text outside the region", ids[reached]))
        else:
            findings.append(evidence.finding(f"{part} function without a text outside the region", ids[~reached]))
        if part == "open":
            findings.append(evidence.finding("open function without a text in the region", ids[~held]))
        whole = split.tests.get(part.removeprefix("matched_"), ids)
        if part.startswith("matched_") and len(ids) <= len(whole) < split.settings["num_test"]:
            findings.append(evidence.finding(f"{part} function that its test lacks", ids[~among(ids, whole)]))
    return findings


def _space_findings(split: Split, evidence: Evidence, seen: np.ndarray, spaces: Mapping[str, Space]) -> list[Finding]:
    """The saved mask against the region's surface, fitted anew and asked of freshly embedded texts."""
    for kind, key in split.settings.get("spaces", {}).items():
        if kind not in spaces or spaces[kind].key != key:
            raise ArtifactError(f"the split was drawn with {kind} space {key}: fit it with the same settings")
    findings, region = [], Region(**split.settings["region"])
    if region.kinds:
        tested = np.unique(np.concatenate([split.reserved, *split.tests.values()]))
        everything = np.arange(evidence.num_programs)
        of_tests = everything[among(evidence.all_functions, evidence.functions(tested))]
        asked = np.union1d(seen, of_tests)
        asked = asked[~evidence.poles(asked)]  # which stand elsewhere than their function
        margin = _margin(region, evidence, spaces, asked)
        masked = split.held_out(evidence.num_programs)[asked]
        wrong = np.where(masked, margin < -_TOLERANCE, margin > _TOLERANCE)
        findings = [evidence.finding("saved mask that is not the surface's", asked[wrong])]
    if split.settings["isolated"]:
        findings.append(_isolation(split, evidence, spaces[region.other_space]))
    return findings


def _margin(region: Region, evidence: Evidence, spaces: Mapping[str, Space], ids: np.ndarray) -> np.ndarray:
    """Largest margin (n,) of freshly embedded texts over the spaces that decide the region."""
    surfaces = {}
    for kind in region.kinds:
        centre = None
        if region.rule == "ball":
            row = np.array([parse(evidence.grammar, region.centre).prefix], dtype=np.uint8)
            centre = embed(spaces[kind], evidence.grammar, row)[0]
        surfaces[kind] = fit_boundary(region, spaces[kind], centre)
    margins = np.full(len(ids), -np.inf)
    for start in range(0, len(ids), ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        prefix = evidence.texts(ids[rows])
        for kind, surface in surfaces.items():
            margins[rows] = np.fmax(margins[rows], surface.margin(embed(spaces[kind], evidence.grammar, prefix)))
    return margins


def _isolation(split: Split, evidence: Evidence, space: Space) -> Finding:
    """How well the space that does not decide the region tells training, id and forced apart, embedded afresh."""
    taught = np.random.default_rng(0).permutation(split.targets)[:ROWS_AT_ONCE]
    sides = [
        (settled(embed(space, evidence.grammar, evidence.texts(ids))), evidence.functions(ids))
        for ids in (taught, split.tests["id"], split.tests["forced"])
    ]
    found = [classifier_auc(one[0], two[0], one[1], two[1]) for one, two in itertools.combinations(sides, 2)]
    worst = max(found, key=lambda auc: auc.value)
    # drawn below the bound, estimated anew on other folds: refused where it is surely above
    return f"isolated split that the other space separates (AUC {worst.value:.2f})", int(worst.low > MAX_AUC), ()


def audit_corpus(split: Split, corpus: Corpus, spaces: Mapping[str, Space] | None = None) -> AuditReport:
    """Audit a split that belongs to a corpus.

    Spaces that are not given are fitted anew where the universe is small enough for that, and the split was drawn
    with those of the default settings.

    Raises
    ------
    ArtifactError
        If the split was drawn on another corpus.
    """
    if split.corpus != corpus.identity:
        raise ArtifactError("the split was drawn on another corpus: draw it again, or load its corpus")
    return audit(split, corpus.grammar, _spaces(split, corpus) if spaces is None else spaces)


_FIT: dict[str, Callable[[Corpus], Space]] = {
    SYNTACTIC: fit_syntactic,
    SEMANTIC: fit_semantic,
    SHAPE: lambda corpus: fit_syntactic(corpus, labels="shape"),
}
_FITTED: dict[str, tuple[str, Space]] = {}  # the last one of every kind, and its corpus


def _spaces(split: Split, corpus: Corpus) -> dict[str, Space] | None:
    """The spaces that decide a region, fitted anew; None where there are none, or they would not be the split's."""
    named = split.settings.get("spaces", {}) if split.kind == "support" else {}
    if not named or corpus.num_programs > MAX_FITTED:
        return None
    for kind in named:
        if kind not in _FIT:
            return None
        if kind not in _FITTED or _FITTED[kind][0] != corpus.key:
            _FITTED[kind] = corpus.key, _FIT[kind](corpus)
    found = {kind: _FITTED[kind][1] for kind in named}
    return found if {kind: space.key for kind, space in found.items()} == dict(named) else None
