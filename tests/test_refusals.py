"""Bad settings, damaged files and cases without an effect: refused, or said so."""

import numpy as np
import pandas as pd
import pytest

from synthlab.__main__ import main
from synthlab.assessment.metrics import estimate
from synthlab.errors import ConfigurationError
from synthlab.language.grammar import RATIONAL
from synthlab.language.identity import grid_codes, mix
from synthlab.language.program import parse, token_matrix
from synthlab.language.residues import PRIME
from synthlab.presets import ModelConfig, TrainingConfig
from synthlab.search.budget import Budget
from synthlab.search.problem import Problem


def test_minus_one_and_undefined_have_keys_of_their_own():
    rows = np.full((2, 36), 5, dtype=np.uint64)
    rows[0, 3], rows[1, 3] = PRIME - 1, PRIME
    one, two = mix(rows)
    assert one.tolist() != two.tolist()


def test_no_program_answers_a_target_without_values():
    codes = grid_codes(RATIONAL, token_matrix([parse(RATIONAL, "x/(y-y)")]))[0]
    with pytest.raises(ConfigurationError, match="nothing to look for"):
        Problem(RATIONAL, 3, "leaves", np.full(len(codes), np.nan), codes)


def test_many_seeds_cannot_make_up_for_few_regions():
    """Success is decided by the region, so ten seeds tell no more than one."""
    rows = [{"region": r, "seed": s, "solved": float(r % 2)} for r in range(6) for s in range(10) for _ in range(5)]
    frame = pd.DataFrame(rows)
    widths = {}
    for levels in (("region",), ("region", "seed")):
        found = estimate(frame, levels=levels)
        widths[levels] = found.high - found.low
    assert widths["region", "seed"] > 0.8 * widths["region",]


@pytest.mark.parametrize("width", [10, 6, 7])
def test_as_many_heads_as_divide_the_width(width):
    assert ModelConfig.parse(f"{width}x1").width == width


@pytest.mark.parametrize(
    "make",
    [
        lambda: TrainingConfig(learning_rate=float("nan")),
        lambda: TrainingConfig(learning_rate=float("inf")),
        lambda: TrainingConfig(seed=-1),
        lambda: Budget(seconds=float("nan")),
    ],
)
def test_settings_that_are_no_numbers_are_refused(make):
    with pytest.raises(ConfigurationError):
        make()


@pytest.mark.parametrize(
    "arguments",
    [
        ("search", "--target", "x", "--leaves", "0"),
        ("search", "--target", "x", "--leaves", "-3"),
        ("eval", "x", "--x", "1e5000", "--y", "0"),
        ("eval", "x", "--x", "٣", "--y", "0"),
        ("split", "--preset", "tiny", "--leaves", "0"),
        ("split", "--preset", "tiny", "--leaves", "3", "--seed", "-1"),
    ],
    ids=" ".join,
)
def test_bad_input(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path))
    assert main(arguments) == 2


def test_bad_evaluations(trained4, split4, corpus4, tmp_path, monkeypatch, capsys):
    from synthlab.store import Store

    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path))
    Store().name(trained4, "r")
    split4.save(Store())
    codes = {}
    for a in (["--k", "0"], ["--samples", "-2", "--k", "-4"], ["--samples", "3", "--temperature", "nan"]):
        try:
            codes[" ".join(a)] = main(["evaluate", "r", *a])
        except Exception as error:
            codes[" ".join(a)] = repr(error)
    assert set(codes.values()) == {2}, codes


def test_pass_at_1_lies_in_its_interval(trained4, split4, corpus4, tmp_path, monkeypatch, capsys):
    import json
    from dataclasses import replace
    from unittest.mock import Mock

    from synthlab.splits import audit
    from synthlab.store import Store

    monkeypatch.setenv("SYNTHLAB_STORE", str(tmp_path))
    mixed = replace(split4, tests={"small": corpus4.class_id[:60]})  # what was taught, so that some are right
    monkeypatch.setattr(audit, "audit_corpus", lambda *_: Mock())
    mixed.save(Store())
    Store().name(trained4, "r")
    capsys.readouterr()
    assert main(["evaluate", "r", "--samples", "8", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["parts"]
    assert row["low"] <= row["pass_at_1"] <= row["high"], row


def test_a_second_ctrl_c_interrupts(corpus3, split3, tmp_path, monkeypatch):
    import signal

    from synthlab.learning import training as module
    from synthlab.store import Store

    original, n = module.program_loss, []

    def watched(*a):
        n.append(1)
        if len(n) == 4:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
        return original(*a)

    monkeypatch.setattr(module, "program_loss", watched)
    with pytest.raises(KeyboardInterrupt):
        module.train(
            corpus3,
            split3,
            ModelConfig(width=8, layers=1),
            TrainingConfig(num_steps=9, batch_size=8),
            store=Store(tmp_path),
            progress=False,
        )


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_damaged_checkpoint_is_named(corpus3, split3, tmp_path, monkeypatch, damage):
    import signal

    from synthlab.errors import ArtifactError
    from synthlab.learning import training as module
    from synthlab.store import Store

    settings = (corpus3, split3, ModelConfig(width=8, layers=1), TrainingConfig(num_steps=9, batch_size=8))
    original = module.program_loss

    def interrupted(*arguments):
        patch.undo()  # once is enough
        signal.raise_signal(signal.SIGINT)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, "program_loss", interrupted)
        module.train(*settings, store=Store(tmp_path), progress=False)
    (last,) = tmp_path.rglob("step-000000001.ckpt")
    last.write_bytes(last.read_bytes()[: len(damage) * 2000])
    for _ in range(2):  # and again, instead of training anew without a word
        with pytest.raises(ArtifactError, match=r"step-000000001\.ckpt"):
            module.train(*settings, store=Store(tmp_path), progress=False)
