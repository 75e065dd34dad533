"""`slvr-train`: help without torch, one line for what a user can meet."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from slvr_data.sources.scenes import scene
from tests.builds import run
from tests.inside import inside
from tests.slvr_model.preloaded import spawned

COMMAND = str(Path(sys.executable).parent / "slvr-train")
WITHOUT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "transformers", "tokenizers"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
hidden = ("torch", "transformers")
importlib.util.find_spec = lambda name, package=None: None if name in hidden else found(name, package)
sys.argv = ["slvr-train", *sys.argv[1:]]
from slvr_data.console import train
train()
"""


def trained(*arguments: str, code: int = 0, script: str | None = None) -> str:
    command = [sys.executable, "-c", script] if script else [COMMAND]
    done = subprocess.run([*command, *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_help_is_instant_and_needs_no_torch() -> None:
    begun = time.monotonic()
    assert "tiny" in trained("--help")
    assert time.monotonic() - begun < 20
    assert "--lessons" in trained("tiny", "--help", script=WITHOUT)


def test_without_torch_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    message = trained("tiny", str(tmp_path / "run"), code=2, script=WITHOUT)
    assert message == "slvr-train: torch and transformers is missing: pip install '.[train]' in a clone\n"
    assert not (tmp_path / "run").exists()


def test_wrong_options_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"no picture")
    assert "no.png" in inside("slvr-train", "chat", "slvr:tiny", "--image", tmp_path / "no.png", code=2)
    assert inside("slvr-train", "tiny", "--seed", "x", "run", code=2).count("\n") == 1
    assert "No such command" in trained("fly", code=2)


@pytest.mark.slow
def test_a_small_training_runs_to_its_checkpoint_and_again_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from slvr_model import lessons

    monkeypatch.setattr(lessons, "SHARD", 64)  # no more scenes are drawn than are learnt from
    arguments = ["tiny", tmp_path / "run", "--lessons", "64", "--scale", "0.001", "--held-out", "8"]
    with spawned():
        said = inside("slvr-train", *arguments)
    for part in ("look    step ", "plain   step ", "own     step 1", "easy, latents, lettered", "full, plain, open"):
        assert part in said
    weights = (tmp_path / "run/checkpoint/model.safetensors").read_bytes()
    with spawned():
        inside("slvr-train", *arguments)
    assert (tmp_path / "run/checkpoint/model.safetensors").read_bytes() == weights
    refused = inside("slvr-train", *arguments, "--seed", "1", "--processes", "1", code=2)
    assert "another run" in refused and "('settings.seed', 1)" in refused
    scene("easy", 1, 0).picture.save(tmp_path / "scene.png")
    asked = ["chat", tmp_path / "run/checkpoint", "--image", tmp_path / "scene.png"]
    answer = inside("slvr-train", *asked, "--box", "1,1,20,20", "--html", tmp_path / "answer.html")
    assert "What can be seen at the top left of the picture?" in answer and "semantic latent: entity" in answer
    assert (tmp_path / "answer.html").read_text().count("data:image/png") == 3  # picture, two heat maps
    run("build-attributes", "scenes", "--limit", "4", "--out", tmp_path / "set")
    asked_set = ["chat", asked[1], "--image", tmp_path / "set"]
    assert "has no multiquery" in inside("slvr-train", *asked_set, code=2)
    run("build-multiquery", tmp_path / "set")
    assert inside("slvr-train", *asked_set).count("(right: ") in (2, 3, 4)
    assert "(right: " not in inside("slvr-train", *asked_set, "--question", "What is it?")
    assert "four numbers" in inside("slvr-train", *asked, "--box", "1,2", code=2)
    assert "outside" in inside("slvr-train", *asked, "--box", "1,2,300,400", code=2)
