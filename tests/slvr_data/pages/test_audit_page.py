from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from typing import Any

import pytest

from slvr_data.audit.sample import DrawnRegion, Sample, Stratum
from slvr_data.audit.verdicts import ERROR_CLASSES, VerdictFile
from slvr_data.pages.audit import AuditItem, AuditPicture, render_audit
from slvr_data.schema import Appearance, AttributeProfile, Link, Provenance, Query, QueryGroup, Spatial
from tests.html_tree import Element, Tree, jpeg

HOSTILE = [
    "</script><script>alert(1)</script>",
    "\"double\" 'single' `back` & &lt;",
    "<!-- ]]> --> </style></title></defs></svg>",
    "{{ 7 * 7 }} {% raw %} ${7 * 7}",
    "\u202eشجرة\u202c",
    "x" * 300,
]


STRATUM = Stratum("coco", "measured", True, 100, 8)


def make_group(text: str = "red", queries: int = 2, **changes: Any) -> QueryGroup:
    query = Query(
        query_id="q", facet="color", question=f"What color is {text}?", answer=text, choices=["blue", text],
        answer_index=1, chance=0.5, paraphrases=[f"Which color has {text}?"], evidence=[], origin="generated",
    )  # fmt: skip
    return QueryGroup(
        group_id="g", region_id="r", image_id="i", reference=text,
        queries=[query.model_copy(update={"query_id": f"q{n}"} | changes) for n in range(queries)],
        provenance=Provenance(annotator="measured"),
    )  # fmt: skip


def make_item(number: int = 0, text: str = "dog", **changes: Any) -> AuditItem:
    profile = AttributeProfile(
        appearance=Appearance(entity=text, colors=["brown"]),
        spatial=Spatial(relations=[Link(kind="left of", target=text, target_region_id="other")]),
        visible_text=[text],
    )
    item = AuditItem(
        region_id=f"r{number}",
        image_id="i0",
        stratum=STRATUM,
        box=[10.0, 20.0, 110.0, 220.5],
        outline=[[(10.0, 20.0), (110.0, 20.0), (60.0, 220.0)]],
        crop=jpeg("green"),
        references=[text],
        profile=profile,
        neighbours={f"r{number}": [10.0, 20.0, 110.0, 220.5], "other": [300.0, 0.0, 640.0, 200.0]},
        groups=[],
    )
    return replace(item, **changes)


PICTURES = {"i0": AuditPicture(640, 480, "a/dog.jpg", jpeg("red")), "i1": AuditPicture(480, 640, "b.jpg", jpeg("blue"))}


def page(*items: AuditItem, text: str = "plain", pictures: dict[str, AuditPicture] = PICTURES) -> str:
    drawn = [DrawnRegion(item.region_id, item.image_id, 0, item.groups) for item in items]
    sample = Sample("5e7" * 20, 400, 3, [replace(STRATUM, source=text)], drawn)
    return render_audit("Audit", [("seed", "3")], pictures, items, sample, f"slvr-data audit {text}")


def told(root: Element) -> dict[str, Any]:
    [script] = [s for s in root.every("script") if s.attrs.get("id") == "told"]
    found: dict[str, Any] = json.loads(script.text)
    return found


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_shows_as_text(text: str) -> None:
    def of(text: str) -> str:
        stratum = replace(STRATUM, source=text, annotator=text)
        item = make_item(text=text, groups=[make_group(text)], stratum=stratum)
        return page(item, text=text, pictures={"i0": replace(PICTURES["i0"], path=text)})

    hostile, plain = Tree(of(text)).root, Tree(of("plain")).root

    def same(element: Element, other: Element) -> int:
        assert (element.tag, list(element.attrs)) == (other.tag, list(other.attrs))
        for name, value in other.attrs.items():
            assert element.attrs[name] == (value and value.replace("plain", text))
        if element.tag in ("script", "style"):
            return 0
        assert len(element.children) == len(other.children)
        found = 0
        for a, b in zip(element.children, other.children, strict=True):
            if isinstance(a, Element) and isinstance(b, Element):
                found += same(a, b)
            else:
                assert isinstance(a, str) and isinstance(b, str)
                assert a == b.replace("plain", text)
                found += b.count("plain")
        return found

    assert same(hostile, plain) == 15, "every place where text of a set can stand"


def test_every_item_can_be_read_without_scripts() -> None:
    item = make_item(groups=[make_group(), make_group(facet="size")])
    root = Tree(page(item, make_item(1))).root
    first, second = root.every("article")
    targets = first.every("section", "target")
    assert [t.attrs["data-kind"] for t in targets] == ["profile", *["question"] * 4]
    assert [t.attrs["data-id"] for t in targets] == ["r0", "q0", "q1", "q0", "q1"]
    assert [dd.text for dd in targets[0].every("dd")] == ["dog", "brown", "left of another dog 1", '"dog"']
    assert "Unknown: shape, material, size, position" in targets[0].text
    assert "The source calls it dog" in targets[0].text
    assert [li.text for li in targets[1].every("li")] == ["blue", "red ✓"]
    assert "Also asked as Which color has red?" in targets[1].text
    assert len(second.every("section")) == 1
    assert "stands for 12.50" in first.every("header")[0].text
    scripted = [e.attrs.get("id") for tag in ("form", "div", "article", "section") for e in root.every(tag)
                if "hidden" in e.attrs]  # fmt: skip
    assert scripted == ["bar", "tools"]
    assert root.every("noscript")


def test_an_open_question_shows_its_answer() -> None:
    group = make_group("a dog", choices=[], answer_index=None, chance=None, paraphrases=[], origin="source")
    [target] = Tree(page(make_item(groups=[group.model_copy(update={"queries": group.queries[:1]})]))).root.every(
        "section", "target"
    )[1:]
    assert target.every("b")[0].text == "a dog"
    assert not target.every("ul")


def test_the_region_is_outlined_and_neighbours_are_numbered() -> None:
    [article] = Tree(page(make_item())).root.every("article")
    [svg] = article.every("svg")
    assert svg.attrs["viewbox"] == "0 0 640 480"
    assert [use.attrs["href"] for use in svg.every("use")] == ["#m0"]
    assert [p.attrs["d"] for p in svg.every("path", "line")] == ["M10 20L110 20L110 220.5L10 220.5z"]
    assert [p.attrs["d"] for p in svg.every("path", "ring")] == ["M10 20L110 20L60 220z"]
    assert [p.attrs["d"] for p in svg.every("path", "other")] == ["M300 0L640 0L640 200L300 200z"]
    assert [(pin.text, pin.attrs["style"]) for pin in article.every("span", "pin")] == [("1", "left:46.9%;top:3.0%")]
    odd = make_item(outline=[[(float("nan"), 1.0)]], neighbours={"other": [float("inf"), 0.0, 1.0, 1.0]})
    html = page(odd)
    assert "nan" not in html.split("<defs>")[0].split("<article")[1]


def test_a_picture_is_embedded_once() -> None:
    items = [make_item(0), make_item(1, image_id="i1"), make_item(2)]
    html = page(*items)
    for picture in PICTURES.values():
        assert html.count(base64.b64encode(picture.jpeg).decode()) == 1
    root = Tree(html).root
    assert [use.attrs["href"] for use in root.every("use")] == ["#m0", "#m1", "#m0"]
    assert [image.attrs["id"] for image in root.every("image")] == ["m0", "m1"]


def test_nothing_is_loaded_from_outside() -> None:
    html = page(make_item(groups=[make_group()]))
    root = Tree(html).root
    for tag in ("img", "image", "use", "a", "form", "script", "input"):
        for element in root.every(tag):
            for name in ("src", "href", "action", "srcset"):
                value = element.attrs.get(name)
                assert value is None or value.startswith(("#", "data:image/jpeg;base64,"))
    for tag in ("link", "iframe", "object", "embed", "base"):
        assert not root.every(tag)
    code = "".join(e.text for tag in ("style", "script") for e in root.every(tag) if e.attrs.get("id") != "told")
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest|innerHTML|eval\(", code)
    policy = next(m.attrs["content"] for m in root.every("meta") if "http-equiv" in m.attrs)
    assert policy is not None and "default-src 'none'" in policy and "blob" not in policy
    assert len(code.encode()) < 30_000


def test_what_the_script_is_told_is_what_the_file_must_say() -> None:
    root = Tree(page(make_item())).root
    told_here = told(root)
    assert told_here["classes"] == list(ERROR_CLASSES)
    saved = {key: told_here[key] for key in ("format", "version", "set", "seed", "n")}
    assert VerdictFile.model_validate(saved | {"judge": "Ann", "items": []}).n == 400
    [script] = [s.text for s in root.every("script") if "id" not in s.attrs]
    written = re.search(r"return \{ (id, .*?) \};", script)
    assert written is not None
    names = [part.split(":")[0].strip() for part in written.group(1).split(",")]
    assert names == ["id", "kind", "region_id", "verdict", "class", "note", "time"]


def test_every_class_has_a_key_and_a_meaning() -> None:
    root = Tree(page(make_item())).root
    [bar] = [form for form in root.every("form") if form.attrs.get("id") == "bar"]
    buttons = [b for b in bar.every("button") if "data-verdict" in b.attrs]
    assert [b.attrs.get("data-class") for b in buttons] == [None, *ERROR_CLASSES, None]
    assert [b.every("kbd")[0].text for b in buttons] == ["r", *"123456789", "0"]
    [explained] = root.every("details", "help")
    for name, meaning in ERROR_CLASSES.items():
        assert name in explained.text
        assert meaning in explained.text
    ids = [e.attrs["id"] for tag in ("div", "input", "button", "article", "form", "output") for e in root.every(tag)
           if "id" in e.attrs]  # fmt: skip
    assert len(ids) == len(set(ids))


def test_an_empty_page_says_so() -> None:
    assert "No regions." in Tree(page(pictures={})).root.text
