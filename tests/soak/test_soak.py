"""The soak in miniature, and that it would notice."""

import shutil

import numpy as np
import pytest
import torch
from soak import study as module

from synthlab.store import Store
from synthlab.study.trials import Outcomes


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_study_that_is_killed_again_and_again_ends_as_one_that_is_not(tmp_path, capsys):
    assert module.soak(tmp_path, runs=6, kills=3, seed=1) == []
    printed = capsys.readouterr().out
    assert "equal to the last bit, verified" in printed
    killed, interrupted = (int(part) for part in printed.split("interrupted", 1)[1].split("(")[0].split("/"))
    assert killed + interrupted >= 2
    damaged = tmp_path / "rough"
    folder = Store(damaged).folder(Outcomes.stage, module.study(6).trials[2].key)
    shutil.rmtree(folder)
    assert any("5" in line or "results" in line for line in module.differences(tmp_path / "calm", damaged, 6))


def test_memory_that_grows_is_noticed_and_noise_is_not():
    generator = np.random.default_rng(0)
    noise = generator.normal(500e6, 2e6, size=200).tolist()
    assert module.growth(noise)[0] < module.MOST_GROWTH
    ratio, slope = module.growth([size + 300e3 * run for run, size in enumerate(noise)])
    assert ratio > module.MOST_GROWTH and 250e3 < slope < 350e3
    assert module.growth([900e6] * 3 + [500e6] * 40)[0] == pytest.approx(1)
