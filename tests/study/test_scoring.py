"""Grading predictions: known scores of hand-made files, hostile files, and our own solvers."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ArtifactError, ConfigurationError, SplitError
from synthlab.language.grammar import get_grammar
from synthlab.language.program import Program
from synthlab.learning.evaluation import evaluate_run
from synthlab.search.budget import Budget
from synthlab.splits.regions import Region
from synthlab.study.benchmark import load_benchmark
from synthlab.study.freezing import Domain, build_benchmark
from synthlab.study.predictions import (
    COLUMNS,
    MAX_CANDIDATES,
    predict_by_search,
    predict_with_run,
    read_predictions,
    write_predictions,
)
from synthlab.study.scoring import record_scores, recorded_scores, score, score_file
from synthlab.universe.counting import unrank

ROOT = {"root": Region(rule="root", root="*")}
REASONS = ["right_on_grid", "wrong_function", "ungrammatical", "too_long", "undefined", "unanswered"]


@pytest.fixture(scope="module")
def tiny():
    shared = dict(regions=ROOT, isolated=(), num_tasks=20, reserved=0.25)
    return build_benchmark([Domain(grammar=g, max_size=3, **shared) for g in ("polynomial", "rational")])


@pytest.fixture(scope="module")
def benchmark4():
    return build_benchmark([
        Domain(grammar="polynomial", max_size=4, regions=ROOT, isolated=(), num_tasks=80, reserved=0.25)
    ])  # fmt: skip


def right(benchmark, part):
    """Names and right texts of the tasks of ``<grammar>-root-<part>``."""
    grammar, _, name = part.partition("-root-")
    rows = benchmark.select(f"{grammar}-root", [name])
    ids = benchmark.hidden(rows)["class_id"].to_numpy()
    prefix = unrank(get_grammar(grammar), ids, benchmark.domain(f"{grammar}-root")["max_size"])
    programs = [Program.from_row(get_grammar(grammar), row) for row in prefix]
    return dict(zip(rows["task"], programs, strict=True))


def table(*rows, **columns):
    """Predictions from (task, rank, program)."""
    return pd.DataFrame(rows, columns=["task", "rank", "program"]).assign(**columns)


def only(scores):
    (row,) = scores.summary.to_dict("records")
    return row


# ---------------------------------------------------------------- known scores


def test_every_outcome_is_counted_once(tiny):
    """Seven of the tasks are answered in a way whose outcome is known; the others are not answered."""
    answers = right(tiny, "rational-root-id")
    names, texts = list(answers), [p.infix_text() for p in answers.values()]
    last = names[6]
    altered = tiny.answers.copy()  # this task asks for a function that only looks alike on the grid
    altered.loc[altered["task"] == last, "fingerprint_0"] += np.uint64(1)
    found = score(
        table(
            (names[0], 0, answers[names[0]].prefix_text()),
            (names[1], 0, f"(({texts[1]}))"),
            (names[2], 0, f"{texts[2]} + 1"),
            (names[3], 0, "x +"),
            (names[4], 0, "1 / (x - x)"),
            (names[5], 0, f"{texts[5]} + 1 - 1 + x - x"),
            (last, 0, texts[6]),
            (names[7], 0, " \t"),
            system="by hand",
        ),
        replace(tiny, answers=altered),
    )
    # a task of three leaves plus one is wrong or too long, as its size says
    longer = answers[names[2]].leaves == 3
    status = found.tasks.set_index("task")["status"]
    assert status[names[:8]].tolist() == [
        "solved", "solved", "too long" if longer else "wrong function", "ungrammatical", "undefined", "too long",
        "right on grid", "unanswered",
    ]  # fmt: skip
    row, num = only(found), len(names)
    assert (row["system"], row["grammar"], row["region"], row["part"]) == ("by hand", "rational", "root", "id")
    assert (row["tasks"], row["answered"], row["most_candidates"]) == (num, 7, 1)
    assert row["pass_at_1"] == row["submitted"] == row["oracle_at_n"] == 2 / num
    expected = {"right_on_grid": 1, "wrong_function": 1 - longer, "ungrammatical": 1, "too_long": 1 + longer}
    expected |= {"undefined": 1, "unanswered": num - 7}
    assert {reason: round(row[reason] * num) for reason in REASONS} == expected
    assert row["pass_at_1"] + sum(row[reason] for reason in REASONS) == pytest.approx(1)
    assert len(found.left_out) == 9 and "by hand: polynomial-root-id" in found.left_out


def test_the_interval_is_published(tiny):
    """Newcombe (1998), Statistics in Medicine 17, table I, method 3: 0 of 20."""
    names = list(right(tiny, "polynomial-root-id"))
    assert len(names) == 20
    row = only(score(table((names[3], 0, "x * y * x")), tiny))
    assert (row["pass_at_1"], row["low"], row["high"]) == (0, 0, pytest.approx(0.1611, abs=5e-5))


def test_the_first_answer_the_visible_one_and_any(tiny):
    answers = right(tiny, "polynomial-root-open")
    (one, first), (two, _), *_ = answers.items()
    rows = [
        (one, 2, first.infix_text()), (one, 0, "x *"), (one, 1, "1"),  # found on the visible grid
        (two, 0, "1"), (two, 1, "2"),  # not found
    ]  # fmt: skip
    row, num = only(score(table(*rows), tiny)), len(answers)
    assert (row["pass_at_1"], row["submitted"], row["oracle_at_n"]) == (0, 1 / num, 1 / num)
    assert row["most_candidates"] == 3 and row["ungrammatical"] == 1 / num
    assert not any(name.startswith("pass_at_") and name != "pass_at_1" for name in row)
    blind = tiny.answers.copy()
    blind.loc[blind["task"] == one, "fingerprint_0"] += np.uint64(1)
    row = only(score(table(*rows), replace(tiny, answers=blind)))
    assert (row["submitted"], row["oracle_at_n"]) == (0, 0)


def test_pass_at_k_is_that_of_independent_samples(tiny):
    answers = right(tiny, "polynomial-root-open")
    correct = [k % 5 for k in range(len(answers))]
    rows = [
        (task, rank, program.infix_text() if rank < c else "x *")
        for (task, program), c in zip(answers.items(), correct, strict=True)
        for rank in range(4)
    ]
    row = only(score(table(*rows, independent=True), tiny, ks=(1, 3, 8)))
    for k in (1, 3):
        expected = np.mean([1 - math.comb(4 - c, k) / math.comb(4, k) for c in correct])
        assert row[f"sampled_pass_at_{k}"] == pytest.approx(expected)
    assert math.isnan(row["sampled_pass_at_8"])
    for not_samples in (table(*rows), table(*rows[:-1], independent=True), table(*rows[4:], independent=True)):
        assert math.isnan(only(score(not_samples, tiny, ks=(1,)))["sampled_pass_at_1"])


def test_larger_answers_count_only_where_that_is_asked(tiny):
    answers = right(tiny, "rational-root-forced")
    rows = table(*[(task, 0, f"({program.infix_text()}) + 1 - 1") for task, program in answers.items()])
    assert only(score(rows, tiny))["too_long"] > 0.5
    assert only(score(rows, tiny, extra_size=2))["pass_at_1"] == 1
    with pytest.raises(ConfigurationError, match="use 0 or more"):
        score(rows, tiny, extra_size=-1)


def test_costs_and_systems_are_kept_apart(tiny):
    (one, first), (two, _), *_ = right(tiny, "polynomial-root-id").items()
    good = table((one, 0, first.infix_text()), (one, 1, "x"), system="good", seconds=[0.25, 0.5])
    bad = table((one, 0, "y x"), (two, 0, "x"), system="bad", seconds=[np.nan, 3.0], log_probability=[-1.5, np.nan])
    found = score(pd.concat([good, bad]), tiny)
    rows = found.summary.set_index("system")
    assert rows["answered"].to_dict() == {"good": 1, "bad": 2}
    assert rows["pass_at_1"].to_dict() == {"good": 1 / 20, "bad": 0}
    assert rows["seconds"].to_dict() == {"good": 0.75, "bad": 3.0}
    tasks = found.tasks.set_index(["system", "task"])
    assert tasks.loc[("bad", one), "log_probability"] == -1.5 and len(tasks) == 40
    assert tasks.loc[("good", one), ["num_correct", "num_candidates"]].tolist()[1] == 2


# ---------------------------------------------------------------- files


def test_both_formats_grade_equal(tiny, tmp_path):
    rows = []
    for number, (task, program) in enumerate(right(tiny, "rational-root-open").items()):
        rows += [(task, 0, program.infix_text() if number % 2 else "é \x00"), (task, 1, program.prefix_text())]
    saved = table(*rows, system="ours", log_probability=np.nan, seconds=0.5, independent=False)[list(COLUMNS)]
    paths = [write_predictions(tmp_path / f"rows.{suffix}", saved) for suffix in ("jsonl", "parquet")]
    read = [read_predictions(path) for path in paths]
    pd.testing.assert_frame_equal(*read)
    pd.testing.assert_frame_equal(read[0], saved)
    tiny.save(tmp_path / "benchmark")
    one, two = (score_file(path, tmp_path / "benchmark") for path in paths)
    assert one == two and json.loads(json.dumps(one, allow_nan=False)) == one
    (row,) = one["scores"]
    assert row["pass_at_1"] == pytest.approx((len(saved) // 4) / (len(saved) // 2)) and row["submitted"] == 1


def test_what_may_be_left_out(tiny, tmp_path):
    task = tiny.tasks["task"].iloc[0]
    path = tmp_path / "mine.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\n" + json.dumps({"task": task, "rank": 0, "program": "x", "note": [1]}).encode())
    (row,) = read_predictions(path).to_dict("records")
    assert (row["system"], row["rank"], row["independent"]) == ("mine", 0, False)
    assert math.isnan(row["log_probability"]) and math.isnan(row["seconds"])
    pd.DataFrame([row])[["task", "rank", "program"]].to_parquet(tmp_path / "mine.parquet")
    pd.testing.assert_frame_equal(read_predictions(path), read_predictions(tmp_path / "mine.parquet"))


GOOD = {"task": "polynomial-root-id-0000", "rank": 0, "program": "x"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "holds no predictions"),
        ("\n\n", "holds no predictions"),
        ("nonsense", "line 1 of p.jsonl is no JSON object"),
        ("[" * 200_000, "line 1 of p.jsonl is no JSON object"),
        ("[1, 2]", "line 1 of p.jsonl is no JSON object"),
        ("null", "line 1 of p.jsonl is no JSON object"),
        ('{"rank": ' + "1" * 5000 + "}", "line 1 of p.jsonl is no JSON object"),
        ({"task": "x", "rank": 0}, "has no program: every prediction needs task, rank, program"),
        ({**GOOD, "rank": -1}, "rank -1: use a whole number from 0 to 999"),
        ({**GOOD, "rank": MAX_CANDIDATES}, "rank 1000: use a whole number"),
        ({**GOOD, "rank": 10**400}, "rank 1000.*: use a whole number"),
        ({**GOOD, "rank": 0.0}, "rank 0.0: use a whole number"),
        ({**GOOD, "rank": True}, "rank True: use a whole number"),
        ({**GOOD, "rank": math.nan}, "rank nan: use a whole number"),
        ({**GOOD, "rank": None}, "rank None: use a whole number"),
        ({**GOOD, "program": None}, "program None is no text"),
        ({**GOOD, "program": 3}, "program 3 is no text"),
        ({**GOOD, "task": 7}, "task 7 is no name"),
        ({**GOOD, "task": "\ud800\n" * 1000}, r"task '\\ud800\\n.* is no name"),
        ({**GOOD, "log_probability": math.inf}, "log_probability inf: use a finite number"),
        ({**GOOD, "log_probability": 10**400}, "log_probability 1000.*: use a finite number"),
        ({**GOOD, "log_probability": "-1"}, "log_probability '-1': use a finite number"),
        ({**GOOD, "seconds": -1}, "seconds -1.*: use a number from 0 on"),
        ({**GOOD, "independent": 1}, "independent 1: use true or false"),
        ({**GOOD, "system": ""}, "system '': use a printable name"),
        ({**GOOD, "system": "a\x1b[2J"}, "use a printable name"),
        ({**GOOD, "system": "\ud800"}, "use a printable name"),
        ({**GOOD, "system": "s" * 121}, "use a printable name"),
    ],
)
def test_what_is_no_prediction_is_refused_in_one_line(tmp_path, lines, message):
    path = tmp_path / "p.jsonl"
    path.write_text(lines if isinstance(lines, str) else json.dumps(lines))
    with pytest.raises((ConfigurationError, ArtifactError), match=message) as refused:
        read_predictions(path)
    said = str(refused.value)
    assert "\n" not in said and said.isascii() and len(said) < 300


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{**GOOD, "task": "polynomial-root-id-9999"}], "unknown task 'polynomial-root-id-9999'"),
        ([{**GOOD, "task": ""}], "unknown task ''"),
        ([GOOD, GOOD], "task polynomial-root-id-0000 has rank 0 twice"),
        ([{**GOOD, "rank": 1}], "has 1 candidates with ranks up to 1: number them from 0"),
        ([GOOD, {**GOOD, "rank": 2}], "has 2 candidates with ranks up to 2: number them from 0"),
    ],
)
def test_rows_that_do_not_fit_are_refused_in_one_line(tiny, tmp_path, rows, message):
    path = tmp_path / "p.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tiny.save(tmp_path / "benchmark")
    with pytest.raises(ConfigurationError, match=message) as refused:
        score_file(path, tmp_path / "benchmark")
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 300


def test_files_that_are_none(tiny, tmp_path):
    with pytest.raises(ConfigurationError, match=r"use a file that ends in \.jsonl or \.parquet"):
        read_predictions(tmp_path / "p.csv")
    with pytest.raises(ConfigurationError, match=r"use a file that ends in \.jsonl or \.parquet"):
        write_predictions(tmp_path / "p.csv", table())
    for name in ("p.jsonl", "p.parquet"):
        with pytest.raises(ArtifactError, match="cannot be read"):
            read_predictions(tmp_path / name)
        (tmp_path / name).mkdir()
        with pytest.raises(ArtifactError, match="cannot be read"):
            read_predictions(tmp_path / name)
    (tmp_path / "q.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    with pytest.raises(ArtifactError, match="is no Parquet file"):
        read_predictions(tmp_path / "q.parquet")
    (tmp_path / "q.jsonl").write_bytes(b'{"task": "\xff"}')
    with pytest.raises(ConfigurationError, match="in UTF-8"):
        read_predictions(tmp_path / "q.jsonl")
    with pytest.raises(ConfigurationError, match="there are no predictions"):
        score(table(), tiny)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"task": ["a"], "program": ["x"]}, "row 0 of p.parquet has no rank"),
        ({"other": [1]}, "row 0 of p.parquet has no task"),
        ({"task": ["a"], "rank": [np.nan], "program": ["x"]}, "rank (nan|None): use a whole number"),
        ({"task": ["a"], "rank": [0], "program": [b"x"]}, "program b'x' is no text"),
        ({"task": [], "rank": [], "program": []}, "holds no predictions"),
    ],
)
def test_parquet_of_other_columns(tmp_path, columns, message):
    pd.DataFrame(columns).to_parquet(tmp_path / "p.parquet")
    with pytest.raises((ConfigurationError, ArtifactError), match=message):
        read_predictions(tmp_path / "p.parquet")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 10_000 + "x" + ")" * 10_000,
        "x + " * 4_999 + "x",
        "- " * 9_999 + "x " * 10_000,
        "x" * 10_000_000,
        "٣",
        "х",  # a Cyrillic letter
        "x\x00",
        "9" * 4_000,
        "1e3",
        "__import__('os').system('touch owned')",
        "x if y else 1",
        "{x}",
        "x; y",
        "﻿x",
        "\ud800",
    ],
    ids=range(15),
)
def test_hostile_text_is_only_ever_no_program(tiny, tmp_path, text, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({**GOOD, "program": text}))
    (row,) = score(read_predictions(path), tiny).summary.to_dict("records")
    assert (row["ungrammatical"] + row["too_long"]) * 20 == pytest.approx(1)
    assert row["answered"] == 1 and row["pass_at_1"] == 0 and [p.name for p in tmp_path.iterdir()] == ["p.jsonl"]


# ---------------------------------------------------------------- the systems of synthlab


def test_search_finds_what_its_budget_allows(tiny, tmp_path):
    everything = predict_by_search(tiny, Budget(seconds=math.inf))
    full = score(everything, tiny)
    assert (full.summary["pass_at_1"] == 1).all() and full.left_out == ()
    assert everything["system"].unique().tolist() == ["bottom-up enumeration"]
    short = predict_by_search(tiny, Budget(seconds=60, programs=30), splits=["polynomial-root"])
    assert short["system"].unique().tolist() == ["bottom-up enumeration, 30 programs, 60 s"]
    found = score(short, tiny)
    assert (found.tasks["status"].isin(["solved", "unanswered"])).all() and len(found.left_out) == 5
    assert set(found.tasks.loc[found.tasks["status"] == "solved", "leaves"]) < {1, 2, 3}
    assert (found.tasks["seconds"] > 0).all()
    record_scores(full, tmp_path)
    record_scores(found, tmp_path)
    record_scores(replace(found, summary=found.summary.assign(answered=7)), tmp_path)
    kept = recorded_scores(tmp_path)
    assert len(kept) == len(full.summary) + len(found.summary) == 15
    assert kept.loc[kept["system"] == found.summary["system"].iloc[0], "answered"].tolist() == [7] * 5
    (tmp_path / "scores.jsonl").write_text("{")
    with pytest.raises(ArtifactError, match=r"scores.jsonl is damaged"):
        recorded_scores(tmp_path)


def test_a_run_is_graded_as_it_is_evaluated(benchmark4, trained4, corpus4, split4, tmp_path):
    rows = predict_with_run(trained4, benchmark4, "polynomial-root", taught=(corpus4, split4))
    path = write_predictions(tmp_path / "run.jsonl", rows)
    found = score(read_predictions(path), benchmark4)
    assert found.summary["system"].unique().tolist() == ["16x1, greedy"]
    expected = evaluate_run(trained4, corpus4, split4)
    for part, table in expected.groupby("part"):
        row = found.summary[found.summary["part"] == part].iloc[0]
        assert row["pass_at_1"] == pytest.approx(table["solved"].mean())
        assert row["ungrammatical"] == pytest.approx((table["status"] == "ungrammatical").mean())
    assert 0 < found.summary["pass_at_1"].max() < 1


def test_samples_of_a_run_are_independent(benchmark4, trained4, corpus4, split4):
    taught = {"taught": (corpus4, split4), "parts": ["id"], "num_samples": 5, "temperature": 1.0}
    row = only(score(predict_with_run(trained4, benchmark4, "polynomial-root", **taught), benchmark4, ks=(1, 5)))
    assert row["system"] == "16x1, 5 candidates" and row["most_candidates"] == 5
    assert row["sampled_pass_at_5"] == row["oracle_at_n"] >= row["submitted"] >= row["sampled_pass_at_1"] > 0


def test_a_run_that_may_know_the_answers_is_refused(benchmark4, tiny, trained4, corpus4, split4):
    with pytest.raises(ArtifactError, match="pass the split it was trained on"):
        predict_with_run(trained4, benchmark4, "polynomial-root")
    with pytest.raises(ArtifactError, match="another universe than split polynomial-root"):
        predict_with_run(trained4, tiny, "polynomial-root")
    narrower = {name: np.zeros_like(bits) for name, bits in benchmark4.training.items()}
    with pytest.raises(SplitError, match="may not be learned for split polynomial-root"):
        predict_with_run(trained4, replace(benchmark4, training=narrower), "polynomial-root", taught=(corpus4, split4))


def test_the_recorded_rows_are_those_of_the_benchmark():
    """The search on the smallest parts again; a budget of programs does not depend on the machine."""
    frozen, kept = load_benchmark(), recorded_scores()
    table = frozen.frame().merge(kept, on=["grammar", "region", "part"], suffixes=("", "_scored"))
    assert (table["tasks"] == table["tasks_scored"]).all() and len(table) >= 2 * len(frozen.frame())
    rows = predict_by_search(frozen, Budget(seconds=math.inf, programs=3_000), splits=["rational-root-isolated"])
    again, keys = score(rows, frozen).summary, ["system", "grammar", "region", "part"]
    both = again.merge(kept, on=keys, suffixes=("", "_kept"))
    assert len(both) == 2
    for name in ("pass_at_1", "low", "high", "answered", "unanswered"):
        assert both[name].tolist() == pytest.approx(both[f"{name}_kept"].tolist())
