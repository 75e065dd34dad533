from __future__ import annotations

import base64
import json
import math

import pytest
from jinja2 import UndefinedError

from slvr_data.pages.render import data_url, render, script_json


def test_script_json_is_the_same_value() -> None:
    value = {"a": ["<b>&'\"</b>", "\u2028\u2029", 1.5, None, True], "</script>": "ü🐕"}
    text = script_json(value)
    assert json.loads(text) == value
    assert not set("<>&'\u2028\u2029") & set(text)
    with pytest.raises(ValueError):
        script_json(math.nan)


def test_data_url_holds_the_bytes() -> None:
    head, _, body = data_url(b"\xff\xd8\x00").partition(",")
    assert head == "data:image/jpeg;base64"
    assert base64.b64decode(body) == b"\xff\xd8\x00"


def test_the_base_alone_is_a_page() -> None:
    html = render("base.html.j2", title="<T>", subtitle="", facts=[("<a>", "<b>")], command="", configuration="a: <c>")
    assert "<title>&lt;T&gt;</title>" in html
    assert "<dt><bdi>&lt;a&gt;</bdi></dt><dd><bdi>&lt;b&gt;</bdi></dd>" in html
    assert "<code>a: &lt;c&gt;</code>" in html
    assert "This page was written by" not in html, "no command was given"


def test_a_forgotten_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="subtitle"):
        render("base.html.j2", title="T")
