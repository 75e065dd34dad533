"""The documentation says what the code does."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def generator() -> dict[str, str]:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pages: dict[str, str] = module.pages()
    return pages


def test_derived_pages_are_current() -> None:
    for name, text in generator().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, "run `python docs/generate.py`"


def test_every_field_and_setting_is_explained() -> None:
    for name, text in generator().items():
        bare = [line for line in text.splitlines() if line.startswith("| `") and line.endswith("|  |")]
        assert not bare, f"{name}: no meaning for {bare}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_variables_are_set_where_they_are_used(page: Path) -> None:
    """A section is typed into a fresh shell: what it hands on, it has set itself, above."""
    for section in page.read_text(encoding="utf-8").split("\n## "):
        known = {"PWD", "HOME"}
        for line in re.findall(r"^    (.*)", section, re.M):
            known |= set(re.findall(r"\b([A-Za-z_]+)=", line)) | set(re.findall(r"\bfor (\w+) in", line))
            missing = set(re.findall(r"\$([A-Za-z_]+)", line)) - known
            assert not missing, f"{page.name}: {line}"


COMMANDS = {
    "slvr-data": {"build-attributes", "preview", "validate", "rejections", "publish", "attach", "merge"},
    "slvr-train": {"chat", "tiny", "configs", "sft", "mgrpo", "cases", "convert-checkpoint"},
    "slvr-bench": {"build", "run", "compare", "arms", "report"},
}
"""Command -> those of its commands that the README must name."""


CLIS = {"slvr-data": "pipelines.cli", "slvr-train": "slvr_model.cli", "slvr-bench": "benchmark.cli"}


@cache
def helped(command: str, *arguments: str) -> str:
    app = importlib.import_module(CLIS[command]).app
    shown = CliRunner().invoke(app, [*arguments, "--help"], prog_name=command)
    assert shown.exit_code == 0, shown.output
    return shown.output


@pytest.mark.parametrize("page", ["README.md", "docs/benchmark.md"])
def test_commands_in_the_readme_exist(page: str) -> None:
    text, helps = (ROOT / page).read_text(encoding="utf-8"), ""
    for command, wanted in COMMANDS.items():
        known = helped(command)
        named = set(re.findall(rf"{command} ([a-z][a-z-]+)", text))
        assert named >= wanted or page != "README.md"
        for name in named:
            assert re.search(rf"^  {name} ", known, re.M), f"{page} names `{command} {name}`"
        helps += known + "".join(helped(command, name) for name in sorted(named))
    options = set(re.findall(r"--[a-z][a-z-]+", text))
    assert not [option for option in options if option not in helps]


def typed(text: str) -> Iterator[list[str]]:
    """The words of each of our commands among a page's lines of code, as a shell has them; placeholders are words."""
    code = "\n".join(line.strip() if line.startswith("    ") else "" for line in text.splitlines())
    for line in re.sub(r"\\\n\s*", " ", code).splitlines():
        words = shlex.shlex(re.sub(r"\[-.*?\]", "", line), posix=True, punctuation_chars="|;&>()")
        words.whitespace_split, words.commenters = True, "#"
        if not re.search(r"\bslvr[-_]", line):
            continue
        for joint, part in groupby(words, lambda word: not set(word) - set("|;&>()")):
            said = [word for word in part if not re.match(r"\$|[A-Z_]+=", word)]
            if not joint and said and said[0] in CLIS:
                yield said
            for stage in ("sft", "mgrpo"):  # as torchrun starts them
                if not joint and f"slvr_model.{stage}" in said:
                    yield ["slvr-train", stage, *said[said.index(f"slvr_model.{stage}") + 1 :]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_have_what_they_need_and_nothing_unknown(page: Path) -> None:
    """Each is parsed by the command itself, up to the values of its options."""
    for command, *words in typed(page.read_text(encoding="utf-8")):
        if not words or words[0].startswith("-") or "..." in words:
            continue
        group: Any = typer.main.get_command(importlib.import_module(CLIS[command]).app)
        assert words[0] in group.commands, f"{page.name}: {command} {words[0]}"
        try:
            group.commands[words[0]].make_context(words[0], words[1:])
        except Exception as error:  # which classes of click these are has changed over typer's versions
            allowed = type(error).__name__ in ("BadParameter", "Exit")  # a placeholder is no number
            assert allowed, f"{page.name}: {command} {' '.join(words)}: {error}"


def test_modules_named_in_the_architecture_exist() -> None:
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    packages = ("slvr_data", "pipelines", "slvr_model", "benchmark")
    for section, package in ((f"## {name}", name) for name in packages):
        body = text.split(section, 1)[1].split("\n## ", 1)[0]
        rooms = re.findall(r"^\| (`.*?) \|", body, re.M)
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", " ".join(rooms)):
            assert (ROOT / package / name).exists(), f"docs/architecture.md names {package}/{name}"
