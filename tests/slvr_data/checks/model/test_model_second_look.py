"""`second_look` against the stub: what another look contradicts, what it cannot see, and what the settings let pass."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.requests.client import Client
from slvr_data.schema import AttributeProfile, Verdict
from tests.judging import SCRIPT, TABLES, first_looks, look_again, with_client
from tests.servers.running import RunningStub


@pytest.mark.parametrize("look", ["whole", "crop", "both"])
def test_a_look_at_the_same_thing_agrees(stub: RunningStub, pictures: list[Any], tmp_path: Path, look: Any) -> None:
    async def work(client: Client) -> list[Verdict]:
        said = await first_looks(client, stub, pictures[0])
        return await look_again(client, pictures[0], said, ModelChecksConfig(second_look=look))

    found = with_client(stub, work, tmp_path)
    assert found and {verdict.verdict for verdict in found} == {"pass"}
    assert stub.log()["names"]["second_look"] == len(found) * (2 if look == "both" else 1)


def test_another_look_contradicts_what_was_wrong(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    """Errors that are not repeated: what is wrong in the first look is not said again."""

    async def work(client: Client) -> list[Verdict]:
        said = {}
        for one in pictures:
            said |= await first_looks(client, stub, one)
        stub.control(errors={"rate": 0})
        looks = [look_again(client, one, said, ModelChecksConfig(second_look="whole")) for one in pictures]
        return [verdict for verdicts in await asyncio.gather(*looks) for verdict in verdicts]

    stub.control(errors={"rate": 1.0, "repeat": 0.0})
    failures = [verdict for verdict in with_client(stub, work, tmp_path) if verdict.verdict == "fail"]
    assert len(failures) >= 4 and {verdict.reason for verdict in failures} == {"second-look-differs"}
    assert all(" / " in (verdict.evidence or "") for verdict in failures)


def test_what_is_wrong_in_every_look_is_not_seen(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    async def work(client: Client) -> list[Verdict]:
        said = await first_looks(client, stub, pictures[0])
        return await look_again(client, pictures[0], said, ModelChecksConfig(second_look="both"))

    stub.control(errors={"rate": 1.0, "repeat": 1.0})
    assert {verdict.verdict for verdict in with_client(stub, work, tmp_path)} == {"pass"}


def test_so_many_fields_may_differ_as_the_settings_say(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    def spoilt(profile: AttributeProfile) -> AttributeProfile:
        made = profile.model_copy(deep=True)
        made.appearance.material, made.spatial.depth = "woven", "nowhere"
        return made

    async def work(client: Client) -> list[set[str]]:
        said = {key: spoilt(p) for key, p in (await first_looks(client, stub, pictures[0])).items()}
        found = []
        for given in (
            {}, {"second_look_differences": 1}, {"second_look_differences": 2},
            {"second_look_fields": ["appearance.colors"]}, {"second_look": "crop", "second_look_differences": 1},
        ):  # fmt: skip
            config = ModelChecksConfig(**{"second_look": "whole", **given})
            found.append({verdict.verdict for verdict in await look_again(client, pictures[0], said, config)})
        return found

    assert with_client(stub, work, tmp_path) == [{"fail"}, {"fail"}, {"pass"}, {"pass"}, {"pass"}]


def test_a_look_that_comes_to_nothing_is_not_applicable(stub: RunningStub, pictures: list[Any], tmp_path: Path) -> None:
    said = {region.row.region_id: region.row.profile for region in pictures[0].picture.view.regions}
    stub.control(faults={"empty": 1.0})
    off, on = ModelChecksConfig(), ModelChecksConfig(second_look="both")
    found = with_client(stub, lambda client: look_again(client, pictures[0], said, on), tmp_path)
    assert {v.verdict for v in found} == {"not applicable"} and "(empty)" in (found[0].evidence or "")
    calls = stub.log()["calls"]
    found = with_client(stub, lambda client: look_again(client, pictures[0], said, off), tmp_path)
    assert {v.verdict for v in found} == {"not applicable"} and stub.log()["calls"] == calls
    unknown = {key: AttributeProfile() for key in said}
    with_client(stub, lambda client: look_again(client, pictures[0], unknown, on), tmp_path)
    assert stub.log()["calls"] == calls, "nothing is known that could be contradicted"


@pytest.mark.slow
def test_the_script_shows_what_looks_add() -> None:
    """The small form of `python perf/model_checks.py`: many errors, none or all of them in every look."""
    pictures = SCRIPT.drawn(12, 1)
    never, always = asyncio.run(SCRIPT.measure(pictures, 1, 0.5, (0.0, 1.0)))
    alone, looked = (TABLES.together(never.profiles)[check] for check in ("without a model", "whole"))
    assert looked.number >= 15 and looked.hits > alone.hits and looked.value > 0.9
    alone, looked = (TABLES.together(always.profiles)[check] for check in ("without a model", "both"))
    assert looked == replace(alone), "a repeated error contradicts nothing"
    assert never.profiles.dropped["whole"].hits > never.profiles.dropped["without a model"].hits
    text = TABLES.profiles_table("profiles", never.profiles) + TABLES.questions_table({"0%": never.questions})
    assert "| action/pose |" in text and "| all | 100 % |" in text and "Sound profiles dropped" in text
