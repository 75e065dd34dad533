"""What tests of checks by a model share: pictures, a client of the stub, and the checks over a whole picture."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from slvr_data.annotators.served.profiles import SentRegion
from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.checks.model.questions import ModelVerdicts, check_group
from slvr_data.checks.model.second_look import second_look
from slvr_data.prompts import load_prompts
from slvr_data.queries import served as asking
from slvr_data.queries.generate import write_groups
from slvr_data.queries.view import RegionView
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.store import RequestStore
from slvr_data.schema import AttributeProfile, Query, Verdict
from tests.servers.running import RunningStub

T = TypeVar("T")
PROMPTS = load_prompts()


def load_script() -> ModuleType:
    path = Path(__file__).parents[1] / "perf/model_checks.py"
    sys.path.insert(0, str(path.parent))  # its neighbours
    spec = importlib.util.spec_from_file_location("perf_model_checks", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["perf_model_checks"] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()
TABLES = sys.modules["model_tables"]


def with_client(stub: RunningStub, work: Callable[[Client], Awaitable[T]], folder: Path, **given: Any) -> T:
    """The result of some work with a client that keeps its replies in `folder`."""

    async def run() -> T:
        config = SCRIPT.served_config(stub).model_copy(update=given | {"scratch": folder / "scratch"})
        with RequestStore(folder / "requests", folder / "scratch") as store, Ledger(folder / "ledger.json") as ledger:
            async with Client(config, store, ledger, print) as client:
                return await work(client)

    return asyncio.run(run())


Change = Callable[[Query], Query | None]


def judge(
    client: Any, one: Any, config: ModelChecksConfig, change: Change = lambda query: query
) -> Awaitable[list[ModelVerdicts]]:
    """Verdicts on the templates' questions about all regions of a picture, each question changed or left out."""
    view = one.picture.view
    served = getattr(client, "config", ServedConfig(model=SCRIPT.MODEL))
    task = asking.prepare(view, one.picture.annotated.pixels, one.crops, SCRIPT.CROPS, served)

    async def about(number: int, region: RegionView) -> ModelVerdicts:
        group = write_groups(view, region)[0].group
        queries = [changed for query in group.queries if (changed := change(query)) is not None]
        group = group.model_copy(update={"queries": queries})
        profile = region.row.profile
        return await check_group(client, PROMPTS, task, task.regions[number], group, profile, config, served)

    async def all_of_them() -> list[ModelVerdicts]:
        return await asyncio.gather(*(about(number, region) for number, region in enumerate(view.regions)))

    return all_of_them()


def look_again(
    client: Any, one: Any, said: dict[str, AttributeProfile], config: ModelChecksConfig
) -> Awaitable[list[Verdict]]:
    async def look(sent: SentRegion) -> Verdict:
        profile = said[sent.region.region_id]
        return await second_look(client, PROMPTS, one.task, sent, profile, config, client.config)

    async def all_of_them() -> list[Verdict]:
        return await asyncio.gather(*(look(sent) for sent in one.task.regions))

    return all_of_them()


def first_looks(client: Client, stub: RunningStub, one: Any) -> Awaitable[dict[str, AttributeProfile]]:
    return SCRIPT.Looked(stub, client, None).profiles_of(one.task)
