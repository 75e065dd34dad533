"""`slvr-data doctor`: what it says of a good server, and of every kind of bad one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.report import requests_of
from slvr_data.requests.config import ServedConfig
from tests.builds import coco, in_time, published, run
from tests.servers.running import RunningStub, running_stub


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    with running_stub(scenes="full:16", scenes_seed=1) as running:
        running.wait_drawn()
        yield running


@pytest.fixture(autouse=True)
def faultless(stub: RunningStub) -> Iterator[None]:
    yield
    stub.control(faults={})


def told(stub: RunningStub, *options: object, code: int = 0) -> dict[str, tuple[str, str]]:
    """Probe -> (verdict, text)."""
    done = run("doctor", "--base-url", stub.base_url, "--model", "stub-vl", *options, code=code)
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith(("ok", "warning", "fault"))]
    return {rest[:12].strip(): (verdict, rest[12:].strip()) for verdict, rest in lines}


def test_a_good_server(stub: RunningStub) -> None:
    found = told(stub)
    assert list(found) == ["server", "schema", "white space", "speed", "boxes"]
    assert found["server"] == ("ok", "answers, knows stub-vl and sees pictures")
    assert found["schema"][0] == found["white space"][0] == found["speed"][0] == "ok"
    assert "steered by the server's /metrics" in found["speed"][1]
    assert "thousandths" in found["boxes"][1], "the convention is said"


def test_the_convention_that_is_asked_for_is_said(stub: RunningStub) -> None:
    assert "pixels of the picture as sent" in told(stub, "--box-format", "pixels")["boxes"][1]


def test_a_server_without_constrained_decoding_is_no_good(stub: RunningStub) -> None:
    stub.control(faults={"malformed": 1.0})
    verdict, text = told(stub, code=1)["schema"]
    assert verdict == "fault"
    assert text.startswith("0 of ") and "malformed" in text and "response_format" in text


def test_white_space_that_does_not_end_names_the_flag(stub: RunningStub) -> None:
    stub.control(faults={"whitespace": 0.5})
    found = told(stub)
    assert found["white space"][0] == "warning"
    assert "disable_any_whitespace" in found["white space"][1]
    assert found["schema"][0] == "warning"


def test_words_up_to_the_limit_are_another_matter(stub: RunningStub) -> None:
    stub.control(faults={"length": 0.3})
    verdict, text = told(stub)["white space"]
    assert verdict == "warning" and "max_tokens" in text and "disable_any_whitespace" not in text


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"api_key": "secret-1"}, "does not accept the key in OPENAI_API_KEY"),
        ({"text_only": True}, "does not take pictures"),
        ({"text_only": "silent"}, "does not see pictures"),
        ({"model": "another"}, "does not know the model stub-vl; it lists another"),
    ],
)
def test_a_wrong_server_is_one_sentence_within_ten_seconds(options: dict[str, object], sentence: str) -> None:
    with running_stub(**options) as wrong:
        found = in_time(10, lambda: told(wrong, code=1))
    assert list(found) == ["server"]
    assert found["server"][0] == "fault" and sentence in found["server"][1]


def test_a_dead_server_is_one_sentence_within_ten_seconds() -> None:
    done = in_time(10, lambda: run("doctor", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", code=1))
    assert "no server answers" in done.stdout


def test_an_estimate_scales_what_a_sample_costs(stub: RunningStub) -> None:
    done = run(
        "doctor", "--base-url", stub.base_url, "--model", "stub-vl", "--estimate", "scenes:full",
        "--set", "seed=1", "--set", "limit=300",
    )  # fmt: skip
    head, attributes, multiquery, _ = done.stdout.splitlines()[-4:]
    assert "for 300 pictures" in head
    regions, pictures = int(head.split()[2]), int(head.split()[5])
    assert regions >= 50 and pictures < 50
    assert "build-attributes  1.00 calls" in attributes
    assert f"in all {round(regions * 300 / pictures):,} calls" in attributes
    assert "build-multiquery" in multiquery and " 0 calls" not in multiquery


@pytest.mark.slow
def test_what_an_estimate_has_asked_is_not_asked_again(stub: RunningStub, tmp_path: Path) -> None:
    """With --out: its replies and its cost belong to the set that is built there; else nothing is left of them."""
    server = ("--base-url", stub.base_url, "--model", "stub-vl")
    out, anew = tmp_path / "set", tmp_path / "anew"
    done = run("doctor", *server, "--set", "seed=1", "--estimate", "scenes:full", "--out", out)
    pictures = int(done.stdout.splitlines()[-4].split()[5])
    cost = requests_of(out / ".work")["total"]
    assert cost["accepted"] == cost["calls"] > 100
    build = ("build-attributes", "scenes:full", "--annotator", "served", *server, "--seed", 1, "--limit", pictures)
    for folder in (out, anew):
        run(*build, "--workers", 1, "--out", folder)
        run("build-multiquery", folder, "--annotator", "served", *server, "--workers", 1)
    assert published(out) == published(anew)
    total = requests_of(out / ".work")["total"]
    assert total["calls"] == cost["calls"] and total["reused"] == requests_of(anew / ".work")["total"]["accepted"]
    assert "go with --estimate" in run("doctor", *server, "--out", anew, code=2).stderr
    assert "is an address" in run("doctor", *server, "--estimate", "scenes", "--out", "s3://b/s", code=2).stderr


def test_an_estimate_counts_the_checks_of_each_build(stub: RunningStub) -> None:
    done = run(
        "doctor", "--base-url", stub.base_url, "--model", "stub-vl", "--estimate", "scenes:full", "--set", "seed=1",
        "--set", "model_checks.second_look=whole", "--set", "model_checks.answer_samples=2",
    )  # fmt: skip
    _, attributes, multiquery, _ = done.stdout.splitlines()[-4:]
    assert float(attributes.split()[1]) > 1.5, "a profile and a second look"
    assert float(multiquery.split()[1]) > 4, "questions, and answers to each of them"


def test_an_estimate_of_photographs_reads_no_more_than_it_needs(
    stub: RunningStub, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("photographs")
    file = coco(folder, 30, size=(320, 240), regions=8)
    for picture in sorted((folder / "pictures").rglob("*.jpg"))[20:]:
        picture.unlink()
    done = run(
        "doctor", "--base-url", stub.base_url, "--model", "stub-vl", "--estimate", "coco",
        "--images", folder / "pictures", "--annotations", file,
    )  # fmt: skip
    assert "for 30 pictures with about 240 regions" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ((), "--base-url"),
        (("--base-url", "http://localhost:1/v1"), "--model"),
        (("--base-url", "localhost:1", "--model", "m"), "http://localhost:8000/v1"),
        (("--images", "."), "--estimate"),
        (("--base-url", "http://localhost:1/v1", "--model", "m", "--estimate", "cocoa"), "unknown source"),
    ],
)
def test_what_is_missing_is_named(arguments: tuple[str, ...], cure: str) -> None:
    done = run("doctor", *arguments, code=2)
    assert cure in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_the_probe_of_boxes_is_decided_by_the_numbers() -> None:
    """Each box lies on its own patch in its own convention, and on no patch of that colour in the other."""
    from pipelines.doctor import _ASKED, _PATCHES, LOOKS, _box_request
    from slvr_data.annotators.served.sent import family
    from slvr_data.prompts import load_prompts

    config = ServedConfig(model="m")
    for name, (across, down) in {"pixels": (560, 280), "thousandths": (1000, 1000)}.items():
        for number in range(LOOKS):
            request, truth = _box_request(config, load_prompts(), family("m", name), number)  # type: ignore[arg-type]
            text = str(request.messages[-1].parts[-1])
            box = [int(edge) for edge in text.split("[")[1].split("]")[0].split(",")]
            center = (box[0] + box[2]) / 2 / across * 4, (box[1] + box[3]) / 2 / down * 2
            assert _PATCHES[int(center[1]) * 4 + int(center[0])] == truth == _PATCHES[_ASKED[number]]
            other = (560, 280) if name == "thousandths" else (1000, 1000)
            column, row = (box[0] + box[2]) / 2 / other[0] * 4, (box[1] + box[3]) / 2 / other[1] * 2
            elsewhere = column >= 4 or row >= 2 or _PATCHES[int(row) * 4 + int(column)] != truth
            assert elsewhere
