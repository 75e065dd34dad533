"""The stage `crop`: decode each picture once, cut out each region with its context.

Tables: `images` (a row per picture: size, hashes, and the published bytes where they are not the source
file's), `crops` (a JPEG per region) and `dropped` (regions that can not be cropped, with the reason).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.store import StageStore
from slvr_data import images
from slvr_data.checks.global_ import near_pictures
from slvr_data.geometry import padded
from slvr_data.ids import image_id
from slvr_data.sources.base import Malformed

if TYPE_CHECKING:
    from pipelines.config import CropConfig
    from pipelines.plan import PlannedRegion
    from pipelines.tasks import ShardTask, TaskPicture
    from pipelines.worker import Worker

IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("phash", pa.string()),
        ("content_sha256", pa.string()),
        ("byte_size", pa.int64()),
        ("thumbnail", pa.binary()),
        ("data", pa.binary()),
    ]
)
"""Of a picture that cannot be read, only `image_id` is set; `data` only where the source file is not
published as it is."""
CROPS = pa.schema(
    [("region_id", pa.string()), ("image_id", pa.string()), ("box", pa.list_(pa.int64())), ("data", pa.binary())]
)
MOST_BYTES = 128 << 20
"""Of pictures that were encoded anew and of crops, in one folder of the store, about."""
DROPPED = pa.schema([(n, pa.string()) for n in ("region_id", "image_id", "check", "reason", "evidence")])


class Crop:
    """See the module. What is made of a shard is committed in pieces, so that memory does not grow with its bytes."""

    name = "crop"

    def run(self, task: ShardTask, worker: Worker, made: dict[str, Any]) -> None:
        """Crop and commit what has not been cropped yet; the regions that could not be go into `made`."""
        made["dropped"] = set()
        store = StageStore(worker.work, self.name)
        for number, found in enumerate(_pieces(task, worker)):
            made["dropped"] |= {row["region_id"] for row in found["dropped"]}
            schemas = {"images": IMAGES, "crops": CROPS, "dropped": DROPPED}
            tables = {name: pa.Table.from_pylist(rows, schema=schemas[name]) for name, rows in found.items()}
            store.commit(f"{task.name}-{number}" if number else task.name, tables)


def _pieces(task: ShardTask, worker: Worker) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Rows of the stage's tables, for whole pictures, until they have `MOST_BYTES`; nothing where nothing is open."""
    found: dict[str, list[dict[str, Any]]] = {"images": [], "crops": [], "dropped": []}
    for picture in task.pictures:
        if picture.prepare or picture.crop:
            _crop_picture(picture, worker, found)
        if sum(len(row.get("data") or b"") for name in ("images", "crops") for row in found[name]) >= MOST_BYTES:
            yield found
            found = {"images": [], "crops": [], "dropped": []}
    if any(found.values()):
        yield found


def _crop_picture(picture: TaskPicture, worker: Worker, found: dict[str, list[dict[str, Any]]]) -> None:
    planned = picture.planned
    open_regions = [region for region in planned.regions if region.region.region_id in picture.crop]
    try:
        upright = worker.upright(planned)
        _check_bytes(upright, worker.config.picture.max_bytes)
    except images.PictureError as error:
        if picture.prepare:
            found["images"].append({"image_id": planned.image_id})
        unreadable = Malformed(error.reason, str(error))
        found["dropped"] += [_dropped(region, "picture", unreadable) for region in open_regions]
        return
    if picture.prepare:
        found["images"].append(_image(planned.image_id, upright))
    for region in open_regions:
        fault = _too_small(region, worker.config.crop)
        if fault is not None:
            found["dropped"].append(_dropped(region, "box", fault))
        else:
            found["crops"].append(_crop(region, upright, worker.config.crop))


def _check_bytes(upright: images.Upright, most: int) -> None:
    if len(upright.data) > most:
        raise images.PictureError(
            "picture-too-heavy",
            f"its published form has {len(upright.data)} bytes, at most {most} are kept (picture.max_bytes): "
            "encode the file more tightly",
        )


def _image(identifier: str, upright: images.Upright) -> dict[str, Any]:
    content = image_id(upright.data)
    return {
        "image_id": identifier,
        "width": upright.width,
        "height": upright.height,
        "phash": images.perceptual_hash(upright.pixels),
        "content_sha256": content,
        "byte_size": len(upright.data),
        "thumbnail": near_pictures.encoded_thumbnail(upright.pixels),
        "data": None if content == identifier else upright.data,
    }


def _crop(planned: PlannedRegion, upright: images.Upright, config: CropConfig) -> dict[str, Any]:
    region = planned.region
    box = padded(region.bbox, config.padding, upright.width, upright.height)
    cut = images.crop(upright.pixels, box, config.max_side)
    return {
        "region_id": region.region_id,
        "image_id": region.image_id,
        "box": list(box),
        "data": images.encode_jpeg(cut, config.quality),
    }


def _too_small(planned: PlannedRegion, config: CropConfig) -> Malformed | None:
    x1, y1, x2, y2 = planned.region.bbox
    if min(x2 - x1, y2 - y1) < config.min_side:
        return Malformed(
            "region-too-small",
            f"{x2 - x1:.4g}x{y2 - y1:.4g} px, at least {config.min_side:g} px a side are wanted (crop.min_side)",
        )
    return None


def _dropped(planned: PlannedRegion, check: str, fault: Malformed) -> dict[str, Any]:
    region = planned.region
    return {
        "region_id": region.region_id,
        "image_id": region.image_id,
        "check": check,
        "reason": fault.reason,
        "evidence": fault.evidence,
    }
