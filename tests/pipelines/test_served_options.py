"""Options of a served model: what is missing or does not go together is one sentence with its cure."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.config import load_config
from tests.builds import run
from tests.support import refused_here

URL = "http://localhost:8000/v1"
SERVED = ("build-attributes", "scenes", "--annotator", "served")


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        (("--model", "m"), "give --base-url URL, for example http://localhost:8000/v1 (a set does not remember"),
        (("--base-url", URL), "needs --model NAME, as the server lists it"),
        (("--base-url", "localhost:8000", "--model", "m"), "--base-url localhost:8000: write an address such as"),
        (("--base-url", "ftp://host/v1", "--model", "m"), "write an address such as http://localhost:8000/v1"),
        (("--base-url", URL, "--model", "m", "--prompts", "nowhere"), "--prompts nowhere is not a folder"),
        (("--base-url", URL, "--model", "m", "--box-format", "corners"), "served.box_format = 'corners'"),
        (("--base-url", URL, "--model", "m", "--budget-requests", 0), "served.budget_requests = 0"),
        (("--base-url", URL, "--model", "m", "--set", "served.max_token=9"), "did you mean 'max_tokens'?"),
    ],
)
def test_what_is_missing_or_wrong(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[object, ...], cure: str
) -> None:
    assert cure in refused_here(capfd, *SERVED, *options, "--out", tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_an_address_with_a_password_is_refused_without_repeating_it(
    capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    url = "https://me:sk-hidden@host/v1"
    said = refused_here(capfd, *SERVED, "--base-url", url, "--model", "m", "--out", tmp_path / "set")
    assert "--base-url of host: leave user, password and query out" in said and "sk-hidden" not in said


@pytest.mark.parametrize("annotator", ["measured", "served"])
@pytest.mark.parametrize(
    "url", ["http://me:sk-hidden@host/v1", "me:sk-hidden@host:8000/v1", "https://host/v1?k=sk-hidden"]
)
def test_an_address_of_a_file_with_a_password_reaches_nobody(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, annotator: str, url: str
) -> None:
    """Also where nobody is asked: the configuration is kept in `run.json`."""
    told = {"annotator": annotator, "sources": [{"kind": "scenes"}]}
    file = tmp_path / "build.yaml"
    file.write_text(json.dumps(told | {"served": {"base_urls": [url], "model": "m"}}))
    said = refused_here(capfd, "build-attributes", "--config", file, "--out", tmp_path / "set")
    assert "--base-url" in said and "sk-hidden" not in said
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (("--base-url", URL), "--base-url goes with --annotator served"),
        (("--budget-tokens", 5), "--budget-tokens goes with --annotator served"),
        (("--retry-rejected", "reply-schema"), "--retry-rejected goes with --annotator served"),
    ],
)
def test_options_without_a_served_model(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, options: tuple[object, ...], name: str
) -> None:
    assert name in refused_here(capfd, "build-attributes", "scenes", *options, "--out", tmp_path / "set")


def test_options_of_questions(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    out = tmp_path / "set"
    run("build-attributes", "scenes", "--limit", 2, "--workers", 1, "--out", out)
    asked = ("build-multiquery", out)
    assert "--model goes with --annotator served, not with --annotator templates" in refused_here(
        capfd, *asked, "--model", "m"
    )
    assert "needs a server: give --base-url URL" in refused_here(capfd, *asked, "--annotator", "served")
    assert "annotator = 'me'" in refused_here(capfd, *asked, "--annotator", "me")
    assert "only settings under 'served'" in refused_here(capfd, *asked, "--set", "crop.padding=0.2")
    assert "--retry-rejected goes with" in refused_here(capfd, *asked, "--retry-rejected", "reply-schema")
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert "multiquery" not in manifest["configuration"] and "requests" not in json.loads(
        (out / "run.json").read_bytes()
    )


def test_options_join_what_a_file_says(tmp_path: Path) -> None:
    """A setting on the command line comes before the file's, the others stay; paths are relative to the file."""
    file = tmp_path / "config.yaml"
    served = {"base_urls": ["http://a/v1"], "model": "m", "temperature": 0.7, "prompts": "mine", "scratch": "fast"}
    told = {"sources": [{"kind": "scenes"}], "out": "set", "annotator": "served", "served": served}
    file.write_text(json.dumps(told))
    found = load_config(file, {"served": {"base_urls": ["http://b/v1"], "model": None}}, ["served.timeout=9"]).served
    assert (found.base_urls, found.model, found.temperature, found.timeout) == (["http://b/v1"], "m", 0.7, 9)
    assert (found.prompts, found.scratch) == (tmp_path / "mine", tmp_path / "fast")


def test_only_what_decides_data_is_remembered(tmp_path: Path) -> None:
    served = {"base_urls": ["http://a/v1"], "model": "m", "budget_tokens": 5, "max_concurrency": 3, "timeout": 1}
    options = {"sources": [{"kind": "scenes"}], "out": tmp_path, "annotator": "served", "served": served}
    data = load_config(None, options, []).affects_data()
    assert {key for key in data if key.startswith("served.")} == {
        *(f"served.{name}" for name in ("model", "model_revision", "box_format", "max_pixels", "temperature", "top_p")),
        *(f"served.{name}" for name in ("max_tokens", "seed", "attempts", "prompt_versions.profile")),
    }
    assert not [
        key for key in load_config(None, options | {"annotator": "measured"}, []).affects_data() if "served" in key
    ]
