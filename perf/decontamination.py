"""How well avoided pictures are found again: recall per change and strength, false alarms per pair, cost, memory.

    python perf/decontamination.py [--photographs DIR] [--scenes 200] [--level full] [--repeats 2] [--every 1]

Every picture is avoided; changed copies of all of them are looked for. `recall` is the share of copies that are found
as what they are, with Wilson's 95 % interval; a false alarm is a copy that is (also) found to be of another picture.
Of photographs, the four quarters are avoided too, as pictures of their own: parts of one photograph are not a pair,
those of two are. Scenes are drawn by the embedded world and are much alike. `--photographs` takes any folder.
"""

from __future__ import annotations

import argparse
import io
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from common import machine
from PIL import Image, ImageEnhance, ImageOps

from slvr_data.avoid.features import Described, describe, require
from slvr_data.avoid.index import AvoidedPicture, Index, write_index
from slvr_data.avoid.search import alike
from slvr_data.images import decoded
from slvr_data.sources import open_source
from slvr_data.sources.base import SourceConfig
from slvr_data.stats import wilson

Change = Callable[[Image.Image, random.Random], Image.Image]


def cropped(share: float) -> Change:
    """A part of `share` of the area, of the picture's own shape, anywhere."""

    def change(picture: Image.Image, dice: random.Random) -> Image.Image:
        width, height = round(picture.width * share**0.5), round(picture.height * share**0.5)
        left, top = dice.randint(0, picture.width - width), dice.randint(0, picture.height - height)
        return picture.crop((left, top, left + width, top + height))

    return change


def scaled(factor: float) -> Change:
    return lambda picture, dice: picture.resize(
        (max(1, round(picture.width * factor)), max(1, round(picture.height * factor))), Image.Resampling.BICUBIC
    )


def encoded(quality: int) -> Change:
    def change(picture: Image.Image, dice: random.Random) -> Image.Image:
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=quality)
        return decoded(out.getvalue())

    return change


def brightened(factor: float) -> Change:
    return lambda picture, dice: ImageEnhance.Brightness(picture).enhance(factor)


def mirrored(picture: Image.Image, dice: random.Random) -> Image.Image:
    return ImageOps.mirror(picture)


def all_of(*changes: Change) -> Change:
    def change(picture: Image.Image, dice: random.Random) -> Image.Image:
        for one in changes:
            picture = one(picture, dice)
        return picture

    return change


CHANGES: dict[str, Change] = (
    {f"crop to {share} % of the area": cropped(share / 100) for share in (90, 75, 60, 50, 35, 25)}
    | {f"scaled x {factor}": scaled(factor) for factor in (0.25, 0.5, 2)}
    | {f"JPEG quality {quality}": encoded(quality) for quality in (95, 60, 30)}
    | {"mirrored": mirrored, "brightness -20 %": brightened(0.8), "brightness +20 %": brightened(1.2)}
    | {
        "crop 50 %, x 0.5, quality 60": all_of(cropped(0.5), scaled(0.5), encoded(60)),
        "crop 50 %, x 0.25, quality 30, +20 %, mirrored": all_of(
            cropped(0.5), scaled(0.25), brightened(1.2), encoded(30), mirrored
        ),
    }
)


def photographs(folder: Path) -> Iterator[tuple[str, Image.Image]]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"):
            yield path.name, decoded(path.read_bytes())


def scenes(count: int, level: str) -> Iterator[tuple[str, Image.Image]]:
    source = open_source(SourceConfig.model_validate({"kind": "scenes", "name": "s", "level": level}), 0, False)
    for unit in source.units(count):
        assert unit.path is not None
        yield unit.path, decoded(source.read_picture(unit.path))


def quarters(picture: Image.Image) -> Iterator[Image.Image]:
    half, middle = picture.width // 2, picture.height // 2
    for left, top in ((0, 0), (half, 0), (0, middle), (half, middle)):
        yield picture.crop((left, top, left + half, top + middle))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=Path, help="a folder of pictures; without it, scenes")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--level", default="full", choices=("easy", "full"))
    parser.add_argument("--repeats", type=int, default=1, help="copies of each picture and change")
    parser.add_argument("--every", type=int, default=1, help="take every n-th picture only")
    parser.add_argument("--size", type=int, help="time the search alone, in an index filled up to so many pictures")
    options = parser.parse_args()
    require()
    print(machine())
    found = photographs(options.photographs) if options.photographs else scenes(options.scenes, options.level)
    pictures = [picture for number, picture in enumerate(found) if number % options.every == 0]
    with tempfile.TemporaryDirectory() as folder:
        if options.size:
            index = _filled(pictures, options.size, Path(folder) / "index")
        else:
            index, owners = _indexed(pictures, Path(folder) / "index", bool(options.photographs))
            _measure(index, owners, pictures, options.repeats)
        size = sum(path.stat().st_size for path in (Path(folder) / "index").iterdir())
        print(f"index: {len(index)} pictures, {size / len(index) / 1024:.0f} KiB each; ", end="")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _indexed(pictures: list[tuple[str, Image.Image]], folder: Path, parts: bool) -> tuple[Index, list[int]]:
    """The index of all pictures, and of which of them each avoided picture is a part."""
    owners: list[int] = []
    made: list[tuple[AvoidedPicture, Described]] = []
    started = time.process_time()
    for number, (name, picture) in enumerate(pictures):
        for part, shown in enumerate([picture, *(quarters(picture) if parts else ())]):
            made.append((AvoidedPicture("perf", name, f"{number}-{part}", b""), describe(shown)))
            owners.append(number)
    spent = time.process_time() - started
    features = sum(len(described.places) for _, described in made) / len(made)
    print(f"{len(made)} avoided pictures, {1000 * spent / len(made):.1f} ms each, {features:.0f} features on average")
    write_index(folder, made)
    index = Index(folder)
    return index, _joined(index, [described for _, described in made], owners, pictures)


def _filled(pictures: list[tuple[str, Image.Image]], size: int, folder: Path) -> Index:
    """The index of all pictures, filled up with pictures made of features of real ones, each with some noise."""
    dice = np.random.default_rng(0)
    real = [describe(picture) for _, picture in pictures]
    pool = np.concatenate([picture.descriptors for picture in real])

    def pictures_of_all() -> Iterator[tuple[AvoidedPicture, Described]]:
        for number in range(size):
            shown = real[number % len(real)]
            if number >= len(real):
                drawn = pool[dice.integers(0, len(pool), len(shown.places))].astype(np.int64)
                noisy = np.clip(drawn + dice.integers(-12, 13, drawn.shape), 0, 255).astype(np.uint8)
                shown = replace(shown, descriptors=noisy, hashes=(int(dice.integers(2**63)), int(dice.integers(2**63))))
            yield AvoidedPicture("perf", str(number), str(number), b""), shown

    started = time.process_time()
    write_index(folder, pictures_of_all())
    print(f"index of {size:,} pictures written in {time.process_time() - started:.1f} s CPU")
    writing = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    index = Index(folder)
    copies = [describe(CHANGES["crop 50 %, x 0.5, quality 60"](picture, random.Random(0))) for _, picture in pictures]
    started = time.process_time()
    hits = sum(any(match.number == n for match in alike(index, copy)) for n, copy in enumerate(copies))
    spent = 1000 * (time.process_time() - started) / len(copies)
    print(f"{hits} of {len(copies)} copies (crop 50 %, x 0.5, quality 60) found, {spent:.1f} ms CPU looking for each")
    print(f"peak memory while writing {writing / 1024:.0f} MiB; ", end="")
    return index


def _joined(
    index: Index, described: list[Described], owners: list[int], pictures: list[tuple[str, Image.Image]]
) -> list[int]:
    """Owners, pictures that are copies of each other to begin with counted as one: they are named, to be looked at."""
    for number, picture in enumerate(described):
        for match in alike(index, picture):
            one, other = sorted((owners[number], owners[match.number]))
            if one != other:
                print(f"taken as one: {pictures[one][0]} and {pictures[other][0]} ({match})")
                owners = [one if owner == other else owner for owner in owners]
    return owners


def _measure(index: Index, owners: list[int], pictures: list[tuple[str, Image.Image]], repeats: int) -> None:
    print("| change | copies | recall | 95 % interval | false alarms |\n| --- | --- | --- | --- | --- |")
    copies = alarms = pairs = 0
    parts = len(owners) // len(pictures)
    describing = looking = 0.0
    for name, change in CHANGES.items():
        hits = wrong = 0
        for number, (title, picture) in enumerate(pictures):
            for repeat in range(repeats):
                copy = change(picture, random.Random(f"{name}{number}{repeat}"))
                started = time.process_time()
                described = describe(copy)
                between = time.process_time()
                matches = alike(index, described)
                looking += time.process_time() - between
                describing += between - started
                own = owners[number * parts]
                others = {owners[m.number] for m in matches} - {own}
                hits += any(owners[m.number] == own for m in matches)
                wrong += len(others)
                if others:
                    worst = next(m for m in matches if owners[m.number] in others)
                    print(f"  ({title} taken for {pictures[owners[worst.number]][0]}: {worst})")
        n = len(pictures) * repeats
        low, high = wilson(hits, n)
        print(
            f"| {name} | {n} | {100 * hits / n:.1f} % | {100 * low:.1f} to {100 * high:.1f} % | {wrong} |",
            flush=True,
        )
        copies, alarms = copies + n, alarms + wrong
        pairs += n * (len(index) - parts)
    most = wilson(alarms, pairs)[1]
    print(f"false alarms: {alarms} in {pairs:,} pairs; at most {1e5 * most:.2f} in 100,000 (95 %)")
    print(
        f"per picture: {1000 * describing / copies:.1f} ms describing, {1000 * looking / copies:.1f} ms looking (CPU)"
    )


if __name__ == "__main__":
    main()
