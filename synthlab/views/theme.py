"""What all figures share: colours, shapes, fonts, titles, and checks of their tables.

Categories carry a colour (Okabe and Ito, safe for colour blindness) and a second mark (shape, dash or place);
quantities are viridis. A part of a split has one colour and one shape in every figure.
"""

from __future__ import annotations

import json
from typing import Any

import altair as alt
import pandas as pd
from altair.utils.mimebundle import spec_to_mimebundle

from synthlab.errors import ConfigurationError

MAX_POINTS = 20_000
"""Most points a scatter draws; more are sampled, since a browser's canvas becomes slow."""

REGION_PARTS = ("train", "held out", "reserved", "unused")
"""Parts of a split that a program can lie in, in the order of the legend."""

STATUSES = ("solved", "right on grid", "wrong function", "ungrammatical", "too long", "undefined")
"""What can become of a candidate, in the order in which bars are stacked."""

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, BLACK, YELLOW, GREY = "#CC79A7", "#56B4E9", "#000000", "#F0E442", "#BBBBBB"
COLORS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, BLACK, YELLOW)
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [4, 1], [1, 3], [10, 2, 2, 2, 2, 2])
PARTS = {
    "train": (BLUE, "circle"),
    "held out": (RED, "diamond"),
    "reserved": (GREEN, "square"),
    "unused": (GREY, "cross"),
    "id": (GREEN, "square"),
    "open": (ORANGE, "triangle-up"),
    "forced": (RED, "diamond"),
    "matched_id": (SKY, "triangle-down"),
    "matched_forced": (PURPLE, "triangle-right"),
}
STATUS_COLORS = (GREEN, SKY, ORANGE, PURPLE, YELLOW, GREY)
_FIXED = PARTS | {name: (STATUS_COLORS[k], SHAPES[k]) for k, name in enumerate(STATUSES)}
TITLES = {"class_size": "programs per function", "root": "root", "part": "part of the split", "leaves": "leaves"}
FONT = "Helvetica Neue, Arial, Liberation Sans, DejaVu Sans, sans-serif"


@alt.theme.register("synthlab", enable=False)
def _theme() -> alt.theme.ThemeConfig:
    label = {"labelFontSize": 13, "titleFontSize": 14, "titleFontWeight": "normal"}
    config: dict[str, Any] = {
        "font": FONT,
        "background": "white",
        "view": {"continuousWidth": 420, "continuousHeight": 300, "stroke": "#DDDDDD"},
        "title": {"anchor": "start", "fontSize": 17, "subtitleFontSize": 13, "subtitleColor": "#555555", "offset": 10},
        "axis": {**label, "gridColor": "#EEEEEE", "domainColor": "#888888", "tickColor": "#888888"},
        "axisX": {"labelAngle": 0},
        "header": {**label, "labelAnchor": "start"},
        "legend": {**label, "symbolSize": 110, "symbolOpacity": 1, "labelLimit": 260},
        "range": {"category": list(COLORS), "symbol": list(SHAPES), "heatmap": {"scheme": "viridis"}},
        "line": {"strokeWidth": 2.5},
        "text": {"font": FONT, "fontSize": 13},
    }
    # vega-embed draws SVG unless told otherwise, which is three times slower for a scatter
    theme: Any = {"config": config, "usermeta": {"embedOptions": {"renderer": "canvas"}}}
    return theme


def use_theme() -> None:
    """Draw every following chart in the package's theme, lift Altair's limit of 5,000 rows, and keep names inert.

    Altair writes the data of a chart into a script of the page, which a name such as ``</script>`` would end.
    """
    alt.theme.enable("synthlab")
    alt.data_transformers.disable_max_rows()
    if alt.renderers.active in ("default", "html"):
        drawn: Any = alt.renderers.get()
        alt.renderers.register("synthlab-page", lambda spec, **options: inert_page(drawn(spec, **options), spec))
        alt.renderers.enable("synthlab-page")


def inert_page(bundle: dict[str, str], spec: dict[str, Any]) -> Any:
    """What Altair shows of a chart, without a text in its data that could end the script around it."""
    plain = json.dumps(spec)
    page = bundle["text/html"].replace(plain, plain.replace("<", "\\u003c"))
    return png_bundle(spec) if plain in page and "<" in plain else {**bundle, "text/html": page}


def show_static() -> None:
    """Show charts in notebooks as sharp PNG images, which need neither network nor JavaScript."""
    alt.renderers.register("synthlab", png_bundle)
    alt.renderers.enable("synthlab")


def png_bundle(spec: dict[str, Any], **_: Any) -> Any:
    """PNG with a palette of 256 colours: a quarter of the size, and no eye sees the difference."""
    import io

    from PIL import Image

    data, metadata = spec_to_mimebundle(spec, format="png", mode="vega-lite", ppi=144)
    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(data["image/png"])).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return {"image/png": buffer.getvalue()}, metadata


LOG = alt.Scale(type="log", nice=False, padding=12)
ROW_HEADER = alt.Header(labelAngle=0, labelAlign="left", labelAnchor="middle", labelFontSize=13)


def checked(name: str, frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """The frame, if it has rows and the columns that a figure reads."""
    if frame.empty:
        raise ConfigurationError(f"{name}: there are no rows to draw; give a table with at least one")
    missing = [c for c in columns if c not in frame]
    if missing:
        raise ConfigurationError(f"{name}: the table lacks {', '.join(missing)}; it has {', '.join(map(str, frame))}")
    return frame


def layers(*charts: Any, **properties: Any) -> alt.LayerChart:
    """Layered chart with properties; lifts the common data, which facets rely on."""
    layered: Any = alt.layer(*charts)  # lifts the common data out of the layers, which facets rely on
    return layered.properties(**{k: v for k, v in properties.items() if v is not alt.Undefined})


def titled(text: str, subtitle: str) -> Any:
    """Title with an optional subtitle; nothing for an empty text."""
    return alt.Title(text, subtitle=subtitle or alt.Undefined) if text else alt.Undefined


def order(values: pd.Series) -> list[str]:
    """Categories in the order of the legend: parts of a split as declared, others as they come."""
    if isinstance(values.dtype, pd.CategoricalDtype):
        return list(values.cat.categories)
    present = list(dict.fromkeys(values.astype(str)))
    if values.name == "root":
        present.sort(key=str.isalnum)  # operators first: they are many and get the strongest colours
    if set(present) <= set(REGION_PARTS):
        return list(REGION_PARTS)  # a map that happens to lack a part keeps its legend
    return [p for p in PARTS if p in present] + [v for v in present if v not in PARTS]


def styles(values: pd.Series) -> list[tuple[str, str, str, list[int]]]:
    """(category, colour, shape, dash) of every category."""
    found = []
    for number, name in enumerate(order(values)):
        kept = _FIXED.get(name, (COLORS[number % len(COLORS)], SHAPES[number % len(SHAPES)]))
        found.append((name, *kept, list(DASHES[number % len(DASHES)])))
    return found


def color(values: pd.Series, title: str | None, *, legend: Any = alt.Undefined) -> alt.Color:
    """Colour channel of a categorical column."""
    names, colors, _, _ = zip(*styles(values), strict=True)
    return alt.Color(f"{values.name}:N", title=title, scale=alt.Scale(domain=names, range=colors), legend=legend)


def shape(values: pd.Series, title: str | None) -> alt.Shape:
    """Shape channel of a categorical column."""
    names, _, shapes, _ = zip(*styles(values), strict=True)
    return alt.Shape(f"{values.name}:N", title=title, scale=alt.Scale(domain=names, range=shapes))


def dash(values: pd.Series, title: str | None) -> alt.StrokeDash:
    """Dash channel of a categorical column."""
    names, _, _, dashes = zip(*styles(values), strict=True)
    return alt.StrokeDash(f"{values.name}:N", title=title, scale=alt.Scale(domain=names, range=dashes))


def on_viridis(values: pd.Series, column: str) -> Any:
    """Ink that can be read on viridis: black on its bright half, white on its dark one."""
    middle = float(values.min() + values.max()) / 2
    return alt.condition(f"datum.{column} > {middle}", alt.value("black"), alt.value("white"))


def curves(table: pd.DataFrame, x: Any, y: Any, by: str, tooltip: list[Any]) -> alt.LayerChart:
    """Lines with points by category, over a band where the table has `low` and `high`."""
    base = alt.Chart(table).encode(x, color(table[by], None), tooltip=tooltip)
    lines = base.mark_line().encode(y)
    points = base.mark_point(filled=True, size=55, opacity=1).encode(y, shape(table[by], None))
    if "low" not in table:
        return layers(lines, points)
    band = base.mark_area(opacity=0.15)
    return layers(band.encode(alt.Y("low:Q"), alt.Y2("high:Q")), lines, points)
