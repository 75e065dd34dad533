"""Random models of a million parameters, as folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slvr_model.tiny import new_plain, new_tiny, tiny_processor


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh SLVR model with its processor."""
    folder = tmp_path_factory.mktemp("tiny")
    model, processor = new_tiny(3)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh Qwen2.5-VL as its makers publish it: its processor has a part for videos."""
    folder = tmp_path_factory.mktemp("plain")
    new_plain(4).save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    file = folder / "processor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"processor_class": "Qwen2_5_VLProcessor"}))
    return folder
