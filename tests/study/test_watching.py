"""The state of a run is read from its files alone."""

import os
import time

import pytest

from synthlab.learning.progress import METRICS_FILE
from synthlab.study.watching import watch_folder

ROWS = "step,name,value,seconds\n10,loss,2.5,1\n10,flops,1e6,1\n20,loss,2.0,2.5\n20,id,0.25,2.5\n"


@pytest.mark.parametrize("content", [None, "", "step,name,value,seconds\n", "step,name,value,seconds\n10,loss"])
def test_a_run_without_a_whole_line_waits(tmp_path, content):
    if content is not None:
        (tmp_path / METRICS_FILE).write_text(content)
    state = watch_folder(tmp_path, 60)
    assert (state.stage, len(state.metrics), state.num_steps, state.silent) == ("waiting", 0, 60, 0.0)
    assert state.last("loss") is None and state.history.empty


def test_a_run_under_way_tells_steps_values_seconds_and_silence(tmp_path):
    path = tmp_path / METRICS_FILE
    path.write_text(ROWS + "30,loss,,3\n30,los")
    os.utime(path, (time.time() - 100,) * 2)
    state = watch_folder(tmp_path)
    assert state.stage == "training" and state.seconds == 3.0 - 0.5 and 100 <= state.silent < 160
    assert state.last("loss") == (20, 2.0) and state.last("id") == (20, 0.25) and state.last("open") is None
    assert state.history["name"].tolist() == ["loss", "loss", "id"] and len(state.metrics) == 4
