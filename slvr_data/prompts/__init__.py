"""The prompts: versioned templates with `{placeholders}`, each a file with a system and a user part.

A template is named by its file (`profile.txt`). Its version is its name, the number of its placeholders' and
reply's form, and eight digits of the hash of its text, e.g. "profile-1:3f2a90bc": a changed word is another
version, and its calls are made anew. `{{` and `}}` stand for braces.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from slvr_data.errors import UsageError

SUFFIX = ".txt"
_SYSTEM, _USER = "=== system ===", "=== user ==="
LETTERS = "ABCD"


@dataclass(frozen=True)
class _Form:
    """What a template may and must speak of."""

    number: int
    """Raised when placeholders or the form of the reply change."""
    needed: frozenset[str]
    """Without these, the model does not know what it is asked."""
    free: frozenset[str] = frozenset()
    """May be left out."""


_REGION = frozenset({"box", "convention"})
_QUESTION = frozenset({"question", "choices"})
FORMS = {
    "profile": _Form(1, _REGION, frozenset({"pictures", "context"})),
    "questions": _Form(1, _REGION | {"facets"}, frozenset({"pictures", "profile", "taken", "number"})),
    "blind": _Form(1, _QUESTION),
    "from_profile": _Form(1, _QUESTION | {"profile"}),
    "answer": _Form(1, _QUESTION | _REGION, frozenset({"pictures"})),
}
"""All templates."""


@dataclass(frozen=True)
class Prompt:
    """A template that has been read and found sound."""

    name: str
    version: str
    system: str
    user: str

    def filled(self, **values: str) -> tuple[str, str]:
        """The system and the user text; lines that a value left empty are dropped."""
        return _fill(self.system, values), _fill(self.user, values)


def _fill(text: str, values: dict[str, str]) -> str:
    lines = []
    for line in text.split("\n"):
        full = line.format(**values)
        if full.strip() or not line.strip():
            lines.append(full)
    return "\n".join(lines).strip()


@dataclass(frozen=True)
class Prompts:
    """One prompt of each name."""

    profile: Prompt
    """Describe a region in the fields of a profile."""
    questions: Prompt
    """Ask about a region on several facets."""
    blind: Prompt
    """Answer a question without the picture."""
    from_profile: Prompt
    """Answer it from the sentence form of the profile alone."""
    answer: Prompt
    """Answer it with the picture."""

    @property
    def versions(self) -> dict[str, str]:
        """Name -> version."""
        return {name: getattr(self, name).version for name in FORMS}


def choices_text(choices: Sequence[str]) -> str:
    """At most four choices with their letters, a line each: "A. red"."""
    return "\n".join(f"{letter}. {choice}" for letter, choice in zip(LETTERS[: len(choices)], choices, strict=True))


def load_prompts(folder: Path | None = None) -> Prompts:
    """The built-in prompts, those of `folder` in place of the ones of the same name.

    Raises:
        UsageError: the folder is not one, holds a file of another name, or a template has an unknown
            placeholder, lacks one that is needed, or has no system and user part.
    """
    texts = {name: (_built_in(name), f"prompt {name}") for name in FORMS}
    for file in _replacements(folder) if folder is not None else []:
        try:
            texts[file.stem] = file.read_text(encoding="utf-8"), f"--prompts {file}"
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"--prompts {file}: cannot be read as UTF-8 text: {error}") from None
    return Prompts(**{name: _read(name, *text) for name, text in texts.items()})


@cache
def _built_in(name: str) -> str:
    return (files("slvr_data.prompts") / f"{name}{SUFFIX}").read_text(encoding="utf-8")


def _replacements(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"--prompts {folder} is not a folder")
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    known = ", ".join(f"{name}{SUFFIX}" for name in FORMS)
    for path in found:
        if path.suffix != SUFFIX or path.stem not in FORMS:
            raise UsageError(f"--prompts {path}: no prompt has that name: name it one of {known}")
    if not found:
        raise UsageError(f"--prompts {folder} is empty: put one or more of {known} there")
    return found


def _read(name: str, text: str, where: str) -> Prompt:
    text = text.replace("\r\n", "\n").removeprefix("\ufeff")
    lines = text.split("\n")
    if lines[0].strip() != _SYSTEM or [line.strip() for line in lines].count(_USER) != 1:
        raise UsageError(f"{where}: start with a line '{_SYSTEM}', and put one line '{_USER}' before the user part")
    cut = [line.strip() for line in lines].index(_USER)
    system, user = "\n".join(lines[1:cut]).strip(), "\n".join(lines[cut + 1 :]).strip()
    form = FORMS[name]
    used = _placeholders(system, where, form) | _placeholders(user, where, form)
    missing = sorted(form.needed - used)
    if missing:
        raise UsageError(f"{where}: the placeholder {{{missing[0]}}} is missing: the model would not be told of it")
    if not user:
        raise UsageError(f"{where}: the user part is empty")
    digest = hashlib.sha256(f"{system}\n{_USER}\n{user}".encode()).hexdigest()[:8]
    return Prompt(name, f"{name}-{form.number}:{digest}", system, user)


def _placeholders(text: str, where: str, form: _Form) -> set[str]:
    found = set()
    known = form.needed | form.free
    for line in text.split("\n"):
        try:
            parts = list(string.Formatter().parse(line))
        except ValueError as error:
            raise UsageError(f"{where}: {line.strip()[:60]!r}: {error} (write {{{{ and }}}} for braces)") from None
        for _, field, spec, conversion in parts:
            if field is None:
                continue
            if field not in known or spec or conversion:
                told = ", ".join(f"{{{name}}}" for name in sorted(known))
                raise UsageError(f"{where}: unknown placeholder {{{field}}}: known are {told}")
            found.add(field)
    return found
