"""How large pictures are to a model: bounds of processors, the option, what is sent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from transformers import CLIPImageProcessorPil

from benchmark.models.base import ModelOptions
from benchmark.models.bounds import bounds_of, set_most
from benchmark.models.pictures import fitted_size, pixels_of, sent_of
from benchmark.run import run_bench
from benchmark.runlog import read_log
from slvr_data.images import decoded
from slvr_model.tiny import tiny_processor
from tests.benching import OPTIONS, answered, asks_of, opened, plan, shelf
from tests.support import encoded, exif, noise


class TestBudgets:
    """Both kinds of processor bound pixels; tiny's lets 128 x 128 through."""

    ASKS = asks_of(shelf(1))
    LARGE = replace(ASKS[0], picture=encoded(noise(400, 200)))
    SMALL = replace(ASKS[1], picture=encoded(noise(40, 20)))

    @pytest.mark.parametrize("kind", ["slvr", "hf"])
    @pytest.mark.parametrize(
        ("option", "least", "most"),
        [(None, 4096, 16_384), (9_000, 4096, 9_000), (40_000, 4096, 40_000), (2_000, 2_000, 2_000)],
    )
    def test_the_option_lowers_and_raises_what_a_model_sees(
        self, tiny: Path, plain: Path, kind: str, option: int | None, least: int, most: int
    ) -> None:
        model = opened(f"{kind}:{tiny if kind == 'slvr' else plain}", max_pixels=option)
        details = model.details()
        assert (details["least_pixels"], details["most_pixels"]) == (least, most)
        found = answered(model, [self.LARGE, self.SMALL])
        assert {reply.error for reply in found.values()} == {None}
        images = tiny_processor().image_processor
        side = images.patch_size * images.merge_size
        tokens = [found[ask.ask_id].picture_tokens or 0 for ask in (self.LARGE, self.SMALL)]
        assert 0.6 * most < tokens[0] * side**2 <= most
        assert tokens[1] * side**2 >= min(least, 40 * 20)

    def test_the_same_pictures_are_the_same_visual_tokens_for_both(self, tiny: Path) -> None:
        asks = asks_of(shelf(2))
        slvr, hf = (answered(opened(f"{kind}:{tiny}"), asks) for kind in ("slvr", "hf"))
        counts = {ask_id: reply.picture_tokens for ask_id, reply in slvr.items()}
        assert counts == {ask_id: reply.picture_tokens for ask_id, reply in hf.items()} and None not in counts.values()

    def test_a_processor_that_bounds_no_pixels_is_left_alone(self) -> None:
        images = CLIPImageProcessorPil(size={"shortest_edge": 224})
        before = dict(images.size)
        set_most(images, ModelOptions(max_pixels=5000))
        assert dict(images.size) == before
        assert bounds_of(images, ModelOptions(max_pixels=5000)) == {"least_pixels": None, "most_pixels": 5000}

    def test_a_run_has_them_in_its_header_and_lines(self, tiny: Path, tmp_path: Path) -> None:
        options = replace(OPTIONS, max_pixels=5000)
        said: list[str] = []
        run_bench(shelf(2), f"slvr:{tiny}", plan(), options, tmp_path, said.append)
        assert any(line.startswith("2 of 2 items are shown scaled down to 5,000 pixels") for line in said)
        log = read_log(tmp_path)
        header = log.header
        assert (header.max_pixels, header.least_pixels, header.most_pixels) == (5000, 4096, 5000)
        assert header.smallest_picture == header.largest_picture == 96 * 64
        assert "most_pixels" not in header.model_details
        assert all(line.picture_tokens for line in log.lines)
        run_bench(shelf(2), "oracle", plan(), options, tmp_path / "oracle", said.append)
        assert sum("scaled down" in line for line in said) == 1
        assert read_log(tmp_path / "oracle").header.most_pixels is None


class TestPictures:
    def test_a_budget(self) -> None:
        assert fitted_size(100, 50, None) == fitted_size(100, 50, 5000) == (100, 50)
        width, height = fitted_size(4000, 1000, 1_000_000)
        assert width * height <= 1_000_000 and abs(width / height - 4) < 0.02
        assert fitted_size(100_000, 1, 100) == (1000, 1) or fitted_size(100_000, 1, 100)[1] == 1
        assert pixels_of(encoded(noise(200, 100)), 5000).size == (100, 50)

    def test_a_file_is_sent_as_it_is_where_it_may_be(self) -> None:
        for kind, media in (("PNG", "image/png"), ("JPEG", "image/jpeg"), ("WEBP", "image/webp")):
            data = encoded(noise(60, 40), kind)
            sent = sent_of(data, None)
            assert (sent.data, sent.media_type, sent.width, sent.height) == (data, media, 60, 40)

    def test_others_are_sent_without_loss(self) -> None:
        data = encoded(noise(60, 40), "JPEG", exif=exif(6))
        sent = sent_of(data, None)
        assert sent.media_type == "image/png" and (sent.width, sent.height) == (40, 60)
        assert decoded(sent.data).tobytes() == decoded(data).tobytes()
        small = sent_of(encoded(noise(60, 40)), 600)
        assert (small.width, small.height) == (30, 20) == decoded(small.data).size
        assert small.reference != sent_of(encoded(noise(60, 40)), None).reference
