"""Folders of models are looked for before torch is loaded, and never on a hub."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.models.base import ModelOptions, open_model
from benchmark.models.places import hf_name, slvr_folder
from slvr_data.errors import UsageError
from tests.builds import environment


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a folder "here" that has "there" in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "there").mkdir(parents=True)
    return tmp_path


@pytest.mark.parametrize("name", ["/none/here", "none", "~/none-such", "ORG/NAME"])
def test_an_slvr_model_is_a_folder(name: str) -> None:
    folder = Path(name).expanduser()
    with pytest.raises(
        UsageError, match=f"--model slvr:{name}: {folder} is no folder; name the folder of a checkpoint"
    ):
        open_model(f"slvr:{name}", ModelOptions())


def test_an_slvr_folder_holds_a_configuration(here: Path) -> None:
    with pytest.raises(UsageError, match=r"here has no config\.json"):
        open_model("slvr:here", ModelOptions())
    (here / "here" / "config.json").write_text("{}")
    assert slvr_folder("slvr:here") == Path("here")


@pytest.mark.parametrize("name", ["/none/here", "./none", "../none", "~/none-such", "a/b/c", "here/none", ".\\none"])
def test_a_path_must_be_there(name: str) -> None:
    """ "here" is a folder, so "here/none" is meant to be in it."""
    with pytest.raises(UsageError, match=r"there is no .*; name a folder that is there, or ORG/NAME on a hub"):
        open_model(f"hf:{name}", ModelOptions())


def test_what_is_there_and_what_may_be_on_a_hub() -> None:
    for name in ("here", "here/there", "./here", "gpt2", "ORG/NAME"):
        assert Path(hf_name(f"hf:{name}")) == Path(name)


def test_a_wrong_path_loads_no_torch() -> None:
    code = (
        "import sys; from benchmark.models.base import *\n"
        "try: open_model(sys.argv[1], ModelOptions())\n"
        "except Exception as error: print(type(error).__name__, 'torch' in sys.modules)"
    )
    for spec in ("slvr:/none", "hf:/none"):
        done = subprocess.run(
            [sys.executable, "-c", code, spec], capture_output=True, text=True, env=environment(), check=True
        )
        assert done.stdout == "UsageError False\n"
