"""How well the checks that need a model do, against a stub that errs: `python perf/model_checks.py`.

The stub (`tests/servers/stub.py`) knows the truth about drawn pictures and makes the paper's errors at the paper's
rate, of which a share is the same in every look at a region. What comes out are properties of this stub, not of any
model: they tell what the checks can do where a model errs so, and what they cost.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from checks import drawn
from model_tables import LOOKS, READERS, Found, costs, number_of, profiles_table, questions_table

sys.path.insert(0, str(Path(__file__).parents[1]))  # the stub is part of the tests

from slvr_data import images
from slvr_data.annotators.base import AnnotatedPicture, Profile
from slvr_data.annotators.served import profiles
from slvr_data.annotators.served.profiles import SentPictureTask, Served, StoredCrop
from slvr_data.checks import LOCAL_CHECKS, CheckedRegion
from slvr_data.checks.global_ import GLOBAL_PROFILE_CHECKS, TableBuilder
from slvr_data.checks.model.compare import COMPARED, value_of
from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.checks.model.questions import check_group
from slvr_data.checks.model.second_look import second_look
from slvr_data.checks.queries import QUERY_CHECKS, CheckedGroup
from slvr_data.geometry import padded
from slvr_data.injector.base import ERROR_RATE
from slvr_data.injector.measure import Share, SoundPicture
from slvr_data.prompts import load_prompts
from slvr_data.queries import served as asking
from slvr_data.queries.facets import WRITERS
from slvr_data.queries.generate import write_groups
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.ledger import Ledger
from slvr_data.schema import AttributeProfile, AttributeRow, QueryGroup
from slvr_data.text import profile_text
from tests.servers.running import RunningStub, running_stub

MODEL = "Qwen2.5-VL-stub"
REPEATED = (0.0, 0.5, 0.9)
CROPS = "padding 0.15 side 1024 quality 90"
Profiles = dict[str, AttributeProfile]
"""Region -> profile."""
T = TypeVar("T")


def crops_of(picture: AnnotatedPicture) -> dict[str, StoredCrop]:
    """As the stage `crop` makes them, of all regions."""
    found = {}
    for region in picture.regions:
        box = padded(region.bbox, 0.15, picture.width, picture.height)
        data = images.encode_jpeg(images.crop(picture.pixels, box, 1024), 90)
        found[region.region_id] = StoredCrop(data, box)
    return found


def served_config(stub: RunningStub) -> ServedConfig:
    """The stub as a served model."""
    return ServedConfig(base_urls=[stub.base_url], model=MODEL, attempts=2)


def with_profiles(view: PictureView, said: Profiles) -> PictureView:
    """The picture as it is known when its regions have these profiles."""
    rows = [
        region.row.model_copy(update={"profile": p, "profile_text": profile_text(p)})
        for region in view.regions
        if (p := said.get(region.row.region_id)) is not None
    ]
    return PictureView(view.image_id, view.width, view.height, [RegionView(row) for row in rows])


class Looked:
    """A run against one stub."""

    def __init__(self, stub: RunningStub, client: Client, ledger: Ledger) -> None:
        self.stub, self.client, self.ledger, self.config = stub, client, ledger, served_config(stub)
        self.prompts = load_prompts()
        self.profiles, self.questions = Found(), Found()

    async def profiles_of(self, task: SentPictureTask) -> Profiles:
        """What the stub says of each region."""
        answers = await Served(self.client, self.config, self.prompts).annotate(task)
        ids = [sent.region.region_id for sent in task.regions]
        return {key: a.attributes for key, a in zip(ids, answers, strict=True) if isinstance(a, Profile)}

    async def second_looks(self, task: SentPictureTask, said: Profiles, asked: set[str]) -> dict[str, set[str]]:
        """Look -> the regions that fail in it."""
        found = {}
        for look in ("whole", "crop"):
            config = ModelChecksConfig(second_look=look)  # type: ignore[arg-type]
            verdicts = await asyncio.gather(*(
                second_look(self.client, self.prompts, task, sent, said[sent.region.region_id], config, self.config)
                for sent in task.regions if sent.region.region_id in asked
            ))  # fmt: skip
            ids = [sent.region.region_id for sent in task.regions if sent.region.region_id in asked]
            found[look] = {key for key, one in zip(ids, verdicts, strict=True) if one.verdict == "fail"}
        return found | {"both": found["whole"] | found["crop"]}

    async def questions_failed(
        self, task: asking.QuestionsTask, number: int, group: QueryGroup, profile: AttributeProfile
    ) -> dict[str, set[str]]:
        """Check -> the questions that fail it, of a group about the region of that number."""
        found = {}
        for name, config in READERS.items():
            verdicts = await check_group(
                self.client, self.prompts, task, task.regions[number], group, profile, config, self.config
            )
            found[name] = {query.query_id for query, _ in verdicts.refused}
        return found


@dataclass(frozen=True)
class Prepared:
    """A picture, encoded once for all runs."""

    picture: SoundPicture
    crops: dict[str, StoredCrop]
    task: SentPictureTask


def prepared(picture: SoundPicture) -> Prepared:
    """Encode it."""
    crops = crops_of(picture.annotated)
    config = ServedConfig(model=MODEL)
    return Prepared(
        picture, crops, profiles.prepare(picture.annotated, picture.annotated.regions, crops, CROPS, config)
    )


def passed_without_a_model(pictures: Sequence[Prepared], said: Sequence[Profiles]) -> set[str]:
    """The regions whose profiles pass the local checks, and then the global ones on what is left, as in a build."""
    table = TableBuilder()
    passed = set()
    for one, profiles_said in zip(pictures, said, strict=True):
        rows = [region.row for region in one.picture.view.regions]
        kept = [row for row in rows if _locally_sound(one, row, profiles_said.get(row.region_id))]
        passed |= {row.region_id for row in kept}
        complete = one.picture.annotated.complete and len(kept) == len(rows)
        for row in rows:
            if row.region_id not in passed:
                table.also_seen(row)
                continue
            profile = profiles_said[row.region_id]
            row = row.model_copy(update={"profile": profile})
            table.add(row, one.picture.exhaustive, profile.model_dump(), complete)
    built = table.built()
    return passed - {verdict.region_id for check in GLOBAL_PROFILE_CHECKS for verdict in check(built)}


def _locally_sound(one: Prepared, row: AttributeRow, profile: AttributeProfile | None) -> bool:
    if profile is None:
        return False
    record = CheckedRegion(one.picture.annotated, row, profile)
    return all(check(record).verdict != "fail" for check in LOCAL_CHECKS)


def errors_of(stub: RunningStub) -> dict[str, str]:
    """Region -> the class of the error in its profile, by the stub's own log."""
    made = stub.log(errors=True)["error_list"]
    return {one["region_id"]: one["error"] for one in made if one["schema"] == "region_profile"}


async def one_run(run: Looked, pictures: Sequence[Prepared], sound: Sequence[Profiles]) -> None:
    """Profiles of all pictures, looked at again where nothing else fails; then questions about what is left."""
    said = await _side_by_side([run.profiles_of(one.task) for one in pictures])
    made = errors_of(run.stub)
    kept = passed_without_a_model(pictures, said)
    await _side_by_side([
        one_picture(run, one, mine, true, kept & set(mine), made)
        for one, mine, true in zip(pictures, said, sound, strict=True)
    ])  # fmt: skip


async def one_picture(
    run: Looked, one: Prepared, said: Profiles, sound: Profiles, kept: set[str], made: dict[str, str]
) -> None:
    """The picture's profiles and questions, counted."""
    errors = {key: made.get(key) for key in said if _contradicts(said[key], sound[key])}
    run.profiles.undone.update(made[key] for key in said if key in made and key not in errors)
    failed = await run.second_looks(one.task, said, kept)
    for key in said:
        run.profiles.count(errors.get(key), "without a model", key not in kept)
        for look in LOOKS:
            run.profiles.count(errors.get(key), look, key not in kept or key in failed[look])
    await ask_about(run, one, {key: said[key] for key in said if key in kept}, errors, sound)


def _contradicts(said: AttributeProfile, sound: AttributeProfile) -> bool:
    """Whether it says anything else: what is only left out is no error."""
    pairs = [(value_of(said, name), value_of(sound, name)) for name in COMPARED]
    return any(mine is not None and mine != true for mine, true in pairs)


async def _side_by_side(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results; a few pictures at a time."""
    gate = asyncio.Semaphore(8)

    async def through(call: Coroutine[Any, Any, T]) -> T:
        async with gate:
            return await call

    return await asyncio.gather(*map(through, calls))


async def ask_about(run: Looked, one: Prepared, said: Profiles, errors: dict[str, str | None], sound: Profiles) -> None:
    """Questions that templates write from profiles which nothing without a model has caught.

    Of the regions with a sound profile, one of each picture is taken. A question is wrong where no template asks
    and answers it so from the sound profiles.
    """
    picture = one.picture
    view, true = with_profiles(picture.view, said), with_profiles(picture.view, sound)
    task = asking.prepare(view, picture.annotated.pixels, one.crops, CROPS, run.config)
    first = next((key for key in sorted(said) if key not in errors), None)
    for number, region in enumerate(view.regions):
        key = region.row.region_id
        if key != first and key not in errors:
            continue
        known = next(one for one in true.regions if one.row.region_id == key)
        drafts = [draft for write in WRITERS.values() if (draft := write(true, known)) is not None]
        right = {(wording, draft.answer) for draft in drafts for wording in draft.wordings}
        group = write_groups(view, region)[0].group
        checked = CheckedGroup(view, region, group, picture.annotated.complete)
        unseen = [q for q in group.queries if all(check(checked, q).verdict != "fail" for check in QUERY_CHECKS)]
        failed = await run.questions_failed(
            task, number, group.model_copy(update={"queries": unseen}), region.row.profile
        )
        for query in unseen:
            wrong = errors.get(key) if (query.question, query.answer) not in right else None
            for name in READERS:
                run.questions.count(wrong, name, query.query_id in failed[name])
            run.questions.count(wrong, "all three", any(query.query_id in failed[name] for name in READERS))


async def measure(pictures: Sequence[SoundPicture], seed: int, rate: float, repeated: Sequence[float]) -> list[Looked]:
    """A run for each share of repeated errors, over the same pictures."""
    world = {"model": MODEL, "scenes": f"full:{len(pictures)}", "scenes_seed": seed, "service_ms": 0.5, "slots": 64}
    encoded = [prepared(picture) for picture in pictures]
    with running(world) as run:
        async with run.client:
            sound = await _side_by_side([run.profiles_of(one.task) for one in encoded])
    found = []
    for repeat in repeated:
        with running(world | {"errors": rate, "repeat": repeat}) as run:
            async with run.client:
                await one_run(run, encoded, sound)
            found.append(run)
    return found


@contextlib.contextmanager
def running(options: dict[str, Any]) -> Iterator[Looked]:
    """A stub that has drawn its scenes, and a client of it."""
    with running_stub(**options) as stub, tempfile.TemporaryDirectory() as folder:
        stub.wait_drawn()
        with Ledger(Path(folder) / "ledger.json") as ledger:
            yield Looked(stub, Client(served_config(stub), None, ledger, print), ledger)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=ERROR_RATE, help="share of looks at a region that are wrong")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    pictures = drawn(options.pictures, options.seed)
    runs = asyncio.run(measure(pictures, options.seed, options.rate, REPEATED))
    named = {f"{repeat:.0%} repeated": run for repeat, run in zip(REPEATED, runs, strict=True)}
    if options.json:
        print(json.dumps({name: as_tree(run) for name, run in named.items()}, indent=1))
        return
    for name, run in named.items():
        print(profiles_table(f"profiles, {name}", run.profiles), end="\n\n")
    print(questions_table({name: run.questions for name, run in named.items()}), end="\n\n")
    last = runs[-1]
    number = sum(len(picture.view.regions) for picture in pictures)
    print(costs(last.ledger.summary(), number, number_of(last.questions)))


def as_tree(run: Looked) -> dict[str, Any]:
    """For `--json`."""

    def plain(shares: dict[str, Share]) -> dict[str, list[int]]:
        return {check: [share.hits, share.number] for check, share in shares.items()}

    return {
        title: {
            "caught": {error: plain(shares) for error, shares in found.caught.items()},
            "dropped": plain(found.dropped),
            "undone": dict(found.undone),
        }
        for title, found in (("profiles", run.profiles), ("questions", run.questions))
    }


if __name__ == "__main__":
    main()
