"""The containers of pictures: what the header says, and the same picture without its metadata.

JPEG, PNG and WebP are read here as the lists of parts that they are; pixel data is never decoded. What says
how pixels are to be shown stays (colour profiles, gamma, transparency, Adobe's colour transform). Where and
when a picture was taken, by whom and with what, its thumbnails, its comments and all that hangs behind its
end go. Nothing here raises on broken parts while stripping: what is kept is kept as it is, and the decoder
has the word on it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

_Part = tuple[int, int, int]
"""A JPEG part: its marker (0 for entropy-coded data), its first byte, the byte behind it."""
_Chunk = tuple[bytes, int, int]
"""A PNG or RIFF chunk: its name, its first byte, the byte behind it."""

_PNG = b"\x89PNG\r\n\x1a\n"
_SOI, _EOI, _SOS, _COM = 0xD8, 0xD9, 0xDA, 0xFE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""

_MARKER = re.compile(rb"\xff[^\x00\xff]")
_MARKER_IN_SCAN = re.compile(rb"\xff[\xc0-\xcf\xd8-\xfe]")
"""Ends entropy-coded data: restart markers and stuffed zeros belong to it, reserved codes cannot end it."""

_PNG_KEPT = frozenset({b"tRNS", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"sBIT", b"acTL", b"fcTL", b"fdAT"})
_WEBP_KEPT = frozenset({b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
_WEBP_ALPHA, _WEBP_EXIF_XMP = 0x10, 0x0C


@dataclass(frozen=True)
class Header:
    """What the header of a picture says."""

    format: str
    """"JPEG", "PNG", "WEBP", or another name of Pillow's."""
    width: int
    """Pixels as stored, before `orientation` is applied."""
    height: int
    orientation: int = 1
    """EXIF's value, 1 to 8; 1 where it is absent, broken or anything else."""
    plain: bool = False
    """Complete, 8 bits a channel, grey or RGB: neither alpha nor palette nor animation."""
    lossy: bool = False
    depth: int = 8
    """Bits a channel."""


def header(data: bytes) -> Header | None:
    """The header of a JPEG, PNG or WebP file; None for anything else.

    Raises:
        ValueError: it starts like one of them, but its header is broken or of a kind no reader shows.
    """
    try:
        if data.startswith(b"\xff\xd8\xff"):
            return _jpeg_header(data)
        if data.startswith(_PNG):
            return _png_header(data)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_header(data)
    except (struct.error, IndexError) as error:
        raise ValueError(f"its header is cut off ({error})") from error
    return None


def strip_metadata(data: bytes) -> bytes:
    """The same picture without metadata, pixel for pixel; `data` itself where it has none.

    Formats other than JPEG, PNG and WebP come back as they are.
    """
    if data.startswith(b"\xff\xd8\xff"):
        stripped = _strip_jpeg(data)
    elif data.startswith(_PNG):
        stripped = _strip_png(data)
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        stripped = _strip_webp(data)
    else:
        return data
    return data if stripped == data else stripped


def check_png(data: bytes) -> None:
    """Compare the checksums of a PNG file, which decoders of pixel data leave out.

    Raises:
        ValueError: a chunk is cut off or differs from its checksum.
    """
    for name, start, end in _png_chunks(data):
        body = memoryview(data)[start + 4 : end - 4]
        if len(body) < 4 or end - start != 12 + int.from_bytes(data[start : start + 4], "big"):
            raise ValueError(f"chunk {name!r} at byte {start} is cut off")
        if zlib.crc32(body) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"chunk {name!r} at byte {start} differs from its checksum")


def _orientation(exif: bytes) -> int:
    if exif[:4] == b"Exif":
        exif = exif[6:]
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, at)
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == 0x0112 and kind in (1, 3, 4):
                (value,) = struct.unpack_from(order + " B HI"[kind], exif, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


# JPEG


def _jpeg_parts(data: bytes) -> Iterator[_Part]:
    """The parts behind SOI up to EOI, or to the end of the data; junk between parts is left out."""
    at = 2
    while found := _MARKER.search(data, at):
        start, marker = found.start(), data[found.end() - 1]
        at = start + 2
        if marker not in _BARE and marker != _EOI:
            at = min(len(data), at + max(2, int.from_bytes(data[at : at + 2], "big")))
        yield marker, start, at
        if marker == _EOI:
            return
        if marker == _SOS:
            behind = _MARKER_IN_SCAN.search(data, at)
            start, at = at, behind.start() if behind else len(data)
            yield 0, start, at


def _jpeg_header(data: bytes) -> Header:
    orientation, found = 0, None
    for marker, start, end in _jpeg_parts(data):
        if marker == _SOS:
            break
        if marker in _FRAMES and found is None:
            found = struct.unpack_from(">BHHB", data, start + 4)
        elif marker == 0xE1 and not orientation and data[start + 4 : start + 8] == b"Exif":
            orientation = _orientation(data[start + 4 : end])
    if found is None:
        raise ValueError("its JPEG header holds no frame")
    depth, height, width, channels = found
    if depth != 8 or channels not in (1, 3, 4):
        raise ValueError(f"its JPEG frame has {channels} channels of {depth} bits, not 1, 3 or 4 of 8")
    if not width or not height:
        raise ValueError(f"its JPEG frame has {width} x {height} pixels")
    return Header("JPEG", width, height, orientation or 1, plain=channels != 4, lossy=True)


def _strip_jpeg(data: bytes) -> bytes:
    whole = memoryview(data)  # saves a copy of every part
    kept = [whole[:2]]
    for marker, start, end in _jpeg_parts(data):
        if 0xE0 <= marker <= 0xEF or marker == _COM:
            kept.append(memoryview(_application(marker, data[start:end])))
        else:
            kept.append(whole[start:end])
    return b"".join(kept)


def _application(marker: int, part: bytes) -> bytes:
    """What is kept of an application part: JFIF without thumbnail, Adobe's transform, the colour profile."""
    body = part[4:]
    if marker == 0xE0 and body[:5] == b"JFIF\0" and len(body) >= 14:
        return b"\xff\xe0\x00\x10" + body[:12] + b"\0\0"
    if marker == 0xEE and body[:5] == b"Adobe" and len(body) >= 12:
        return b"\xff\xee\x00\x0e" + body[:12]
    return part if marker == 0xE2 and body[:12] == b"ICC_PROFILE\0" else b""


# PNG


def _png_chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks up to IEND, or to the end of the data, where the last one may be cut off."""
    at = len(_PNG)
    while at + 8 <= len(data):
        name, start = data[at + 4 : at + 8], at
        at = min(len(data), at + 12 + int.from_bytes(data[at : at + 4], "big"))
        yield name, start, at
        if name == b"IEND":
            return


def _png_header(data: bytes) -> Header:
    if data[12:16] != b"IHDR":
        raise ValueError(f"its first PNG chunk is {data[12:16]!r}, not IHDR")
    width, height, depth, kind = struct.unpack_from(">IIBB", data, 16)
    if not width or not height:
        raise ValueError(f"its PNG header says {width} x {height} pixels")
    orientation, special, complete = 1, False, False
    for name, start, end in _png_chunks(data):
        if name == b"eXIf":
            orientation = _orientation(data[start + 8 : end - 4])
        special = special or name in (b"tRNS", b"acTL")
        complete = name == b"IEND"
    plain = complete and not special and depth == 8 and kind in (0, 2)
    return Header("PNG", width, height, orientation, plain, depth=depth)


def _strip_png(data: bytes) -> bytes:
    kept = [_PNG]
    for name, start, end in _png_chunks(data):
        critical = not name[0] & 0x20
        if critical or name in _PNG_KEPT:
            kept.append(data[start:end])
    return b"".join(kept)


# WebP


def _webp_chunks(data: bytes) -> Iterator[_Chunk]:
    """The chunks within the RIFF size, each with its padding; the last one may be cut off."""
    at, stop = 12, min(len(data), 8 + int.from_bytes(data[4:8], "little"))
    while at + 8 <= stop:
        name, start = data[at : at + 4], at
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        at = min(stop, at + 8 + length + (length & 1))
        yield name, start, at


def _webp_header(data: bytes) -> Header:
    size, alpha, animated, lossy, orientation = (0, 0), False, False, False, 1
    for name, start, end in _webp_chunks(data):
        body = start + 8
        if name == b"VP8X":
            flags = data[body]
            alpha = bool(flags & _WEBP_ALPHA)
            canvas = (
                int.from_bytes(data[body + 4 : body + 7], "little"),
                int.from_bytes(data[body + 7 : body + 10], "little"),
            )
            size = canvas[0] + 1, canvas[1] + 1
        elif name == b"VP8 ":
            lossy = True
            width, height = struct.unpack_from("<HH", data, body + 6)
            size = size if all(size) else (width & 0x3FFF, height & 0x3FFF)
        elif name == b"VP8L":
            (bits,) = struct.unpack_from("<I", data, body + 1)
            alpha = alpha or bool(bits >> 28 & 1)
            size = size if all(size) else ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        elif name == b"EXIF":
            orientation = _orientation(data[body:end])
        animated = animated or name in (b"ANIM", b"ANMF")
    if not all(size):
        raise ValueError("its WebP header holds no size")
    return Header("WEBP", *size, orientation, plain=not alpha and not animated, lossy=lossy)


def _strip_webp(data: bytes) -> bytes:
    kept = []
    for name, start, end in _webp_chunks(data):
        chunk = data[start:end]
        if name == b"VP8X" and len(chunk) > 8:
            chunk = chunk[:8] + bytes([chunk[8] & ~_WEBP_EXIF_XMP]) + chunk[9:]
        if name in _WEBP_KEPT:
            kept.append(chunk)
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body
