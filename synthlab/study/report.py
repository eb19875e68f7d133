"""All studies of a preset in order, and the claims they test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from synthlab.store import project_root
from synthlab.study.claims import Claim, density_claim, forced_claim, scaling_claim
from synthlab.study.runs import density_trials, scaling_trials, support_trials
from synthlab.study.scaling import scaling_points

if TYPE_CHECKING:
    from synthlab.lab import Lab


def run_all_studies(lab: Lab) -> list[Claim]:
    """Density, support and scaling trials of the lab's preset; returns the claims they test."""
    density, _ = lab.study("density", density_trials(lab.preset))
    support, _ = lab.study("support", support_trials(lab.preset))
    results, costs = lab.study("scaling", scaling_trials(lab.preset))
    return [
        density_claim(density),
        forced_claim(support, "syntactic"),
        forced_claim(support, "semantic"),
        scaling_claim(scaling_points(results, costs)),
    ]


def published_claims(preset: str) -> list[dict[str, Any]]:
    """Claims that the notebooks of a preset wrote, in the order of the notebooks."""
    results = Path(os.environ.get("SYNTHLAB_RESULTS", project_root() / "build" / "results")) / preset
    tables = [pd.read_parquet(path) for path in sorted(results.glob("claims-*.parquet"))]
    if not tables:
        return []
    shown = ["name", "points", "relative", "verdict", "num_runs", "num_tasks"]
    rows = pd.concat(tables, ignore_index=True)[shown].to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
