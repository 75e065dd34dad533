"""The small frozen encoder: learnt from nothing, kept in a file, the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slvr_data.errors import RunError, UsageError
from slvr_model.objectives.config import AlignmentConfig
from slvr_model.objectives.targets.scenes import CELL, SceneEncoder, SceneFeatures
from slvr_model.objectives.targets.scenes_training import main, train


def features(width: int, file: Path) -> SceneFeatures:
    return SceneFeatures.of(AlignmentConfig(width=width, scenes_file=str(file)))


def test_it_learns_what_things_are_from_nothing() -> None:
    before, after = (train(steps=steps, width=24, pictures=25) for steps in (0, 80))
    assert before.color < 0.3 and after.color > 0.5, "one of 11 colours"
    first, again = (train(steps=2, width=8, pictures=6).encoder for _ in range(2))
    for one, two in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_a_kept_encoder_is_read_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "scenes.safetensors"
    main([str(file), "--steps", "1", "--width", "8", "--pictures", "6"])
    assert "unseen scenes" in capsys.readouterr().out
    kept = features(8, file).encoder.state_dict()
    expected = train(steps=1, width=8, pictures=6).encoder.state_dict()
    assert all(torch.equal(kept[name], weights) for name, weights in expected.items())
    with pytest.raises(UsageError, match="no encoder of width 16"):
        features(16, file)
    file.write_bytes(b"nothing")
    with pytest.raises(RunError, match="cannot be read"):
        features(8, file)
    with pytest.raises(UsageError, match="no such file"):
        features(8, tmp_path / "absent")


def test_a_picture_of_larger_cells_is_scaled_to_the_networks() -> None:
    provider = SceneFeatures(SceneEncoder(8, seed=1))
    large = torch.nn.functional.interpolate(torch.randn(1, 3, 2, 3), scale_factor=28, mode="nearest")[0]
    found = provider.features(large, 28)
    assert found.shape == (8, 2, 3)
    small = torch.nn.functional.interpolate(large[None, :, ::28, ::28], scale_factor=CELL, mode="nearest")[0]
    assert torch.nn.functional.cosine_similarity(found, provider.features(small, CELL), dim=0).min() > 0.8
