"""Views of the federation page: clients as cards with their link, who has which classes, and what a message weighs beside pixels.

Every class has its models in `panel`; `show` replaces what is drawn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import panel as pn
from bokeh.core.properties import field
from bokeh.models import ColumnDataSource, FixedTicker, HoverTool, Quad, Range1d

from workbench.views.card import badge, escape, html, swatch
from workbench.views.looks import BLUE, GREEN, GREY, ORANGE, PINK, RED, TEAL, VIOLET, class_colours
from workbench.views.plots import draw, plot

SENT = {"features": TEAL, "weights": ORANGE, "protocol": VIOLET}  # class of traffic -> its colour; no client has it
PALE = "rgba(128,128,128,.22)"  # of the ghost: exact features
KINDS = (GREY, BLUE, GREEN, PINK, ORANGE)  # colours of what the inspector compares, in its order
LINE = "border:1px solid rgba(128,128,128,.4);border-radius:8px"


class Client(NamedTuple):
    """A client at one step. facts: name -> text. wrong: why it failed, or that it was away; empty if it took part.

    sent: class of traffic -> megabytes so far. ghost: megabytes with exact features.
    """

    name: str
    facts: Mapping[str, str]
    wrong: str
    sent: Mapping[str, float]
    ghost: float


class Clients:
    """A card for each client, joined to the server by a bar of what its link has carried. All bars have one scale."""

    def __init__(self) -> None:
        self.panel = html(margin=(4, 8))

    def show(self, clients: Sequence[Client], server: str, scale: float) -> None:
        """server: HTML of the server's card. scale: megabytes of the longest bar."""
        cards = "".join(_card(c, scale) for c in clients)
        used = [name for name in SENT if any(c.sent.get(name) for c in clients)]
        legend = " ".join(swatch(SENT[name], name) for name in used)
        ghost = swatch(PALE, "with exact features") if any(c.ghost for c in clients) else ""
        style = "display:grid;gap:10px;grid-template-columns:repeat(auto-fit,minmax(min(250px,100%),1fr))"
        top = f'<div style="{LINE};border-style:dashed;padding:8px 12px;margin-bottom:10px">{server}</div>'
        self.panel.object = f'{top}<div style="{style}">{cards}</div><div style="margin-top:8px">{legend} {ghost}</div>'

    def clear(self) -> None:
        """Show no client."""
        self.panel.object = ""


def _card(client: Client, scale: float) -> str:
    facts = " ".join(
        f'<span style="margin-right:14px;white-space:nowrap"><span style="opacity:.65">{escape(k)}</span> <b>{escape(v)}</b></span>'
        for k, v in client.facts.items()
    )
    total = sum(client.sent.values())
    wrong = f' {badge("AWAY", RED)}<div style="color:{RED}">{escape(client.wrong)}</div>' if client.wrong else ""
    border = f"border:1px solid {RED};border-radius:8px" if client.wrong else LINE
    words = f"{total:.3g} MB" + (f" of {client.ghost:.3g} with exact features" if client.ghost > total * 1.001 else "")
    link = (
        ""
        if scale <= 0
        else f'<div style="opacity:.75;margin-top:4px">link, up and down: {words}</div>{_bar(client, scale)}'
    )
    return f'<div style="{border};padding:8px 12px"><b>{escape(client.name)}</b>{wrong}<div>{facts}</div>{link}</div>'


def _bar(client: Client, scale: float) -> str:
    parts = "".join(
        f'<div title="{escape(name)}: {size:.4g} MB" style="width:{100 * size / scale:.2f}%;background:{SENT[name]};height:100%"></div>'
        for name, size in client.sent.items()
        if size > 0
    )
    ghost = (
        f'<div style="position:absolute;inset:0 auto 0 0;width:{100 * client.ghost / scale:.2f}%;background:{PALE}"></div>'
    )
    inner = f'<div style="position:absolute;inset:3px 0;display:flex">{parts}</div>'
    return f'<div style="position:relative;height:18px;margin-top:3px">{ghost}{inner}</div>'


class ClassCounts:
    """Samples of each client by class, as one stacked bar for each client."""

    def __init__(self, *, height: int = 240) -> None:
        self.source = ColumnDataSource(
            {n: [] for n in ("left", "right", "top", "bottom", "color", "name", "client", "count")}
        )
        ranges = {"x_range": Range1d(0, 1), "y_range": Range1d(0.5, -0.5)}
        self.figure = plot("training pixels", "", height=height, tools="", toolbar_location=None, **ranges)
        self.figure.ygrid.visible = False
        edges = {n: n for n in ("left", "right", "top", "bottom")}
        drawn = draw(self.figure, self.source, Quad(**edges, fill_color=field("color"), line_color=None))
        tips = [("client", "@client"), ("class", "@name"), ("pixels", "@count{0,0}")]
        self.figure.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        self.panel = pn.pane.Bokeh(self.figure, sizing_mode="stretch_width", margin=0)

    def show(self, counts: np.ndarray, clients: Sequence[str], names: Sequence[str]) -> None:
        """counts (client, class)."""
        right = counts.cumsum(1)
        rows, columns = (a.ravel() for a in np.indices(counts.shape))
        colours = class_colours(len(names))
        self.source.data = {
            "left": (right - counts).ravel(),
            "right": right.ravel(),
            "top": rows - 0.4,
            "bottom": rows + 0.4,
            "color": [colours[c] for c in columns],
            "name": [str(names[c]) for c in columns],
            "client": [str(clients[r]) for r in rows],
            "count": counts.ravel(),
        }
        self.figure.yaxis.ticker = FixedTicker(ticks=list(range(len(clients))))
        self.figure.yaxis.major_label_overrides = {n: str(c) for n, c in enumerate(clients)}
        end = 1.02 * float(max(right[:, -1].max(initial=0), 1)) if right.size else 1.0
        self.figure.x_range.update(start=0, end=end, reset_start=0, reset_end=end)
        self.figure.y_range.update(start=len(clients) - 0.5, end=-0.5, reset_start=len(clients) - 0.5, reset_end=-0.5)


def weights_of_a_message(names: Sequence[str], kinds: Sequence[str], sizes: np.ndarray, note: str = "") -> str:
    """HTML: for each party the bytes of one pixel in each form; a warning is lit where the message, the last, is larger than the patch.

    sizes (kind, party): bytes. The second kind is the raw patch that a message stands for.
    """
    top = float(sizes.max()) or 1.0
    parts = []
    for n, name in enumerate(names):
        large = sizes[-1, n] > sizes[1, n]
        told = f"the message is {sizes[-1, n] / sizes[1, n]:.1f} times the raw patch"
        lit = badge("LARGER THAN THE PIXELS", "#F2B233") if large else ""
        rows = "".join(
            f'<tr><td style="padding:1px 12px 1px 0;white-space:nowrap">{escape(kind)}</td>'
            f'<td style="padding:1px 12px 1px 0;text-align:right;white-space:nowrap">{sizes[k, n]:,.0f} B</td><td style="width:100%">'
            f'<div style="height:11px;border-radius:2px;width:max({100 * sizes[k, n] / top:.2f}%,2px);'
            f'background:{KINDS[k % len(KINDS)] if k < len(kinds) - 1 else ORANGE}"></div></td></tr>'
            for k, kind in enumerate(kinds)
        )
        parts.append(
            f'<div style="{LINE};padding:8px 12px"><b>{escape(name)}</b> {lit}<div style="opacity:.75">{told}</div>'
            f'<table style="border-collapse:collapse;width:100%">{rows}</table></div>'
        )
    style = "display:grid;gap:10px;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr))"
    under = f'<div style="margin-top:6px">{escape(note)}</div>' if note else ""
    return f'<div style="{style}">{"".join(parts)}</div>{under}'
