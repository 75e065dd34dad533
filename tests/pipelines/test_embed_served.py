"""`slvr-data embed` with a server's model: real servers that refuse, fail and are not what they should be; kills."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.embed import EmbedConfig, embed
from pipelines.embeddings import VectorStore, text_key
from pipelines.republish import republish
from slvr_data.errors import SlvrError, UsageError
from slvr_data.files import DAMAGED
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import ServerError, UnfinishedError
from tests.builds import (
    environment,
    in_time,
    jsonl,
    jsonl_rows,
    of_jsonl,
    published,
    refused,
    rows,
    run,
    shared,
    sound,
    wait_for,
)
from tests.servers.embedder import MODEL, Running, embedder, vector
from tests.servers.running import nobody

PICTURES, FEW = 24, 10


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source (`regions.jsonl`) and the set of its first pictures (`set`); not to be changed."""

    def make(folder: Path) -> None:
        file = jsonl(folder, jsonl_rows(folder, 0, PICTURES, regions=5))
        run(*of_jsonl(file, "--workers", 1, "--limit", FEW, "--out", folder / "set"))

    return shared(tmp_path_factory, "to-embed", make)


@pytest.fixture
def out(sources: Path, tmp_path: Path) -> Path:
    shutil.copytree(sources / "set", tmp_path / "set")
    return tmp_path / "set"


def texts_of(out: Path) -> list[str]:
    return [row["profile_text"] for row in rows(out, "attributes")]


def accounts(out: Path) -> tuple[int, int, int]:
    found = json.loads((out / "manifest.json").read_bytes())["accounts"]
    return found["embeddings"], found["embeddings_rejected"], found["regions_without_embedding"]


def of(server: Running, *more: object) -> list[object]:
    return ["--base-url", server.base_url, "--model", MODEL, *more]


def told(server: Running, batch: int = 4, retry_rejected: bool = False, **served: Any) -> EmbedConfig:
    config = ServedConfig(base_urls=[server.base_url], **{"model": MODEL} | served)
    return EmbedConfig(config, batch=batch, retry_rejected=retry_rejected)


LOCAL = EmbedConfig(ServedConfig(), dimension=16)
AGAIN = EmbedConfig(ServedConfig())
"""What the set has, without a server."""


def right(out: Path, dim: int = 16) -> None:
    """Every row that has an embedding has that of its text."""
    texts = {row["region_id"]: row["profile_text"] for row in rows(out, "attributes")}
    for row in rows(out, "embeddings"):
        expected = np.array(vector(texts[row["region_id"]], dim)).astype(np.float16)
        assert np.array(row["embedding"], np.float16).tobytes() == expected.tobytes()
    sound(out)


def test_each_text_is_asked_for_once_and_published(out: Path, tmp_path: Path) -> None:
    texts = texts_of(out)
    with embedder(tmp_path / "log") as server:
        run("embed", out, *of(server))
        asked = Counter(server.asked)
        assert set(texts) < set(asked), "all, and the one that is asked for first to see whether it works"
        assert len(asked) == len(set(texts)) + 1 and max(asked.values()) == 1
    right(out)
    assert accounts(out) == (len(texts), 0, 0)
    manifest = json.loads((out / "manifest.json").read_bytes())
    assert manifest["configuration"]["embeddings"] == {"model": MODEL, "revision": None, "dimension": 16}
    assert {row["model"] for row in rows(out, "embeddings")} == {MODEL}
    calls = json.loads((out / "run.json").read_bytes())["requests"]
    assert "embedding" in json.dumps(calls)
    before = published(out)
    run("embed", out)  # the server is gone: nothing is left to ask
    run("publish", out)
    assert published(out) == before


def test_identical_texts_are_one(tmp_path: Path) -> None:
    rows_of_it = jsonl_rows(tmp_path, 0, 3)
    for row in rows_of_it:
        row |= {"label": "thing", "bbox": [10, 10, 150, 110], "mask": None, "references": []}
    file = jsonl(tmp_path, rows_of_it)
    run(*of_jsonl(file, "--workers", 1, "--out", tmp_path / "set"))
    texts = texts_of(tmp_path / "set")
    assert len(set(texts)) < len(texts), "the set has what this test is about"
    with embedder(tmp_path / "log") as server:
        embed(tmp_path / "set", told(server))
        assert len(server.asked) == len(set(texts)) + 1
    assert len(rows(tmp_path / "set", "embeddings")) == len(texts)
    right(tmp_path / "set")


def test_a_set_that_grows_keeps_what_it_has_and_says_what_is_missing(sources: Path, out: Path, tmp_path: Path) -> None:
    with embedder(tmp_path / "log") as server:
        embed(out, told(server))
        before = {row["region_id"]: row["embedding"] for row in rows(out, "embeddings")}
        done = run(*of_jsonl(sources / "regions.jsonl", "--workers", 1, "--out", out))
        kept, _, missing = accounts(out)
        assert missing > 0 and kept >= len(before)
        line = next(line for line in done.stderr.splitlines() if "have no embedding" in line)
        assert f"{missing} regions have no embedding of {MODEL} yet: run `slvr-data embed {out} --base-url" in line
        found = {row["region_id"]: row["embedding"] for row in rows(out, "embeddings")}
        assert all(found[region] == embedding for region, embedding in before.items())
        assert f"{missing} not embedded yet" in (out / "README.md").read_text()
        right(out)
        again = server.asked
        with pytest.raises(UsageError, match="--base-url URL is missing"):
            embed(out, AGAIN)
        assert "have no embedding" not in run("embed", out, "--base-url", server.base_url).stderr
        new = server.asked[len(again) :]
        assert not set(new[1:]) & set(again), "only new texts are asked for"
    assert accounts(out)[2] == 0
    right(out)
    run(*of_jsonl(sources / "regions.jsonl", "--workers", 1, "--out", tmp_path / "whole"))
    with embedder(tmp_path / "log") as server:
        embed(tmp_path / "whole", told(server))
    assert published(out) == published(tmp_path / "whole"), "however it came about"


def test_a_text_that_the_server_refuses_costs_that_text(out: Path, tmp_path: Path) -> None:
    texts = texts_of(out)
    long, large = texts[2], texts[7]
    assert long not in large and large not in long
    with embedder(tmp_path / "log", refuse=long, infinite=large) as server:
        done = run("embed", out, *of(server))
        assert "embeddings rejected" in done.stdout
        counts = Counter(texts)
        assert accounts(out) == (len(texts) - counts[long] - counts[large], counts[long] + counts[large], 0)
        listed = {row["record"]: row for row in rows(out, "rejections")}
        assert set(listed) == {long, large}
        assert "maximum context length is 40960" in listed[long]["evidence"]
        assert "float16 cannot hold" in listed[large]["evidence"]
        row = listed[long]
        assert (row["kind"], row["stage"], row["reason"]) == ("embedding", "embed", "embedding-refused")
        assert row["file"] == "regions.jsonl" and row["line"] > 0 and row["region_id"]
        assert long in run("rejections", out, "--json").stdout
        right(out)
        embed(out, told(server))
        assert Counter(server.asked)[large] == 1, "what was refused is not asked for again unless that is wanted"
    with embedder(tmp_path / "log") as server:
        run("embed", out, *of(server, "--retry-rejected"))
    assert accounts(out) == (len(texts), 0, 0)
    right(out)


def test_failing_calls_are_repeated(out: Path, tmp_path: Path) -> None:
    with embedder(tmp_path / "log", fail=0.3) as server:
        embed(out, told(server, batch=2, transport_retries=20))
    assert accounts(out) == (len(texts_of(out)), 0, 0)
    right(out)


def test_what_is_left_unfinished_is_taken_up(out: Path, tmp_path: Path) -> None:
    texts = texts_of(out)
    with embedder(tmp_path / "log", fail=0.4) as server:
        summary = run_until_begun(out, told(server, batch=1, transport_retries=0))
        kept, refused_rows, missing = accounts(out)
        assert 0 < kept < len(texts) and not refused_rows and missing == len(texts) - kept
        assert "texts have no embedding of tiny-embedder yet" in summary and "run the same command again" in summary
        right(out)
        before = set(server.asked)
    with embedder(tmp_path / "log2") as server:
        embed(out, told(server)).end()
        assert not set(server.asked[1:]) & before
    assert accounts(out) == (len(texts), 0, 0)
    right(out)


def run_until_begun(out: Path, config: EmbedConfig) -> str:
    """What the summary says is unfinished; the first call of a run may be one that fails."""
    for _ in range(20):
        try:
            summary = embed(out, config)
        except UnfinishedError:
            continue
        with pytest.raises(UnfinishedError):
            summary.end()
        return summary.unfinished
    raise AssertionError("never begun")


def test_a_budget_that_is_spent(out: Path, tmp_path: Path) -> None:
    with embedder(tmp_path / "log") as server:
        done = run("embed", out, *of(server, "--batch-size", 4, "--budget-requests", 4), code=3)
        assert "texts have no embedding" in done.stderr
        kept, _, missing = accounts(out)
        assert kept > 0 and missing > 0
        embed(out, told(server)).end()
        assert max(Counter(server.asked[1:]).values()) <= 2, "the first text of each run is always the same"
    assert accounts(out)[2] == 0


def test_another_model_replaces_only_when_it_is_whole(out: Path, tmp_path: Path) -> None:
    embed(out, LOCAL)
    before = published(out)
    with embedder(tmp_path / "log") as server:
        done = run("embed", out, *of(server, "--batch-size", 4, "--budget-requests", 4), code=3)
        assert "until then the set keeps its embeddings of local-hash-1:16" in done.stderr
        assert published(out) == before
        republish(out, {}, None)
        assert published(out) == before
        embed(out, told(server))
        first = published(out)
        right(out)
        embed(out, told(server, model_revision="two"))
        count = Counter(server.asked)
        assert all(count[text] == 2 for text in texts_of(out)), "another revision is another model"
        manifest = json.loads((out / "manifest.json").read_bytes())
        assert manifest["configuration"]["embeddings"]["revision"] == "two"
    run("embed", out, "--model", "local-hash-1:16")
    assert published(out) == before
    embed(out, EmbedConfig(ServedConfig(model=MODEL)))  # what was paid for is kept
    assert published(out) == first


@pytest.mark.slow
def test_killed_at_any_moment(sources: Path, tmp_path: Path) -> None:
    """What was kept is never asked for again; the publication is that of a run that nobody killed."""
    out, whole = tmp_path / "set", tmp_path / "whole"
    run(*of_jsonl(sources / "regions.jsonl", "--workers", 1, "--out", out))
    shutil.copytree(out, whole)
    code = (
        "import sys, pipelines.embed_calls as calls; calls._SHARD_TEXTS = 5; from pipelines.cli import main;"
        "sys.argv[0] = 'slvr-data'; main()"
    )
    dice = random.Random(3)
    with embedder(tmp_path / "log") as server:
        slowly = of(server, "--batch-size", 1, "--set", "served.max_concurrency=4")
        command = [sys.executable, "-c", code, "embed", str(out), *map(str, slowly)]
        kept: set[bytes] = set()
        begun = 0
        for _ in range(20):
            before = len(server.asked)
            wanted = before + dice.randrange(1, 16)
            server.answer_most(wanted)
            process = subprocess.Popen(command, start_new_session=True, env=environment(), stderr=subprocess.PIPE)
            wait_for(lambda wanted=wanted: len(server.asked) >= wanted, pause=0.02)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            again = {text_key(text) for text in server.asked[before + 1 :]}
            assert not again & kept, "a text that was kept is asked for again"
            store = VectorStore(out / ".work", MODEL, None)
            assert kept <= {text_key(text) for text in texts_of(out) if text_key(text) in store}
            kept = {text_key(text) for text in texts_of(out) if text_key(text) in store}
            begun += 0 < len(kept) < len(set(texts_of(out)))
            if begun == 3:
                break
        assert begun == 3, "it was killed while it worked"
        server.answer_most(10_000)
        run("embed", out, *of(server))
        run("embed", whole, *of(server))
    assert published(out) == published(whole)
    right(out)


def test_a_damaged_shard_is_asked_for_again(out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with embedder(tmp_path / "log") as server:
        embed(out, told(server))
        before = published(out)
        for harm in (b"", b"\x93NUMPY\x01\x00rubbish", None):
            found = (out / ".work" / "embeddings").rglob("vectors.npy")
            (file,) = (path for path in found if not path.parent.name.startswith("."))
            data = file.read_bytes()
            file.write_bytes(data[:-100] if harm is None else harm)
            republish(out, {}, None)
            said = capsys.readouterr().err
            assert "is damaged" in said and "have no embedding" in said
            embed(out, told(server))
            assert published(out) == before
        asides = list((out / ".work" / "embeddings").glob(f"*/{DAMAGED}"))
        assert len(asides) == 3, "vectors that were paid for are put aside, and never removed"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chat_only": 1}, "does not embed: .*does not support Embeddings API"),
        ({"model": "another"}, "does not know the model tiny-embedder; it lists another"),
    ],
)
def test_a_server_that_is_not_what_it_should_be(out: Path, tmp_path: Path, options: dict[str, Any], said: str) -> None:
    before = published(out)
    with embedder(tmp_path / "log", **options) as server:

        def refuses() -> None:
            with pytest.raises(ServerError, match=said):
                embed(out, told(server))

        in_time(10, refuses)
    assert published(out) == before


def test_a_dead_server_and_one_of_another_dimension(out: Path, tmp_path: Path) -> None:
    with embedder(tmp_path / "log") as server:
        embed(out, told(server, budget_requests=4))
    before, url = published(out), nobody()
    line = in_time(10, lambda: refused("embed", out, "--base-url", url, "--model", MODEL, code=1))
    assert "no server answers" in line
    with embedder(tmp_path / "log", dim=8) as server, pytest.raises(SlvrError, match="8 numbers, before it were 16"):
        embed(out, told(server))
    assert published(out) == before
