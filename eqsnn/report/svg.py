"""svg: matplotlib's figures as inline SVG that takes colour and fonts from the page, and reads well without seeing it."""

import io
import re
from html import escape
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from eqsnn.report.plots import BLUE, ORANGE

# what matplotlib draws in this colour gets the colour of the page's text, so that figures follow light, dark and print
INK = "#0a0b0c"
FAINT = "#9a9b9c"  # likewise for lines that only guide the eye
PANEL = (3.3, 2.4)  # inches; one column of a phone
SQUARE = (3.3, 2.9)  # as wide, so that letters are of one size
DENSE = 400  # points from which on a scatter is drawn as an image
IMAGE_DPI = 160
MEANINGS = {
    INK: "currentColor", FAINT: "var(--faint)", BLUE: "var(--first)", ORANGE: "var(--second)",
}  # fmt: skip
STYLE: Any = {  # a mapping; its keys have a type of matplotlib's stubs
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # letters stay letters: smaller, selectable, in the page's font
    "text.parse_math": False,  # names come from users
    **dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), INK
    ),
}
_ID = re.compile(r'(\bid="|href="#|url\(#)')
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_SIZE = re.compile(r' (?:width|height)="[\d.]+pt"')


def inline(figure: Figure, key: str, description: str) -> Markup:
    """Return a figure as an `svg` element that fills the width it is given.

    key: unique on the page, put before every id in it. description: what is to be seen, for those who do not see it.
    """
    stream = io.StringIO()
    with mpl.rc_context(STYLE | {"svg.hashsalt": key}):
        figure.savefig(
            stream, format="svg", metadata={"Date": None}, transparent=True, dpi=IMAGE_DPI
        )
    text = _METADATA.sub("", _HEAD.sub("", stream.getvalue()))
    text = _ID.sub(rf"\g<1>{key}-", text)
    for colour, meaning in MEANINGS.items():
        text = text.replace(colour.lower(), meaning)
    opening, rest = text.split(">", 1)
    # sizes of the page, not of a sheet of paper
    opening = _SIZE.sub("", opening)
    label = f' role="img" aria-label="{escape(description)}" class="plot"'
    return Markup(f"{opening}{label}>{rest.strip()}")
