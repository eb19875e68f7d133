"""What all panels share: texts in both themes, errors in the panel."""

from __future__ import annotations

import asyncio
import functools
import html
from collections.abc import Callable, Iterable
from typing import Any

import anywidget

from synthlab.errors import SynthlabError
from synthlab.views import theme

INK, MUTED, ALERT = (
    "var(--jp-ui-font-color1, #222)",
    "var(--jp-ui-font-color2, #666)",
    "var(--jp-error-color1, #B3261E)",
)
"""Colours that follow JupyterLab's theme."""
PANEL = "synthlab-panel"
"""CSS class of the box around a panel."""
_STYLES = {
    "error": f"color: {ALERT}; white-space: pre-wrap; margin: 2px 0",
    "": f"color: {INK}; white-space: pre-wrap; margin: 2px 0; line-height: 1.4",
}


def preformatted(name: str, text: str = "") -> str:
    """HTML of a text that keeps its lines, under an id, escaped."""
    role = ' role="alert"' if name == "error" else ""
    return f'<pre id="{name}"{role} style="{_STYLES.get(name, _STYLES[""])}">{html.escape(text)}</pre>'


def guarded(handler: Callable[..., None]) -> Callable[..., None]:
    """Show an error in the panel (its method `fail`): a widget's callback would lose it in the browser's log."""

    @functools.wraps(handler)
    def run(self: Any, *arguments: Any) -> None:
        self.fail("")
        try:
            handler(self, *arguments)
        except SynthlabError as error:
            self.fail(str(error))
        except Exception as error:
            self.fail(f"{type(error).__name__}: {error}")

    return run


def show_panel(widget: Any, picture: Any, maps: Iterable[Any]) -> None:
    """Display a panel, and below it a picture for readers without a kernel; a browser that shows it takes that away.

    Parameters
    ----------
    widget, picture
        The panel, and a chart of what it shows.
    maps
        Maps of the panel (`LiveMap`), which say when a browser draws them.
    """
    from IPython.display import display

    display(widget)
    bundle, metadata = theme.png_bundle(picture.to_dict())  # whatever the renderer: others ask a network
    pictures = [display(bundle, metadata=metadata, raw=True, display_id=True)]

    def take_away(_change: Any) -> None:
        if pictures:
            pictures.pop().update({"text/plain": ""}, raw=True)

    for drawn in maps:
        drawn.on_shown(take_away)


class ArrowKeys(anywidget.AnyWidget):
    """Leaves the arrow keys to the controls of a panel: JupyterLab would move on to another cell.

    It shows nothing, and acts on the innermost box of the CSS class `PANEL` that it lies in.
    """

    _esm = f"""
    export default {{
        render({{ el }}) {{
            const listen = () => {{
                if (!el.isConnected) {{ requestAnimationFrame(listen); return; }}
                el.closest(".{PANEL}")?.addEventListener("keydown", event => {{
                    if (event.key.startsWith("Arrow")) event.stopPropagation();
                }});
            }};
            listen();
        }}
    }};
    """


class Latest:
    """Runs a function for the last of a burst of calls, so that a slow browser's backlog is not worked off one by one.

    Without a running event loop it is called at once.

    Parameters
    ----------
    function
        Gets the arguments of the last call.
    pause
        Seconds without a further call before it runs.
    """

    def __init__(self, function: Callable[..., None], pause: float = 0.05) -> None:
        self.function, self.pause = function, pause
        self._waiting: asyncio.TimerHandle | None = None

    def __call__(self, *arguments: Any) -> None:
        """Ask for a run with these arguments."""
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.function(*arguments)
            return
        self._waiting = loop.call_later(self.pause, self.function, *arguments)
