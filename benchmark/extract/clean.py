"""A reply without what surrounds its words: thoughts, special tokens, markup; and what it sets apart as its answer."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

LONGEST = 16_000
"""Characters that are read: of a longer reply the first quarter of these and the last three."""
LONGEST_JSON = 100_000
"""Characters of a reply that is read as JSON."""
LONGEST_BOX = 400
"""Characters within a box."""
ANSWER_KEYS = frozenset(
    ["answer", "answers", "ans", "finalanswer", "correctanswer", "answerletter", "answerchoice", "choice", "option",
     "selected", "selection", "selectedoption", "selectedchoice", "correctoption", "letter", "prediction", "pred",
     "response", "result", "label", "output"]
)  # fmt: skip
"""Names of JSON fields that hold an answer, letters alone."""

_LETTER_KEY = re.compile(r"[A-Z]")
_WORDS_KEYS = frozenset(
    ["text", "answertext", "choicetext", "optiontext", "selectedtext", "labeltext", "answervalue", "value", "content",
     "description", "answerdescription", "optiondescription"]
)  # fmt: skip
"""Names of JSON fields that hold the words of the answer beside its letter."""

_THOUGHT_NAMES = r"think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis"
_THOUGHT = re.compile(rf"[<\[◁]\s*(/?)(?:{_THOUGHT_NAMES})\s*[>\]▷]", re.I)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\s*(?:<\|[a-z_]+\|>)*", re.I)
_SPECIAL = re.compile(r"<\|[^<>|\s]{1,64}\|>|</?(?:s|pad|eos|bos|unk|image|br|hr|end_of_utterance)\s*/?>", re.I)
_ANSWER = re.compile(
    r"<\s*(?:answer|final_answer|ans|choice)\s*>([^<]*(?:<(?!\s*/\s*(?:answer|final_answer|ans|choice)\s*>)[^<]*)*)",
    re.I,
)
_ANSWER_END = re.compile(r"<\s*/?\s*(?:answer|final_answer|ans|choice)\s*>", re.I)
_BOX = re.compile(r"(?:\\f?|\x08|(?<![a-z]))(?:box(?:ed)?|(?<=\x08)oxed)\s*\{", re.I)
_TAG = re.compile(r"</?[a-z][a-z0-9_-]{1,30}(?:\s[^<>]{0,200})?/?>|</?[biupq]>")
_STRUCK = re.compile(r"~~[^~\n]{1,300}~~")
_FENCE = re.compile(r"^\s*```[a-z]*[ \t]*\n(.*?)\n?\s*```\s*$", re.S | re.I)
_LATEX = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt)?|math(?:bf|it|rm|sf|bb|tt)|operatorname|displaystyle|bf|rm)\b\s*")
_FRACTION = re.compile(r"\\[dt]?frac\s*\{\s*(\d{1,9})\s*\}\s*\{\s*(\d{1,9})\s*\}")
_ROOT = re.compile(r"\\sqrt\s*(?:\{\s*([^{}\n]{1,20}?)\s*\}|(\d))")
_ROOTED = re.compile(r"(?<=\d)\s+(?=√)")
_POWER = re.compile(r"(?<=[A-Za-z)])\s?\^\s?([23])(?!\w)")
_LATEX_SIGNS = (("\\times", "×"), ("\\cdot", "·"), ("\\pi", "π"), ("\\%", "%"), ("\\pm", "±"))
_DEGREES = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|°|\bdegrees?\b)", re.I)
_TICKED = re.compile(r"^[ \t]*[-*]?[ \t]*(?:\[[xX✓✔]\]|[☑☒✅])", re.M)
_UNTICKED = re.compile(r"^[ \t]*[-*]?[ \t]*(?:\[ ?\]|☐|⬜).*$", re.M)
_LATEX_MARKS = re.compile(r"\\[()\[\]!,;: ]|[${}]")
_QUOTES = re.compile(r'[`"“”„«»‘´＂「」『』《》]|(?<!\w)[\'’]|[\'’](?!\w)')
_EMPHASIS = re.compile(r"\*+|__+|(?<!\w)_|_(?!\w)")
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}|>|[-•●‣▪])[ \t]+", re.M)
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r" ?\n(?: ?\n)* ?")
_HIDDEN = re.compile(
    "[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff\ue000-\uf8ff\x00-\x08\x0b-\x1f\x7f]"
)
_ENCLOSED = {
    **{start + n: chr(65 + n) for start in (0x1F150, 0x1F170, 0x1F130) for n in range(26)},
    **{0x1F1E6 + n: chr(65 + n) for n in range(26)},
}
"""Letters in discs, squares and flags that compatibility forms leave as they are."""


@dataclass(frozen=True)
class Cleaned:
    """A reply's words, and the parts of it that are set apart as the answer."""

    text: str
    """Without thoughts and tokens, set-apart parts in their place; markup is still there."""
    answers: tuple[str, ...]
    """The contents of \\boxed{}, of <answer> tags, or of the answer's fields in JSON."""
    cut: bool = False
    """A thought was begun and not ended: no answer was reached."""
    json: bool = False
    """The whole reply is JSON: what its other fields say is no answer."""
    reasons: str = ""
    """The other fields of JSON whose answer's field is empty: they may say why."""
    beside: tuple[str, ...] = ()
    """Fields of JSON that hold the answer's words beside its letter: they must not be another choice's."""


def cleaned(reply: str) -> Cleaned:
    """Take off what is not said: linear in the length of the reply."""
    text, cut = _without_thoughts(single_spaced(reply))
    if cut:
        return Cleaned("", (), cut=True)
    channels = list(_FINAL_CHANNEL.finditer(text))
    if channels:
        text = text[channels[-1].end() :]
    text = _SPECIAL.sub(" ", text)
    values = _json_answers(text)
    if values is not None:
        reasons, beside = ("", _beside(text)) if values else (_reasons(text), ())
        return Cleaned("", tuple(values), json=True, reasons=reasons, beside=beside)
    text = shortened(text)
    tagged = [found[1] for found in _ANSWER.finditer(text)]
    boxed, text = _boxes(_ANSWER_END.sub(" ", text))
    inside = [_boxes(part)[1] for part in tagged]
    return Cleaned(text, tuple(part for part in (*inside, *boxed) if part.strip(" \t\r\n$*`.")))


def _without_thoughts(text: str) -> tuple[str, bool]:
    """(The text outside of thoughts, whether one is still open); an end without a beginning ends one from the start."""
    kept: list[str] = []
    depth = place = 0
    for tag in _THOUGHT.finditer(text):
        if depth == 0:
            kept.append(text[place : tag.start()])
        place = tag.end()
        if not tag[1]:
            depth = 1
        elif depth == 0:
            kept.clear()
        else:
            depth = 0
    if depth == 0:
        kept.append(text[place:])
    return " ".join(kept), depth > 0


def _boxes(text: str) -> tuple[list[str], str]:
    """Contents of all boxes, and the text with the boxes taken off."""
    found, kept, place = [], [], 0
    for box in _BOX.finditer(text):
        if box.start() < place:
            continue
        depth, end = 1, box.end()
        while end < len(text) and end - box.end() < LONGEST_BOX:
            depth += {"{": 1, "}": -1}.get(text[end], 0)
            if depth == 0:
                break
            end += 1
        if depth:
            continue
        found.append(text[box.end() : end])
        kept += [text[place : box.start()], " ", found[-1], " "]
        place = end + 1
    return found, "".join([*kept, text[place:]])


class _Pairs(list[tuple[str, Any]]):
    """The fields of a JSON object, repeated names and all."""


def _json_answers(text: str) -> list[str] | None:
    """The answers in a reply that is a JSON object or list; None where it is neither."""
    tree = _json_tree(text)
    return None if tree is None else _answers_of(tree)


def _json_tree(text: str) -> Any:
    """The object or list that a reply is; None where it is neither."""
    bare = text.strip()
    if len(bare) > LONGEST_JSON:
        return None
    fenced = _FENCE.match(bare)
    bare = fenced[1].strip() if fenced else bare
    if bare[:1] not in ("{", "["):
        return None
    try:
        return json.loads(bare, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        return None


def _is_answer(name: str) -> bool:
    return re.sub(r"[^a-z]", "", name.lower()) in ANSWER_KEYS


def _reasons(text: str) -> str:
    """What the other fields say in words, of an object whose answer's fields are there and empty."""
    tree = _json_tree(text)
    if not isinstance(tree, _Pairs) or not any(_is_answer(name) for name, _ in tree):
        return ""
    return shortened("\n".join(value for name, value in tree if isinstance(value, str) and not _is_answer(name)))


def _beside(text: str) -> tuple[str, ...]:
    tree = _json_tree(text)
    if not isinstance(tree, _Pairs):
        return ()
    inner = [pair for _, value in tree if isinstance(value, _Pairs) for pair in value]
    named = [(re.sub(r"[^a-z]", "", name.lower()), value) for name, value in (*tree, *inner)]
    return tuple(str(value) for name, value in named if name in _WORDS_KEYS and isinstance(value, (str, int, float)))


def _answers_of(tree: Any) -> list[str]:
    if isinstance(tree, _Pairs):
        if len(tree) > 1 and all(_LETTER_KEY.fullmatch(name) and isinstance(value, bool) for name, value in tree):
            return [" / ".join(name for name, value in tree if value)] if any(value for _, value in tree) else []
        named = [value for name, value in tree if _is_answer(name)]
        if not named and len(tree) == 1:
            named = [tree[0][1]]
        return [said for value in named for said in _answers_of(value)]
    if isinstance(tree, list):
        return [" / ".join(said for value in tree for said in _answers_of(value))] if tree else []
    if tree is None or tree == "":
        return []
    if isinstance(tree, bool):
        return ["yes" if tree else "no"]
    return [str(tree)]


def plain(text: str) -> str:
    """Words and sentence marks: compatibility forms resolved, digits ASCII, markup and quotation marks off."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_ENCLOSED))
        text = "".join(_ascii_digit(sign) for sign in text)
    if _TICKED.search(text):
        text = _TICKED.sub("", _UNTICKED.sub("", text))
    text = _DEGREES.sub("°", _FRACTION.sub(r"\1/\2", _STRUCK.sub(" ", text)))
    if "\\" in text:
        text = _ROOT.sub(lambda found: f"√{found[1] or found[2]}", text)
        for name, sign in _LATEX_SIGNS:
            text = text.replace(name, sign)
    text = _TAG.sub(" ", text)
    text = _LATEX_MARKS.sub(" ", _LATEX.sub("", text))
    text = _POWER.sub(r"\1", _ROOTED.sub("", text)) if "√" in text or "^" in text else text
    text = _LINE_MARK.sub("", _EMPHASIS.sub("", text))
    return single_spaced(_HIDDEN.sub("", _QUOTES.sub(" ", text)))


def shortened(text: str) -> str:
    """The beginning and the end of a text that is longer than `LONGEST`, cut between words where it has any."""
    if len(text) <= LONGEST:
        return text
    head, tail = text[: LONGEST // 4], text[-3 * LONGEST // 4 :]
    return head.rpartition(" ")[0] + "\n...\n" + tail.partition(" ")[2]


def single_spaced(text: str) -> str:
    """Runs of spaces as one, runs of lines without words as one end of a line."""
    return _LINES.sub("\n", _SPACES.sub(" ", text))


def _ascii_digit(sign: str) -> str:
    """Digits of other scripts as ASCII; all other signs as they are."""
    if sign.isascii() or not sign.isdigit():
        return sign
    return str(unicodedata.digit(sign))
