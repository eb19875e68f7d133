"""The frozen benchmark: exact tasks, training without leaks, checksums, prompts without answers."""

import json
import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.language.grammar import PAD, PIECEWISE, get_grammar, register
from synthlab.language.identity import grid_codes
from synthlab.language.program import Program, parse
from synthlab.splits.regions import Region
from synthlab.study.benchmark import benchmark_folder, content_digest, load_benchmark
from synthlab.study.freezing import Domain, build_benchmark
from synthlab.study.predictions import prediction_table
from synthlab.study.prompts import prompts, training_programs, value_table, write_prompts
from synthlab.study.scoring import score
from synthlab.universe.corpus import build_corpus
from synthlab.universe.counting import unrank

ROOT = {"root": Region(rule="root", root="*")}
TINY = Domain(grammar="polynomial", max_size=3, regions=ROOT, isolated=(), num_tasks=20, reserved=0.25)
PARTS = ["id", "matched_id", "open", "forced", "matched_forced"]
LARGEST = 3_000_000
"""Bytes of the whole folder."""
GOLDEN = {
    "tasks": "0fbf9fb3c72baa17e16fda8fe0b360af21eb94c5e6a88c894298d69db54a0253",
    "answers": "79ccf8c7abd0a7ca93cdb82e2ac81ce93b1b2513dc7c5b9478b4155f72af4a06",
    "training": "be67ce9f640d87e6a2107915ee4ab92d1559369e137781ccc9026acc3b550cab",
}
"""What the tiny benchmark says."""
GOLDEN_COMMITTED = "cb98c6ebb38c5c6ef39dab67e5c60bf2b612ee48a727bfc06c9bf433d527b664"
"""What the tasks of rational-root say in the committed benchmark."""


@pytest.fixture(scope="module")
def frozen():
    return load_benchmark()


@pytest.fixture(scope="module")
def tiny():
    return build_benchmark([TINY])


def texts(benchmark, rows):
    """Least right program of every task, from the checker's ids."""
    (name,) = rows["grammar"].unique()
    ids = benchmark.answers.set_index("task").loc[rows["task"], "class_id"].to_numpy()
    prefix = unrank(get_grammar(name), ids, benchmark.manifest["domains"][name]["max_size"])
    return [Program.from_row(get_grammar(name), row) for row in prefix]


def by_grammar(benchmark):
    return [(get_grammar(str(name)), rows) for name, rows in benchmark.tasks.groupby("grammar")]


def outputs_of(text, grid):
    """Exact values of an infix text at all points, by Python's own arithmetic."""
    code = compile(re.sub(r"\d+", r"F(\g<0>)", text), "text", "eval")
    points = [(x, y) for x in grid[0] for y in grid[1]]
    return [eval(code, {"F": Fraction, "x": Fraction(x), "y": Fraction(y)}) for x, y in points]


def values(grammar, prefix):
    """Names of functions, found without fingerprints, alike for equal functions.

    Polynomials: their value at a random point modulo 2^64. Others: floats at a point, to nine decimals.
    """
    if "/" in grammar.tokens:
        return [
            round(value, 9) + 0.0
            for value in evaluated(grammar, prefix, (2.718281828459045, -1.2020569031595942)).tolist()
        ]
    with np.errstate(over="ignore"):
        return evaluated(grammar, prefix, np.array([0x9E3779B97F4A7C15, 0xD1B54A32D192ED03], np.uint64)).tolist()


def evaluated(grammar, prefix, point):
    """Values of programs (P, L) at one point, by a stack and NumPy's arithmetic."""
    leaves = np.array([*point, *grammar.constants], dtype=np.asarray(point).dtype)
    stack = np.zeros((prefix.shape[1] + 2, len(prefix)), dtype=leaves.dtype)
    top = np.zeros(len(prefix), dtype=int)
    for token in prefix.T[::-1]:
        at = np.flatnonzero(token < grammar.num_terminals)
        stack[top[at], at] = leaves[token[at]]
        top[at] += 1
        for number, operator in enumerate(grammar.operators, grammar.num_terminals):
            at = np.flatnonzero(token == number)
            top[at] -= 1
            with np.errstate(all="ignore"):
                stack[top[at] - 1, at] = PLAIN[operator.symbol](stack[top[at], at], stack[top[at] - 1, at])
    return stack[0]


PLAIN = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}


# ---------------------------------------------------------------- tasks and answers


def test_outputs_are_what_the_answers_compute(frozen):
    for grammar, rows in by_grammar(frozen):
        grid = frozen.manifest["domains"][grammar.name]["grid"]
        for outputs, program in list(zip(rows["outputs"], texts(frozen, rows), strict=True))[::3]:
            assert [str(v) for v in outputs_of(program.infix_text(), grid)] == list(outputs)
        assert [p.leaves for p in texts(frozen, rows)] == rows["leaves"].tolist()
        assert rows["leaves"].max() <= rows["bound"].iloc[0] == frozen.manifest["domains"][grammar.name]["max_size"]


def test_the_checker_sees_the_same_numbers(frozen):
    for grammar, rows in by_grammar(frozen):
        rows = rows.iloc[::7]
        tasks = frozen.checkable(rows)
        prefix = unrank(grammar, tasks.class_id, tasks.max_size)
        np.testing.assert_array_equal(tasks.codes, grid_codes(grammar, prefix))
        np.testing.assert_array_equal(tasks.outputs, [[float(Fraction(v)) for v in o] for o in rows["outputs"]])
        assert tasks.outputs.dtype == (np.int64 if grammar.integral else np.float64)


def test_what_a_solver_reads_holds_no_answer(frozen):
    columns = ["task", "grammar", "region", "part", "split", "bound", "leaves", "outputs"]
    assert frozen.tasks.columns.tolist() == columns
    assert frozen.tasks["task"].is_unique
    assert frozen.tasks["task"].str.fullmatch(r"(polynomial|rational)-(root|cluster)-[a-z_]+-\d{4}").all()
    assert all(re.fullmatch(r"-?\d+(/\d+)?", value) for outputs in frozen.tasks["outputs"] for value in outputs)
    assert (frozen.tasks.groupby(["split", "part"]).size() <= 200).all()


def test_forced_tasks_are_matched_by_size(frozen):
    for _, rows in frozen.tasks[frozen.tasks["part"].str.startswith("matched")].groupby("split"):
        one, two = (group["leaves"].value_counts() for _, group in rows.groupby("part"))
        assert one.to_dict() == two.to_dict()


# ---------------------------------------------------------------- what may be learned


@pytest.mark.parametrize("name", ["rational", "polynomial"])
def test_no_task_is_a_function_of_the_training_set(frozen, name):
    """Brute force over every training text, without fingerprints."""
    grammar, size = get_grammar(name), frozen.manifest["domains"][name]["max_size"]
    for split, about in frozen.splits.items():
        if about["grammar"] != name:
            continue
        rows = frozen.select(split)
        tested = set(values(grammar, unrank(grammar, frozen.hidden(rows)["class_id"].to_numpy(), size)))
        assert len(tested) == rows["task"].map(frozen.answers.set_index("task")["class_id"]).nunique()
        taught = set()
        for ids in np.array_split(frozen.training_ids(split), 16):
            taught.update(values(grammar, unrank(grammar, ids, size)))
        assert not tested & taught and len(taught) == about["functions"]


def test_the_sets_are_what_their_names_say(frozen):
    """Of every function of <= 4 leaves all texts are listed: where they lie decides which part may ask for it."""
    grammar, corpus = get_grammar("rational"), build_corpus(get_grammar("rational"), 4)
    keys = pd.Series(values(grammar, corpus.prefix))
    inside = corpus.prefix[:, 0] == grammar.index["*"]
    some, every = (pd.Series(inside).groupby(keys).agg(how) for how in ("any", "all"))
    taught = np.zeros(len(keys), dtype=bool)
    taught[frozen.training_ids("rational-root")] = True
    assert not (taught & inside).any()
    for part, rows in frozen.select("rational-root").groupby("part"):
        asked = keys[frozen.hidden(rows)["class_id"].to_numpy()]
        assert not keys[taught].isin(set(asked)).any()
        assert every[asked].all() == (part in ("forced", "matched_forced"))
        assert not every[asked].any() or part in ("forced", "matched_forced")
        assert some[asked].all() or part in ("id", "matched_id")


def test_a_model_trains_on_the_split_itself(tiny, corpus3):
    drawn = tiny.draw_training("polynomial-root", corpus3, {})
    assert np.array_equal(np.sort(drawn.train), tiny.training_ids("polynomial-root"))
    assert drawn.key == tiny.split("polynomial-root")["key"]
    tiny.require_allowed("polynomial-root", drawn.train)
    other = np.flatnonzero(~np.isin(np.arange(corpus3.num_programs), drawn.train))[:3]
    with pytest.raises(SplitError, match=f"3 of {len(drawn.train) + 3:,} texts"):
        tiny.require_allowed("polynomial-root", np.append(drawn.train, other))


def test_another_draw_is_not_passed_off(tiny, corpus3):
    changed = {name: bits ^ np.uint8(1) for name, bits in tiny.training.items()}
    with pytest.raises(ArtifactError, match="comes out otherwise here"):
        replace(tiny, training=changed).draw_training("polynomial-root", corpus3, {})


# ---------------------------------------------------------------- frozen


def test_building_again_gives_the_same(tiny, tmp_path):
    again = build_benchmark([TINY])
    assert tiny.contents() == again.contents() == GOLDEN
    for name, benchmark in (("one", tiny), ("two", again)):
        benchmark.save(tmp_path / name)
    files = {p.name for p in (tmp_path / "one").iterdir()}
    assert files == {"manifest.json", "tasks.parquet", "answers.parquet", "training.npz"}
    assert all((tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files)
    loaded = load_benchmark(tmp_path / "one")
    assert loaded.contents() == GOLDEN and loaded.splits == tiny.splits
    assert loaded.frame()["part"].tolist() == PARTS


def test_the_committed_part_is_drawn_anew(frozen):
    rows = frozen.select("rational-root")
    again = build_benchmark([Domain(grammar="rational", max_size=4, regions=ROOT, isolated=())])
    assert content_digest(rows) == content_digest(again.tasks) == GOLDEN_COMMITTED
    assert content_digest(frozen.hidden(rows).reset_index()) == content_digest(again.answers)
    assert np.array_equal(frozen.training["rational-root"], again.training["rational-root"])
    assert frozen.manifest["contents"] == frozen.contents()


def test_the_committed_folder_is_small(frozen):
    files = list(benchmark_folder().iterdir())
    assert sum(p.stat().st_size for p in files) < LARGEST
    table = frozen.frame()
    assert table["tasks"].sum() == len(frozen.tasks) == len(frozen.answers)
    assert table["ambiguous_on_grid"].sum() == 0 and (table["best_possible"] == 1).all()


@pytest.mark.parametrize("name", ["tasks.parquet", "answers.parquet", "training.npz", "manifest.json"])
def test_damage_is_noticed(tiny, tmp_path, name):
    path = tiny.save(tmp_path) / name
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:] if name != "manifest.json" else whole[:100])
    with pytest.raises(ArtifactError, match=rf"{name} is damaged: check it out again"):
        load_benchmark(tmp_path)
    path.unlink()
    with pytest.raises(ArtifactError, match=rf"{name} cannot be read .*: check it out again"):
        load_benchmark(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=99), "has schema 99"),
        (lambda m: m["domains"]["polynomial"].update(digest="0" * 16), "another grammar 'polynomial'"),
        (lambda m: m["domains"].update(nobodys={"digest": ""}), "unknown grammar 'nobodys'"),
        (lambda m: m.pop("files"), "is damaged"),
    ],
)
def test_another_meaning_is_refused(tiny, tmp_path, change, message):
    path = tiny.save(tmp_path) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=message):
        load_benchmark(tmp_path)


def test_only_exact_grammars(tiny):
    with pytest.raises(ConfigurationError, match="'piecewise' is no benchmark"):
        build_benchmark([Domain(grammar=register(PIECEWISE).name, max_size=2, regions=ROOT, isolated=())])
    with pytest.raises(ConfigurationError, match="no split 'x'"):
        tiny.training_ids("x")
    with pytest.raises(ConfigurationError, match="no part 'x': choose from id, matched_id"):
        tiny.select("polynomial-root", ["x"])


# ---------------------------------------------------------------- prompts


def test_prompts_show_the_task_and_no_answer(frozen, tmp_path):
    for grammar, everything in by_grammar(frozen):
        bound = frozen.manifest["domains"][grammar.name]["max_size"]
        tested = set(values(grammar, unrank(grammar, frozen.hidden(everything)["class_id"].to_numpy(), bound)))
        split = f"{grammar.name}-root"
        table = prompts(frozen, split, ["forced"], num_examples=6)
        rows = frozen.select(split, ["forced"])
        assert table["task"].tolist() == rows["task"].tolist()
        programs = texts(frozen, rows)
        for prompt, outputs, program in zip(table["prompt"], rows["outputs"], programs, strict=True):
            assert value_table(grammar, outputs) in prompt and f"at most {bound} leaves" in prompt
            assert program.infix_text() not in prompt and program.prefix_text() not in prompt
        shown = [parse(grammar, text) for text in re.findall(r"Expression: (.*)", table["prompt"].iloc[0])]
        rows = np.full((6, 2 * bound), PAD)
        for row, program in zip(rows, shown, strict=True):
            row[: program.nodes] = program.prefix
        assert len(set(values(grammar, rows)) - tested) == 6
        assert all(p.root != "*" and p.leaves <= bound for p in shown)  # held out in this split
        for program in shown:
            computed = map(str, outputs_of(program.infix_text(), frozen.domain(split)["grid"]))
            assert value_table(grammar, list(computed)) in table["prompt"].iloc[0]


def test_prompts_are_json_lines_and_their_answers_are_predictions(tiny, tmp_path):
    path = write_prompts(tmp_path / "prompts.jsonl", prompts(tiny, "polynomial-root", num_examples=2))
    asked = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["task"] for row in asked] == tiny.tasks["task"].tolist()
    by_values = {value_table(get_grammar("polynomial"), outputs): text for outputs, text in zip(
        tiny.tasks["outputs"], texts(tiny, tiny.tasks), strict=True)}  # fmt: skip
    answers = []
    for number, row in enumerate(asked):  # a system that reads the last table of the prompt
        shown = row["prompt"].split("Task:\n")[1].split("\n\n")[0]
        answers.append((f"{number}", {"task": row["task"], "rank": 0, "program": by_values[shown].infix_text()}))
    assert (score(prediction_table(answers, "reader"), tiny).summary["pass_at_1"] == 1).all()


def test_examples_are_a_draw_of_the_training_set(tiny):
    ids = tiny.training_ids("polynomial-root")
    allowed = {tuple(p for p in row if p != PAD) for row in unrank(get_grammar("polynomial"), ids, 3).tolist()}
    one, two = (training_programs(tiny, "polynomial-root", 5, seed) for seed in (0, 1))
    assert {p.prefix for p in one + two} <= allowed and len(set(one + two)) > 5
    assert one == training_programs(tiny, "polynomial-root", 5, 0)
    with pytest.raises(ConfigurationError, match=r"1,000 examples of split polynomial-root: there are \d+"):
        training_programs(tiny, "polynomial-root", 1000)
    for wrong in ({"num": -1}, {"num": 1, "seed": -1}):
        with pytest.raises(ConfigurationError, match="use numbers from 0 on"):
            training_programs(tiny, "polynomial-root", **wrong)
    with pytest.raises(ConfigurationError, match=r"ends in \.jsonl"):
        write_prompts("prompts.txt", pd.DataFrame())
