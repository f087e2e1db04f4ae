"""Pages that are written twice from the same blocks: as Markdown with pictures beside it, and as one HTML file."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a; background: #fff;
       font: 16px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto;
        font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; border-bottom: 1px solid #ddd; text-align: left; white-space: nowrap; }
th { white-space: normal; border-bottom: 2px solid #888; }
figure { margin: 1.5rem 0; }
figcaption { color: #444; font-size: .9rem; }
svg { max-width: 100%; height: auto; }
pre { padding: .6rem .8rem; background: #f4f4f4; white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
"""

NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
"""What matplotlib would write into a picture, left out: the same numbers give the same bytes on any day."""


@dataclass(frozen=True)
class Heading:
    """A heading, of the page (1) or of a section (2)."""

    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of plain texts."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Lines that are shown as they are."""

    text: str


@dataclass(frozen=True)
class Table:
    """A table of plain texts: the names of its columns, and rows of as many fields."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Picture:
    """A picture: its name among those of the page, what it shows, and the picture itself as SVG."""

    name: str
    caption: str
    svg: str


Block = Heading | Paragraph | Items | Code | Table | Picture


def svg(figure: Figure, name: str) -> str:
    """A figure as an `<svg>` element, whose ids begin with a name: several of them can stand in one page.

    Text stays text, so that it can be searched and copied.
    """
    import matplotlib

    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata=NO_METADATA)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'\bhref="#', f'href="#{name}-', text)
    return text.replace("url(#", f"url(#{name}-")


def markdown(blocks: Sequence[Block], pictures: str) -> str:
    """Blocks as Markdown, with pictures in a folder beside the page: `pictures/NAME.svg`."""
    return "\n\n".join(_markdown(block, pictures) for block in blocks) + "\n"


def webpage(title: str, blocks: Sequence[Block]) -> str:
    """Blocks as an HTML page that refers to nothing outside of itself and runs no script."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _markdown(block: Block, pictures: str) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_plain(text)}"
        case Paragraph(text):
            return _plain(text)
        case Items(texts):
            return "\n".join(f"* {_plain(text)}" for text in texts)
        case Code(text):
            return f"```\n{text}\n```"
        case Table(columns, rows):
            lines = [columns, ["---"] * len(columns), *rows]
            return "\n".join(f"| {' | '.join(map(_plain, line))} |" for line in lines)
        case Picture(name, caption, _):
            return f"![{_plain(caption)}]({pictures}/{name}.svg)\n\n{_plain(caption)}"


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text):
            return f"<p>{html.escape(text)}</p>"
        case Items(texts):
            return "<ul>\n" + "\n".join(f"<li>{html.escape(text)}</li>" for text in texts) + "\n</ul>"
        case Code(text):
            return f"<pre>{html.escape(text)}</pre>"
        case Table(columns, rows):
            head = "".join(f"<th>{html.escape(text)}</th>" for text in columns)
            lines = ("".join(f"<td>{html.escape(text)}</td>" for text in row) for row in rows)
            body = "\n".join(f"<tr>{line}</tr>" for line in lines)
            return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"
        case Picture(_, caption, picture):
            label = html.escape(caption, quote=True)
            labelled = picture.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
            return f"<figure>\n{labelled}\n<figcaption>{html.escape(caption)}</figcaption>\n</figure>"


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", text)
