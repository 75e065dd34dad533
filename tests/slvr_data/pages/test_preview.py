from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import pytest

from slvr_data.pages.preview import COLORS, PreviewPicture, PreviewRegion, render_preview
from slvr_data.schema import Appearance, AttributeProfile, Link, Spatial, Verdict
from tests.html_tree import Element, Tree, jpeg

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><script>alert(1)</script>",
    "\"double\" 'single' `back` & &lt; &amp;",
    '" onmouseover="alert(1)',
    "<!-- ]]> --> </style></title></option></textarea>",
    "{{ 7 * 7 }} {% raw %}",
    "\u202eشجرة\u202c كبيرة",
    "🐕‍🦺 dog 😀",
    "x" * 300,
]
SELF_CLOSING_SVG = {"path", "use"}


def make_region(number: int = 1, **changes: object) -> PreviewRegion:
    profile = AttributeProfile(appearance=Appearance(entity="dog", colors=["brown", "white"]))
    region = PreviewRegion(
        region_id=f"{number:032x}",
        label="dog",
        box=[10.0 * number, 20.0, 10.0 * number + 100, 220.5],
        outline=None,
        profile_text=f"Dog number {number} is brown and white.",
        profile=profile.model_dump(),
        verdicts=[
            Verdict(check="box", verdict="pass"),
            Verdict(check="colour", verdict="not applicable", evidence="a grey picture"),
        ],
        rejected=None,
        refs=["the left dog"],
        crop=None,
    )
    return replace(region, **changes)  # type: ignore[arg-type]


def make_picture(*regions: PreviewRegion, **changes: object) -> PreviewPicture:
    picture = PreviewPicture(
        image_id="a" * 64,
        width=640,
        height=480,
        split="train",
        source="coco",
        license="CC BY 4.0",
        path="train2017/dog.jpg",
        jpeg=jpeg(),
        regions=list(regions),
    )
    return replace(picture, **changes)  # type: ignore[arg-type]


def page(*pictures: PreviewPicture, malformed: list[tuple[str, int, str, str]] | None = None) -> str:
    return render_preview("Preview", [("Seed", "42")], pictures, "slvr-data preview c.yaml", malformed or [])


def hostile_page(text: str) -> str:
    profile = AttributeProfile(
        appearance=Appearance(entity=text, colors=[text], shape=text),
        interaction=[Link(kind=text, target=text, target_region_id=text)],
        action=text,
        visible_text=[text],
    )
    region = make_region(
        region_id=text,
        label=text,
        profile_text=text,
        profile=profile.model_dump(),
        verdicts=[
            Verdict(check=text, verdict="fail", reason=text, evidence=text),
            Verdict(check=text, verdict="pass", evidence=text),
        ],
        rejected=(text, "other", text, text),
        refs=[text],
    )
    picture = make_picture(region, image_id=text, split=text, source=text.replace("+", ""), license=text, path=text)
    return render_preview(text, [(text, text)], [picture], text, [(text, 1, text, text)])


def check_same_page(element: Element, plain: Element, text: str) -> int:
    """The pages differ in nothing but the word "plain"; returns how often the text stands in its place."""
    assert (element.tag, list(element.attrs)) == (plain.tag, list(plain.attrs))
    if element.tag in ("script", "style"):
        return 0
    found = 0
    for name, value in plain.attrs.items():
        assert element.attrs[name] == (value and value.replace("plain", text)), f"{name} of <{plain.tag}>"
        found += (value or "").count("plain")
    own, plain_own = ("".join(c for c in e.children if isinstance(c, str)) for e in (element, plain))
    expected = plain_own.replace("plain", text)
    if element.tag == "option" and len(text) > 60:
        expected = plain_own.replace("plain", text[:60] + "…")
    assert own == expected, f"the text of <{plain.tag}>"
    inner, plain_inner = ([c for c in e.children if isinstance(c, Element)] for e in (element, plain))
    assert len(inner) == len(plain_inner), f"the children of <{plain.tag}>"
    pairs = zip(inner, plain_inner, strict=True)
    return found + plain_own.count("plain") + sum(check_same_page(a, b, text) for a, b in pairs)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_shows_as_text_in_every_position(text: str) -> None:
    count = check_same_page(Tree(hostile_page(text)).root, Tree(hostile_page("plain")).root, text)
    assert count > 35


@pytest.mark.parametrize("text", HOSTILE)
def test_the_embedded_index_is_json_and_cannot_end_its_script(text: str) -> None:
    html = hostile_page(text)
    [script] = [s for s in Tree(html).root.every("script") if s.attrs.get("id") == "index"]
    assert "<" not in script.text
    [picture] = json.loads(script.text)
    assert picture["split"] == text
    assert picture["regions"][0]["label"] == text
    assert picture["regions"][0]["verdict"] == text
    assert html.count("<script") == html.count("</script>") == 2


def test_nothing_is_loaded_from_outside() -> None:
    html = page(make_picture(make_region(crop=jpeg("red")), path="https://example.org/dog.jpg"))
    root = Tree(html).root
    elements = [e for tag in ("img", "script", "a", "use", "form", "meta") for e in root.every(tag)]
    for element in elements:
        for name in ("src", "href", "action", "srcset", "xlink:href"):
            value = element.attrs.get(name)
            assert value is None or value.startswith(("#", "data:image/jpeg;base64,"))
    for tag in ("link", "iframe", "object", "embed", "base"):
        assert not root.every(tag)
    code = "".join(e.text for tag in ("style", "script") for e in root.every(tag) if e.attrs.get("id") != "index")
    assert not re.search(r"https?:|@import|url\(|fetch\(|XMLHttpRequest", code)
    policy = next(m.attrs["content"] for m in root.every("meta") if "http-equiv" in m.attrs)
    assert policy is not None and "default-src 'none'" in policy


def test_each_picture_is_embedded_once_and_intact() -> None:
    first, second, crop = jpeg("red"), jpeg("blue"), jpeg("green")
    html = page(
        make_picture(make_region(1, crop=crop)), make_picture(make_region(2), jpeg=second), make_picture(jpeg=first)
    )
    for picture in (first, second, crop):
        assert html.count(base64.b64encode(picture).decode()) == 1
    for image in Tree(html).root.every("img"):
        assert image.attrs["loading"] == "lazy"
        assert "alt" in image.attrs


def test_every_region_has_a_row_an_outline_and_a_number() -> None:
    regions = [make_region(n) for n in range(1, 13)]
    [card] = Tree(page(make_picture(*regions))).root.every("article")
    rows = [li for li in card.every("li") if "data-r" in li.attrs]
    [svg] = card.every("svg")
    assert svg.attrs["viewbox"] == "0 0 640 480"
    assert [row.attrs["id"] for row in rows] == [f"p1r{n}" for n in range(1, 13)]
    assert sorted(int(a.attrs["data-r"] or "") for a in svg.every("a")) == list(range(12))
    assert [pin.text for pin in card.every("a", "pin")] == [str(n) for n in range(1, 13)]
    assert [pin.attrs["class"] for pin in card.every("a", "pin")] == [f"pin c{n % COLORS}" for n in range(12)]
    for region, row in zip(regions, rows, strict=True):
        assert region.profile_text in row.text
        assert region.region_id in row.text


def test_the_page_is_readable_without_scripts() -> None:
    rejected = make_region(
        2,
        label=None,
        rejected=("checks", "size", "bbox-tiny", "3 x 4 px; at least 8 x 8 are needed"),
        verdicts=[Verdict(check="size", verdict="fail", reason="bbox-tiny", evidence="3 x 4 px")],
    )
    root = Tree(page(make_picture(make_region(), rejected), malformed=[("refs.jsonl", 17, "json", "no JSON")])).root
    assert [e.tag for e in _all(root) if "hidden" in e.attrs] == ["form"], "only the filters need scripts"
    first, second = (li for li in root.every("li") if "data-r" in li.attrs)
    assert "no label" in second.text
    assert "rejected: bbox-tiny" in second.text
    assert "3 x 4 px; at least 8 x 8 are needed" in second.text
    assert second.text.count("bbox-tiny") == 1, "the verdict that rejected a region is told once"
    assert "the left dog" in first.text
    assert [pill.text for pill in first.every("span", "pill")] == ["box: pass", "colour: not applicable"]
    assert "2 pictures" not in root.every("header")[0].text
    assert "1 picture, 2 regions, 1 of them rejected, 1 malformed row" in root.every("header")[0].text
    [table] = root.every("table")
    assert [td.text for td in table.every("td")] == ["refs.jsonl", "17", "json", "no JSON"]
    assert "slvr-data preview c.yaml" in root.every("footer")[0].text
    ids = [e.attrs["id"] for e in _all(root) if "id" in e.attrs]
    assert len(ids) == len(set(ids))
    targets = {e.attrs["href"] for e in root.every("a")}
    assert targets <= {f"#{name}" for name in ids}


def _all(element: Element) -> list[Element]:
    children = [child for child in element.children if isinstance(child, Element)]
    return children + [e for child in children for e in _all(child)]


def test_a_profile_tells_unknown_from_none_and_links_its_neighbours() -> None:
    other = make_region(2, label="cat")
    profile = AttributeProfile(
        appearance=Appearance(entity="dog", colors=["brown", "white"]),
        spatial=Spatial(
            relations=[
                Link(kind="left of", target="cat", target_region_id=other.region_id),
                Link(kind="above", target="floor", target_region_id=None),
            ]
        ),
        visible_text=[],
    )
    root = Tree(page(make_picture(make_region(profile=profile.model_dump()), other))).root
    fields = root.every("dl", "fields")[0]
    table = {dt.text: dd for dt, dd in zip(fields.every("dt"), fields.every("dd"), strict=True)}
    assert table["colors"].text == "brown, white"
    assert table["shape"].text == "unknown"
    assert table["visible text"].text == "none"
    assert table["relations"].text == "left of cat (2), above floor"
    assert [a.attrs["href"] for a in table["relations"].every("a")] == ["#p1r2"]
    assert table["box"].text == "10, 20, 110, 220.5"
    details = root.every("details")[0]
    assert "open" not in details.attrs


def test_filters_offer_what_the_page_holds() -> None:
    rejected = make_region(3, label="cat", rejected=("checks", "size", "bbox-tiny", "tiny"))
    pictures = [make_picture(make_region(1), make_region(2, label=None)), make_picture(rejected, source="coco+gqa")]
    root = Tree(page(*pictures)).root
    choices = {s.attrs["name"]: [(o.attrs["value"], o.text) for o in s.every("option")] for s in root.every("select")}
    assert choices["source"] == [("", "any"), ("coco", "coco (2)"), ("gqa", "gqa (1)")]
    assert choices["label"] == [("", "any"), ("cat", "cat (1)"), ("dog", "dog (1)")]
    assert choices["verdict"] == [
        ("", "any"),
        ("published", "published (2)"),
        ("rejected", "rejected, any reason (1)"),
        ("bbox-tiny", "bbox-tiny (1)"),
    ]
    assert ("label", "label (1)") in choices["unknown"]
    assert ("colors", "colors (0)") not in choices["unknown"]
    [script] = [s for s in root.every("script") if s.attrs.get("id") == "index"]
    assert [len(p["regions"]) for p in json.loads(script.text)] == [2, 1]
    assert json.loads(script.text)[1]["source"] == ["coco", "gqa"]


def test_empty_pages_say_so() -> None:
    assert "No pictures." in Tree(page()).root.text
    root = Tree(page(make_picture(license=None))).root
    assert "No regions." in root.text
    assert "licence unknown" in root.text


def test_a_picture_without_size_is_named() -> None:
    with pytest.raises(ValueError, match=r"train2017/dog.jpg.* 0 x 480"):
        page(make_picture(width=0))


def test_style_and_scripts_stay_small() -> None:
    root = Tree(page(make_picture(make_region()))).root
    code = [e.text for tag in ("style", "script") for e in root.every(tag) if e.attrs.get("id") != "index"]
    assert sum(len(text.encode()) for text in code) < 25_000
    many = [make_picture(*(make_region(n) for n in range(1, 11)), jpeg=b"") for _ in range(20)]
    assert len(page(*many)) - len(page()) < 200 * 3_000, "a region costs less than 3 kB"


def test_a_file_name_that_is_not_utf8_can_be_written() -> None:
    html = page(make_picture(make_region(label="dog \udcff"), path="caf\udce9.jpg"))
    assert "caf\\udce9.jpg" in html
    html.encode("utf-8")
