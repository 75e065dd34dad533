"""The wheel holds our four packages and nothing else."""

from __future__ import annotations

import email
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.builds import environment

ROOT = Path(__file__).parent.parent
PACKAGES = {"slvr_data", "slvr_model", "pipelines", "benchmark"}
TINY = "slvr_model/checkpoints/tiny/"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from this tree, offline."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        check=True, capture_output=True, text=True, env=environment(PIP_NO_INDEX="1"),
    )  # fmt: skip
    (file,) = folder.glob("slvr-*.whl")
    return zipfile.ZipFile(file)


def test_packages(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    (info,) = tops - PACKAGES
    assert tops - {info} == PACKAGES
    assert info.endswith(".dist-info")


def test_files(wheel: zipfile.ZipFile) -> None:
    """Every module, template and type marker of the tree, and no file beyond them."""
    inside = {name for name in wheel.namelist() if name.split("/")[0] in PACKAGES}
    tree = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == tree
    assert {name for name in inside if not name.endswith(".py")} >= {f"{package}/py.typed" for package in PACKAGES}
    data = {".j2", ".css", ".js", ".txt", ".json", ".yaml", ".safetensors", ".jinja"}
    assert {Path(name).suffix for name in inside} <= {".py", ".typed", *data}
    tiny = {name for name in inside if name.startswith(TINY)}
    assert {name for name in inside - tiny if name.endswith(".json")} == {"benchmark/coverage.json"}
    assert [name for name in inside if name.endswith(".safetensors")] == [f"{TINY}model.safetensors"]
    assert "slvr_data/pages/card.md.j2" in inside
    assert "slvr_data/pages/preview.html.j2" in inside


def test_metadata(wheel: zipfile.ZipFile) -> None:
    (info,) = {name.split("/")[0] for name in wheel.namelist()} - PACKAGES
    scripts = wheel.read(f"{info}/entry_points.txt").decode()
    for script in ("slvr-data", "slvr-train", "slvr-bench"):
        assert f"\n{script} = slvr_data.console:" in scripts
    metadata = email.message_from_bytes(wheel.read(f"{info}/METADATA"))
    assert metadata["Name"] == "slvr"
    assert metadata["License-Expression"] == "Apache-2.0"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(metadata.get_all("Provides-Extra", [])) == extras.keys() > {"train", "track", "serve", "ray", "dev"}
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    core = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert not [line for line in core if line.split(">")[0] in ("torch", "transformers", "openai", "ray")]
