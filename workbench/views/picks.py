"""The table of picked pixels: one component for all rows, because a new Panel object costs a walk through all models of the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import param
from panel.custom import JSComponent

NAMES = ("", "row, column", "map coordinates x, y", "truth", "score", "rank", "")


class PickTable(JSComponent):
    """Rows of `number`, `colour` and `cells` (row and column, map coordinates, truth, score, rank: texts); hidden if there are none.

    remove: called with the number of the pick whose button was pressed.
    """

    rows = param.List(default=[], doc="the picks, in their order")
    names = param.List(default=list(NAMES), doc="titles of the columns")

    _esm = """
    export function render({ model }) {
      const table = document.createElement("div")
      table.style.cssText = "display:grid;align-items:center;font-size:.875rem;line-height:1.9;column-gap:6px;"
        + "grid-template-columns:44px minmax(60px,7.5em) minmax(70px,13em) minmax(60px,7.5em) minmax(60px,8.5em) 1fr 32px"
      const cell = (text, css = "") => {
        const made = document.createElement("span")
        made.textContent = text
        made.style.cssText = css
        table.append(made)
        return made
      }
      const draw = () => {
        table.replaceChildren()
        if (!model.rows.length) return
        for (const name of model.names) cell(name, "opacity:.65")
        for (const row of model.rows) {
          cell(row.number, `background:${row.colour};color:#111;border-radius:50%;width:22px;height:22px;line-height:22px;`
            + "text-align:center;font-weight:700")
          for (const text of row.cells) cell(text)
          const button = document.createElement("button")
          button.textContent = "✕"
          button.title = button.ariaLabel = `Remove pick ${row.number}`
          button.style.cssText = "background:none;border:0;color:inherit;cursor:pointer;font-size:.9rem;padding:4px"
          button.onclick = () => model.send_msg(row.number)
          table.append(button)
        }
      }
      model.on("rows", draw)
      draw()
      return table
    }
    """

    def __init__(self, remove: Callable[[int], None], **params: Any) -> None:
        super().__init__(**params)
        self.on_msg(lambda event: remove(int(event.data)))

    def show(self, rows: Sequence[dict[str, Any]]) -> None:
        """Replace the rows, if they differ."""
        if list(rows) != self.rows:
            self.rows = list(rows)
