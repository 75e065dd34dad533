"""Profiles and questions of drawn scenes through a real server process: the stub, which knows the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slvr_data import geometry, images, masks
from slvr_data.annotators.base import AnnotatedPicture, Failure, Profile, Unfinished
from slvr_data.annotators.served import profiles
from slvr_data.annotators.served.profiles import Served, StoredCrop
from slvr_data.checks import LOCAL_CHECKS, CheckedRegion
from slvr_data.checks.queries import QUERY_CHECKS, CheckedGroup
from slvr_data.prompts import load_prompts
from slvr_data.queries import served as questions
from slvr_data.queries.generate import LEAST
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.ledger import Ledger
from slvr_data.schema import AttributeProfile, AttributeRow, Provenance, Region
from slvr_data.sources import scenes
from slvr_data.text import profile_text
from tests.servers.running import RunningStub, running_stub

COUNT = 12
SETTINGS = "padding 0.15 side 1024 quality 90"


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    with running_stub(scenes=f"full:{COUNT}", slots=16, service_ms=2) as running:
        running.wait_drawn()
        yield running


@pytest.fixture
def config(stub: RunningStub) -> ServedConfig:
    stub.control(reset=True)
    return ServedConfig(base_urls=[stub.base_url], model="stub-vl")


def pictures() -> list[tuple[scenes.Scene, AnnotatedPicture]]:
    found = []
    for number in range(COUNT):
        scene = scenes.scene("full", 0, number)
        regions = [
            Region(region_id=r.region_id, image_id=scene.image_id, bbox=r.box, label=r.label, mask=masks.encode(r.mask))
            for r in scene.regions
        ]
        labels = frozenset(r.label for r in scene.regions)
        pixels = scene.picture
        picture = AnnotatedPicture(
            scene.image_id, *pixels.size, regions, labels, lambda pixels=pixels: pixels, complete=True
        )  # fmt: skip
        found.append((scene, picture))
    return found


def crops(picture: AnnotatedPicture) -> dict[str, StoredCrop]:
    found = {}
    for region in picture.regions:
        box = geometry.padded(region.bbox, 0.15, picture.width, picture.height)
        found[region.region_id] = StoredCrop(images.encode_jpeg(images.crop(picture.pixels, box, 1024), 90), box)
    return found


def with_client(config: ServedConfig, folder: Path, what: Any) -> Any:
    async def run() -> Any:
        async with Client(config, None, Ledger(folder / "ledger.json"), print) as client:
            return await what(client)

    return asyncio.run(run())


def annotated(config: ServedConfig, folder: Path) -> list[list[Profile | Failure | Unfinished]]:
    tasks = [profiles.prepare(p, p.regions, crops(p), SETTINGS, config) for _, p in pictures()]

    async def all_of(client: Client) -> list[Any]:
        served = Served(client, config, load_prompts())
        return list(await asyncio.gather(*(served.annotate(task) for task in tasks)))

    found: list[list[Profile | Failure | Unfinished]] = with_client(config, folder, all_of)
    return found


def comparable(profile: AttributeProfile) -> dict[str, Any]:
    """Links by their bounds: a reply holds four, the truth all."""
    tree = profile.model_dump()
    del tree["spatial"]["relations"]
    return tree


def test_profiles_are_the_truth(config: ServedConfig, tmp_path: Path) -> None:
    answers = annotated(config, tmp_path)
    linked = 0
    for (scene, picture), found in zip(pictures(), answers, strict=True):
        for drawn, region, answer in zip(scene.regions, picture.regions, found, strict=True):
            assert isinstance(answer, Profile)
            assert comparable(answer.attributes) == comparable(drawn.profile)
            links = answer.attributes.spatial.relations or []
            assert len(links) == min(4, len({(o.kind, o.target) for o in (drawn.profile.spatial.relations or [])[:4]}))
            linked += sum(link.target_region_id is not None for link in links)
            record = CheckedRegion(picture, region, answer.attributes)
            assert [v for check in LOCAL_CHECKS if (v := check(record)).verdict == "fail"] == []
            assert answer.provenance.annotator == "served" and len(answer.provenance.request_keys) == 1
    assert linked > 20


def published(scene: scenes.Scene, picture: AnnotatedPicture, profile: list[AttributeProfile]) -> PictureView:
    rows = [
        AttributeRow(
            **region.model_dump(exclude={"mask"}), profile=known, profile_text=profile_text(known),
            provenance=Provenance(annotator="exact"), verdicts=[],
        )
        for region, known in zip(picture.regions, profile, strict=True)
    ]  # fmt: skip
    return PictureView(scene.image_id, picture.width, picture.height, [RegionView(row) for row in rows])


def test_questions_pass_their_checks(config: ServedConfig, tmp_path: Path) -> None:
    views, tasks = [], []
    for scene, picture in pictures():
        view = published(scene, picture, [r.profile for r in scene.regions])
        views.append(view)
        tasks.append(questions.prepare(view, picture.pixels, crops(picture), SETTINGS, config))

    async def all_of(client: Client) -> list[Any]:
        served = questions.ServedQuestions(client, config, load_prompts())
        return list(await asyncio.gather(*(served.write_groups(task) for task in tasks)))

    kept = groups = unnamed = 0
    for view, found in zip(views, with_client(config, tmp_path, all_of), strict=True):
        for region, written in zip(view.regions, found, strict=True):
            (one,) = written
            unnamed += one.group.reference is None
            assert one.group.reference is not None or one.group.queries == []
            checked = CheckedGroup(view, region, one.group, complete=True)
            verdicts = [(q, check(checked, q)) for q in one.group.queries for check in QUERY_CHECKS]
            assert [(q, v) for q, v in verdicts if v.verdict == "fail"] == []
            passed = one.group.queries
            groups += len(passed) >= LEAST
            kept += len(passed)
            assert {q.origin for q in one.group.queries} <= {"generated"}
            assert one.group.provenance.annotator == "served"
    assert groups > 20 and kept > 60 and unnamed < groups, (groups, kept, unnamed)
