"""Figures and tables as files for papers and slides; a file is there whole or not at all."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from synthlab.durable import write_atomically
from synthlab.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FORMULA = re.compile(r"\s*[=@+-](?!$|[\d.]+(e[+-]?\d+)?$)")


def save_chart(chart: Any, folder: Path | str, name: str) -> list[Path]:
    """Write a chart as ``name.svg``, ``name.png`` (144 pixels per inch) and ``name.json`` (Vega-Lite).

    Parameters
    ----------
    chart
        Any Altair chart.
    folder
        Where to write; made if it is missing.
    name
        Up to 64 letters, digits, '.', '_' and '-'.

    Returns
    -------
    list of Path
        The three files.

    Raises
    ------
    ConfigurationError
        For a name that cannot be a file name.
    """
    with alt.data_transformers.disable_max_rows():
        files = {"svg": _rendered(chart, "svg"), "png": _rendered(chart, "png"), "json": chart.to_json().encode()}
    return _write(Path(folder), name, files)


def save_table(frame: pd.DataFrame, folder: Path | str, name: str) -> list[Path]:
    """Write a table as ``name.csv`` (full precision) and ``name.tex`` (booktabs, three decimals).

    A text that a spreadsheet would run as a formula starts with an apostrophe in the CSV file.

    Parameters are those of `save_chart`, and so are the errors.

    Returns
    -------
    list of Path
        The two files.
    """
    latex = frame.to_latex(index=False, escape=True, float_format="%.3f")
    inert = frame.map(_inert).rename(columns=_inert)
    files = {"csv": inert.to_csv(index=False, lineterminator="\n").encode(), "tex": latex.encode()}
    return _write(Path(folder), name, files)


def _inert(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula or two rows; operators and numbers stay as they are."""
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")  # the writer quotes this end of a line only
    return f"'{text}" if _FORMULA.match(text) else text


def _rendered(chart: Any, kind: str) -> bytes:
    buffer = io.BytesIO() if kind == "png" else io.StringIO()
    chart.save(buffer, format=kind, **({"ppi": 144} if kind == "png" else {}))
    content = buffer.getvalue()
    return _smaller(content) if isinstance(content, bytes) else content.encode()


def _smaller(png: bytes) -> bytes:
    """The same picture in a third of the bytes: without transparency, which is nowhere, and packed harder."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        picture.convert("RGB").save(buffer, "PNG", optimize=True, dpi=picture.info.get("dpi", (144, 144)))
    return buffer.getvalue()


def _write(folder: Path, name: str, files: dict[str, bytes]) -> list[Path]:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"name {name!r}: use up to 64 letters, digits, '.', '_' and '-'")
    folder.mkdir(parents=True, exist_ok=True)
    paths = {folder / f"{name}.{suffix}": content for suffix, content in files.items()}
    for path, content in paths.items():
        write_atomically(path, content)
    return list(paths)
