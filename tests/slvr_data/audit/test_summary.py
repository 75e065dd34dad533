from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from slvr_data.audit.sample import DrawnRegion, Sample, Stratum
from slvr_data.audit.summary import load_summary, save_summary, summarise
from slvr_data.audit.verdicts import ERROR_CLASSES, VerdictFile, load_verdicts
from slvr_data.errors import UsageError
from slvr_data.injector.base import CLASSES
from slvr_data.schema import Provenance, Query, QueryGroup

ROOT = Path(__file__).parents[3]


def group(region: str, number: int) -> QueryGroup:
    queries = [
        Query(
            query_id=f"{region}q{n}", facet="color", question="?", answer="red", choices=["red", "blue"],
            answer_index=0, chance=0.5, paraphrases=[], evidence=[], origin="generated",
        )
        for n in range(number)
    ]  # fmt: skip
    return QueryGroup(
        group_id=f"g{region}", region_id=region, image_id="i", reference=None, queries=queries,
        provenance=Provenance(annotator="measured"),
    )  # fmt: skip


def sample() -> Sample:
    """8 of 80 regions with 2 or 3 questions, and 4 of 20 without."""
    strata = [Stratum("coco", "measured", False, 20, 4), Stratum("coco", "measured", True, 80, 8)]
    asked = [DrawnRegion(f"b{n}", "i", 1, [group(f"b{n}", 2 + n % 2)]) for n in range(8)]
    bare = [DrawnRegion(f"a{n}", "i", 0, []) for n in range(4)]
    return Sample("5e7", 12, 0, strata, [*asked[:4], *bare, *asked[4:]])


def verdicts(judge: str, say: Callable[[str, str], str | None]) -> VerdictFile:
    """What `say` says of each item: "right", "cannot tell", a class, or None for no verdict."""
    items: list[dict[str, Any]] = []
    for region in sample().regions:
        for kind in ("profile", "question"):
            for key in sample().items_of(region, kind):
                said = say(kind, key)
                wrong = said in ERROR_CLASSES
                if said is not None:
                    items.append({"id": key, "kind": kind, "region_id": region.region_id,
                                  "verdict": "wrong" if wrong else said, "class": said if wrong else None})  # fmt: skip
    return VerdictFile.model_validate(
        {"format": "slv-audit", "version": 1, "set": "5e7", "seed": 0, "n": 12, "judge": judge, "items": items}
    )


def drawn_at_random(seed: int) -> Callable[[str, str], str | None]:
    random = Random(seed)
    return lambda kind, key: random.choice(["right", "right", "right", "color", "vague", "cannot tell", None])


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", ["profile", "question"])
def test_rates_and_shares_written_out_over_the_population(seed: int, kind: str) -> None:
    """Each judged region is repeated as often as it stands for others; shares are then plain counts."""
    file = verdicts("Ann", drawn_at_random(seed))
    found = summarise(sample(), [file])
    part = found.profiles if kind == "profile" else found.questions
    assert part is not None
    said = {item.id: item.error or item.verdict for item in file.items if item.kind == kind}
    population: list[str] = []
    for place, stratum in enumerate(sample().strata):
        regions = [region for region in sample().regions if region.stratum == place]
        clear = [[said.get(key, "open") for key in sample().items_of(region, kind)] for region in regions]
        clear = [[s for s in own if s not in ("open", "cannot tell", None)] for own in clear]
        judged = [own for own in clear if own]
        for own in judged:
            for _ in range(stratum.size * 840 // len(judged)):  # 840: all numbers of judged regions divide it
                population += [str(s) for s in own]
    wrong = [s for s in population if s != "right"]
    assert part.rate.rate == pytest.approx(len(wrong) / len(population))
    for figures in part.classes:
        assert figures.share == pytest.approx(wrong.count(figures.name) / len(wrong) if wrong else 0)
        assert figures.count == list(said.values()).count(figures.name)
    assert part.judged + part.unclear + part.open == part.drawn == (12 if kind == "profile" else 20)
    assert part.unclear == list(said.values()).count("cannot tell")
    assert part.rate.low <= part.rate.rate <= part.rate.high


def test_two_judges_count_half_each() -> None:
    first = verdicts("Ann", lambda kind, key: "color" if key in ("a0", "b0", "b0q0") else "right")
    second = verdicts("Bob", lambda kind, key: {"a0": "vague", "b1": "cannot tell"}.get(key, "right"))
    found = summarise(sample(), [first, second])
    profiles = found.profiles
    assert found.judges == ["Ann", "Bob"]
    assert (profiles.judged, profiles.wrong, profiles.unclear, profiles.open) == (12, 2, 0, 0)
    assert profiles.rate.rate == pytest.approx((5 * 1 + 10 * 0.5) / 100)
    assert {f.name: f.count for f in profiles.classes if f.count} == {"color": 2, "vague": 1}
    assert {f.name: round(f.share, 6) for f in profiles.classes if f.count} == {"color": 0.75, "vague": 0.25}
    [agreement] = profiles.agreement
    assert agreement.judges == ("Ann", "Bob")
    assert (agreement.right_or_wrong.n, agreement.right_or_wrong.agreed) == (11, pytest.approx(10 / 11))
    assert (agreement.verdict.n, agreement.verdict.agreed) == (12, pytest.approx(9 / 12))
    assert found.questions is not None
    assert found.questions.agreement[0].verdict.agreed == pytest.approx(19 / 20)


def test_strata_of_which_nothing_is_judged_are_told() -> None:
    found = summarise(sample(), [verdicts("Ann", lambda kind, key: "right" if key.startswith("a") else None)])
    assert (found.profiles.judged, found.profiles.open, found.profiles.unseen) == (4, 8, 80)
    assert found.questions is not None
    assert (found.questions.judged, found.questions.rate.rate, found.questions.unseen) == (0, None, 80)
    nobody = summarise(sample(), [verdicts("Ann", lambda kind, key: None)])
    assert (nobody.profiles.rate.rate, nobody.profiles.unseen) == (None, 100)


def test_a_note_alone_is_no_verdict() -> None:
    file = verdicts("Ann", lambda kind, key: None)
    tree = file.model_dump(by_alias=True)
    tree["items"] = [
        {"id": "a0", "kind": "profile", "region_id": "a0", "verdict": None, "class": None, "note": "look again"}
    ]
    assert summarise(sample(), [VerdictFile.model_validate(tree)]).profiles.open == 12


def test_judges_are_two_and_items_known() -> None:
    file = verdicts("Ann", lambda kind, key: "right")
    with pytest.raises(UsageError, match="two files are by the judge 'Ann'"):
        summarise(sample(), [file, file])
    other = Sample("5e7", 12, 0, sample().strata, sample().regions[1:])
    with pytest.raises(UsageError, match="the file of 'Ann' judges the profile 'b0'"):
        summarise(other, [file])


def test_the_summary_is_kept(tmp_path: Path) -> None:
    assert load_summary(tmp_path) is None
    found = summarise(sample(), [verdicts("Ann", drawn_at_random(1)), verdicts("Bob", drawn_at_random(2))])
    save_summary(tmp_path, found)
    assert load_summary(tmp_path) == found
    (tmp_path / "audit.json").write_text("{}")
    with pytest.raises(UsageError, match=r"audit\.json is damaged: remove it"):
        load_summary(tmp_path)


def broken(**changes: Any) -> dict[str, Any]:
    tree = verdicts("Ann", lambda kind, key: "right").model_dump(by_alias=True)
    tree["items"] = [tree["items"][0] | changes.pop("item", {})] * changes.pop("times", 1)
    return tree | changes


@pytest.mark.parametrize(
    ("tree", "complaint"),
    [
        (broken(set="beef"), "judges the set 'beef', this is '5e7'"),
        (broken(format="other"), "is not a file that the audit page saved"),
        ([1], "is not a file that the audit page saved"),
        (broken(version=2), "damaged: version"),
        (broken(set="\x1b[31m"), "judges the set '\\x1b[31m'"),
        (broken(judge="  "), "damaged: judge"),
        (broken(judge="\ud800"), "damaged: judge"),
        (broken(items=None), "damaged: items"),
        (broken(times=2), "an item is judged twice"),
        (broken(item={"verdict": "maybe"}), "damaged: items.0.verdict"),
        (broken(item={"verdict": "wrong"}), 'a class goes with the verdict "wrong"'),
        (broken(item={"class": "vague"}), 'a class goes with the verdict "wrong"'),
        (broken(item={"verdict": "wrong", "class": "colour"}), "unknown class 'colour'; known are color, action/pose"),
        (broken(more=1), "damaged: more"),
    ],
)
def test_what_is_no_verdict_file_is_refused(tree: Any, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(UsageError) as error:
        load_verdicts(path, "5e7")
    assert complaint in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "audit.json"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="cannot be read"):
        load_verdicts(path, "5e7")


def test_the_classes_are_the_same_everywhere() -> None:
    assert tuple(ERROR_CLASSES) == CLASSES
    text = (ROOT / "docs/audit.md").read_text(encoding="utf-8")
    for number, (name, meaning) in enumerate(ERROR_CLASSES.items(), 1):
        assert f"| {number} | {name} | {meaning} |" in text
