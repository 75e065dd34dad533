"""The same question asked several times of a reader: without the picture, from the profile alone, or with pictures."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from slvr_data.annotators.served.asking import Asks
from slvr_data.annotators.served.profiles import SHOWN
from slvr_data.annotators.served.sent import ENCODER, box_text, family
from slvr_data.checks.model.choices import SCHEMA_NAME, answer_schema, reader_of, rotated
from slvr_data.prompts import Prompt, choices_text
from slvr_data.queries.served import AskedRegion, QuestionsTask
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.ending import ended
from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.messages import Message, Refusal, Request, Sampling, SentPicture
from slvr_data.schema import Query

SEED_STEP = 1000
"""Between the seeds of two samples: attempts at one sample take those in between."""
T = TypeVar("T")


@dataclass
class Tally:
    """What a reader chose, over its samples so far."""

    right: str
    """The stated answer."""
    chosen: Counter[str | None] = field(default_factory=Counter)
    """Choice -> how often; None for undecided."""
    refused: Refusal | None = None
    """The first sample that came to nothing: nothing can be said."""

    @property
    def number(self) -> int:
        """Of samples."""
        return self.chosen.total()

    @property
    def hits(self) -> int:
        """Samples that chose the stated answer."""
        return self.chosen[self.right]

    def __str__(self) -> str:
        said = sorted(self.chosen.items(), key=lambda item: (-item[1], item[0] or ""))
        return ", ".join(f"{'undecided' if choice is None else repr(choice)} {n}" for choice, n in said)


@dataclass(frozen=True)
class Reader:
    """Somebody who is asked: with which prompt, and what is shown beside the question."""

    client: Asks
    served: ServedConfig
    purpose: str
    """Of its calls, in the ledger."""
    prompt: Prompt
    temperature: float
    group: str
    """Calls that go close together: the picture's id."""
    values: dict[str, str] = field(default_factory=dict)
    """What the prompt says beside question and choices."""
    pictures: tuple[SentPicture, ...] = ()
    """What is shown."""
    context: dict[str, Any] = field(default_factory=dict)
    """What belongs to the key beside the messages."""
    undecided: bool = False
    """It may say that nothing is decided."""

    def request(self, query: Query, sample: int) -> Request[str | None]:
        """One sample: its own order of the choices and its own seed.

        The question counts by its words: where two pictures ask the same of a reader without pictures, it is one call.
        """
        offered = rotated(query.choices, sample)
        system, user = self.prompt.filled(question=query.question, choices=choices_text(offered), **self.values)
        seed = self.served.seed + SEED_STEP * (sample + 1)
        return Request(
            purpose=self.purpose,
            group=self.group,
            messages=(Message("system", (system,)), Message("user", (*self.pictures, user))),
            sampling=Sampling(self.temperature, self.served.top_p, self.served.max_tokens, seed),
            prompt_version=self.prompt.version,
            context=self.context,
            accept=reader_of(offered, self.undecided),
            schema_name=SCHEMA_NAME,
            schema=answer_schema(len(offered), self.undecided),
        )

    async def asked(self, query: Query, samples: int, settled: Callable[[Tally], bool] | None = None) -> Tally:
        """What it chooses in `samples` samples.

        With `settled`, one after the other until the rest could change nothing; together without.

        Raises:
            UnfinishedError: a sample got no reply.
            ServerError: the server is plainly wrong.
        """
        tally = Tally(query.answer)
        requests = [self.request(query, sample) for sample in range(samples)]
        if settled is None:
            for answer in await together([self.client.ask(request) for request in requests]):
                self._count(tally, answer)
            return tally
        for request in requests:
            self._count(tally, await self.client.ask(request))
            if tally.refused is not None or settled(tally):
                break
        return tally

    @staticmethod
    def _count(tally: Tally, answer: Any) -> None:
        if isinstance(answer, Refusal):
            tally.refused = tally.refused or answer
        else:
            tally.chosen[answer.value] += 1


def shown(task: QuestionsTask, region: AskedRegion, served: ServedConfig) -> dict[str, Any]:
    """What makes a reader see the region: `values`, `pictures` and `context`, as the writer of questions saw it."""
    convention = family(served.model, served.box_format)
    box = region.bbox
    return {
        "values": {
            "pictures": SHOWN["whole"],
            "box": box_text(box, task.width, task.height, task.picture, convention),
            "convention": convention.explained(task.picture),
        },
        "pictures": (task.picture, region.crop),
        "context": {
            "image_id": task.image_id,
            "bbox": [float(edge) for edge in box],
            "crop": task.crop_settings,
            "encoder": ENCODER,
        },
    }


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order. Where some stay unfinished, the others still end first, and are stored.

    Any other error stops the others too, when calls that are under way have ended, or after a while.
    """
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        await _until_one_stops_all(tasks)
    except BaseException as stopped:
        await ended(tasks, stopped)
        raise
    for task in tasks:
        if (error := task.exception()) is not None:
            raise error
    return [task.result() for task in tasks]


async def _until_one_stops_all(tasks: Sequence[asyncio.Future[Any]]) -> None:
    for done in asyncio.as_completed(tasks):
        try:
            await done
        except UnfinishedError:  # raised by the caller, when all have ended
            continue
