"""Tables that the figures of support trials draw; intervals are those of the claims.

Where a comparison cannot be made, for want of trials or of anything solved, its row stays and has no value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from synthlab.assessment.metrics import pass_at_k
from synthlab.errors import ConfigurationError
from synthlab.study.decomposition import decompose
from synthlab.study.evidence import interval
from synthlab.study.predictors import predictor_table
from synthlab.study.samples import BASE, MATCHED, drop_between, main_grammar, require_columns
from synthlab.views.study_frames import means

_SPACES = ("syntactic", "semantic", "shape")
_NAME = re.compile(r"^(?:syntactic |semantic |shape )?(.*?)(?: \d+\.\d+)?$")


def spaces_of(table: pd.DataFrame) -> list[str]:
    """Spaces in which regions were held out, in the order of figures."""
    return [space for space in _SPACES if space in set(table["space"].dropna())]


def region_drops(table: pd.DataFrame) -> pd.DataFrame:
    """Relative drop from matched ID to matched forced by region, variant and grammar.

    Parameters
    ----------
    table
        Results of group support with the tags of their trials.

    Returns
    -------
    pandas.DataFrame
        space, kind (of `study_charts.KINDS`), label, value, low, high, note (why there is no value). Variants are
        pooled over the regions of one rule; a region that several seeds hold out, over these.
    """
    require_columns(table, ["space", "region", "variant", "grammar", "part", "solved"])
    rows = []
    for space in spaces_of(table):
        rows += [
            (space, kind, label, *_drop(chosen, space, variant))
            for kind, label, chosen, variant in _asked(table, space)
        ]
    return pd.DataFrame(rows, columns=["space", "kind", "label", "value", "low", "high", "note"])


def _asked(table: pd.DataFrame, space: str) -> Iterator[tuple[str, str, pd.DataFrame, str]]:
    """Comparisons in a space: their kind, name, rows, and variant."""
    here = table[table["space"] == space]
    main = main_grammar(here)
    rules = _rules(main["region"])
    base = main["variant"] == BASE
    regions = list(dict.fromkeys(main.loc[base, "region"]))
    for region in sorted(regions, key=lambda name: bool(re.search(r"\d\.\d", name))):
        yield "one region", region.removeprefix(f"{space} "), main[base & (main["region"] == region)], BASE
    for rule in dict.fromkeys(rules):
        for variant in dict.fromkeys(main.loc[~base & (rules == rule), "variant"]):
            yield "variant", f"{rule}: {variant}", main[(rules == rule) & (main["variant"] == variant)], variant
    for grammar in dict.fromkeys(here["grammar"]):
        if grammar not in set(main["grammar"]):
            yield "other grammar", f"{grammar} grammar", here[here["grammar"] == grammar], BASE
    if len(regions) > 1:
        yield "all regions", "all regions", main, BASE


def _rules(regions: pd.Series) -> pd.Series:
    """The rule of every region, without the space and the number of the draw."""
    return regions.map({name: _NAME.sub(r"\1", str(name)) for name in regions.unique()})


def _drop(rows: pd.DataFrame, space: str, variant: str) -> tuple[float, float, float, str]:
    try:
        found = interval(drop_between(rows, space, variant=variant).relative, limits=(-1.0, np.inf))
    except ConfigurationError as error:
        return np.nan, np.nan, np.nan, str(error)
    return found.value, found.low, found.high, ""


def base_rows(table: pd.DataFrame, parts: Sequence[str] = ()) -> pd.DataFrame:
    """Rows of the base variant in the main grammar, of some parts (all by default).

    Raises
    ------
    ConfigurationError
        If there are none.
    """
    require_columns(table, ["variant", "part"])
    rows = main_grammar(table)
    rows = rows[(rows["variant"] == BASE) & (rows["part"].isin(parts) if parts else True)]
    if rows.empty:
        raise ConfigurationError("no trials of the variant 'base' with these tests: run the support part of the study")
    return rows


def support_summary(table: pd.DataFrame) -> pd.DataFrame:
    """pass@1 by rule of the region and part, over regions of one rule and their seeds, base variant.

    Returns
    -------
    pandas.DataFrame
        region (space and rule), part, pass_at_1, low, high, num_tasks.
    """
    require_columns(table, ["space", "region", "class_id", "solved"])
    rows = base_rows(table)
    rules = _rules(rows["region"])
    found = means(rows.assign(rule=rows["space"] + ": " + rules), ["rule", "part"])
    return found.rename(columns={"rule": "region"})


def sampled_curve(table: pd.DataFrame, parts: Sequence[str] = MATCHED) -> pd.DataFrame:
    """pass@k by space and part over powers of two, from trials of the base variant with independent samples.

    Returns
    -------
    pandas.DataFrame
        space, k, part, value, low, high.

    Raises
    ------
    ConfigurationError
        If no trial has samples.
    """
    require_columns(table, ["space", "variant", "part", "num_samples", "num_correct"])
    rows = base_rows(table, parts)
    rows = rows[rows["num_samples"] > 0]
    if rows.empty:
        raise ConfigurationError("no trial has samples: run the study with num_samples > 0")
    num = int(rows["num_samples"].min())
    rows = rows[rows["num_samples"] == num]
    tables = []
    for k in (1 << power for power in range(num.bit_length())):
        chances = rows.assign(k=k, chance=pass_at_k(num, rows["num_correct"].to_numpy(), k))
        tables.append(means(chances, ["space", "k", "part"], "chance"))
    found = pd.concat(tables, ignore_index=True).rename(columns={"pass_at_1": "value"})
    return found.sort_values("space", key=lambda names: names.map(_SPACES.index), kind="stable", ignore_index=True)


def decomposition_frame(table: pd.DataFrame) -> pd.DataFrame:
    """Shares of the drop, averaged over all orders of explanations, in the spaces where it can be decomposed.

    Returns
    -------
    pandas.DataFrame
        space, component, value, low, high (points lost).

    Raises
    ------
    ConfigurationError
        If there is no such space; the reason is that of the last one.
    """
    require_columns(table, ["space"])
    tables, reason = [], "no regions were held out: run the support part of the study"
    for space in _SPACES[:2]:
        try:
            tables.append(decompose(table, space).frame())
        except ConfigurationError as error:
            reason = str(error)
    if not tables:
        raise ConfigurationError(reason)
    found = pd.concat(tables, ignore_index=True).rename(columns={"share": "component", "average": "value"})
    return found[["space", "component", "value", "low", "high"]]


_PREDICTORS = {
    "leaves": "number of leaves",
    "log_probability": "probability of the answer",
    "novel_compounds": "share of novel compounds",
}


def _named(predictor: str) -> str:
    return _PREDICTORS.get(predictor, predictor.replace("_", " "))


def predictor_frame(table: pd.DataFrame) -> pd.DataFrame:
    """AUC of every predictor of failure, among ID and forced tasks together and among forced ones alone.

    Returns
    -------
    pandas.DataFrame
        predictor (with the direction that means failure), part, value, low, high.
    """
    found = predictor_table(table)
    names = found["direction"].map({"more": "higher", "less": "lower"}) + " " + found["predictor"].map(_named)
    tables = [
        pd.DataFrame({"predictor": names, "part": part, "value": found[auc], "low": found[low], "high": found[high]})
        for part, auc, low, high in (
            ("id and forced", "auc", "low", "high"), ("forced", "forced_auc", "forced_low", "forced_high")
        )
    ]  # fmt: skip
    frame = pd.concat(tables, ignore_index=True).dropna(subset=["value"])
    return frame.assign(part=pd.Categorical(frame["part"], ["id and forced", "forced"]))
