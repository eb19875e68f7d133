"""What must be the same on any machine, and what may differ by rounding; runs on a Python that has no torch.

``python digests.py OUT`` writes ``OUT.json`` (digests of everything exact) and ``OUT.npz`` (floats, and the splits
that are drawn from them). With the option ``--golden`` the digests become the committed ones.
"""

import functools
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from synthlab.assessment.correctness import STATUSES, check
from synthlab.assessment.metrics import pass_at_k
from synthlab.assessment.tasks import Candidates, tasks_of
from synthlab.doctor import corpus_digest
from synthlab.language.grammar import PAD, PIECEWISE, POLYNOMIAL, RATIONAL
from synthlab.language.interpreter import grid_outputs
from synthlab.spaces.compounds import compound_bags
from synthlab.spaces.pqgrams import profiles
from synthlab.spaces.semantic import fit_semantic
from synthlab.spaces.space import Space
from synthlab.spaces.syntactic import fit_syntactic
from synthlab.splits.compositional import compositional_settings
from synthlab.splits.density import density_settings, density_split
from synthlab.splits.regions import Region
from synthlab.splits.split import Split
from synthlab.splits.support import support_settings, support_split
from synthlab.universe.corpus import Corpus, build_corpus, function_table
from synthlab.universe.counting import program_counts
from synthlab.universe.sampling import sample_programs

GOLDEN = Path(__file__).with_name("golden.json")
UNIVERSES = (
    (POLYNOMIAL, 4, "leaves"), (POLYNOMIAL, 7, "nodes"), (POLYNOMIAL, 2, "depth"),
    (RATIONAL, 3, "leaves"), (PIECEWISE, 3, "leaves"),
)  # fmt: skip
REGIONS = (
    Region(rule="root", root="*"), Region(rule="size", size=3), Region(rule="subtree", subtree="x*x"),
    Region(rule="operand", operator="*", operand="3"), Region(rule="placebo", space="semantic"),
)  # fmt: skip


def sha256(*parts: object) -> str:
    """Digest of arrays (in little-endian order, with type and shape) and of JSON values."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            array = part.astype(part.dtype.newbyteorder("<"))
            digest.update(f"{array.dtype.str}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        else:
            digest.update(json.dumps(part, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


def split_digest(split: Split) -> str:
    """Digest of the programs and classes of a split."""
    arrays = {name: value for name, value in split.payload().items() if isinstance(value, np.ndarray)}
    return sha256(*(part for name in sorted(arrays) for part in (name, arrays[name])))


@functools.cache
def spaces_of(corpus: Corpus) -> dict[str, Space]:
    """Both spaces of a universe, fitted once."""
    return {"syntactic": fit_syntactic(corpus), "semantic": fit_semantic(corpus)}


def candidates_of(corpus: Corpus, num_tasks: int, num_samples: int) -> Candidates:
    """Answers by rule, which stand for stored ones: programs, and rows of tokens that are none."""
    task, rank = np.divmod(np.arange(num_tasks * num_samples), num_samples)
    rows = corpus.prefix[(task * 7919 + rank * 104_729) % corpus.num_programs].copy()
    known = rank % 4 == 0  # a right answer now and then
    rows[known] = corpus.prefix[corpus.class_id[task[known] % corpus.num_classes]]
    rows[rank % 5 == 3, 1:] = PAD
    rows[rank % 5 == 3, 0] = corpus.grammar.num_terminals  # and an operator without operands
    return Candidates(task, rank, rows, np.full(len(task), np.nan), independent=True)


def _universes() -> Iterator[tuple[str, str]]:
    yield "universe of the doctor", corpus_digest(build_corpus(POLYNOMIAL, 3))
    for grammar, size, measure in UNIVERSES:
        corpus, name = build_corpus(grammar, size, measure=measure), f"{grammar.name} {size} {measure}"
        yield f"universe {name}", corpus_digest(corpus)
        yield f"key {name}", corpus.key
    for grammar, size in ((POLYNOMIAL, 5), (RATIONAL, 4)):
        table = function_table(grammar, size)
        yield f"functions {grammar.name} {size}", sha256(table.tokens, table.operands, table.keys, table.counts())
    for grammar in (POLYNOMIAL, RATIONAL, PIECEWISE):
        yield f"counts {grammar.name} 60", sha256([str(n) for n in program_counts(grammar, 60)])
    yield "sample polynomial 30", sha256(sample_programs(POLYNOMIAL, 30, 200, seed=1))


def _read_off(corpus: Corpus) -> Iterator[tuple[str, str]]:
    outputs = grid_outputs(corpus.grammar, corpus.prefix[corpus.class_id])
    assert (outputs == np.rint(outputs)).all()
    yield "integer outputs", sha256(outputs.astype(np.int64))
    grams = profiles(corpus.grammar, corpus.prefix[:20_000])
    yield "pq-grams", sha256(grams.codes, grams.counts)
    bags = compound_bags(corpus.grammar, corpus.prefix[:5_000])
    yield "compounds", sha256(list(bags.names), bags.occurrences.toarray().sum(axis=0))


def _splits(corpus: Corpus) -> Iterator[tuple[str, str]]:
    for region in REGIONS:
        settings = support_settings(region, num_train=1_000, num_test=100, reserved=0.25)
        yield f"split {region.rule}", split_digest(support_split(corpus, {}, settings))
    for category in ("compose", "order", "new operation"):
        settings = compositional_settings(category, corpus.grammar, corpus.max_size, corpus.measure, num_test=100)
        split = support_split(corpus, {}, settings)
        yield f"split {category}", split_digest(split)
        yield f"key {category}", split.key
    for regime in ("random", "class"):
        settings = density_settings(regime=regime, num_train=2_000, num_test=200)
        split = density_split(corpus, spaces_of(corpus), settings)  # the other regimes' tests are drawn from spaces
        yield f"split density {regime}", sha256(split.train, split.tests["random"], split.tests["class"])


def _pass_at_k(corpus: Corpus) -> Iterator[tuple[str, str]]:
    tasks = tasks_of(corpus, corpus.class_id[:200])
    found = check(tasks, candidates_of(corpus, 200, 16))
    assert {STATUSES[s] for s in np.unique(found.status)} >= {"solved", "wrong function", "ungrammatical"}
    yield "statuses", sha256(found.status.astype(np.int64), found.on_grid, found.submitted().astype(np.int64))
    # products of a few fractions: the last bits are rounding's
    shares = {k: [f"{p:.12f}" for p in pass_at_k(16, found.num_correct(), k)] for k in (1, 4, 16)}
    yield "pass@k", sha256(shares)


def exact(corpus: Corpus) -> dict[str, str]:
    """Digests of all that is promised to be the same anywhere."""
    return dict([*_universes(), *_read_off(corpus), *_splits(corpus), *_pass_at_k(corpus)])


def tolerant(corpus: Corpus) -> dict[str, np.ndarray]:
    """Coordinates of both spaces, and training programs and tests of splits that are drawn from them."""
    spaces = spaces_of(corpus)
    found = {f"{name} coordinates": space.coordinates for name, space in spaces.items()}
    found |= {f"{name} explained": space.explained for name, space in spaces.items()}
    for space in spaces:
        for rule in ("quantile", "cluster"):
            settings = support_settings(Region(rule=rule, space=space), num_test=10_000, reserved=0.25)
            split = support_split(corpus, spaces, settings)
            found[f"split {space} {rule} train"] = np.unique(split.train)
            found[f"split {space} {rule} forced"] = np.unique(split.tests["forced"])
    return found


if __name__ == "__main__":
    universe = build_corpus(POLYNOMIAL, 4)
    if sys.argv[1] == "--golden":
        GOLDEN.write_text(json.dumps(exact(universe), indent=1) + "\n")
    else:
        Path(f"{sys.argv[1]}.json").write_text(json.dumps(exact(universe)))
        np.savez(f"{sys.argv[1]}.npz", **tolerant(universe))
