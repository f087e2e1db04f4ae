"""Checks the built documentation: `python docs/check_site.py docs/_build/html`.

Every link and picture within the site leads somewhere, every page is at most two clicks away from the front page, and
every public name has its place in the API reference. Where chromium is installed, no page writes to its console.
"""

from __future__ import annotations

import functools
import http.server
import importlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import types
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

FRONT_PAGE = "index.html"
CLICKS = 2
PACKAGES = (
    "memorax",
    "memorax.algorithms",
    "memorax.buffers",
    "memorax.deployment",
    "memorax.environments",
    "memorax.environments.wrappers",
    "memorax.evaluation",
    "memorax.laboratory",
    "memorax.laboratory.executors",
    "memorax.loggers",
    "memorax.networks",
    "memorax.networks.blocks",
    "memorax.networks.encoders",
    "memorax.networks.heads",
    "memorax.networks.sequence_models",
    "memorax.probing",
    "memorax.testing",
    "memorax.training",
)


class Page(HTMLParser):
    """What a page of HTML refers to.

    Attributes:
        links: targets of its links, those of its text apart from those of the navigation around it.
        text_links: the targets of links within its text.
        files: pictures, scripts and style sheets.
        anchors: ids that a link may lead to.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.text_links: list[str] = []
        self.files: list[str] = []
        self.anchors: set[str] = set()
        self._in_text = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep what the tag refers to."""
        found = {name: value for name, value in attrs if value}
        self._in_text = self._in_text or tag == "article"
        self.anchors.update(found[name] for name in ("id", "name") if name in found)
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
            if self._in_text:
                self.text_links.append(found["href"])
        elif tag == "link" and "href" in found:
            self.files.append(found["href"])
        elif "src" in found:
            self.files.append(found["src"])

    def handle_endtag(self, tag: str) -> None:
        """Notice the end of the text."""
        self._in_text = self._in_text and tag != "article"


def read_pages(site: Path) -> dict[str, Page]:
    """Every page of a site by its path within it."""
    return {path.relative_to(site).as_posix(): Page(path.read_text()) for path in sorted(site.rglob("*.html"))}


def dead_links(site: Path, pages: dict[str, Page]) -> list[str]:
    """Links and files within the site that lead nowhere, each with the page that has it."""
    dead = []
    for name, page in pages.items():
        for target in sorted({*page.links, *page.files}):
            parts = urlsplit(target)
            if parts.scheme or parts.netloc or target == "#":
                continue
            path = _path_of(name, target)
            anchor = unquote(parts.fragment)
            if not (site / path).is_file() or (anchor and path in pages and anchor not in pages[path].anchors):
                dead.append(f"{name}: {target}")
    return dead


def far_pages(pages: dict[str, Page], clicks: int = CLICKS) -> list[str]:
    """Pages that links within texts do not reach from the front page in so many clicks, but for code and indices."""
    reached = {FRONT_PAGE}
    for _ in range(clicks):
        reached |= {_path_of(name, target) for name in reached & pages.keys() for target in pages[name].text_links}
    return [name for name in pages if name not in reached and not name.startswith(("_", "genindex", "py-", "search"))]


def undescribed_names(pages: dict[str, Page]) -> list[str]:
    """Public names of the packages that no page of the API reference describes."""
    anchors = {anchor for name, page in pages.items() if name.startswith("api/") for anchor in page.anchors}
    described = {anchor.rpartition(".")[2] for anchor in anchors}
    public = [(package, name) for package in PACKAGES for name in importlib.import_module(package).__all__]
    return [f"{package}.{name}" for package, name in public if name not in described and not _is_module(package, name)]


def _is_module(package: str, name: str) -> bool:
    """Whether a name of a package is one of its modules, or its version."""
    return isinstance(getattr(importlib.import_module(package), name), types.ModuleType | str)


def console_messages(site: Path, pages: dict[str, Page], chromium: str) -> list[str]:
    """What pages write to the console of a browser, and files that it asked for in vain."""
    missing: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            if len(arguments) > 1 and str(arguments[1]).startswith("4") and "favicon.ico" not in str(arguments[0]):
                missing.append(f"not found: {arguments[0]}")

        def log_error(self, format: str, *arguments: object) -> None:
            """The same is logged as a message."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    frames = "".join(f'<iframe src="{address}{name}"></iframe>' for name in pages)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "all.html").write_text(frames)
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            f"--user-data-dir={folder}",
        ]
        command = [chromium, *options, "--timeout=60000", "--dump-dom", f"{folder}/all.html"]
        output = subprocess.run(command, capture_output=True, text=True, timeout=300).stderr
    server.shutdown()
    return missing + re.findall(r".*CONSOLE.*", output)


def _path_of(page: str, target: str) -> str:
    """The path within the site to which a link of a page leads."""
    path = unquote(urlsplit(urljoin(f"http://site/{page}", target)).path).lstrip("/")
    return f"{path}{FRONT_PAGE}" if not path or path.endswith("/") else path


def main(folder: str) -> int:
    """Print everything that is wrong, and return 1 where something is."""
    site = Path(folder)
    pages = read_pages(site)
    wrong = [f"dead link: {link}" for link in dead_links(site, pages)]
    wrong += [f"more than {CLICKS} clicks away: {name}" for name in far_pages(pages)]
    wrong += [f"not in the API reference: {name}" for name in undescribed_names(pages)]
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is not None:
        wrong += console_messages(site, pages, chromium)
    print("\n".join(wrong) or f"{len(pages)} pages, no dead link" + (", empty console" if chromium else ""))
    return 1 if wrong or not pages else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
