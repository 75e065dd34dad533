"""What tests of `slvr-data convert` share: pictures and rows to start from, and what a conversion wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipelines.convert import Account
from tests.support import encoded, write_jsonl, write_pictures

WIDTH, HEIGHT = 100, 80
BOX = [10.0, 10.0, 50.0, 40.0]
SHARES = [0.1, 0.125, 0.5, 0.5]
HEBREW, EMOJI, LONG = "מה הצבע?", "🐕‍🦺 or 🐈?", "why " * 2500 + "?"
QUESTIONS = {
    "a.png": [("What is it?", "a cat"), (HEBREW, "חום"), (LONG.strip(), "<b>because</b>")],
    "b.png": [(EMOJI, "🐈"), ("Where is the <image> of it?", "left"), ("Is it?", " ")],
    "c.png": [],
    "test.png": [("What is this?", "a test")],
}


def patchwork(seed: int, width: int = WIDTH, height: int = HEIGHT) -> Image.Image:
    """A picture that is like no other, with a red block where `BOX` is."""
    coarse = np.random.default_rng(seed).integers(40, 215, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    x1, y1, x2, y2 = (int(c) for c in BOX)
    image.paste((230, 20, 30), (x1, y1, x2, y2))
    return image


def lay_out(folder: Path) -> Path:
    """Pictures, and rows of one region on each with the questions above; `folder`."""
    files = {name: encoded(patchwork(n)) for n, name in enumerate(QUESTIONS)}
    turned = patchwork(8)
    turned.getexif()[0x0112] = 6
    files["turned.jpg"] = encoded(turned, "JPEG", exif=turned.getexif())
    write_pictures(folder / "pictures", files | {"text.png": b"no picture"})
    rows = [
        {"image": name, "bbox": BOX, "original_questions": [{"question": q, "answer": a} for q, a in asked]}
        | {"split": "test" if name == "test.png" else "train"}
        for name, asked in QUESTIONS.items()
    ]
    write_jsonl(folder / "rows.jsonl", rows)
    return folder


def records(file: Path) -> list[dict[str, Any]]:
    """Of a file of either kind."""
    text = file.read_text()
    if text.startswith("["):
        found: list[dict[str, Any]] = json.loads(text)
        return found
    return [json.loads(line) for line in text.splitlines()]


def rejections(out: Path) -> list[tuple[Any, str]]:
    """(place, reason) of what was refused; every entry has evidence and the record."""
    found = records(out.with_suffix(".rejected.jsonl"))
    assert all(10 < len(entry["evidence"]) < 1000 and "record" in entry for entry in found)
    return [(entry.get("line", entry.get("region_id")), entry["reason"]) for entry in found]


def balanced(account: Account, out: Path, read: int) -> Account:
    assert account.read == read == account.kept + account.rejected
    assert account.rejected == len(rejections(out)) and account.written == len(records(out))
    return account


def talk(*turns: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(turns)]
