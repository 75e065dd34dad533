"""An answer with its latents as one page to look at: heat maps over the picture, and the profile read back."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from slvr_data.pages.render import data_url, render

if TYPE_CHECKING:
    from slvr_model.chat import Reply

SHADE, DARKEST = (16, 18, 44), 0.85
"""What lies over tokens that are unlike a latent, and how much of it at most."""
LARGEST = 1024
"""Pixels of a side; larger pictures are shown scaled."""
SHARP = 256
"""Pixels of a side up to which a picture is kept as it is and shown with its pixels."""
NEAREST = 3
"""Values shown per attribute."""


def page_of(picture: Image.Image, reply: Reply) -> str:
    """One self-contained HTML page; write it as UTF-8."""
    width, height = picture.size
    rows, columns = reply.grid
    kinds = [f"{len(reply.heat_KG)} visual", *(["1 semantic"] if reply.attributes or reply.unread else [])]
    unread = [("semantic latent", f"no attributes can be read from it: {reply.unread}")] if reply.unread else []
    most = max((values[0][1] for values in reply.attributes.values()), default=1.0)
    return render(
        "chat.html.j2",
        folder=Path(__file__).parent,
        title=reply.question,
        subtitle="",
        facts=[
            ("picture", f"{width} × {height} px"),
            ("visual tokens", f"{rows} rows × {columns} columns"),
            ("latents", ", ".join(kinds)),
            ("visual latents are", "those of the dashed region" if reply.box else "the model's own"),
            *unread,
        ],
        command="",
        configuration=None,
        answer=reply.answer,
        width=width,
        height=height,
        picture=_picture_url(picture),
        sharp=max(picture.size) <= SHARP,
        box=reply.box,
        slots=[_slot(heat_G.view(rows, columns), width, height) for heat_G in reply.heat_KG.float().cpu()],
        attributes=[
            (name, [(value, score, max(0.0, score) / max(most, 1e-6)) for value, score in values[:NEAREST]])
            for name, values in reply.attributes.items()
        ],
    )


def _slot(heat_HW: Tensor, width: int, height: int) -> dict[str, Any]:
    """A heat map as the template wants it: cosines, the framed cell in pixels of the picture, and the shade."""
    rows, columns = heat_HW.shape
    row, column = divmod(int(heat_HW.argmax()), columns)
    cell = width / columns, height / rows
    return {
        "most": round(float(heat_HW.max()), 2) + 0.0,  # no "-0.00"
        "least": round(float(heat_HW.min()), 2) + 0.0,
        "place": (row + 1, column + 1),
        "cell": (column * cell[0], row * cell[1], *cell),
        "shade": _shade_url(heat_HW),
    }


def _shade_url(heat_HW: Tensor) -> str:
    """A pixel per token: clear where the cosine is the largest, darkest where it is the least, or below 0."""
    least, most = float(heat_HW.min()), float(heat_HW.max())
    dark = least if least > 0 or most <= 0 else 0.0
    like_HW = ((heat_HW - dark) / max(most - dark, 1e-6)).clamp(0, 1)
    pixels = np.empty((*heat_HW.shape, 4), np.uint8)
    pixels[..., :3], pixels[..., 3] = SHADE, ((1 - like_HW) * DARKEST * 255).round().numpy()
    return _png_url(Image.fromarray(pixels))


def _picture_url(picture: Image.Image) -> str:
    if max(picture.size) <= SHARP:
        return _png_url(picture)
    shown, out = picture.copy(), io.BytesIO()
    shown.thumbnail((LARGEST, LARGEST))
    shown.save(out, "JPEG", quality=88)
    return data_url(out.getvalue())


def _png_url(picture: Image.Image) -> str:
    out = io.BytesIO()
    picture.save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"
