"""The live curve is one figure that changes in place."""

import pandas as pd
import pytest

from synthlab.views import live


class Handle:
    def __init__(self, shown):
        self.shown = shown

    def update(self, chart):
        self.shown.append(("update", chart))


@pytest.fixture
def shown(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "IPython.display.display", lambda chart, display_id: seen.append(("new", chart)) or Handle(seen)
    )
    return seen


def history(last):
    rows = [(s, name, 1.0 / s) for s in range(10, last + 1, 10) for name in ("loss", "id")]
    return pd.DataFrame(rows, columns=["step", "name", "value"])


def test_one_figure_is_redrawn_with_the_history_so_far(shown):
    curve = live.LiveCurve("Does it learn?", "pass@1")
    for last in (0, 10, 30):
        curve(history(last))
    assert [kind for kind, _ in shown] == ["new", "update"]
    spec = shown[-1][1].to_dict()
    assert spec["title"]["text"] == "Does it learn?"
    rows = [row for data in spec["datasets"].values() for row in data]
    assert {row["step"] for row in rows} == {10, 20, 30} and {row["name"] for row in rows} == {"loss", "id"}


def test_another_curve_is_another_figure(shown):
    live.LiveCurve()(history(10))
    live.LiveCurve()(history(20))
    assert [kind for kind, _ in shown] == ["new", "new"]
