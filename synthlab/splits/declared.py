"""What a split declares of itself, held against its saved ids: a leak need not be a common function.

Ids and masks that no universe has, items that are repeated, targets that the policy does not teach, too few reserved
functions, matched tests that are not alike: each makes a number of the study mean something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from synthlab.splits.constructs import count_tokens
from synthlab.splits.evidence import NUM_NAMED, Evidence, Finding, among
from synthlab.splits.matching import text_bins, total_degrees_of
from synthlab.splits.regions import PLACEBO, Region
from synthlab.splits.split import RANDOM_TEXT, Split

PRACTICE = "practice"
_KINDS = ("density", "support", "mcd", PRACTICE)


def malformed(split: Split, num_programs: int) -> list[Finding]:
    """What makes ids and masks unreadable; nothing else can be checked of such a split."""
    parts = {"train": split.train, "targets": split.targets, "reserved": split.reserved, **split.tests}
    found = [_strangers(name, ids, num_programs) for name, ids in parts.items()]
    missing = abs(len(np.ravel(split.train)) - len(np.ravel(split.targets)))
    found.append(("training program without a target", missing, ()))
    sizes = {(num_programs + 7) // 8} if split.kind in ("support", "mcd") else {0}
    if split.kind == PRACTICE:  # of any of these
        sizes = {0, (num_programs + 7) // 8}
    is_mask = split.region.dtype == np.uint8 and split.region.ndim == 1 and len(split.region) in sizes
    found.append(("mask of another universe", int(not is_mask), ()))
    found.append(("kind of split that does not exist", int(split.kind not in _KINDS), (split.kind,)))
    return [finding for finding in found if finding[1]]


def _strangers(name: str, ids: np.ndarray, num_programs: int) -> Finding:
    whole = ids.ndim == 1 and np.issubdtype(ids.dtype, np.integer)
    strange = ids[(ids < 0) | (ids >= num_programs)] if whole else np.ravel(ids)
    num = len(strange) if whole else max(1, len(strange))
    return f"{name}: no id of the universe's {num_programs:,} programs", num, tuple(map(str, strange[:NUM_NAMED]))


def declared(split: Split, evidence: Evidence, held_out: np.ndarray) -> list[Finding]:
    """Findings on what the settings say of train, targets, tests and reserved functions.

    Parameters
    ----------
    split, evidence
        What is checked, and what its ids are.
    held_out
        Mask of the held-out programs (P,), recomputed where that can be done.
    """
    if split.kind == PRACTICE:  # teaches what was found, as often as it likes: `study.practice` asks its parent
        return []
    least = evidence.least_of(split.train)
    named = np.concatenate([split.reserved, *split.tests.values()])
    named = np.unique(named[evidence.all_functions[named] >= 0])
    found = [
        _other_targets(split, evidence, held_out),
        evidence.finding("training program that is repeated", _repeated_training(split, evidence)),
        evidence.finding(
            "training function with a pole on the grid",
            split.train[evidence.poles(np.where(least < 0, split.train, least))],
        ),
        evidence.finding("function that is not named by its least text", named[evidence.least_of(named) != named]),
    ]
    if split.kind == "mcd":
        return [*found, *_repeated_tests(split, evidence), *_compounds(split, evidence, held_out)]
    found.append(_unequal_shares(evidence, split.reserved, split.settings["reserved"], "reserved"))
    if split.kind == "support":
        region, given = Region(**split.settings["region"]), split.settings.get("spaces", {})
        if region.rule == PLACEBO:
            held = evidence.least[held_out[evidence.least]]
            found += [_torn(evidence, held_out), _unequal_shares(evidence, held, region.share, "held-out")]
        missing = tuple(kind for kind in region.kinds if kind not in given)
        found.append(("region of a space that the split does not name", len(missing), missing))
        found += [*_repeated_tests(split, evidence), *_matched(split, evidence, held_out)]
    return found


def _repeated_tests(split: Split, evidence: Evidence) -> list[Finding]:
    """Functions that are asked twice; those of density tests may be, which draw programs."""
    return [evidence.finding(f"{name} function that is repeated", _repeated(ids)) for name, ids in split.tests.items()]


def _repeated(ids: np.ndarray) -> np.ndarray:
    unique, counts = np.unique(ids, return_counts=True)
    return unique[counts > 1]


def _repeated_training(split: Split, evidence: Evidence) -> np.ndarray:
    """Training programs that are there twice; few show an operator alone, so those may be where a share of them is."""
    repeated = _repeated(split.train)
    if split.settings.get("share_alone"):
        order = np.argsort(split.train, kind="stable")
        taught = split.targets[order[np.searchsorted(split.train, repeated, sorter=order)]]
        token = evidence.grammar.index[split.settings["region"]["operator"]]
        repeated = repeated[~(evidence.texts(taught) == token).any(axis=1)]
    return repeated


def _other_targets(split: Split, evidence: Evidence, held_out: np.ndarray) -> Finding:
    """Training programs whose target is another text than the policy teaches."""
    policy = split.settings["policy"]
    if policy in ("as sampled", RANDOM_TEXT):
        wanted = split.train
    elif split.kind == "mcd" and policy != "minimal":  # the least of those drawn, which no file says
        wanted = split.targets
    else:
        wanted = evidence.least_of(split.train, None if policy == "minimal" or split.kind == "mcd" else ~held_out)
    same = evidence.all_functions[split.targets] == evidence.all_functions[split.train]  # others are another finding
    other = split.train[same & (split.targets != wanted)]
    return evidence.finding(f"target that the policy {policy!r} does not teach", other)


def _unequal_shares(evidence: Evidence, chosen: np.ndarray, share: float, what: str) -> Finding:
    """How many functions of some size there are more or less among those chosen than the share that was to be."""
    tasks = evidence.least[~evidence.poles(evidence.least)]
    sizes, taken, off, names = evidence.sizes(tasks), among(tasks, chosen), 0, []
    for size in np.unique(sizes):
        wanted, found = round(share * int((sizes == size).sum())), int(taken[sizes == size].sum())
        off += abs(wanted - found)
        names += [f"size {size}: {found:,}, not {wanted:,}"] if wanted != found else []
    return f"{what} functions that are not {share:.3g} of every size", off, tuple(names[:NUM_NAMED])


def _torn(evidence: Evidence, held_out: np.ndarray) -> Finding:
    """Functions of which only some texts are held out, where whole ones are to be."""
    functions = evidence.all_functions
    inside = np.unique(functions[held_out])
    torn = np.flatnonzero(~held_out & among(functions, inside[inside >= 0]))
    return evidence.finding("text outside the region of a function inside it", torn)


def _compounds(split: Split, evidence: Evidence, held_out: np.ndarray) -> list[Finding]:
    """The region of an MCD split holds whole reserved functions: those of `compound`, none of `id`."""
    inside = evidence.least[held_out[evidence.least]]
    nothing = np.empty(0, dtype=np.int64)
    outside, within = split.tests.get("compound", nothing), split.tests.get("id", nothing)
    return [
        _torn(evidence, held_out),
        evidence.finding("function of the region that is not reserved", inside[~among(inside, split.reserved)]),
        evidence.finding("compound function outside the region", outside[~held_out[outside]]),
        evidence.finding("id function inside the region", within[held_out[within]]),
    ]


# ---------------------------------------------------------------- matched tests


def _matched(split: Split, evidence: Evidence, held_out: np.ndarray) -> list[Finding]:
    """Entry k of one matched test is like entry k of the other in everything that they are matched by."""
    pair = [split.tests.get(f"matched_{name}", np.empty(0, dtype=np.int64)) for name in ("id", "forced")]
    if len(pair[0]) != len(pair[1]):
        return [("matched test without its pair", abs(len(pair[0]) - len(pair[1])), ())]
    texts = [_num_texts(evidence, ids, mask) for ids, mask in zip(pair, (~held_out, None), strict=True)]
    found = []
    for name in split.settings["match"]:
        one, two = (_PROPERTIES[name](evidence, ids, num) for ids, num in zip(pair, texts, strict=True))
        differs = (np.atleast_2d(one.T) != np.atleast_2d(two.T)).any(axis=0)
        found.append(evidence.finding(f"matched pair that differs in {name}", pair[1][differs]))
    return found


def _num_texts(evidence: Evidence, ids: np.ndarray, allowed: np.ndarray | None) -> np.ndarray:
    """Texts (n,) of the function of every id, among those of a mask."""
    functions = evidence.all_functions if allowed is None else evidence.all_functions[allowed]
    unique, counts = np.unique(functions, return_counts=True)
    if not len(ids) or not len(unique):
        return np.zeros(len(ids), dtype=np.int64)
    asked = evidence.all_functions[ids]
    at = np.minimum(np.searchsorted(unique, asked), len(unique) - 1)
    return np.where(unique[at] == asked, counts[at], 0)


_PROPERTIES: Mapping[str, Callable[[Evidence, np.ndarray, np.ndarray], np.ndarray[Any, Any]]] = {
    "size": lambda evidence, ids, texts: evidence.sizes(ids),
    "degree": lambda evidence, ids, texts: total_degrees_of(evidence.grammar, evidence.texts(ids)),
    "texts": lambda evidence, ids, texts: text_bins(texts),
    "root": lambda evidence, ids, texts: evidence.texts(ids)[:, 0],
    "operators": lambda evidence, ids, texts: _counts(evidence, ids)[:, evidence.grammar.num_terminals :],
    "labels": lambda evidence, ids, texts: _counts(evidence, ids)[:, : evidence.grammar.num_terminals],
}  # the properties of `matching`, of the least texts


def _counts(evidence: Evidence, ids: np.ndarray) -> np.ndarray:
    return count_tokens(evidence.grammar, evidence.texts(ids))
