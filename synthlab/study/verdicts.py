"""What a claim is, and one verdict for a whole family of them.

Every claim is a function from result tables to a `Claim`; none of them judges itself. `claims_table` adjusts all
p-values for their number (Holm) and says what is supported, not supported, or undecided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from synthlab.assessment.metrics import Estimate
from synthlab.errors import ConfigurationError, SynthlabError
from synthlab.study.evidence import Evidence, holm

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
EXPLORATORY = " (exploratory)"
MIN_SEEDS = 3
ALPHA = 0.05
COLUMNS = (
    "name", "claim", "effect", "value", "low", "high", "unit", "bound", "p", "p_holm", "verdict", "controls", "runs",
    "regions", "seeds", "tasks", "note",
)  # fmt: skip
_NUMBERS = ("solved", "class_id", "seed", "leaves", "weight", "num_train", "test_loss", "round", "seconds", "budget")
_ALWAYS = ("solved", "class_id", "seed", "leaves")
_UNKNOWN = Estimate(np.nan, np.nan, np.nan, 0)

Control = tuple[str, Estimate | str]


@dataclass(frozen=True)
class Claim:
    """One claim with its evidence, without a verdict.

    Attributes
    ----------
    name, text
        Short name, and the claim in words.
    effect, unit
        What was measured, with its 95 % interval.
    bound, above
        The claim is that the effect lies above (or below) the bound.
    p_value
        Two-sided bootstrap p-value against the bound, not adjusted, never below 1 / replicates; NaN for no test.
    controls
        What rules out rival explanations, by name.
    num_runs, num_regions, num_seeds, num_tasks
        Trials, held-out regions, seeds and distinct classes behind it.
    note
        Why it could not be tested, or what to know.
    """

    name: str
    text: str
    effect: Estimate
    unit: str
    bound: float
    above: bool
    p_value: float
    controls: tuple[Control, ...] = ()
    num_runs: int = 0
    num_regions: int = 0
    num_seeds: int = 0
    num_tasks: int = 0
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """What a claim function found: evidence, the rows behind it, controls, and a note."""

    evidence: Evidence
    rows: pd.DataFrame
    controls: tuple[Control, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class ClaimFunction:
    """A claim in words, and how it is measured; called with result tables it gives a `Claim`.

    Attributes
    ----------
    name, text, unit, bound, above
        As in `Claim`.
    measure
        From result tables to a `Finding`; raises `ConfigurationError` where they do not allow it.
    """

    name: str
    text: str
    unit: str
    bound: float
    above: bool
    measure: Callable[..., Finding] = field(repr=False)

    def __call__(self, *tables: pd.DataFrame) -> Claim:
        """Measure the effect.

        Raises
        ------
        ConfigurationError
            If trials, parts or columns are missing, too few, or saturated.
        """
        found = self.measure(*tables)
        runs, regions, seeds, tasks = (
            int(found.rows[c].nunique()) if c in found.rows else 0 for c in ("trial", "region", "seed", "class_id")
        )
        return Claim(
            self.name, self.text, found.evidence.estimate, self.unit, self.bound, self.above, found.evidence.p_value,
            found.controls, runs, regions, seeds, tasks, found.note,
        )  # fmt: skip

    def undecided(self, reason: str) -> Claim:
        """The claim where it cannot be tested."""
        return Claim(self.name, self.text, _UNKNOWN, self.unit, self.bound, self.above, np.nan, note=reason)


def claim(
    name: str, text: str, unit: str, bound: float, *, above: bool
) -> Callable[[Callable[..., Finding]], ClaimFunction]:
    """Make a measuring function a claim: that its effect lies above (or below) a bound."""
    return partial(ClaimFunction, name, text, unit, bound, above)


def claim_or_reason(function: ClaimFunction, *tables: pd.DataFrame) -> Claim:
    """A claim, or why its tables do not allow to test it, which stops no other claim; faults of the program do."""
    try:
        for table in tables:
            _require_numbers(table)
        return function(*tables)
    except SynthlabError as error:
        return function.undecided(str(error))
    except KeyError as error:
        if not _is_missing_column(error, tables):
            raise
        return function.undecided(f"the tables lack the column {error.args[0]}: make them with this version")


def _require_numbers(table: pd.DataFrame) -> None:
    """Refuse texts or nothing where numbers are counted, as tables by another hand may hold."""
    for name in _NUMBERS:
        if len(table) and name in table:
            column = table[name]
            if not pd.api.types.is_numeric_dtype(column) or (name in _ALWAYS and column.isna().all()):
                raise ConfigurationError(f"column {name} of the tables holds no numbers: make them with this version")


def _is_missing_column(error: KeyError, tables: Sequence[pd.DataFrame]) -> bool:
    """Whether pandas was asked for a column that some table does not have."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    from_pandas = trace is not None and str(trace.tb_frame.f_globals.get("__name__")).startswith("pandas.")
    return from_pandas and any(error.args[0] not in table for table in tables)


# ---------------------------------------------------------------- verdicts


def claims_table(claims: Iterable[Claim], alpha: float = ALPHA, *, exploratory: bool = False) -> pd.DataFrame:
    """All claims as one family, with verdicts.

    A claim is supported if its interval lies wholly on the claimed side of the bound and its p-value, adjusted for the
    number of claims that could be tested (Holm, 1979), is at most alpha; not supported if the same holds for the
    other side; else undecided.

    Parameters
    ----------
    claims, alpha
        The family, and its error rate.
    exploratory
        Mark all verdicts as exploratory; those of fewer than three seeds always are.

    Returns
    -------
    pandas.DataFrame
        `COLUMNS`, one row per claim; effect, bound and controls are texts.
    """
    claims = list(claims)
    adjusted = holm([c.p_value for c in claims])
    rows = [
        (
            c.name, c.text, "n/a" if np.isnan(c.effect.value) else str(c.effect), c.effect.value, c.effect.low,
            c.effect.high, c.unit, f"{'>' if c.above else '<'} {c.bound:g}", c.p_value, p,
            verdict(c, p, alpha) + EXPLORATORY * (exploratory or c.num_seeds < MIN_SEEDS),
            "; ".join(f"{name} {value}" for name, value in c.controls), c.num_runs, c.num_regions, c.num_seeds,
            c.num_tasks, c.note,
        )
        for c, p in zip(claims, adjusted, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(COLUMNS))


def verdict(claim: Claim, p_adjusted: float, alpha: float = ALPHA) -> str:
    """Where the effect lies with respect to the bound, given the p-value adjusted for the family."""
    if not p_adjusted <= alpha:
        return UNDECIDED
    if claim.effect.low > claim.bound:
        return SUPPORTED if claim.above else NOT_SUPPORTED
    if claim.effect.high < claim.bound:
        return NOT_SUPPORTED if claim.above else SUPPORTED
    return UNDECIDED


def optional(name: str, measure: Callable[[], Estimate | str]) -> tuple[Control, ...]:
    """A control, or none where its trials are missing."""
    try:
        return ((name, measure()),)
    except ConfigurationError:
        return ()
