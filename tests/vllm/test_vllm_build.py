"""Whole commands against a real vLLM. Its model answers at random: accounts and provenance are held, quality is not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.builds import published, rows, run, sound
from tests.servers.real import KEY, MODEL, RunningVllm
from tests.vllm.asked import KEY_VARIABLE, Counted

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
SCENES = 6


@dataclass
class Built:
    """A set, and what the server counted while it was made."""

    out: Path
    profiles: dict[str, int]
    questions: dict[str, int]

    def tree(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.out / name).read_bytes())
        return found


def where(vllm: RunningVllm) -> list[object]:
    """Options that name the server."""
    return ["--base-url", vllm.base_url, "--model", MODEL, "--api-key-env", KEY_VARIABLE]


def attributes(vllm: RunningVllm, out: Path) -> list[object]:
    served = ["--annotator", "served", *where(vllm), "--model-revision", "seed0"]
    return ["build-attributes", "scenes", "--limit", SCENES, *served, "--workers", 1, "--out", out]


def multiquery(vllm: RunningVllm, out: Path) -> list[object]:
    return ["build-multiquery", out, "--annotator", "served", *where(vllm), "--model-revision", "seed0"]


@pytest.fixture(scope="module")
def built(vllm: RunningVllm, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Profiles, then questions; not to be changed."""
    out = tmp_path_factory.mktemp("built") / "set"
    with Counted(vllm) as profiles:
        run(*attributes(vllm, out))
    with Counted(vllm) as questions:
        run(*multiquery(vllm, out))
    return Built(out, profiles.moved, questions.moved)


def test_the_accounts_balance(built: Built) -> None:
    told = built.tree("manifest.json")["accounts"]
    assert told["regions"] == told["published"] + told["rejected"] > SCENES
    assert told["published"] > 0 and "regions_unfinished" not in told
    listed = [json.loads(line) for line in run("rejections", built.out, "--json").stdout.splitlines()]
    assert sum(row["stage"] in ("attributes", "check") for row in listed) == told["rejected"]
    sound(built.out)


def test_provenance_names_the_model(built: Built) -> None:
    for row in rows(built.out, "attributes"):
        wrote = row["provenance"]
        assert (wrote["annotator"], wrote["model"], wrote["revision"]) == ("served", MODEL, "seed0")
        assert wrote["prompt_version"].startswith("profile-")
        assert len(wrote["request_keys"]) == 1 and re.fullmatch("[0-9a-f]{64}", wrote["request_keys"][0])


def test_the_ledger_agrees_with_the_server(built: Built) -> None:
    """All tokens but those of the preflight's two looks, which are no part of a set's cost."""
    spent = built.tree("run.json")["requests"]["purposes"]
    for purpose, moved in (("profile", built.profiles), ("questions", built.questions)):
        counts = spent[purpose]
        told = f"{purpose}: {counts}, {moved}"
        assert counts["replies"] == moved["request_success_total"] - LOOKS, told
        assert counts["calls"] == counts["replies"] + counts["retries"], told  # a server may close an idle connection
        assert 0 <= moved["prompt_tokens_total"] - counts["prompt_tokens"] <= LOOKS * 500
        assert 0 <= moved["generation_tokens_total"] - counts["completion_tokens"] <= LOOKS * 16
        assert counts["cached_tokens"] > 0.5 * counts["prompt_tokens"], "one system prompt, pictures asked about again"


LOOKS = 2
"""Calls of the preflight."""


def test_the_same_command_again_asks_nothing(vllm: RunningVllm, built: Built) -> None:
    before = published(built.out)
    with Counted(vllm) as counted:
        run(*attributes(vllm, built.out))
        run(*multiquery(vllm, built.out))
    assert counted.moved["request_success_total"] <= 2 * LOOKS
    assert published(built.out) == before


def test_the_key_is_nowhere_in_the_set(built: Built) -> None:
    files = [path for path in built.out.rglob("*") if path.is_file()]
    assert len(files) > 10
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


def test_doctor_finds_the_server_fit(vllm: RunningVllm) -> None:
    """A model that answers at random can be warned of; what would spoil a build is not there."""
    said = run("doctor", *where(vllm)).stdout
    assert re.search(r"^ok +server +answers, knows ", said, re.M), said
    assert re.search(r"^ok +white space ", said, re.M), said
    assert re.search(r"^(ok|warning) +schema ", said, re.M), said
    assert re.search(r"^ok +speed .* steered by the server's /metrics$", said, re.M), said


def test_doctor_judges_a_wrong_model(vllm: RunningVllm) -> None:
    done = run("doctor", "--base-url", vllm.base_url, "--model", "other", "--api-key-env", KEY_VARIABLE, code=1)
    assert f"does not know the model other; it lists {MODEL}" in done.stdout
