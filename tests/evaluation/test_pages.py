"""Pages written twice: what stands in Markdown and in HTML, and that pictures do not get in each other's way."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from matplotlib.figure import Figure

from memorax.evaluation.pages import Code, Heading, Items, Paragraph, Picture, Table, markdown, svg, webpage

BLOCKS = [
    Heading("A <b>", 1),
    Paragraph("x_y & 'z' *"),
    Items(["one|two"]),
    Table(("a|b", "c"), [("1", "<2>")]),
    Code("$ a < b"),
    Picture("curve", 'says "x"', "<svg><g/></svg>"),
]


def test_text_is_shown_as_it_is() -> None:
    assert markdown(BLOCKS, "pictures").split("\n\n") == [
        r"# A \<b\>",
        r"x\_y & 'z' \*",
        r"* one\|two",
        "| a\\|b | c |\n| --- | --- |\n| 1 | \\<2\\> |",
        "```\n$ a < b\n```",
        '![says "x"](pictures/curve.svg)',
        'says "x"\n',
    ]
    page = webpage("T&T", BLOCKS)
    assert page.startswith("<!DOCTYPE html>")
    for text in (
        "<title>T&amp;T</title>",
        "<h1>A &lt;b&gt;</h1>",
        "<p>x_y &amp; &#x27;z&#x27; *</p>",
        "<li>one|two</li>",
        "<tr><td>1</td><td>&lt;2&gt;</td></tr>",
        "<pre>$ a &lt; b</pre>",
        '<svg role="img" aria-label="says &quot;x&quot;"><g/></svg>',
    ):
        assert text in page


def make_figure() -> Figure:
    figure = Figure(figsize=(2, 2))
    ax = figure.subplots()
    ax.plot([0, 1], [0, 1], marker="o", label="a line")
    ax.fill_between([0, 1], [0, 0], [1, 1], alpha=0.2)
    ax.legend()
    return figure


def test_pictures_keep_their_ids_apart_and_refer_to_themselves() -> None:
    pictures = {name: svg(make_figure(), name) for name in ("first", "second")}
    ids = {}
    for name, text in pictures.items():
        assert ElementTree.fromstring(text).tag.endswith("svg")
        ids[name] = re.findall(r'\bid="([^"]*)"', text)
        referred = re.findall(r'url\(#([^)]*)\)|href="#([^"]*)"', text)
        assert {a or b for a, b in referred} <= set(ids[name]) and len(referred) > 2
        assert ">a line</text>" in text and "Date" not in text
    assert not set(ids["first"]) & set(ids["second"])
    assert svg(make_figure(), "first") == pictures["first"], "the same numbers give the same bytes"
