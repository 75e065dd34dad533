"""Templates into pages: the jinja2 environment and the two safe ways to embed data in HTML."""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent

_SCRIPT_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&'\u2028\u2029"}


def data_url(picture: bytes, kind: str = "jpeg") -> str:
    """A picture as the `src` of an `<img>`, so that the page needs no second file."""
    return f"data:image/{kind};base64," + base64.b64encode(picture).decode("ascii")


def script_json(value: object) -> Markup:
    """JSON for the inside of a `<script>` element: no string in it can end the element.

    Raises:
        ValueError: a number is not finite, which JSON cannot say.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_SCRIPT_ESCAPES))


def render(template: str, /, *, folder: Path | None = None, **context: object) -> str:
    """The page; the template's name is that of a file of this folder, e.g. "preview.html.j2".

    Other packages keep their templates in a `folder` of their own and extend `base.html.j2` of this one.

    Lone surrogates (file names that are not UTF-8) show as their escapes: the page can always be written.

    Raises:
        jinja2.UndefinedError: the template uses a value that `context` lacks.
    """
    page = _environment(folder).get_template(template).render(context)
    return page.encode("utf-8", "backslashreplace").decode("utf-8")


@cache
def _environment(folder: Path | None) -> Environment:
    environment = Environment(
        loader=FileSystemLoader([_TEMPLATES] if folder is None else [folder, _TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(data_url=data_url, script_json=script_json)
    return environment
