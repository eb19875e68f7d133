"""Model cards hold the numbers of their rows, in Markdown that no name can break out of."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from synthlab.errors import ArtifactError, ConfigurationError
from synthlab.presets import get_preset
from synthlab.study.cards import model_card, write_cards
from synthlab.study.tables import StudyTables, preset_key

SUPPORT = {
    "trial": "62f4cab71fb2b494", "group": "support", "grammar": "polynomial", "model": "64x2", "seed": 7,
    "space": "syntactic", "region": "root operator *", "variant": "base", "regime": np.nan, "policy": None,
    "num_cells": np.nan, "split": "bf588d9209abf196", "corpus": "ef5b7efd55ccaf93", "num_train": 20_000,
    "parameters": 109_248, "flops": 832_831_488_000, "seconds": 29.39, "samples": 102_400, "tokens": 713_514,
    "final_loss": 0.8176, "device": "CPU x86_64", "precision": "32-true", "torch": "2.13", "lightning": "2.6",
}  # fmt: skip
DENSITY = SUPPORT | {
    "trial": "6aecb03ccbd7d6a5", "group": "density", "space": None, "region": None, "variant": None, "regime": "dual",
    "policy": "as sampled", "num_cells": 100.0, "effective_classes": 566.47, "syntactic_spread": 0.8546,
}  # fmt: skip
QUICK = {"preset": "quick", "preset_key": preset_key(get_preset("quick")), "versions": {"numpy": "2.1"}}


def results(**parts):
    """Rows of some parts: solved, correct of four samples, and leaves, of every class."""
    rows = [(part, k, *row) for part, rows in parts.items() for k, row in enumerate(rows)]
    table = pd.DataFrame(rows, columns=["part", "class_id", "solved", "num_correct", "leaves"])
    return table.assign(num_samples=4, weight=1, solved=table["solved"].astype(bool))


RESULTS = results(
    forced=[(0, 0, 4)] * 5, id=[(1, 4, 2), (1, 3, 3), (1, 0, 4), (0, 0, 4)], matched_id=[(1, 1, 4), (0, 0, 4)]
)  # fmt: skip


def sections(card):
    found = re.split(r"^## (.*)$", card, flags=re.MULTILINE)
    return {"": found[0], **dict(zip(found[1::2], found[2::2], strict=True))}


def cells(text):
    return [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_card_has_what_a_reader_looks_for():
    found = sections(model_card(SUPPORT, RESULTS, QUICK))
    assert list(found)[1:] == [
        "Intended use", "Training data", "Model and training", "Results", "Sizes of the tasks", "Limits", "Licence",
        "How to make it again",
    ]  # fmt: skip
    assert found[""].startswith("# Model card: 64x2, polynomial, root operator \\*, base, seed 7\n")
    assert "MIT" in found["Licence"] and "audit" in found["Training data"]
    assert all(len(text.strip()) > 20 for text in found.values())


def test_numbers_of_the_row_are_on_the_card():
    found = sections(model_card(SUPPORT, RESULTS, QUICK))
    for number in ("109,248 parameters", "102,400 samples", "713,514 tokens", "0.818 nats", "8.33e+11", "29.4 s",
                   "Seed: 7;", "800 steps of 128"):  # fmt: skip
        assert number in found["Model and training"]
    for text in ("20,000", "bf588d9209abf196", "ef5b7efd55ccaf93", "N = 4 leaves", "25% of all functions reserved"):
        assert text in found["Training data"]
    density = sections(model_card(DENSITY, RESULTS, QUICK))["Training data"]
    assert "regime dual, 100 cells, targets as sampled" in density
    assert "effective classes 566, syntactic spread 0.855" in density


def test_results_by_part_are_those_of_the_rows():
    head, _, *rows = cells(sections(model_card(SUPPORT, RESULTS, QUICK))["Results"])
    assert head == ["part", "functions", "pass@1", "95 % interval", "pass@4"]
    assert [row[:3] + row[4:] for row in rows] == [
        ["id", "4", "0.750", "0.500"], ["forced", "5", "0.000", "0.000"], ["matched\\_id", "2", "0.500", "0.500"]
    ]  # fmt: skip
    for row in rows:
        low, high = map(float, row[3].split(" to "))
        assert 0 <= low <= float(row[2]) <= high <= 1 and high > low


def test_without_samples_there_is_no_pass_at_k():
    (head, *_) = cells(sections(model_card(SUPPORT, RESULTS.assign(num_samples=0), QUICK))["Results"])
    assert head == ["part", "functions", "pass@1", "95 % interval"]


def test_sizes_are_shares_by_weight():
    weighted = RESULTS.assign(weight=np.where(RESULTS["leaves"] == 2, 7, 1))
    rows = cells(sections(model_card(SUPPORT, weighted, QUICK))["Sizes of the tasks"])
    assert rows[0] == ["leaves of the minimal text", "2", "3", "4"]
    assert rows[2:] == [
        ["id", "70.0%", "10.0%", "20.0%"],
        ["forced", "0.0%", "0.0%", "100.0%"],
        ["matched\\_id", "0.0%", "0.0%", "100.0%"],
    ]


def test_limits_name_the_bound_and_what_was_never_solved():
    limits = sections(model_card(SUPPORT, RESULTS, QUICK))["Limits"]
    for text in ("relative to the bound N", "up to N = 4 leaves", "solved nothing of: forced."):
        assert text in limits
    assert "relative to the bound" not in sections(model_card(DENSITY, RESULTS, QUICK))["Limits"]
    rational = SUPPORT | {"grammar": "rational"}
    assert "up to N = 4 leaves" in model_card(rational, RESULTS, QUICK)


@pytest.mark.parametrize("provenance", [{}, {"preset": "unheard of"}, QUICK | {"preset_key": "of an older version"}])
def test_settings_of_an_unknown_or_changed_preset_are_not_guessed(provenance):
    card = model_card(SUPPORT, RESULTS, provenance)
    assert "N = " not in card and "steps of" not in card and "109,248" in card


def test_missing_fields_are_unknown():
    card = model_card({"trial": "0" * 16, "group": "support"}, RESULTS, QUICK)
    assert "unknown parameters" in card and "nan" not in card and "None" not in card


def test_the_way_to_make_it_again_is_python():
    nasty = QUICK | {"preset": 'quick")\nimport os; os.x("'}
    text = sections(model_card(SUPPORT, RESULTS, nasty))["How to make it again"]
    code = text.split("```")[1].removeprefix("python")
    compile(code, "card", "exec")
    assert "import os" not in code.splitlines() and '"62f4cab71fb2b494"' in code


NASTY = ["<script>alert(1)</script>", "a | b", "`code`", "*a* _b_", "[x](http://e.org)", "line\n# heading", "![i](j)",
         "1. one", "- item", "&amp;", "http://e.org", "www.e.org", "a@b.org", "\\"]  # fmt: skip


@pytest.mark.parametrize("name", NASTY)
def test_names_stay_text(name):
    """Whatever a name holds, the card has the same headings, tables and links as with a harmless one."""
    plain = model_card(SUPPORT | {"region": "plain"}, RESULTS, QUICK)
    card = model_card(SUPPORT | {"region": name, "model": name, "device": name}, RESULTS, QUICK)
    skeleton = [re.sub(r"[^#|`-].*", "", line) for line in card.splitlines()]
    assert skeleton == [re.sub(r"[^#|`-].*", "", line) for line in plain.splitlines()]
    text = card.split("## Licence")[0]
    assert not re.search(r"<\w|<!|(?<!\\)\]\(|(?<!\\)\[|http://|www\.|&(?!amp;|lt;|gt;)", text)
    assert len(re.findall(r"(?<!\\)(?:\\\\)*`", text)) == 4  # around the trial and the study


def test_names_of_parts_cannot_add_columns_to_a_table():
    found = sections(model_card(SUPPORT, RESULTS.assign(part="a | b"), QUICK))
    for name in ("Results", "Sizes of the tasks"):
        bars = [len(re.findall(r"(?<!\\)\|", line)) for line in found[name].splitlines() if line.startswith("|")]
        assert len(bars) == 3 and len(set(bars)) == 1


def test_a_trial_without_results_is_refused():
    with pytest.raises(ConfigurationError, match="has no results"):
        model_card(SUPPORT, RESULTS.iloc[:0], QUICK)


# ---------------------------------------------------------------- files


def tables(*trials, failures=()):
    of = {
        group: pd.concat([RESULTS.assign(trial=t["trial"]) for t in trials if t["group"] == group])
        for group in dict.fromkeys(t["group"] for t in trials)
    }
    failed = pd.DataFrame(failures, columns=["trial", "group", "reason"])
    return StudyTables(pd.DataFrame(trials), of, failed, QUICK)


def test_every_trial_has_a_card_and_a_line_in_the_index(tmp_path):
    paths = write_cards(tables(SUPPORT, DENSITY, failures=[("a" * 16, "support", "out of <memory>")]), tmp_path / "new")
    assert [p.name for p in paths] == ["index.md", "62f4cab71fb2b494.md", "6aecb03ccbd7d6a5.md"]
    assert sorted(paths) == sorted((tmp_path / "new").iterdir())
    index = paths[0].read_text()
    assert "[62f4cab71fb2b494](62f4cab71fb2b494.md)" in index and "id 0.750, forced 0.000" in index
    assert "out of &lt;memory&gt;" in index
    assert paths[1].read_text() == model_card(SUPPORT, RESULTS, QUICK)
    assert "regime dual" in paths[2].read_text()


@pytest.mark.parametrize("key", ["../../../escape0", "62f4", "62F4CAB71FB2B494", ""])
def test_a_key_that_is_none_names_no_file(tmp_path, key):
    with pytest.raises(ArtifactError, match="16 hex digits"):
        write_cards(tables(SUPPORT | {"trial": key}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_trial_without_rows_stops_the_cards(tmp_path):
    study = tables(SUPPORT)
    alone = StudyTables(pd.DataFrame([SUPPORT, DENSITY]), study.results, study.failures, QUICK)
    with pytest.raises(ArtifactError, match="no results"):
        write_cards(alone, tmp_path)


def test_cards_need_neither_torch_nor_altair():
    code = "import synthlab.study.cards, sys; print(sorted(sys.modules.keys() & {'torch', 'altair'}))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
