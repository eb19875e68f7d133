"""The benchmark for systems that read text: one prompt a task, with examples of its training set only."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from synthlab.durable import write_atomically
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import Grammar, get_grammar
from synthlab.language.identity import fingerprints
from synthlab.language.program import Program
from synthlab.study.benchmark import Benchmark
from synthlab.study.freezing import exact_outputs
from synthlab.study.predictions import json_lines
from synthlab.universe.counting import unrank

INTRODUCTION = """\
A hidden function of {variables} was written as an expression. You see its exact values at {num_points} inputs.
Write one expression that is the same function everywhere, not only at these inputs.

{rules}

Values are exact; a fraction is written numerator/denominator."""
_ROWS_AT_ONCE = 1 << 10
ANSWER = "Answer with the expression alone, on one line."


def prompts(
    benchmark: Benchmark, split: str, parts: Sequence[str] | None = None, *, num_examples: int = 0, seed: int = 0
) -> pd.DataFrame:
    """Prompts for the tasks of a split: task, prompt. A text answer is the ``program`` of a prediction as it stands.

    Parameters
    ----------
    benchmark, split, parts
        What is asked; all parts by default.
    num_examples, seed
        How many solved examples every prompt starts with, the same for all of a split: `training_programs`.

    Raises
    ------
    ConfigurationError
        For an unknown split or part, or more examples than there are.
    """
    rows, grammar = benchmark.select(split, parts), get_grammar(benchmark.split(split)["grammar"])
    bound = benchmark.domain(split)["max_size"]
    start = [INTRODUCTION.format(
        variables=" and ".join(grammar.variables), num_points=len(grammar.grid.points), rules=_rules(grammar, bound)
    )]  # fmt: skip
    for number, program in enumerate(training_programs(benchmark, split, num_examples, seed), 1):
        table = value_table(grammar, exact_outputs(program))
        start.append(f"Example {number}:\n{table}\nExpression: {program.infix_text()}")
    texts = ["\n\n".join([*start, f"Task:\n{value_table(grammar, o)}", ANSWER]) for o in rows["outputs"]]
    return pd.DataFrame({"task": rows["task"].to_numpy(), "prompt": texts})


def _rules(grammar: Grammar, bound: int) -> str:
    """Language and bound in words."""
    symbols = [o.symbol if o.infix else f"{o.symbol}(...) of {o.arity} operands" for o in grammar.operators]
    leaves = [*grammar.variables, *map(str, grammar.constants)]
    rules = [
        f"- It is built from {', '.join(leaves)} and the operators {' '.join(symbols)}, with parentheses where needed.",
        f"- It has at most {bound} leaves: every variable and every number counts as often as it is written.",
        "- There are no other symbols.",
    ]
    if all(o.infix for o in grammar.operators):
        rules[-1] = "- Every operator stands between two operands: there are no signs in front of one, and no powers."
    return "\n".join(rules)


def value_table(grammar: Grammar, outputs: Sequence[str] | np.ndarray) -> str:
    """Inputs and outputs on the grid, a line for each point."""
    header = " ".join([*grammar.variables, "value"])
    points = zip(grammar.grid.points, outputs, strict=True)
    return "\n".join([header, *(" ".join([*map(str, point), value]) for point, value in points)])


def training_programs(benchmark: Benchmark, split: str, num: int, seed: int = 0) -> list[Program]:
    """Programs that may be learned from, drawn uniformly, each another function and none that a task asks for.

    Nor one that another split of the grammar tests: a system may read the prompts of both.

    Raises
    ------
    ConfigurationError
        For more programs than there are.
    """
    if num < 0 or seed < 0:
        raise ConfigurationError(f"{num} examples, seed {seed}: use numbers from 0 on")
    found = list(itertools.islice(_untested(benchmark, split, seed), num))
    if len(found) < num:
        raise ConfigurationError(f"{num:,} examples of split {split}: there are {len(found):,}")
    return found


def _untested(benchmark: Benchmark, split: str, seed: int) -> Iterator[Program]:
    """Such programs in random order, one a function."""
    ids, domain = benchmark.training_ids(split), benchmark.domain(split)
    grammar, order = get_grammar(domain["grammar"]), np.random.default_rng([seed, 14]).permutation(ids)
    hidden = benchmark.hidden(benchmark.tasks[benchmark.tasks["grammar"] == grammar.name])
    passed = set(map(tuple, hidden[["fingerprint_0", "fingerprint_1"]].to_numpy().tolist()))
    for start in range(0, len(order), _ROWS_AT_ONCE):
        block = unrank(grammar, order[start : start + _ROWS_AT_ONCE], domain["max_size"], domain["measure"])
        for row, key in zip(block, fingerprints(grammar, block, domain["seed"]).tolist(), strict=True):
            if tuple(key) not in passed:
                passed.add(tuple(key))
                yield Program.from_row(grammar, row)


def write_prompts(path: Path | str, table: pd.DataFrame) -> Path:
    """Write prompts as JSON lines (task, prompt).

    Raises
    ------
    ConfigurationError
        For another suffix than .jsonl.
    """
    path = Path(path)
    if path.suffix != ".jsonl":
        raise ConfigurationError(f"prompts {ascii(path.name)[:80]}: use a file that ends in .jsonl")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json_lines(table))
    return path
