"""`slvr-data audit`: a sample of a published set to judge by eye, and what the verdicts say."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.remote import page_of
from slvr_data import geometry, masks
from slvr_data.audit.sample import DrawnRegion, Sample, draw, rows_with, set_hash
from slvr_data.audit.summary import NAME, AuditSummary, Part, save_summary, summarise
from slvr_data.audit.verdicts import load_verdicts
from slvr_data.errors import UsageError
from slvr_data.files import write_atomic
from slvr_data.images import crop, decoded, encode_jpeg
from slvr_data.manifest import Manifest, load_manifest
from slvr_data.pages.audit import AuditItem, AuditPicture, Point, render_audit
from slvr_data.remote.addresses import shown
from slvr_data.remote.reading import each_footer_once
from slvr_data.schema import AttributeProfile
from slvr_data.stats import Kappa

THUMBNAIL = 640
"""Longer side of the pictures on the page."""
CROP = 384
"""Longer side of the crops."""
PADDING = 0.15
"""Share of the box that a crop shows around it."""
_SHOWN = ("region_id", "image_id", "bbox", "mask", "references", "profile")
"""What the page shows of a region."""


def write_page(folder: Path, n: int, seed: int, output: Path | None, scratch: Path | None = None) -> Path:
    """Draw `n` regions and write the page on which they are judged; its path.

    `folder` may be an address: there too, nothing is read but what the draw needs of each region, and the row groups of
    what was drawn. `scratch` is where the page of such a set goes unless told.

    Raises:
        UsageError: there is no published set, it ships no pictures, or the page has no folder to go to.
        RunError: a file of the set is damaged, or was taken away meanwhile.
    """
    manifest = load_manifest(folder)
    target = output or page_of(folder, "audit.html", scratch)
    if not target.parent.is_dir():
        raise UsageError(f"--html {target}: there is no folder {target.parent}")
    with each_footer_once():
        sample = draw(folder, manifest, n, seed)
        pictures, items = _gathered(folder, manifest, sample)
    facts = [
        ("set", sample.set[:12]),
        ("published", f"{sum(s.size for s in sample.strata):,} regions"),
        ("strata", f"{len(sample.strata)}"),
        ("seed", f"{seed}"),
    ]
    command = f"slvr-data audit {folder.name} -n {n} --seed {seed}"
    text = render_audit(f"Audit of {folder.resolve().name}", facts, pictures, items, sample, command)
    write_atomic(target, text.encode())
    return target


def _gathered(folder: Path, manifest: Manifest, sample: Sample) -> tuple[dict[str, AuditPicture], list[AuditItem]]:
    """The pictures of the drawn regions, and these in the order of the sample."""
    drawn = {region.region_id: region for region in sample.regions}
    wanted = {region.image_id for region in sample.regions}
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in rows_with(folder, manifest, "attributes", wanted, _SHOWN):
        rows.setdefault(row["image_id"], []).append(row)
    pictures: dict[str, AuditPicture] = {}
    items: dict[str, AuditItem] = {}
    for image in rows_with(folder, manifest, "images", wanted):
        if image["image"] is None:
            raise UsageError(f"{shown(folder)} ships no pictures: restore them with slvr-data attach")
        pixels = decoded(image["image"]["bytes"])
        own = rows[image["image_id"]]
        neighbours = {row["region_id"]: row["bbox"] for row in own}
        for row in own:
            region = drawn.get(row["region_id"])
            if region is not None:
                items[row["region_id"]] = _item(sample, region, row, neighbours, pixels)
        pictures[image["image_id"]] = _picture(image, pixels)
    return pictures, [items[region.region_id] for region in sample.regions]


def _picture(image: dict[str, Any], pixels: Image.Image) -> AuditPicture:
    small = pixels.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    return AuditPicture(image["width"], image["height"], image["path"], encode_jpeg(small, 80))


def _item(
    sample: Sample,
    drawn: DrawnRegion,
    row: dict[str, Any],
    neighbours: dict[str, list[float]],
    pixels: Image.Image,
) -> AuditItem:
    box = geometry.padded(row["bbox"], PADDING, pixels.width, pixels.height)
    return AuditItem(
        region_id=row["region_id"],
        image_id=row["image_id"],
        stratum=sample.strata[drawn.stratum],
        box=row["bbox"],
        outline=_outline(row["mask"], pixels.size),
        crop=encode_jpeg(crop(pixels, box, CROP), 85),
        references=row["references"],
        profile=AttributeProfile.model_validate(row["profile"]),
        neighbours=neighbours,
        groups=drawn.groups,
    )


def _outline(mask: dict[str, Any] | None, size: tuple[int, int]) -> list[list[Point]]:
    """The mask's rings at about the thumbnail's resolution; none where it does not fit its picture."""
    known = masks.published(mask, size)
    if known is None:
        return []
    pixels = masks.decode(known)
    step = max(1, round(max(pixels.shape) / THUMBNAIL))
    return [[(x * step, y * step) for x, y in ring] for ring in masks.outline(pixels[::step, ::step])]


def read_back(folder: Path, paths: Sequence[Path]) -> AuditSummary:
    """What the verdicts in the files say of the set; kept for the next publication's card.

    The sample is drawn anew, so weights never come from a file.

    Raises:
        UsageError: a file is of another set or another sample, or two are of one judge.
    """
    manifest = load_manifest(folder)
    files = [load_verdicts(path, set_hash(manifest.files)) for path in paths]
    first = files[0]
    for path, file in zip(paths, files, strict=True):
        if (file.n, file.seed) != (first.n, first.seed):
            raise UsageError(
                f"--read {path} judges the sample -n {file.n} --seed {file.seed}, {paths[0]} that of "
                f"-n {first.n} --seed {first.seed}: read verdicts on one sample together"
            )
    summary = summarise(draw(folder, manifest, first.n, first.seed), files)
    work = folder / ".work"
    if work.is_dir():
        save_summary(work, summary)
        print(f"kept in {work / NAME}; slvr-data publish {folder} puts it on the card", file=sys.stderr)
    else:
        print(f"not kept: {folder} has no working files to publish from", file=sys.stderr)
    return summary


def print_summary(summary: AuditSummary) -> None:
    """Error rates with their intervals, classes of errors and agreement, for people."""
    names = ", ".join(map(_plain, summary.judges))
    print(f"{summary.regions:,} of {summary.population:,} regions drawn with seed {summary.seed}, judged by {names}")
    _print_part("profiles", summary.profiles)
    if summary.questions is not None:
        _print_part("questions", summary.questions)


def _print_part(name: str, part: Part) -> None:
    rate = part.rate
    print(f"\n{name}: {part.judged:,} of {part.drawn:,} judged, {part.unclear:,} cannot be told, {part.open:,} open")
    if rate.rate is None:
        return
    print(
        f"  wrong: {part.wrong:,}; error rate {rate.rate:.2%} (95 % interval {rate.low:.2%} to {rate.high:.2%}, "
        f"effective n {rate.effective_n:.0f})"
    )
    if part.unseen:
        print(f"  of {part.unseen:,} published regions in strata without a judged one this says nothing")
    for figures in part.classes:
        if figures.count:
            print(f"    {figures.name:<24} {figures.count:>5,}  {figures.share:>6.1%}")
    for agreement in part.agreement:
        print(f"  {' and '.join(map(_plain, agreement.judges))}")
        _print_kappa("right or wrong", agreement.right_or_wrong)
        _print_kappa("same verdict", agreement.verdict)


def _print_kappa(name: str, found: Kappa) -> None:
    if found.agreed is None:
        print(f"    {name:<24} no item judged by both")
        return
    beyond = "kappa undefined: all verdicts are the same"
    if found.kappa is not None and found.low is not None and found.high is not None:
        beyond = f"kappa {found.kappa:.2f} ({found.low:.2f} to {found.high:.2f})"
    print(f"    {name:<24} {found.agreed:.1%} of {found.n:,}, {beyond}")


def _plain(name: str) -> str:
    """A name from a file as a terminal shows it safely."""
    return repr(name)[1:-1]


def check_audit(n: int | None, seed: int | None, output: Path | None, read: Sequence[Path], as_json: bool) -> None:
    """Refuse options that would have no effect.

    Raises:
        UsageError: naming the option.
    """
    given = {"-n": n is not None, "--seed": seed is not None, "--html": output is not None}
    for option in (name for name, is_given in given.items() if is_given and read):
        raise UsageError(f"{option} makes a page: it does not go with --read, whose files name their own sample")
    if as_json and not read:
        raise UsageError("--json goes with --read FILE")
