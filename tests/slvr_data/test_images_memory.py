"""A picture that meets a lack of memory is not a bad picture; one that only asks for too much is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from slvr_data.images import MAX_PIXELS, PictureError, _pillow, decoded
from tests.pipelines.test_bad_pictures import png_header

SHORT = """
import io, re, resource
from pathlib import Path
from PIL import Image
from slvr_data import images
file = io.BytesIO()
Image.new("RGB", (8000, 8000)).save(file, "PNG")
used = int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) << 10
resource.setrlimit(resource.RLIMIT_AS, (used + (60 << 20), resource.RLIM_INFINITY))
try:
    images.load(file.getvalue(), 80_000_000)
except MemoryError:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print("short, then", images.load(file.getvalue(), 80_000_000).pixels.size)
"""


def test_lack_of_memory_is_no_fault_of_the_picture() -> None:
    done = subprocess.run([sys.executable, "-c", SHORT], capture_output=True, text=True, check=False, timeout=300)
    assert done.stdout == "short, then (8000, 8000)\n", done.stderr


def test_bytes_that_ask_for_too_much_are_a_bad_picture() -> None:
    with pytest.raises(PictureError, match=r"cut off \(MemoryError\)"), _pillow("picture-truncated", "cut off", 100):
        raise MemoryError  # as decoders do on a length that no picture has


def test_a_published_picture_that_asks_for_gigabytes_is_not_decoded() -> None:
    side = int(MAX_PIXELS**0.5) + 1
    with pytest.raises(PictureError, match=r"the limit is 400000000: scale it down$") as caught:
        decoded(png_header(side, side))
    assert caught.value.reason == "picture-too-large"
