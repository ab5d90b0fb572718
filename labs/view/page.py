"""The page's parts: its script, joined of the modules in js/, its style and its elements.

Theory of operation. A page from a disk (file://) may not import modules, and the live page is to
load nothing but itself. So the modules become one script: each is a function that returns what it
exports, called once, in the order of their imports. They are written as ordinary modules, and the
type checker reads them as such.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable
from pathlib import Path

from jinja2 import Template
from markupsafe import Markup

from napt_lab.labs.records.stream import Record
from napt_lab.labs.report import page as report_page
from napt_lab.labs.report.page import Inset
from napt_lab.labs.report.templates import templates
from napt_lab.labs.view.recording import Recording
from napt_lab.labs.view.run_data import run_records

HERE = Path(__file__).parent
FIRST = "main"
_IMPORT = re.compile(r"^import \{([^}]*)\} from '\./(\w+)\.js';\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(?:function|class|const) (\w+))", re.MULTILINE)


def report_inset(recording: Recording, folder: Path) -> Inset:
    """What makes a report move: to be put into it, with all records of the run."""
    data = as_json(run_records(recording, folder))
    markup = Markup('{}<script type="application/json" id="run">{}</script>')
    return Inset(markup.format(_elements(live=False), Markup(data)), style(), script())


def live_page(title: str) -> str:
    """The whole page that shows a run that goes on."""
    both = report_page.style() + style()
    return _template("live.html").render(
        title=title, view=_elements(live=True), style=Markup(both), script=Markup(script())
    )


def live_policy() -> str:
    """What the live page may do: be itself, and talk to the server that it came from."""
    return report_page.policy([report_page.style() + style()], [script()]) + "; connect-src 'self'"


def as_json(records: Iterable[Record]) -> str:
    """Records as JSON that may stand in a page: it has no character that begins or ends a tag."""
    text = json.dumps(list(records), separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def style() -> str:
    """The style of the picture and what is around it."""
    return (HERE / "view.css").read_text(encoding="utf-8")


@functools.cache
def script() -> str:
    """All modules as one script."""
    joined: dict[str, str] = {}
    _join(FIRST, joined)
    return '"use strict";\n' + "".join(joined.values())


def _join(name: str, joined: dict[str, str]) -> None:
    if name in joined:
        return
    text = (HERE / "js" / f"{name}.js").read_text(encoding="utf-8")
    for _, other in _IMPORT.findall(text):
        _join(other, joined)
    exported = ", ".join(_EXPORT.findall(text))
    body = _EXPORT.sub("", _IMPORT.sub(r"const {\1} = \2_js;\n", text))
    joined[name] = f"const {name}_js = (() => {{\n{body}return {{{exported}}};\n}})();\n"


def _elements(*, live: bool) -> Markup:
    return Markup(_template("view.html").render(live=live))


@functools.cache
def _template(name: str) -> Template:
    return templates(HERE).get_template(name)
