"""What is read of pictures, which keep their bytes, what is refused; encoding, crops, hashes."""

from __future__ import annotations

import random
import struct
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from slvr_data import images
from slvr_data.containers import strip_metadata
from slvr_data.images import PictureError, Probe, load, probe
from tests.support import encoded, exif, noise, opened

LIMIT = 10**6
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def fastest(call: Callable[[], object]) -> float:
    best = 1.0
    for _ in range(30):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def refused(data: bytes, limit: int = LIMIT) -> PictureError:
    with pytest.raises(PictureError) as caught:
        load(data, limit)
    return caught.value


# Headers


@pytest.mark.parametrize("kind", FORMATS)
def test_probe_says_format_and_size(kind: str) -> None:
    assert probe(encoded(noise(), kind)) == Probe(kind, 40, 24, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_probe_says_orientation(kind: str, orientation: int) -> None:
    found = probe(encoded(noise(), kind, exif=exif(orientation)))
    assert found == Probe(kind, 40, 24, orientation if 1 <= orientation <= 8 else 1)
    assert found.upright_size == ((24, 40) if 5 <= orientation <= 8 else (40, 24))


def test_what_is_no_picture() -> None:
    with pytest.raises(PictureError, match="0 bytes") as caught:
        probe(b"")
    assert caught.value.reason == "picture-empty"
    for data in (
        b"\0",
        b"a page of text",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        b"RIFF\0\0\0\0WEBP",
        b"GIF89a",
        b"BM",
    ):
        with pytest.raises(PictureError) as caught:
            probe(data)
        assert caught.value.reason == "picture-unreadable"
        assert refused(data).reason == "picture-unreadable"
    assert "give JPEG, PNG, WebP, GIF, BMP, TIFF or PPM" in str(refused(b"a page of text"))


@pytest.mark.filterwarnings("error")
def test_declared_giants_are_probed_and_refused_before_decoding() -> None:
    jpeg, png = encoded(noise(), "JPEG"), encoded(noise(), "PNG")
    low = encoded(Image.new("L", (20_000, 1)), "BMP")
    frame = jpeg.index(b"\xff\xc0") + 5
    giants = [
        jpeg[:frame] + struct.pack(">HH", 20_000, 20_000) + jpeg[frame + 4 :],
        png[:16] + struct.pack(">II", 20_000, 20_000) + png[24:],
        low.replace(struct.pack("<ii", 20_000, 1), struct.pack("<ii", 20_000, 20_000)),
        encoded(Image.new("1", (20_000, 20_000)), "TIFF", compression="group4"),
    ]
    for data in giants:
        assert probe(data).upright_size == (20_000, 20_000)
        error = refused(data, 100_000_000)
        assert error.reason == "picture-too-large"
        assert "20000 x 20000 = 400000000" in str(error) and "100000000" in str(error)
        assert "--set picture.max_pixels=400000000" in str(error)


def test_probe_is_fast() -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        data = encoded(noise(640, 480), kind, exif=exif(6))
        assert fastest(lambda data=data: probe(data)) < 0.0002  # type: ignore[misc]


# Published as they are


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_plain_pictures_keep_their_bytes(kind: str, mode: str) -> None:
    data = encoded(noise(mode=mode), kind)
    upright = load(data, LIMIT)
    assert upright.data is data
    assert (upright.pixels.mode, upright.pixels.size) == ("RGB", (40, 24)) == ("RGB", (upright.width, upright.height))
    np.testing.assert_array_equal(np.asarray(upright.pixels), np.asarray(opened(data).convert("RGB")))
    with_metadata = encoded(noise(mode=mode), kind, exif=exif(1)) + (b"behind" if kind != "WEBP" else b"")
    upright = load(with_metadata, LIMIT)
    assert upright.data == strip_metadata(with_metadata) != with_metadata
    assert not opened(upright.data).getexif()


def test_plain_pictures_are_decoded_once_and_not_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decoder = Image._getdecoder

    def counted(mode: str, name: str, *rest: Any) -> Any:
        decoded.append(name)
        return decoder(mode, name, *rest)

    files = [encoded(noise(), "JPEG"), encoded(noise(), "PNG")]
    monkeypatch.setattr(Image, "_getdecoder", counted)
    monkeypatch.setattr(Image.Image, "save", None)
    for data in files:
        load(data, LIMIT)
    assert decoded == ["jpeg", "zip"]


# Refused


def test_animations_and_pages_are_refused() -> None:
    more = {"save_all": True, "append_images": [noise(seed=1)]}
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        error = refused(encoded(noise(), kind, **more))
        assert error.reason == "picture-animated" and kind in str(error)


@pytest.mark.parametrize("kind", FORMATS)
def test_truncated_pixels_are_refused(kind: str) -> None:
    data = encoded(noise(100, 80), kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {}))
    error = refused(data[: len(data) * 2 // 3])
    # The directory of a TIFF lies behind its pixels.
    assert error.reason == ("picture-unreadable" if kind == "TIFF" else "picture-truncated")
    assert "leave its rows out" in str(error)


def test_corrupt_png_pixels_are_refused() -> None:
    data = bytearray(encoded(noise(), "PNG"))
    data[data.index(b"IDAT") + 30] ^= 1
    error = refused(bytes(data))
    assert error.reason == "picture-truncated" and "checksum" in str(error)


def _seeds() -> list[bytes]:
    small = noise(24, 18)
    translucent = small.copy()
    translucent.putalpha(90)
    tags = {"exif": exif(6), "icc_profile": PROFILE[:200]}
    texts = PngImagePlugin.PngInfo()
    texts.add_text("k", "v" * 50, zip=True)
    return [
        *(encoded(small, kind) for kind in FORMATS),
        *(encoded(small, kind, **tags) for kind in ("JPEG", "PNG", "WEBP", "TIFF")),
        encoded(small, "JPEG", progressive=True, restart_marker_blocks=1),
        encoded(small.convert("CMYK"), "JPEG"),
        encoded(small, "MPO", save_all=True, append_images=[small]),
        encoded(translucent, "PNG", pnginfo=texts),
        encoded(small.convert("P"), "PNG", transparency=3),
        encoded(translucent, "WEBP"),
        encoded(small, "WEBP", lossless=True),
        *(encoded(small, "TIFF", compression=c) for c in ("tiff_lzw", "jpeg", "tiff_adobe_deflate", "packbits")),
        encoded(small.convert("1"), "TIFF", compression="group4"),
        *(encoded(small, kind, save_all=True, append_images=[translucent]) for kind in ("GIF", "PNG", "WEBP")),
    ]


@pytest.mark.filterwarnings("error")
def test_hostile_bytes_give_a_picture_or_a_picture_error(capfd: pytest.CaptureFixture[str]) -> None:
    """Flipped, overwritten, removed and repeated bytes, with warnings as errors."""
    chance = random.Random(7)
    for data in _seeds():
        for _ in range(60):
            broken = bytearray(data)
            for _ in range(chance.choice((0, 1, 1, 2, 5, 20))):
                broken[chance.randrange(min(len(broken), chance.choice((64, 400, 10**6))))] = chance.randrange(256)
            if chance.random() < 0.4:
                del broken[chance.randrange(len(broken)) :]
            if chance.random() < 0.1 and broken:
                at = chance.randrange(len(broken))
                broken[at:at] = broken[at : at + chance.randrange(40)]
            _survives(bytes(broken))
    out, err = capfd.readouterr()
    # libtiff prints what it finds wrong with a file; Pillow and we do not.
    assert not out and "Warning" not in err and "Traceback" not in err and "PIL" not in err


def _survives(data: bytes) -> None:
    try:
        found = probe(data)
        upright = load(data, LIMIT)
    except PictureError as error:
        assert error.reason.startswith("picture-") and str(error)
        return
    assert upright.pixels.mode == "RGB" and upright.pixels.size == (upright.width, upright.height)
    assert found.upright_size == upright.pixels.size == opened(upright.data).size


def test_warnings_of_others_come_through() -> None:
    """Threads load broken TIFFs while this one warns; afterwards the filters are as they were."""
    before = list(warnings.filters)
    tiff = encoded(noise(), "TIFF", exif=exif(1))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            load(tiff, LIMIT)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        with pytest.warns(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert [f for f in warnings.filters if f not in before] == []


# Encoding, crops


def test_encoders_are_deterministic_and_write_no_metadata() -> None:
    image = noise()
    image.info.update({"comment": b"secret", "dpi": (300, 300), "exif": b"Exif\0\0secret", "transparency": (1, 2, 3)})
    jpeg, png = images.encode_jpeg(image, 90), images.encode_png(image)
    assert (jpeg, png) == (images.encode_jpeg(image, 90), images.encode_png(image))
    for data in (jpeg, png):
        assert strip_metadata(data) is data
        assert b"secret" not in data and b"tRNS" not in data
    assert b"\xff\xc0" in jpeg and b"\xff\xc2" not in jpeg
    image.info["icc_profile"] = PROFILE
    assert opened(images.encode_jpeg(image, 90)).info["icc_profile"] == PROFILE
    assert opened(images.encode_png(image)).info["icc_profile"] == PROFILE


def test_crops() -> None:
    image = noise(60, 40)
    np.testing.assert_array_equal(np.asarray(images.crop(image, (7, 3, 30, 39), 100)), np.asarray(image)[3:39, 7:30])
    np.testing.assert_array_equal(np.asarray(images.crop(image, (0, 0, 60, 40), 60)), np.asarray(image))
    small = images.crop(image, (10, 0, 60, 20), 25)
    assert small.size == (25, 10)
    expected = image.crop((10, 0, 60, 20)).resize((25, 10), Image.Resampling.LANCZOS)
    np.testing.assert_array_equal(np.asarray(small), np.asarray(expected))
    assert images.crop(image, (0, 0, 60, 1), 10).size == (10, 1)
    for box in ((5, 5, 5, 9), (0, 0, 61, 5), (-1, 0, 5, 5), (9, 0, 5, 5)):
        with pytest.raises(ValueError):
            images.crop(image, box, 100)


@pytest.mark.filterwarnings("error")
def test_giant_crops_are_not_refused() -> None:
    assert images.crop(Image.new("L", (14_000, 14_001)), (0, 0, 14_000, 14_000), 20_000).size == (14_000, 14_000)


# Perceptual hashes


def smooth(seed: int, size: tuple[int, int] = (640, 480)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_hashes_survive_scaling_and_encoding() -> None:
    for seed in range(12):
        image = smooth(seed, (640, 427 + seed))
        base = images.perceptual_hash(image)
        assert len(base) == 16 and base == images.perceptual_hash(image.copy())
        half = image.resize((image.width // 2, image.height // 2), Image.Resampling.BICUBIC)
        coarse = [opened(encoded(copy, "JPEG", quality=30)) for copy in (image, half)]
        assert max(distance(base, images.perceptual_hash(copy)) for copy in (half, *coarse)) <= 8


def test_hashes_of_different_pictures_are_far_apart() -> None:
    hashes = [images.perceptual_hash(smooth(seed)) for seed in range(30)]
    distances = [distance(one, other) for i, one in enumerate(hashes) for other in hashes[:i]]
    assert min(distances) > 12 and 28 < sum(distances) / len(distances) < 36


def test_the_hash_is_the_sign_of_a_dct() -> None:
    """The formula a second, slower way: cosines in floating point, coefficient by coefficient."""
    grey = np.asarray(smooth(5, (32, 32)).convert("L"), float)
    place = (2 * np.arange(32) + 1) * np.pi / 64
    values = []
    for v in range(8):
        for u in range(8):
            weight = (0.5**0.5 if v == 0 else 1) * (0.5**0.5 if u == 0 else 1) / 16
            values.append(round(weight * float(np.cos(v * place) @ grey @ np.cos(u * place))))
    values[0] = 0
    bits = "".join(str(int(i > 0 and value > np.median(values[1:]))) for i, value in enumerate(values))
    assert distance(images.perceptual_hash(smooth(5, (32, 32))), f"{int(bits, 2):016x}") == 0


def test_hashes_of_tiny_and_flat_pictures() -> None:
    for size in ((1, 1), (3, 200), (33, 31)):
        assert images.perceptual_hash(Image.new("RGB", size, (90, 90, 90))) == "0" * 16
        assert len(images.perceptual_hash(noise(*size))) == 16


def test_hashing_is_fast() -> None:
    """A third of what it costs to read the picture; in the worst case, as much."""
    image = smooth(0)
    data = encoded(image, "JPEG")
    rounds = ((fastest(lambda: images.perceptual_hash(image)), fastest(lambda: load(data, LIMIT))) for _ in range(10))
    assert any(hashing < reading for hashing, reading in rounds)
