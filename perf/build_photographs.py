"""Speed of both builds on photographs: CPU per region against the floor, and two workers against one.

    python perf/build_photographs.py --images DIR --annotations FILE [--regions 10000]

The floor decodes each picture once and encodes each padded crop once, with the same library, in one
process. Start-up (the same command on one picture, or two for two workers) is taken off CPU and wall time.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from pathlib import Path

from common import machine, many_photographs, run
from PIL import Image

from slvr_data.geometry import padded


def floor(root: Path, annotations: Path) -> float:
    """CPU seconds to decode each picture once and encode each padded crop once (default settings)."""
    data = json.loads(annotations.read_text())
    boxes: dict[int, list[list[float]]] = {}
    for annotation in data["annotations"]:
        x, y, width, height = annotation["bbox"]
        if min(width, height) >= 8:
            boxes.setdefault(annotation["image_id"], []).append([x, y, x + width, y + height])
    files = [((root / image["file_name"]).read_bytes(), boxes.get(image["id"], [])) for image in data["images"]]
    started = time.process_time()
    for content, own in files:
        picture = Image.open(io.BytesIO(content)).convert("RGB")
        for box in own:
            picture.crop(padded(box, 0.15, picture.width, picture.height)).save(io.BytesIO(), "JPEG", quality=90)
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--regions", type=int, default=10000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        annotations = many_photographs(options.images, options.annotations, options.regions, base)
        source = ("build-attributes", "coco", "--images", base / "pictures", "--annotations", annotations)
        regions = len(json.loads(annotations.read_text())["annotations"])
        start = run(*source, "--limit", 1, "--workers", 1, "--out", base / "start")
        start_two = run(*source, "--limit", 2, "--shard-size", 1, "--workers", 2, "--out", base / "start-two")
        floor_seconds = floor(base / "pictures", annotations)
        one = run(*source, "--workers", 1, "--out", base / "one")
        two = run(*source, "--workers", 2, "--out", base / "two")
        stages = json.loads((base / "one" / "run.json").read_text())["cpu_seconds"]
        ask_start = run("build-multiquery", base / "start", "--workers", 1)
        ask = run("build-multiquery", base / "one", "--workers", 1)
        asking = json.loads((base / "one" / "run.json").read_text())["cpu_seconds"]
    build, questions = one.cpu - start.cpu, ask.cpu - ask_start.cpu
    print(machine())
    print(f"{regions} regions; start-up {start.cpu:.2f} s CPU")
    print(f"{'':12} {'CPU s':>8} {'ms/region':>10} {'x floor':>8}")
    rows = {"floor": floor_seconds, "build": build, **stages}
    rows["the rest"] = build - sum(stages.values())
    rows |= {"questions": questions} | {f"  {stage}": seconds for stage, seconds in asking.items()}
    for name, seconds in rows.items():
        print(f"{name:12} {seconds:8.2f} {1000 * seconds / regions:10.3f} {seconds / floor_seconds:8.2f}")
    print(f"build-attributes / floor = {build / floor_seconds:.2f} (aim: at most 5)")
    print(f"with build-multiquery = {(build + questions) / floor_seconds:.2f} (aim: at most 10)")
    ratio = (one.wall - start.wall) / (two.wall - start_two.wall)
    print(f"one worker {one.wall:.1f} s, {start.wall:.1f} s of it start-up")
    print(f"two workers {two.wall:.1f} s, {start_two.wall:.1f} s of it start-up")
    print(f"two workers have {ratio:.2f} times the rate of one (aim: at least 1.6)")


if __name__ == "__main__":
    main()
