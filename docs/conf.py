"""How Sphinx builds the documentation: `make docs`."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import flax.linen as nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from memorax import __version__

project = "Memorax"
release = version = __version__
html_title = f"Memorax {release}"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["_build"]
nitpicky = True
# Docstrings hold no references. Those to names of Python are types in signatures, which may be of other packages.
nitpick_ignore_regex = [("py:.*", ".*")]
# One page may describe what another one names by its module.
suppress_warnings = ["ref.python"]

# Pages are read in the repository too: links are those of files, with the anchors that repositories give headings.
myst_heading_anchors = 3

# Docstrings say `name` for code, and have the sections of Google's style.
default_role = "code"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
strip_signature_backslash = True  # so that `lambda_` is a name and no reference
maximum_signature_line_length = 100
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["memorax.css"]
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True


def leave_out_fields_of_flax(
    app: Any, kind: str, name: str, described: Any, options: Any, signature: str | None, returned: str | None
) -> tuple[str | None, str | None]:
    """Leave `parent` and `name`, which Flax adds to every module's constructor, out of signatures."""
    if signature and inspect.isclass(described) and issubclass(described, nn.Module):
        signature = re.sub(r",? ?parent: .*\)$", ")", signature)
    return signature, returned


def leave_out_types_of_numbers(
    app: Any, kind: str, name: str, described: Any, skipped: bool, options: Any
) -> bool | None:
    """Leave out `dtype` and `param_dtype`, which the attributes of a class describe, as aliases of their defaults."""
    return True if name in ("dtype", "param_dtype") and inspect.isclass(described) else None


SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):$")


def show_indented_blocks_as_they_are(
    app: Any, kind: str, name: str, described: Any, options: Any, lines: list[str]
) -> None:
    """Make literal blocks of indented paragraphs, which are equations and code, above the sections of a docstring."""
    shown: list[str] = []
    end = next((index for index, line in enumerate(lines) if SECTION.match(line)), len(lines))
    paragraph = ""  # the first line of the last paragraph that is not indented
    literal = False
    for before, line in zip(["", *lines], lines[:end], strict=False):
        if line and not line.startswith(" "):
            literal = False
            paragraph = paragraph if before.strip() else line
        elif line.strip() and not before.strip() and not literal and not paragraph.startswith(("* ", "1. ")):
            literal = True
            shown += ["::", ""]
        shown.append(line)
    lines[:end] = shown


def add_examples(app: Any, page: str, source: list[str]) -> None:
    """Show every file of the folder `examples` on the page of examples, under the first sentence of its docstring."""
    if page != "examples":
        return
    for path in sorted((Path(app.srcdir).parent / "examples").glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        code = f"```{{literalinclude}} ../examples/{path.name}\n:language: python\n```"
        source[0] += f"\n## {path.stem}\n\n{docstring.partition(chr(10))[0]}\n\n{code}\n"


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", leave_out_fields_of_flax)
    app.connect("autodoc-skip-member", leave_out_types_of_numbers)
    app.connect("autodoc-process-docstring", show_indented_blocks_as_they_are, priority=400)  # before napoleon
    app.connect("source-read", add_examples)
