"""The local engine: a picture that ends its workers costs that picture, and nothing that is under way beside it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.builds import coco, counts, of_coco, published, rows, run, sound

TRAPS = Path(__file__).parent / "traps"
PICTURES = 8

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [1, 2])
def test_a_picture_that_ends_its_workers_is_left_open_and_named(tmp_path: Path, workers: int) -> None:
    file, traps = coco(tmp_path, PICTURES), tmp_path / "traps"
    traps.mkdir()
    trapped = {"SLVR_TEST_TRAPS": str(traps), "PYTHONPATH": str(TRAPS)}
    (traps / "00003.jpg.kill").touch()
    command = of_coco(file, "--workers", workers, "--shard-size", 3, "--out", tmp_path / "set")
    if workers == 1:  # it ends the command itself, once
        assert run(*command, code=None, **trapped).returncode == -signal.SIGKILL
        assert "earlier run ended suddenly" in run(*command, code=3, **trapped).stderr
    done = run(*command, code=3, **trapped)
    assert "00003.jpg" in done.stderr and "every worker process that took it" in done.stderr
    assert "Traceback" not in done.stderr
    assert "4 regions are unfinished" in done.stderr
    assert len({row["image_id"] for row in rows(tmp_path / "set", "attributes")}) == PICTURES - 1
    sound(tmp_path / "set")
    (traps / "00003.jpg.kill").unlink()
    run(*command, **trapped)
    assert counts(tmp_path / "set")["pictures worked"] == 1
    run(*of_coco(file, "--workers", 1, "--out", tmp_path / "undisturbed"))
    assert published(tmp_path / "set") == published(tmp_path / "undisturbed")
