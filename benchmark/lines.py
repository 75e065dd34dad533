"""An ask and its reply -> a line of the log: what was right, what the reply names, and whether that is it."""

from __future__ import annotations

from benchmark.asks import chance_of, expected_of
from benchmark.extract import extracted, open_answer
from benchmark.interventions.donors import Donor
from benchmark.records import CANNOT_SEE, Ask, LogLine, Outcome, Reply
from benchmark.transforms import TRANSFORMS

MOST_REPLY = 1 << 16
"""Bytes of a reply that a line keeps."""
CUT = "\n...\n"
"""Stands in a line for what it does not keep."""


def line_of(ask: Ask, reply: Reply) -> LogLine:
    """The line of an ask. A reply that was cut at the limit on tokens, or of which a server's client kept no more than
    the beginning, is `failed`, whatever that says: what followed may have taken it back.
    """
    expected = expected_of(ask.item, ask.query, ask.variant)
    right = CANNOT_SEE if expected is None else expected
    outcome, answer, correct = _judged(ask, reply, right)
    donor = None if ask.donor is None else Donor(ask.donor.item, ask.donor.query)
    text = None if reply.text is None else whole_characters(reply.text)
    return LogLine(
        ask_id=ask.ask_id,
        item_id=ask.item.item_id,
        image_id=ask.item.image_id,
        query_id=ask.query.query_id,
        position=ask.item.queries.index(ask.query),
        facet=ask.query.facet,
        variant=ask.variant,
        seed=ask.seed,
        question=ask.question,
        choices=ask.choices,
        expected=expected,
        reply=None if text is None else shortened(text),
        reply_length=len(text or ""),
        outcome=outcome,
        answer=answer,
        correct=correct,
        chance=chance_of(ask.query, ask.choices),
        finish=reply.finish,
        error=None if reply.error is None else whole_characters(reply.error),
        prompt_tokens=reply.prompt_tokens,
        reply_tokens=reply.reply_tokens,
        seconds=reply.seconds,
        donor=None if donor is None else f"{donor.item.item_id}/{donor.query.query_id}",
        donor_answer=None if donor is None else donor.answer_to(ask.query),
        picture_tokens=reply.picture_tokens,
    )


def _judged(ask: Ask, reply: Reply, right: str) -> tuple[Outcome, str | None, bool]:
    """(Outcome, what the reply names, whether that is right)."""
    if reply.text is None or reply.finish in ("length", "too-long", "error"):
        return "failed", None, False
    if reply.finish == "refused":
        return "refused", None, False
    if not ask.choices:
        return open_judged(ask, reply.text, right)
    found = extracted(reply.text, ask.choices)
    answer = ask.choices[found.index] if found.index is not None else None
    return found.outcome, answer, answer == right


def open_judged(ask: Ask, text: str, right: str) -> tuple[Outcome, str | None, bool]:
    """The same of an open question. What the rules cannot decide is unparsed: a judge may read it later."""
    further = (CANNOT_SEE,) if ask.variant in TRANSFORMS else ()
    wrong = [choice for choice in (*ask.query.choices, *further) if choice != right]
    found = open_answer(text, right, wrong)
    if found.outcome == "answer" and found.correct is None:
        return "unparsed", found.text, False
    return found.outcome, found.text, found.correct is True


def whole_characters(text: str) -> str:
    """The text with halves of surrogate pairs, which no file can hold, replaced."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def shortened(text: str) -> str:
    """What a line keeps: of a longer reply its beginning (a quarter) and its end, where its answer is."""
    if len(text) <= MOST_REPLY // 4 or len(data := text.encode()) <= MOST_REPLY:
        return text
    head = MOST_REPLY // 4
    tail = MOST_REPLY - head - len(CUT)
    return data[:head].decode(errors="ignore") + CUT + data[-tail:].decode(errors="ignore")
