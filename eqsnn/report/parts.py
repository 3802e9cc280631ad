"""parts: what a page is made of, as plain values, and `render`, which turns a page into one file of HTML.

Everything that comes from files (names, units, descriptions, paths) is plain text here and escaped by the template; only
what this package has drawn itself (MathML, SVG) is `Markup`.
"""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import ClassVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from eqsnn.report.equations import Block
from eqsnn.report.raster import RasterData

TEMPLATES = Environment(
    loader=PackageLoader("eqsnn.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Running text."""

    kind: ClassVar[str] = "paragraph"
    text: str


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: text, mathematics before it, a second smaller line."""

    text: str
    below: str = ""
    math: Markup = field(default_factory=Markup)
    is_code: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a head; the first cell of each row is its header. numeric: columns to align as numbers."""

    kind: ClassVar[str] = "table"
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """A figure with its title and what it shows."""

    title: str
    picture: Markup
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure over the whole width."""

    kind: ClassVar[str] = "figure"
    picture: Markup


@dataclass(frozen=True, slots=True)
class Panels:
    """Figures side by side, as many as fit."""

    kind: ClassVar[str] = "panels"
    panels: tuple[Panel, ...]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Equations:
    """Typeset blocks of a model."""

    kind: ClassVar[str] = "equations"
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Raster:
    """The zoomable raster, and the still one for paper and for pages without script."""

    kind: ClassVar[str] = "raster"
    data: RasterData
    still: Markup


@dataclass(frozen=True, slots=True)
class Notices:
    """A list that stands out: level `warning`, `note` or `good`."""

    kind: ClassVar[str] = "notices"
    level: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """One number to see first, and how to read it."""

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers to see first, as cards."""

    kind: ClassVar[str] = "facts"
    facts: tuple[Fact, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """Text to be shown as it is."""

    kind: ClassVar[str] = "code"
    text: str


@dataclass(frozen=True, slots=True)
class Fold:
    """Parts that are shown when asked for, and always on paper unless they are long."""

    kind: ClassVar[str] = "fold"
    summary: str
    parts: tuple["Part", ...]


Part = Paragraph | Table | Figure | Panels | Equations | Raster | Notices | Facts | Code | Fold


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that the contents list; key: its anchor."""

    key: str
    title: str
    parts: tuple[Part, ...]
    intro: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page. status: a word and whether it is good news; None where nothing can fail."""

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    status: tuple[str, bool] | None = None
    footer: str = ""


def render(page: Page) -> str:
    """Return a page as one self-contained HTML file, which asks the network for nothing.

    Its content security policy lets only its own script run and refuses every request.
    """
    style, script = (_template(name) for name in ("page.css", "raster.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return TEMPLATES.get_template("page.html").render(
        page=page, style=Markup(style), script=Markup(script), script_digest=digest
    )


def render_parts(parts: Sequence[Part], title: str) -> str:
    """Return parts as a fragment for a notebook, whose style holds within it only."""
    return TEMPLATES.get_template("fragment.html").render(
        parts=parts, title=title, style=Markup(_template("fragment.css"))
    )


def _template(name: str) -> str:
    """Return a file of our own that goes into the page as it is."""
    return (files("eqsnn.report") / "templates" / name).read_text(encoding="utf-8")


def plain(*texts: str) -> tuple[Cell, ...]:
    """Return a row of cells of text."""
    return tuple(Cell(text) for text in texts)
