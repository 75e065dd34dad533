"""The prompts: what a model reads, word for word, and how they are replaced.

The golden files hold each prompt as it is sent for one example; `python tests/slvr_data/prompts/test_prompts.py`
writes them anew after a change that is meant.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from slvr_data import geometry
from slvr_data.annotators.served.replies import ITEMS, profile_schema
from slvr_data.annotators.served.sent import family
from slvr_data.checks.spatial import AXES, DEPTHS
from slvr_data.colors import COLORS
from slvr_data.errors import UsageError
from slvr_data.prompts import FORMS, Prompts, choices_text, load_prompts
from slvr_data.queries.offers import Offer
from slvr_data.queries.served import questions_schema
from slvr_data.requests.messages import SentPicture
from slvr_data.schema import FACETS

GOLDEN = Path(__file__).parent / "golden"
NUMBERS = ("no", "one", "two", "three", "four")
EXAMPLE = {
    "pictures": "The first picture is the whole picture, the second is the crop.",
    "box": "[312, 80, 520, 431]",
    "convention": family("Qwen/Qwen2.5-VL-7B-Instruct").explained(SentPicture("a picture", b"", 1092, 728)),
    "context": 'The source of the picture calls it "cup".\nOther things annotated on the picture: plate, table. '
    "Name them so where you mean them.",
    "profile": "A medium red glass cup at the center of the picture. The only one of its kind.",
    "taken": 'Asked already, on position: "Where is the cup?"',
    "facets": "\n".join(
        "- " + offer.line
        for offer in (
            Offer("color", ("appearance.colors",), "red", 'ask about "the cup"'),
            Offer("material", ("appearance.material",), "glass", 'ask about "the cup"'),
        )
    ),
    "number": "1 to 3 questions",
    "question": "What color is the cup?",
    "choices": choices_text(["blue", "red", "green"]),
}


def sent(prompts: Prompts, name: str) -> str:
    prompt = getattr(prompts, name)
    system, user = prompt.filled(**EXAMPLE)
    return f"{prompt.version}\n\n[system]\n{system}\n\n[user]\n{user}\n"


@pytest.mark.parametrize("name", FORMS)
def test_snapshot(name: str) -> None:
    assert sent(load_prompts(), name) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORMS)
def test_a_model_is_told_all_and_one_box(name: str) -> None:
    text = sent(load_prompts(), name)
    assert re.findall(r"\{\w*\}|\{\{", text) == []
    boxes = re.findall(r"\[\s*\d+\s*(?:,\s*\d+\s*){3}\]", text)
    assert len(boxes) == (1 if "box" in FORMS[name].needed else 0)
    assert text.isascii()


def fields(schema: dict[str, object], path: str = "") -> list[str]:
    """Paths of the fields that a reply holds, down to lists."""
    found = []
    for name, sub in schema["properties"].items():  # type: ignore[attr-defined]
        below = f"{path}.{name}".lstrip(".")
        found += fields(sub, below) if sub.get("type") == "object" else [below]
    return found


def test_the_profile_prompt_defines_every_field_as_the_checks_do() -> None:
    system = load_prompts().profile.system
    lines = {line.split(":")[0]: line for line in system.split("\n")}
    assert set(fields(profile_schema())) <= set(lines)
    for path, words in {
        "appearance.colors": COLORS,
        "appearance.size": (*geometry.SIZES, f"{geometry.SMALL_SHARE:.0%}", f"{geometry.LARGE_SHARE:.0%}"),
        "spatial.position": geometry.POSITIONS,
        "spatial.orientation": (*AXES, "none"),
        "spatial.depth": DEPTHS,
        "spatial.relations": geometry.RELATIONS,
    }.items():
        line = lines[path].replace(" percent", "%")
        assert [word for word in words if not re.search(rf"(?<!\w){re.escape(word)}(?!\w)", line)] == []
    for path in ("appearance.colors", "interaction", "spatial.relations"):
        assert f"at most {NUMBERS[ITEMS[path]]}" in lines[path]


def test_the_form_of_a_profile_is_that_of_its_schema() -> None:
    (form,) = re.findall(r"^\{.*\}$", load_prompts().profile.filled(**EXAMPLE)[0], re.M)
    assert nested(json.loads(form)) == nested(profile_schema()["properties"])


def nested(tree: dict[str, object]) -> dict[str, object]:
    """The names alone, as far down as there are objects."""
    below = {name: sub.get("properties", sub) if isinstance(sub, dict) else None for name, sub in tree.items()}
    return {name: nested(sub) if sub and "anyOf" not in sub else None for name, sub in below.items()}


def test_the_form_of_questions_is_read(tmp_path: Path) -> None:
    (form,) = re.findall(r"^\{.*\}$", load_prompts().questions.filled(**EXAMPLE)[0], re.M)
    asked = questions_schema(1, 4)["properties"]["questions"]["items"]["properties"]
    assert list(json.loads(form)["questions"][0]) == list(asked)


def test_the_questions_prompt_tells_how_each_facet_is_asked() -> None:
    system = load_prompts().questions.system
    told = system[system.index("How each facet is asked") :]
    assert [facet for facet in FACETS if not re.search(rf"^(\w+, )*{facet}(, \w+)*:", told, re.M)] == []


def test_versions_tell_the_text() -> None:
    versions = load_prompts().versions
    assert all(re.fullmatch(rf"{name}-\d+:[0-9a-f]{{8}}", version) for name, version in versions.items())
    assert len(set(versions.values())) == len(FORMS)


SMALL = "=== system ===\nYou read.\n=== user ===\nDescribe {box}, {convention}.\n"


def replaced(folder: Path, text: str, name: str = "profile.txt") -> Prompts:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(text.encode("latin-1"))
    return load_prompts(folder)


def test_a_replaced_prompt_is_another_version_and_the_others_stay(tmp_path: Path) -> None:
    mine, theirs = replaced(tmp_path, SMALL), load_prompts()
    assert mine.profile.version != theirs.profile.version and mine.profile.version.startswith("profile-1:")
    assert mine.profile.filled(**EXAMPLE)[1].startswith("Describe [312, 80, 520, 431], left, top")
    assert {n: v for n, v in mine.versions.items() if n != "profile"} == {
        n: v for n, v in theirs.versions.items() if n != "profile"
    }
    assert replaced(tmp_path, SMALL.replace("read", "look")).profile.version != mine.profile.version
    assert replaced(tmp_path, SMALL.replace("\n", "\r\n")).profile.version == mine.profile.version


def test_braces_are_written_twice(tmp_path: Path) -> None:
    prompts = replaced(tmp_path, SMALL.replace("You read.", 'Like {{"entity": "cup"}}.'))
    assert prompts.profile.filled(**EXAMPLE)[0] == 'Like {"entity": "cup"}.'


def test_values_are_not_read_as_templates() -> None:
    told = load_prompts().profile.filled(**EXAMPLE | {"context": "It is called {box} {0} }{."})[1]
    assert "It is called {box} {0} }{." in told


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("profil.txt", SMALL, r"profil\.txt: no prompt has that name: name it one of profile\.txt"),
        ("profile.md", SMALL, r"profile\.md: no prompt has that name"),
        (
            "profile.txt",
            SMALL.replace("{convention}", "{convension}"),
            r"placeholder \{convension\}: known are",
        ),
        ("profile.txt", SMALL.replace("{box}", "it"), r"placeholder \{box\} is missing"),
        ("profile.txt", SMALL.replace("{box}", "{box!r}"), r"unknown placeholder \{box\}"),
        ("profile.txt", SMALL.replace("{box}", "{box.x}"), r"unknown placeholder \{box\.x\}"),
        ("profile.txt", SMALL.replace("{box}", "{}"), r"unknown placeholder \{\}"),
        ("profile.txt", SMALL + 'Like {"a": 1', r"write \{\{ and \}\} for braces"),
        ("profile.txt", "Describe {box}, {convention}.", "start with a line '=== system ==='"),
        ("profile.txt", SMALL.replace("=== user ===\n", ""), "put one line '=== user ==='"),
        ("profile.txt", SMALL + "\xe4", "cannot be read as UTF-8"),
        ("blind.txt", SMALL, r"unknown placeholder \{box\}"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, name: str, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        replaced(tmp_path / "mine", text, name)


def test_no_folder_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder"):
        load_prompts(tmp_path / "none")
    with pytest.raises(UsageError, match="is empty"):
        load_prompts(tmp_path)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in FORMS:
        (GOLDEN / f"{each}.txt").write_text(sent(load_prompts(), each), encoding="utf-8")
