"""`slvr-data audit`: the page of a real set, verdicts read back, and what the card says of them."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from slvr_data.stats import stratified_rate
from tests.builds import coco, config, published, rows, run, shared, sound
from tests.support import refused_here


def make(root: Path) -> None:
    """Photographs and scenes, with questions (`set`)."""
    sources: list[dict[str, Any]] = [
        {"kind": "coco", "annotations": [str(coco(root, 12))], "images": str(root / "pictures")},
        {"kind": "scenes", "name": "drawn", "level": "full", "count": 4},
    ]
    file = config(root / "config.yaml", sources)
    run("build-attributes", "--config", file, "--workers", 1, "--out", root / "set")
    run("build-multiquery", root / "set", "--workers", 1)
    run("audit", root / "set", "-n", 40, "--html", root / "page.html")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared(tmp_path_factory, "audit", make)


@pytest.fixture
def out(base: Path, tmp_path: Path) -> Path:
    """A copy of the set, working files included."""
    shutil.copytree(base / "set", tmp_path / "set")
    return tmp_path / "set"


def told(page: Path) -> dict[str, Any]:
    """What a page tells its script."""
    found = re.search(r'id="told">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found is not None
    tree: dict[str, Any] = json.loads(found.group(1))
    return tree


def targets(page: Path) -> list[tuple[str, str, str]]:
    """(region, kind, id) of everything to judge on a page."""
    found = []
    region = ""
    for kind, key in re.findall(r'data-kind="(\w+)" data-id="(\w+)"', page.read_text(encoding="utf-8")):
        region = key if kind == "profile" else region
        found.append((region, kind, key))
    return found


def saved(page: Path, path: Path, wrong: set[str], judge: str = "Ann", **changes: Any) -> Path:
    """A file as the page saves it: everything right but the ids in `wrong`, which are vague."""
    tree = {key: told(page)[key] for key in ("format", "version", "set", "seed", "n")}
    tree |= {"judge": judge, "saved": "2026-01-01T00:00:00.000Z"}
    tree["items"] = [
        {"id": key, "kind": kind, "region_id": region, "verdict": "wrong" if key in wrong else "right",
         "class": "vague" if key in wrong else None, "note": "", "time": "2026-01-01T00:00:00.000Z"}
        for region, kind, key in targets(page)
    ]  # fmt: skip
    path.write_text(json.dumps(tree | changes))
    return path


def strata(out: Path) -> dict[str, tuple[str, bool]]:
    """The stratum of every published region, found another way."""
    asked = {row["region_id"] for row in rows(out, "multiquery")}
    return {
        row["region_id"]: ("+".join(sorted({ref["source"] for ref in row["source_refs"]})), row["region_id"] in asked)
        for row in rows(out, "attributes")
    }


def test_the_page_is_the_same_every_time_and_another_for_another_seed(base: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run("audit", base / "set", "-n", 40, "--html", page)
    assert done.stdout.strip() == str(page)
    assert page.read_bytes() == (base / "page.html").read_bytes()
    run("audit", base / "set", "-n", 40, "--seed", 1, "--html", page)
    other = {region for region, _, _ in targets(page)}
    assert other != {region for region, _, _ in targets(base / "page.html")}
    assert told(page)["seed"] == 1


def test_every_stratum_is_drawn_and_the_weights_are_the_set(base: Path) -> None:
    of = strata(base / "set")
    drawn = [region for region, kind, _ in targets(base / "page.html") if kind == "profile"]
    assert len(drawn) == len(set(drawn)) == 40
    assert {of[region] for region in drawn} == set(of.values())
    sizes, counts = Counter(of.values()), Counter(of[region] for region in drawn)
    shown = re.findall(r"stands for ([\d.]+)<", (base / "page.html").read_text(encoding="utf-8"))
    assert [f"{sizes[of[region]] / counts[of[region]]:.2f}" for region in drawn] == shown
    questions = {key for _, kind, key in targets(base / "page.html") if kind == "question"}
    groups = [row for row in rows(base / "set", "multiquery") if row["region_id"] in drawn]
    assert questions == {query["query_id"] for row in groups for query in row["queries"]}
    assert questions


def test_a_small_set_is_drawn_whole(base: Path, out: Path) -> None:
    done = run("audit", out)
    page = out / ".work/audit.html"
    assert done.stdout.strip() == str(page)
    assert {region for region, _, _ in targets(page)} == set(strata(out))
    assert told(page)["n"] == 400
    assert published(out) == published(base / "set")


def test_verdicts_are_read_back_and_reach_the_card(base: Path, out: Path, tmp_path: Path) -> None:
    page = base / "page.html"
    drawn = [region for region, kind, _ in targets(page) if kind == "profile"]
    questions = [key for _, kind, key in targets(page) if kind == "question"]
    wrong = {*drawn[:5], *questions[:3]}
    file = saved(page, tmp_path / "ann.json", wrong)
    found = json.loads(run("audit", out, "--read", file, "--json").stdout)

    of = strata(out)
    sizes, counts = Counter(of.values()), Counter(of[region] for region in drawn)
    weights = [sizes[of[region]] / counts[of[region]] for region in drawn]
    expected = stratified_rate([region in wrong for region in drawn], [1] * 40, weights)
    assert found["profiles"]["rate"]["rate"] == pytest.approx(expected.rate)
    assert found["profiles"]["rate"]["high"] == pytest.approx(expected.high)
    assert found["profiles"]["wrong"] == 5
    assert found["questions"]["wrong"] == 3
    assert found == json.loads((out / ".work/audit.json").read_text())

    text = run("audit", out, "--read", file).stdout
    assert f"40 of {len(of)} regions drawn with seed 0, judged by Ann" in text
    assert f"error rate {expected.rate:.2%} (95 % interval {expected.low:.2%} to {expected.high:.2%}" in text

    before = published(out)
    assert "What people found" not in (out / "README.md").read_text()
    run("publish", out)
    card = (out / "README.md").read_text()
    assert f"1 person has judged a stratified sample of 40 of {len(of)} regions by eye" in card
    assert expected.rate is not None
    shown = f"{100 * expected.rate:.1f} % | {100 * expected.low:.1f} to {100 * expected.high:.1f} % |"
    assert f"| profiles | 40 | 5 | {shown}" in card
    assert "Errors of profiles by class: vague 5 (100 %)." in card
    assert "Ann" not in card and "2026-01" not in card
    after = published(out)
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} == {
        "README.md",
        "manifest.json",
    }
    sound(out)
    run("publish", out)  # the audit stays that of this set
    assert published(out) == after


def test_an_audit_of_what_was_published_before_is_called_so(
    base: Path, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run("audit", out, "--read", saved(base / "page.html", tmp_path / "ann.json", set()))
    run("publish", out, "--crops", "--pictures", "reference")
    assert "regions by eye" in (out / "README.md").read_text()
    run("publish", out, "--licenses", "CC BY 2.0", "--pictures", "embed")
    assert "regions of an earlier publication by eye" in (out / "README.md").read_text()
    line = refused_here(capfd, "audit", out, "--read", tmp_path / "ann.json")
    assert told(base / "page.html")["set"] in line


def test_two_judges(base: Path, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page = base / "page.html"
    drawn = [region for region, kind, _ in targets(page) if kind == "profile"]
    first = saved(page, tmp_path / "1.json", set(drawn[:4]))
    second = saved(page, tmp_path / "2.json", set(drawn[2:6]), judge="Bob \x1b[31m")
    text = run("audit", out, "--read", first, "--read", second).stdout
    assert "judged by Ann, Bob \\x1b[31m" in text
    assert "right or wrong           90.0% of 40, kappa 0.44" in text
    [agreement] = json.loads((out / ".work/audit.json").read_text())["profiles"]["agreement"]
    assert agreement["right_or_wrong"]["kappa"] == pytest.approx((0.9 - 0.82) / 0.18)
    run("publish", out)
    card = (out / "README.md").read_text()
    assert "2 people have judged" in card
    assert "Bob" not in card
    other = saved(page, tmp_path / "3.json", set(), judge="Cyd", seed=4)
    assert "judges the sample -n 40 --seed 4" in refused_here(capfd, "audit", out, "--read", first, "--read", other)
    assert "two files are by the judge 'Ann'" in refused_here(capfd, "audit", out, "--read", first, "--read", first)


def test_what_cannot_be_done_is_refused_here(capfd, base: Path, out: Path, tmp_path: Path) -> None:
    file = saved(base / "page.html", tmp_path / "ann.json", set())
    strange = saved(base / "page.html", tmp_path / "strange.json", set(), set="beef")
    line = refused_here(capfd, "audit", out, "--read", strange)
    assert "'beef'" in line and told(base / "page.html")["set"] in line
    assert "cannot be read" in refused_here(capfd, "audit", out, "--read", tmp_path / "none.json")
    assert "-n makes a page" in refused_here(capfd, "audit", out, "--read", file, "-n", 3)
    assert "--seed makes a page" in refused_here(capfd, "audit", out, "--read", file, "--seed", 0)
    assert "--html makes a page" in refused_here(capfd, "audit", out, "--read", file, "--html", tmp_path / "x.html")
    assert "--json goes with --read" in refused_here(capfd, "audit", out, "--json")
    assert "there is no folder" in refused_here(capfd, "audit", out, "--html", tmp_path / "none/x.html")
    assert "fewer than the" in refused_here(capfd, "audit", out, "-n", 1)
    assert "holds no published set" in refused_here(capfd, "audit", tmp_path)
    assert not (out / ".work/audit.json").exists()
    (out / ".work/audit.json").write_text("{")
    assert "audit.json is damaged" in refused_here(capfd, "publish", out)


def test_a_set_without_working_files_or_pictures(base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run("publish", base / "set", "--to", tmp_path / "ship")
    assert run("audit", tmp_path / "ship", "-n", 40).stdout.strip() == str(tmp_path / "ship/audit.html")
    assert (tmp_path / "ship/audit.html").stat().st_size == pytest.approx((base / "page.html").stat().st_size, rel=0.01)
    done = run("audit", tmp_path / "ship", "--read", saved(base / "page.html", tmp_path / "ann.json", set()))
    assert "not kept" in done.stderr
    sound(tmp_path / "ship")
    run("publish", base / "set", "--pictures", "reference", "--to", tmp_path / "light")
    assert "slvr-data attach" in refused_here(capfd, "audit", tmp_path / "light", "-n", 40)
