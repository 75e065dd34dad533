"""The page of an answer: whole without a network, and what it shows is what the latents are."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from slvr_data.errors import UsageError
from slvr_model.chat import Reply, as_text, asked, numbers_of, opened, unreadable
from slvr_model.chat_page import DARKEST, page_of
from slvr_model.latents import note_embedding
from slvr_model.objectives.config import KINDS, SEMANTIC, VISUAL, Kind, ObjectiveConfig
from slvr_model.objectives.kept import keep
from slvr_model.tiny import new_tiny
from tests.html_tree import Element, Tree

RED = Image.new("RGB", (96, 64), "red")


def reply(heat: torch.Tensor, **changes: object) -> Reply:
    fields = {"attributes": {"color": [("red", 0.5), ("blue", -0.1)]}, "box": None, **changes}
    return Reply("What <b>color</b>?", "a & b", (2, 3), heat, **fields)  # type: ignore[arg-type]


def shown(element: Element) -> Image.Image:
    kind, _, data = str(element.attrs["href"]).partition(",")
    assert kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_map_per_latent_over_one_copy_of_the_picture() -> None:
    heat = torch.tensor([[0.0, 0.4, -0.9, 0.8, 0.1, 0.2], [0.6, 0.7, 0.8, 0.9, 1.0, 0.5]])
    page = page_of(RED, reply(heat))
    tree = Tree(page).root
    picture, first, second = tree.every("image")
    assert shown(picture).size == (96, 64) and [use.attrs["href"] for use in tree.every("use")] == ["#picture"] * 2
    alpha = np.asarray(shown(first))[..., 3] / 255
    np.testing.assert_allclose(alpha, DARKEST * (1 - np.array([[0, 0.5, 0], [1, 0.125, 0.25]])), atol=0.01)
    alpha = np.asarray(shown(second))[..., 3] / 255
    np.testing.assert_allclose(alpha, DARKEST * (1 - np.array([[0.2, 0.4, 0.6], [0.8, 1, 0]])), atol=0.01)
    frames = [[float(str(frame.attrs[key])) for key in ("x", "y", "width", "height")] for frame in tree.every("rect")]
    assert frames == [[0, 32, 32, 32]] * 2 + [[32, 32, 32, 32]] * 2, "each frame has an outline"
    words = tree.text
    assert "nearest in row 2, column 1" in words and "cosine 0.80; least -0.90" in words
    assert "What <b>color</b>?" in words and "a & b" in words and "<b>color" not in page
    assert [cell.text.split()[0] for cell in tree.every("tbody")[0].every("td")] == ["red", "blue"]
    assert "dashed" not in words


def test_a_map_without_any_likeness_and_a_region() -> None:
    page = Tree(page_of(RED, reply(torch.full((1, 6), -0.2), attributes={}, box=(3.0, 4.0, 13.0, 24.0)))).root
    assert set(np.asarray(shown(page.every("image")[1]))[..., 3].ravel()) == {round(DARKEST * 255)}
    region = page.every("rect")[1].attrs
    assert [region[key] for key in ("x", "y", "width", "height")] == ["3.0", "4.0", "10.0", "20.0"]
    assert "the dashed region" in page.text and "semantic latent says" not in page.text and not page.every("table")


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_asked_in_the_form_it_was_taught(kind: Kind) -> None:
    model, processor = new_tiny(1)
    keep(model, ObjectiveConfig(kind=kind, echo=True, feed="own"))
    visual = kind in VISUAL or kind == "multi_encoder"
    found = asked(model, processor, RED, "What is it?")
    assert len(found.heat_KG) == (model.latent_config.visual_slots if visual else 0)
    assert bool(found.attributes) == (kind in SEMANTIC) and Tree(page_of(RED, found)).root.every("image")
    if not visual:
        with pytest.raises(UsageError, match="without visual latents"):
            asked(model, processor, RED, "What is it?", (4.0, 4.0, 40.0, 40.0))


@pytest.mark.parametrize(
    ("embedding", "says"),
    [("", "does not say whose embeddings"), ("Qwen/Qwen3-Embedding-8B", "embeddings of Qwen/Qwen3-Embedding-8B")],
)
def test_attributes_are_read_only_from_latents_of_local_embeddings(embedding: str, says: str) -> None:
    model, processor = new_tiny(0)
    note_embedding(model.config, embedding)
    told = asked(model, processor, RED, "What is it?")
    assert told.attributes == {} and says in told.unread
    assert "semantic latent: no attributes can be read from it" in as_text(told)
    page = Tree(page_of(RED, told)).root
    assert says in page.text and "1 semantic" in page.text and not page.every("table")


def test_what_semantic_latents_were_taught_with_stays_with_a_model(tmp_path: Path) -> None:
    assert unreadable(opened("slvr:tiny")[0]) == "", "it was made before it was noted"
    model, processor = new_tiny(0)
    note_embedding(model.config, "Qwen/Qwen3-Embedding-8B")
    for part in (model, processor):
        part.save_pretrained(tmp_path)
    assert "Qwen3-Embedding-8B" in unreadable(opened(str(tmp_path))[0])


def test_a_device_and_a_type_are_chosen(tmp_path: Path) -> None:
    model, processor = opened("slvr:tiny", "cpu", "bfloat16")
    assert model.dtype == model.latents.visual_out.weight.dtype == torch.bfloat16
    found = asked(model, processor, RED, "What is it?", (4.0, 4.0, 40.0, 40.0))
    assert found.answer and found.heat_KG.dtype == torch.float32 and found.attributes
    assert opened("slvr:tiny", "cpu")[0].dtype == torch.float32
    save_file({"a": torch.zeros(2), "b": torch.zeros(2, dtype=torch.bfloat16)}, tmp_path / "model.safetensors")
    gpu, merged = torch.device("cuda"), str(tmp_path)
    assert (numbers_of("slvr:tiny", gpu, "auto"), numbers_of(merged, gpu, "auto")) == (torch.bfloat16, torch.float32)
    assert numbers_of(merged, gpu, "bfloat16") == torch.bfloat16
    for device, dtype, says in (("nowhere", "auto", "--device nowhere: "), ("cpu", "int8", "--dtype int8: give auto")):
        with pytest.raises(UsageError, match=says):
            opened("slvr:tiny", device, dtype)


def test_the_answer_of_a_model_is_a_page() -> None:
    model, processor = new_tiny(0)
    large = Image.effect_noise((700, 500), 60).convert("RGB")
    told = asked(model, processor, large, "What is it?", (5.0, 5.0, 100.0, 60.0))
    page = page_of(large, told)
    tree = Tree(page).root
    assert len(tree.every("image")) == len(told.heat_KG) + 1 and len(tree.every("tbody")[0].every("tr")) == 5
    assert str(tree.every("image")[0].attrs["href"]).startswith("data:image/jpeg")
    assert "http:" not in page and "https:" not in page
