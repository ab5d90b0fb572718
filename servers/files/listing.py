"""The list of files, as a page for people and as JSON for programs.

Theory of operation. The page is one resource with its style and script inside. Its Content
Security Policy (CSP level 3) names these two by their SHA-256 and forbids everything else, so
that a file name that looks like HTML could do nothing even if it were not escaped; it is
escaped, too. The page works without the script, which adds progress and cancelling.
"""

from __future__ import annotations

import functools
import hashlib
from base64 import b64encode
from dataclasses import asdict
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napt_lab.servers.files import names
from napt_lab.servers.files.storage import Folder, Stored

if TYPE_CHECKING:
    from jinja2 import Template

_HERE = Path(__file__).parent
_STYLE = (_HERE / "page.css").read_text()
_SCRIPT = (_HERE / "page.js").read_text()


def _source(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


PAGE_POLICY = (
    f"default-src 'none'; style-src {_source(_STYLE)}; script-src {_source(_SCRIPT)}; "
    "connect-src 'self'; form-action 'self'; img-src data:; base-uri 'none'; "
    "frame-ancestors 'none'"
)


def describe(file: Stored) -> dict[str, Any]:
    """A file as a program sees it; with `sha256` in the answer to its upload."""
    modified = datetime.fromtimestamp(int(file.modified), UTC)
    described = {
        "name": file.name,
        "path": names.encode(file.name),
        "size": file.size,
        "modified": modified.isoformat().replace("+00:00", "Z"),
    }
    return described | ({"sha256": file.sha256} if file.sha256 else {})


def as_json(folder: Folder) -> dict[str, Any]:
    """The whole list. Sizes, `used` and the limits are in bytes."""
    files = folder.list()
    return {
        "files": [describe(file) for file in files],
        "used": folder.used,
        "limits": asdict(folder.limits),
    }


def as_page(folder: Folder, host: str, peer: str, read_only: bool) -> str:
    """The whole list as HTML. `peer`: the endpoint from which it was asked for."""
    return _render(**as_json(folder), host=host, peer=peer, read_only=read_only)


def error_page(host: str, status: int, why: str) -> str:
    """The page for a person whose request was refused."""
    title = HTTPStatus(status).phrase
    return _render(host=host, error={"title": title, "why": why})


def _render(**values: Any) -> str:
    from markupsafe import Markup

    return _template().render(style=Markup(_STYLE), script=Markup(_SCRIPT), **values)


@functools.cache
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader  # slow, and only browsers want it

    return Environment(loader=FileSystemLoader(_HERE), autoescape=True).get_template("page.html")
