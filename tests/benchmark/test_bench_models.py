"""Adapters of models in this process, with random models of a million parameters that the test saves."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmark.models.base import FORMS, LATENT_MODES, ModelOptions, open_model
from benchmark.models.interventions import Noise, Swap, zero
from benchmark.models.local import dtype_of, weights_sha256
from slvr_data.errors import RunError, UsageError
from slvr_data.images import decoded
from slvr_model.batches import collate
from slvr_model.decoding import decode
from slvr_model.prompts import question_text
from slvr_model.rows import rows_of
from slvr_model.tiny import new_plain, new_tiny, tiny_processor
from tests.benching import Shelf, answered, asks_of, item, opened, shelf
from tests.support import encoded, noise


class TestSlvr:
    def test_replies_are_those_of_the_model_asked_alone(self, tiny: Path) -> None:
        asks = asks_of(shelf(4), "evidence")[:11]
        found = answered(opened(f"slvr:{tiny}"), asks)
        model, processor = new_tiny(3)
        for ask in asks:
            text = question_text(ask.question, ask.choices)
            content: Any = [{"type": "image"}, {"type": "text", "text": text}]
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            inputs = processor(text=[prompt], images=[decoded(ask.picture)], return_tensors="pt")
            batch = collate(rows_of(inputs, model.layout), model.layout, side="left")
            out = decode(model, batch, max_new_tokens=6 + 7, opening=True)
            words = processor.tokenizer.decode(out.replies()[0], skip_special_tokens=True).strip()
            reply = found[ask.ask_id]
            assert reply.text == words
            assert reply.finish == ("stop" if bool(out.finished_B[0]) else "length")
            assert reply.reply_tokens == int(out.sampled_BT.sum())
            assert reply.prompt_tokens == batch.ids_BL.shape[1]

    @pytest.mark.parametrize("size", [1, 3, 64])
    def test_batches_change_nothing(self, tiny: Path, size: int) -> None:
        asks = asks_of(shelf(3))
        for mode in ("on", "noise"):
            one = answered(opened(f"slvr:{tiny}", latents=mode), asks)
            assert answered(opened(f"slvr:{tiny}", latents=mode, batch_size=size), asks) == one

    def test_a_picture_is_encoded_once_per_batch(self, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        model = opened(f"slvr:{tiny}", batch_size=8)
        encode, pictures = type(model._model).encode, []

        def counted(self: Any, batch: Any) -> Any:
            pictures.append(len(batch.grids_N3))
            return encode(self, batch)

        monkeypatch.setattr(type(model._model), "encode", counted)
        answered(model, asks_of(shelf(4), "circular"))  # 8 asks about each of 4 pictures
        assert pictures == [1, 1, 1, 1]

    def test_latents_are_written_or_not(self, tiny: Path) -> None:
        asks = asks_of(shelf(3))
        seen: dict[str, Any] = {}
        for mode in LATENT_MODES:
            model = opened(f"slvr:{tiny}", latents=mode, bench=shelf(3), batch_size=8, max_new_tokens=1)  # one span
            decoded_batches: list[Any] = []
            spy(model, decoded_batches)
            seen[mode] = (answered(model, asks), decoded_batches)
            assert model.details()["latents"] == mode
        on, off = seen["on"][1][-1], seen["off"][1][-1]
        assert on.latent_BT.sum() == 6 * 3 and off.latent_BT.sum() == 0  # two visual slots and a semantic one
        assert on.latents.visual_TD.shape == (12, 128) and on.latents.semantic_SE.shape == (6, 256)
        zeros, noises = seen["zero"][1][0].latents, seen["noise"][1][0].latents
        assert not zeros.visual_TD.any() and not zeros.semantic_SE.any()
        lengths = noises.semantic_SE.norm(dim=-1)
        assert torch.allclose(lengths, torch.ones(6), atol=1e-5)
        assert not torch.allclose(noises.visual_TD, on.latents.visual_TD, atol=0.1)

    def test_swapped_latents_are_those_of_another_picture(self, tiny: Path) -> None:
        bench = shelf(4)
        asks = asks_of(bench)
        model = opened(f"slvr:{tiny}", latents="swapped", bench=bench, batch_size=8, max_new_tokens=1)
        batches: list[Any] = []
        spy(model, batches)
        answered(model, asks)
        others, swapped = batches
        assert torch.equal(swapped.latents.visual_TD, others.latents.visual_TD)
        assert torch.equal(swapped.latents.semantic_SE, others.latents.semantic_SE)
        own = opened(f"slvr:{tiny}", batch_size=8, max_new_tokens=1)
        batches = []
        spy(own, batches)
        shown = {ask.item.image_id: ask.picture for ask in asks}
        partners = [replace(ask, picture=shown[model._pool.other(ask.item)]) for ask in asks]
        answered(own, partners)
        assert torch.allclose(batches[0].latents.visual_TD, swapped.latents.visual_TD, atol=1e-4)

    def test_latents_are_not_swapped_for_those_of_the_same_thing(self, tiny: Path) -> None:
        bench = Shelf([item(0, label="cup"), item(1, label="cup"), item(2, label="cup")])
        model = opened(f"slvr:{tiny}", latents="swapped", bench=bench, max_new_tokens=1)
        replies = answered(model, asks_of(bench))
        assert {(reply.text, reply.finish) for reply in replies.values()} == {(None, "error")}
        assert all("every other picture shows a cup" in (reply.error or "") for reply in replies.values())

    def test_swapped_latents_are_fed_in_spans_beyond_the_first(self, tiny: Path) -> None:
        """The token that random weights say most often becomes the start of a visual span."""
        bench = shelf(4)
        asks = asks_of(bench)
        model = opened(f"slvr:{tiny}", latents="swapped", bench=bench, batch_size=8, max_new_tokens=24)
        batches: list[Any] = []
        spy(model, batches)
        answered(model, asks)
        tokens, weight = model._model.latent_config.tokens, model._model.lm_head.weight
        said = batches[1].ids_BT[batches[1].sampled_BT].mode().values
        with torch.no_grad():
            weight[tokens.vis_start] = 1.5 * weight[said]
        batches.clear()
        answered(model, asks)
        others, swapped = batches
        given = others.latents.visual_TD.view(len(asks), 2, -1)
        spans = (swapped.ids_BT == tokens.vis_start).sum(1)
        slots = (swapped.latent_BT & (swapped.ids_BT == tokens.vis_slot)).sum(1).tolist()
        assert spans.min() > 1 and max(slots) > 4, "no row has a second span"
        wanted = [given[row, slot % 2] for row in range(len(asks)) for slot in range(slots[row])]
        assert torch.equal(swapped.latents.visual_TD, torch.stack(wanted))

    def test_swapped_latents_need_other_pictures(self, tiny: Path) -> None:
        for bench in (None, shelf(1)):
            with pytest.raises(UsageError, match="need items of two pictures"):
                opened(f"slvr:{tiny}", latents="swapped", bench=bench)

    def test_sampling_depends_on_the_ask_alone(self, tiny: Path) -> None:
        asks = asks_of(shelf(3), seeds=2)
        settings: dict[str, Any] = {"temperature": 1.0, "seeds": 2}
        found = answered(opened(f"slvr:{tiny}", **settings), asks)
        assert found == answered(opened(f"slvr:{tiny}", **settings, batch_size=1), asks[::-1])
        pairs = [(found[a.ask_id].text, found[b.ask_id].text) for a, b in zip(asks[::2], asks[1::2], strict=True)]
        assert any(one != other for one, other in pairs)

    def test_what_is_said_of_it(self, tiny: Path) -> None:
        details = opened(f"slvr:{tiny}").details()
        model, _ = new_tiny(3)
        assert details["weights_sha256"] == weights_sha256(model)
        assert details["weights_sha256"] != weights_sha256(new_tiny(5)[0])
        assert (details["dtype"], details["visual_slots"], details["semantic_dim"]) == ("float32", 2, 256)
        assert details["torch"] == torch.__version__ or str(details["torch"]) in torch.__version__

    def test_a_bad_ask_costs_that_ask(self, tiny: Path) -> None:
        asks = asks_of(shelf(3))
        asks[1] = replace(asks[1], picture=b"no picture")
        asks[2] = replace(asks[2], picture=encoded(noise(400, 1)))
        asks[3] = replace(asks[3], prompt="word " * 5000)
        asks[4] = replace(asks[4], prompt="<|image_pad|>")
        found = answered(opened(f"slvr:{tiny}"), asks)
        errors = [found[ask.ask_id].error for ask in asks]
        assert errors[0] is errors[5] is None
        assert "no picture" in str(errors[1])
        assert "absolute aspect ratio" in str(errors[2])
        assert "positions, " in str(errors[3])
        assert "2 image tokens for 1 pictures" in str(errors[4])
        assert {found[ask.ask_id].text for ask in asks[1:5]} == {None}

    def test_a_released_name_that_is_not_there(self, tiny: Path, tmp_path: Path) -> None:
        (tmp_path / "config.json").write_text((tiny / "config.json").read_text())
        with pytest.raises((UsageError, RunError)):
            opened(f"slvr:{tmp_path}")


class TestHf:
    def test_replies_are_those_of_the_model_asked_alone(self, plain: Path) -> None:
        asks = asks_of(shelf(4), "evidence")[:11]
        found = answered(opened(f"hf:{plain}"), asks)
        model, processor = new_plain(4), tiny_processor()
        model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
        for ask in asks:
            content: Any = [{"type": "image"}, {"type": "text", "text": ask.prompt}]
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            inputs = processor(text=[prompt], images=[decoded(ask.picture)], return_tensors="pt")
            ids = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
            reply, ended = found[ask.ask_id], int(ids[-1]) == processor.tokenizer.eos_token_id
            assert reply.text == processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
            assert (reply.finish, reply.reply_tokens) == ("stop" if ended else "length", len(ids))
            assert reply.prompt_tokens == inputs["input_ids"].shape[1]

    @pytest.mark.parametrize("size", [1, 64])
    def test_batches_change_nothing(self, plain: Path, size: int) -> None:
        asks = asks_of(shelf(4))
        assert answered(opened(f"hf:{plain}", batch_size=size), asks) == answered(opened(f"hf:{plain}"), asks)

    def test_an_slvr_checkpoint_is_a_qwen_too(self, tiny: Path) -> None:
        """The public class passes latents over; the processor's class is none that transformers knows."""
        found = answered(opened(f"hf:{tiny}"), asks_of(shelf(2)))
        assert all(reply.error is None and reply.text is not None for reply in found.values())

    def test_what_is_said_of_it(self, plain: Path) -> None:
        details = opened(f"hf:{plain}").details()
        assert details["class"] == "Qwen2_5_VLForConditionalGeneration"
        assert details["weights_sha256"] == weights_sha256(new_plain(4))
        assert details["chat_template_sha256"] == opened(f"hf:{plain}").details()["chat_template_sha256"]

    def test_a_bad_ask_costs_that_ask(self, plain: Path) -> None:
        asks = asks_of(shelf(2))
        asks[1] = replace(asks[1], picture=b"no picture")
        asks[2] = replace(asks[2], picture=encoded(noise(400, 1)))
        found = answered(opened(f"hf:{plain}"), asks)
        assert "no picture" in str(found[asks[1].ask_id].error)
        assert "aspect ratio" in str(found[asks[2].ask_id].error)
        assert found[asks[0].ask_id].error is found[asks[3].ask_id].error is None

    def test_what_cannot_be_loaded(self, plain: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="has no processor for pictures and text"):
            opened(f"hf:{tmp_path}")
        for file in plain.iterdir():
            if file.name != "model.safetensors":
                (tmp_path / file.name).write_bytes(file.read_bytes())
        with pytest.raises(UsageError, match="cannot be loaded"):
            opened(f"hf:{tmp_path}")

    def test_it_does_not_draw(self, plain: Path) -> None:
        with pytest.raises(UsageError, match="decodes greedily"):
            opened(f"hf:{plain}", temperature=0.5)


@pytest.mark.parametrize(
    ("device", "kept", "wanted"),
    [
        ("cuda", torch.float32, torch.bfloat16),
        ("cuda", torch.bfloat16, torch.bfloat16),
        ("cuda", torch.float16, torch.float16),
        ("cpu", torch.bfloat16, torch.float32),
        ("mps", torch.float32, torch.float32),
    ],
)
def test_float32_files_are_run_in_bfloat16_on_cuda(device: str, kept: torch.dtype, wanted: torch.dtype) -> None:
    assert dtype_of(ModelOptions(), torch.device(device), kept) == wanted
    assert dtype_of(ModelOptions(dtype="float32"), torch.device(device), kept) == torch.float32


def spy(model: Any, into: list[Any]) -> None:
    """Keep what an adapter decodes."""
    real = model._decode

    def kept(*given: Any) -> Any:
        into.append(real(*given))
        return into[-1]

    model._decode = kept


@pytest.mark.parametrize("spec", ["", "slvr:", "hf", "gpt-4", "served:", "lmms:model"])
def test_specifications_that_name_nothing(spec: str) -> None:
    with pytest.raises(UsageError, match=f"--model {spec}: no such model; give one of slvr:tiny, "):
        open_model(spec, ModelOptions())
    assert len(FORMS) == 10


@pytest.mark.parametrize("spec", ["slvr:x", "hf:x", "served:x@http://localhost:1/v1"])
def test_seeds_without_a_temperature(spec: str) -> None:
    with pytest.raises(UsageError, match="3 seeds at temperature 0 would give the same replies 3 times"):
        open_model(spec, ModelOptions(seeds=3))


@pytest.mark.parametrize(
    ("option", "said"), [({"device": "moon"}, "--device moon"), ({"dtype": "int3"}, "--dtype int3")]
)
def test_devices_and_numbers(tiny: Path, option: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        opened(f"slvr:{tiny}", **option)


def test_bfloat16(tiny: Path) -> None:
    model = opened(f"slvr:{tiny}", dtype="bfloat16")
    assert model.details()["dtype"] == "bfloat16"
    rotary = [buffer for name, buffer in model._model.named_buffers() if "inv_freq" in name]
    assert rotary and {buffer.dtype for buffer in rotary} == {torch.float32}, "rounded, they turn far positions"
    assert len(answered(model, asks_of(shelf(2)))) == 4


def test_a_batch_has_rows(tiny: Path) -> None:
    with pytest.raises(UsageError, match="--batch-size 0"):
        answered(opened(f"slvr:{tiny}", batch_size=0), asks_of(shelf(1)))


class TestInterventions:
    rows = torch.tensor([2, 0])
    latents = torch.randn(2, 8, generator=torch.Generator().manual_seed(0)) * 3

    def test_zero(self) -> None:
        assert not zero("visual", self.rows, self.latents).any()

    def test_noise_has_the_length_of_what_it_replaces_and_depends_on_the_ask_alone(self) -> None:
        found = Noise(["a", "b", "c"])("visual", self.rows, self.latents)
        assert torch.allclose(found.norm(dim=-1), self.latents.norm(dim=-1))
        again = Noise(["c", "a"])("visual", torch.tensor([0, 1]), self.latents)
        assert torch.equal(found, again)

    def test_noise_differs_between_slots_and_kinds(self) -> None:
        made = Noise(["a"])
        row, one = torch.tensor([0]), self.latents[:1]
        first, second, other = made("visual", row, one), made("visual", row, one), made("semantic", row, one)
        assert not torch.allclose(first, second) and not torch.allclose(first, other)

    def test_swap_gives_each_row_its_own_slot_by_slot(self) -> None:
        given = torch.arange(24.0).view(3, 2, 4)
        swap = Swap(given, None)
        rows, latents = torch.tensor([2, 0]), torch.zeros(2, 4)
        assert torch.equal(swap("visual", rows, latents), given[[2, 0], 0])
        assert torch.equal(swap("visual", rows, latents), given[[2, 0], 1])
        assert torch.equal(swap("visual", rows, latents), given[[2, 0], 0])  # a second span

    def test_swap_counts_the_slots_of_each_row_and_kind_for_itself(self) -> None:
        """Row 0 is in its second span while row 1 is still in its first; semantic slots come between."""
        visual, semantic = torch.arange(16.0).view(2, 2, 4), torch.arange(100.0, 106.0).view(2, 3)
        swap = Swap(visual, semantic)

        def fed(kind: Any, *rows: int) -> list[list[float]]:
            found = swap(kind, torch.tensor(rows), torch.zeros(len(rows), 4 if kind == "visual" else 3))
            return found.tolist()  # type: ignore[no-any-return]

        v, s = visual.tolist(), semantic.tolist()
        assert fed("visual", 0) == [v[0][0]]
        assert fed("visual", 1, 0) == [v[1][0], v[0][1]]
        assert fed("semantic", 0) == [s[0]]
        assert fed("visual", 0, 1) == [v[0][0], v[1][1]]
        assert fed("semantic", 1, 0) == [s[1], s[0]]
        assert fed("visual", 1, 0) == [v[1][0], v[0][1]]
