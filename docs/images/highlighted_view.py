"""Draw what `provence prune` shows in a terminal.

`python docs/images/highlighted_view.py` writes highlighted-view.svg.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from provence_rag import Provence
from provence_rag.rendering import terminal_view

IMAGE = Path(__file__).with_name("highlighted-view.svg")
QUESTION = "Who invented the paper coffee filter?"
DOCUMENT = Path(__file__).parents[2] / "examples" / "pour-over.txt"

# Without the fonts that rich would load from the web; a page shows the image without scripts and downloads.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\n", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
)


def draw() -> str:
    """The view of the example as SVG, with the command above it."""
    passages = Provence.from_pretrained().process(QUESTION, [DOCUMENT.read_text(encoding="utf-8")])
    console = Console(
        record=True, width=60, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    console.print(
        f'$ provence prune examples/{DOCUMENT.name} \\\n    --query "{QUESTION}"\n', style="bright_black"
    )
    console.print(terminal_view(passages, query=QUESTION))
    return console.export_svg(title="provence prune", code_format=FORMAT, unique_id="view")


if __name__ == "__main__":
    IMAGE.write_text(draw(), encoding="utf-8")
