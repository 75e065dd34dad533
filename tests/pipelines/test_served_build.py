"""Sets whose profiles and questions a served model writes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.builds import counts, published, refused, rows, run, sound
from tests.served_builds import KEY, SCENES, accounts, answered, ask, build, clean_sets, scenes_stub
from tests.servers.faults import mixed
from tests.servers.running import RunningStub


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    """Without faults, between tests."""
    with scenes_stub() as running:
        yield running


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that was built and asked about without any fault; not to be changed."""
    return clean_sets(tmp_path_factory) / "set"


def test_what_is_published(clean: Path) -> None:
    told = accounts(clean)
    assert told["pictures_published"] == SCENES and told["published"] == told["regions"] > 100
    assert "regions_unfinished" not in told and not told["pictures_without_questions"]
    assert told["groups_published"] > 0.9 * told["published"]
    sound(clean)
    for row in rows(clean, "attributes"):
        wrote = row["provenance"]
        assert (wrote["annotator"], wrote["model"], len(wrote["request_keys"])) == ("served", "stub-vl", 1)
        assert wrote["prompt_version"].startswith("profile-")
        assert json.loads(wrote["sampling"])["temperature"] == 0.2
    assert {row["provenance"]["annotator"] for row in rows(clean, "multiquery")} == {"served"}


def test_profiles_are_those_of_the_scenes(clean: Path, tmp_path: Path) -> None:
    """What the stub says is the truth: the same entities, colours and counts that `exact` publishes."""
    run("build-attributes", "scenes", "--limit", SCENES, "--annotator", "exact", "--workers", 1, "--out", tmp_path)
    truth = {row["region_id"]: row["profile"] for row in rows(tmp_path, "attributes")}
    found = {row["region_id"]: row["profile"] for row in rows(clean, "attributes")}
    assert truth.keys() == found.keys()
    for region_id, profile in found.items():
        assert profile["appearance"] == truth[region_id]["appearance"]
        assert profile["peers"] == truth[region_id]["peers"]


def test_the_manifest_tells_who_wrote(clean: Path) -> None:
    configuration = json.loads((clean / "manifest.json").read_bytes())["configuration"]
    data = configuration["data"]
    assert (data["annotator"], data["served.model"], data["served.temperature"]) == ("served", "stub-vl", 0.2)
    assert data["served.prompt_versions.profile"].startswith("profile-")
    assert not [key for key in data if "url" in key or "key" in key or "budget" in key or "concurrency" in key]
    asked = configuration["multiquery"]
    assert asked["model"] == "stub-vl" and asked["prompt_versions"]["questions"].startswith("questions-")


def test_the_ledger_is_shown(clean: Path) -> None:
    spent = json.loads((clean / "run.json").read_bytes())["requests"]
    regions = accounts(clean)["regions"]
    assert spent["purposes"]["profile"]["accepted"] == regions
    assert 0.9 * regions < spent["purposes"]["questions"]["accepted"] <= regions
    assert spent["per_record"]["prompt_tokens"] > 100
    for command in ("stats", "status"):
        shown = json.loads(run(command, clean, "--json").stdout)["requests"]
        assert shown["purposes"] == spent["purposes"], command
    assert "server_seconds" in run("stats", clean).stdout


def test_a_finished_set_asks_nothing_again(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(clean, out)
    before = answered(stub)
    run(*build(stub, out), STUB_KEY=KEY)
    run(*ask(stub, out), STUB_KEY=KEY)
    assert answered(stub) == before
    assert counts(out)["pictures reused"] == SCENES
    assert published(out) == published(clean)


@pytest.mark.slow
def test_stages_made_anew_ask_nothing_again(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    """The request store alone makes the same set: no call, whatever the shards and the number of workers."""
    out = tmp_path / "set"
    shutil.copytree(clean, out)
    for stage in ("crop", "attributes", "check", "multiquery"):
        shutil.rmtree(out / ".work" / stage)
    (out / ".work/settings.json").unlink()
    shutil.rmtree(out / ".work/plan")
    before = answered(stub)
    run(*build(stub, out, "--shard-size", 5, workers=1), STUB_KEY=KEY)
    run(*ask(stub, out, "--shard-size", 3), STUB_KEY=KEY)
    assert answered(stub) == before
    assert published(out) == published(clean)


@pytest.mark.slow
def test_with_mixed_faults_the_shards_are_the_same(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    out, patient = tmp_path / "set", ("--set", "served.timeout=3")
    try:
        stub.control(faults=mixed(0.2), seed=7)
        run(*build(stub, out, *patient), STUB_KEY=KEY)
        run(*ask(stub, out, *patient), STUB_KEY=KEY)
    finally:
        stub.control(faults={})
    spent = json.loads((out / "run.json").read_bytes())["requests"]["total"]
    assert spent["retries"] > 5 and len(spent["failures"]) > 5
    assert published(out) == published(clean)


@pytest.mark.slow
def test_a_set_extends_and_keeps_its_replies(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(*build(stub, out, scenes=20), STUB_KEY=KEY)
    before = answered(stub)
    run(*build(stub, out), STUB_KEY=KEY)
    assert answered(stub) - before == accounts(clean)["regions"] - sum(1 for _ in _first(clean, 20))
    run(*ask(stub, out), STUB_KEY=KEY)
    assert {row["region_id"]: row["profile"] for row in rows(out, "attributes")} == {
        row["region_id"]: row["profile"] for row in rows(clean, "attributes")
    }


def _first(out: Path, scenes: int) -> Iterator[dict[str, Any]]:
    return (row for row in rows(out, "attributes") if row["source_refs"][0]["line"] <= scenes)


@pytest.mark.slow
def test_parts_merge_to_the_same_set(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    for part in range(2):
        run(*build(stub, tmp_path / f"part{part}", "--shard", f"{part}/2"), STUB_KEY=KEY)
    run("merge", tmp_path / "part0", tmp_path / "part1", "--out", tmp_path / "whole")
    for stage in ("attributes", "check"):
        shutil.rmtree(tmp_path / "whole/.work" / stage)
    before = answered(stub)
    run(*build(stub, tmp_path / "whole"), STUB_KEY=KEY)
    assert answered(stub) == before, "the replies of the parts are those of the whole"
    run(*ask(stub, tmp_path / "whole"), STUB_KEY=KEY)
    assert published(tmp_path / "whole") == published(clean)


def test_the_key_is_nowhere(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    """Not in the set, the working files, the request store, nor in what a failing run says."""
    done = run(*build(stub, tmp_path / "set", scenes=4), STUB_KEY=KEY)
    wrong = run(*build(stub, tmp_path / "other", scenes=4), STUB_KEY="sk-wrong-8e1b77", code=1)
    assert KEY not in done.stdout + done.stderr and "sk-wrong-8e1b77" not in wrong.stdout + wrong.stderr
    for folder in (clean, tmp_path):
        for path in folder.rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert KEY.encode() not in data and b"sk-wrong-8e1b77" not in data, path


@pytest.mark.slow
def test_the_settings_of_a_file(stub: RunningStub, tmp_path: Path) -> None:
    """All of it in YAML, prompts beside the file; the same file does for the questions."""
    from importlib.resources import files

    (tmp_path / "prompts").mkdir()
    text = (files("slvr_data.prompts") / "profile.txt").read_text(encoding="utf-8")
    (tmp_path / "prompts/profile.txt").write_text(text.replace("Describe this region.", "Describe it."))
    served = {"base_urls": [stub.base_url], "model": "stub-vl", "api_key_env": "STUB_KEY", "prompts": "prompts"}
    source = {"kind": "scenes", "count": 3} if False else {"kind": "scenes"}
    told = {"sources": [source], "limit": 3, "annotator": "served", "served": served, "out": "set"}
    (tmp_path / "config.yaml").write_text(json.dumps(told))
    run("build-attributes", "--config", tmp_path / "config.yaml", "--workers", 1, STUB_KEY=KEY)
    run("build-multiquery", tmp_path / "set", "--annotator", "served", "--config", tmp_path / "config.yaml",
        "--workers", 1, STUB_KEY=KEY)  # fmt: skip
    (version,) = {row["provenance"]["prompt_version"] for row in rows(tmp_path / "set", "attributes")}
    data = json.loads((tmp_path / "set/manifest.json").read_bytes())["configuration"]["data"]
    assert data["served.prompt_versions.profile"] == version
    refused = run("build-attributes", "--config", tmp_path / "config.yaml", "--set", "served.prompts=null",
                  "--workers", 1, code=2, STUB_KEY=KEY)  # fmt: skip
    assert "served.prompt_versions.profile" in refused.stderr
    assert "STUB_KEY" not in os.environ


def test_settings_that_decide_data_stay(stub: RunningStub, clean: Path, tmp_path: Path) -> None:
    """Those of the calls may change from run to run."""
    out = tmp_path / "set"
    shutil.copytree(clean, out)
    said = refused(*build(stub, out, "--set", "served.temperature=0.9"), STUB_KEY=KEY)
    assert "this set was built with served.temperature = 0.2, now it is 0.9" in said
    run(*build(stub, out, "--set", "served.timeout=7", "--set", "served.max_concurrency=3"), STUB_KEY=KEY)
    assert published(out) == published(clean)
