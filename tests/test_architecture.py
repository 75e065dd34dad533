"""The rules of the house that a machine can hold."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("slvr_data", "slvr_model", "pipelines", "benchmark")
ALLOWED = {
    "slvr_data": {"slvr_data"},
    "pipelines": {"slvr_data", "pipelines"},
    "slvr_model": {"slvr_data", "slvr_model"},
    "benchmark": {"slvr_data", "slvr_model", "benchmark"},
}
NOT_IN_SLVR_DATA = {"torch", "transformers", "typer", "openai", "aiohttp", "requests", "httpx"}


def imports(file: Path) -> Iterator[str]:
    """Top-level names that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield (node.module or "").split(".")[0]


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        ours = {name for name in imports(file) if name in PACKAGES}
        assert ours <= ALLOWED[package], f"{file.relative_to(ROOT)} imports {ours - ALLOWED[package]}"


def test_the_benchmark_knows_the_model_in_one_place() -> None:
    files = {
        str(file.relative_to(ROOT)) for file in (ROOT / "benchmark").rglob("*.py") if "slvr_model" in imports(file)
    }
    assert files == {"benchmark/models/slvr.py"}


def test_slvr_data_knows_neither_torch_nor_the_command_line_nor_the_network() -> None:
    for file in (ROOT / "slvr_data").rglob("*.py"):
        network = {"openai", "aiohttp"} if "requests" in file.parts else set()
        found = set(imports(file)) & (NOT_IN_SLVR_DATA - network)
        assert not found, f"{file.relative_to(ROOT)} imports {found}"


def test_checks_and_the_measured_annotator_know_nothing_of_scenes() -> None:
    for file in [
        *(ROOT / "slvr_data/checks").rglob("*.py"),
        *(ROOT / "slvr_data/injector").rglob("*.py"),
        ROOT / "slvr_data/annotators/measured.py",
    ]:
        assert "scenes" not in file.read_text(encoding="utf-8"), f"{file.name} must judge by what pictures show"


def test_files_are_rooms() -> None:
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            lines = len(file.read_text(encoding="utf-8").splitlines())
            assert lines <= 400, f"{file.relative_to(ROOT)} has {lines} lines: is it still one idea?"
