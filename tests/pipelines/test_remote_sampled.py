"""`preview`, `stats` and `validate --sample` of a set on a real S3 server: what they say is that of a local set, and
they read what they need of it, as nothing of it is kept here.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from slvr_data.errors import RunError, UsageError
from slvr_data.manifest import load_manifest
from slvr_data.remote.place import Place
from slvr_data.shards import files_of
from slvr_data.validate import validate
from tests.builds import coco, published, wait_for
from tests.remotes import ask, build, s3_found
from tests.servers.s3 import RunningS3

ADDRESS = "s3://bucket/photographs/set"


@pytest.fixture(scope="module")
def s3() -> Iterator[RunningS3]:
    with s3_found() as server:
        yield server


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen photographs of half a megabyte with questions, a picture in each row group; not to be changed."""
    root = tmp_path_factory.mktemp("photographs")
    source = {"kind": "coco", "annotations": [str(coco(root, 16, size=(1280, 960), regions=2))]}
    source["images"] = str(root / "pictures")
    build(root / "set", root, sources=[source], publish={"max_group_mb": 1, "max_file_mb": 2})
    ask(root / "set", root)
    return root / "set"


@pytest.fixture(scope="module")
def there(s3: RunningS3, local: Path) -> str:
    """The same at an address; not to be changed."""
    sent(local, ADDRESS)
    return ADDRESS


@pytest.fixture(autouse=True)
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where copies of sets would lie."""
    monkeypatch.setenv("SLVR_SCRATCH", str(tmp_path / "scratch"))
    return tmp_path / "scratch"


def sent(folder: Path, address: str) -> None:
    Place(address).put_all((folder / name, name) for name in published(folder))


def invoke(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


class Cost(NamedTuple):
    """What a command has printed, the bytes that the server sent meanwhile, and how often it was asked."""

    said: str
    sizes: int
    calls: int


def cost(s3: RunningS3, *arguments: object) -> Cost:
    s3.control(reset=True)
    said = invoke(*arguments)
    calls = s3.control()
    return Cost(said, calls["bytes out"], calls["GET"] + calls["HEAD"])


def size(folder: Path, *configs: str) -> int:
    return sum(file.bytes for file in load_manifest(folder).files if not configs or file.config in configs)


def same(one: Path, two: Path) -> None:
    assert one.read_bytes() == two.read_bytes()


def test_a_preview_is_that_of_the_local_set_and_fetches_the_row_groups_that_it_shows(
    s3: RunningS3, there: str, local: Path, tmp_path: Path, scratch: Path
) -> None:
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    for options in (["--pictures", 2], ["--sample", 1, "--seed", 3, "--crops"]):
        found = cost(s3, "preview", there, "--html", page, *options)
        assert found.sizes < size(local) / 4
        assert found.calls < 80
        invoke("preview", local, "--html", other, *options)
        same(page, other)
    assert not scratch.exists()
    assert cost(s3, "preview", there, "--html", page).sizes > size(local, "images")
    invoke("preview", local, "--html", other)
    same(page, other)


def test_its_page_goes_to_the_scratch_folder_unless_told(there: str, scratch: Path) -> None:
    page = Path(invoke("preview", there, "--pictures", 1).strip())
    assert page.match(f"{scratch}/read-*/set/.work/preview.html") and page.stat().st_size > 1000
    with pytest.raises(UsageError, match=r"--html /no/such/place.html: there is no folder /no/such"):
        invoke("preview", there, "--html", "/no/such/place.html")


def test_an_audit_is_that_of_the_local_set_and_fetches_the_row_groups_that_it_shows(
    s3: RunningS3, there: str, local: Path, tmp_path: Path, scratch: Path
) -> None:
    page, other = tmp_path / "page.html", tmp_path / "other.html"
    for options in (["-n", 2], ["-n", 1, "--seed", 3]):
        found = cost(s3, "audit", there, "--html", page, *options)
        assert found.sizes < size(local) / 4
        assert found.calls < 80
        once(s3, there, local, {"images", "attributes", "multiquery"})
        invoke("audit", local, "--html", other, *options)
        same(page, other)
    assert not scratch.exists()
    assert cost(s3, "audit", there, "--html", page).sizes > size(local, "images")
    invoke("audit", local, "--html", other)
    same(page, other)


def test_the_page_of_an_audit_goes_to_the_scratch_folder_unless_told(there: str, scratch: Path, tmp_path: Path) -> None:
    page = Path(invoke("audit", there, "-n", 1).strip())
    assert page.match(f"{scratch}/read-*/set/.work/audit.html") and page.stat().st_size > 1000
    page = Path(invoke("audit", there, "-n", 1, "--scratch", tmp_path / "told").strip())
    assert page.match(f"{tmp_path}/told/read-*/set/.work/audit.html")
    with pytest.raises(UsageError, match=r"--html /no/such/place.html: there is no folder /no/such"):
        invoke("audit", there, "--html", "/no/such/place.html")


def once(s3: RunningS3, there: str, folder: Path, configs: set[str]) -> None:
    """Each file of these configs was asked for its size and its footer once, and no other data file at all."""
    files = {f"{there.removeprefix('s3:/')}/{file.path}": file for file in load_manifest(folder).files}
    sizes, footers = Counter[str](), Counter[str]()
    for method, path, span in s3.asked():
        if path in files and files[path].config != "card":
            sizes[path] += method == "HEAD"
            footers[path] += method == "GET" and span.endswith(f"-{files[path].bytes - 1}")
            assert method == "HEAD" or span, f"{path} was fetched whole"
    wanted = Counter(path for path, file in files.items() if file.config in configs)
    assert sizes == wanted
    assert footers == wanted


def test_a_sampled_validation_opens_each_file_once(s3: RunningS3, there: str, local: Path, tmp_path: Path) -> None:
    configs = {file.config for file in load_manifest(local).files} - {"card"}
    cost(s3, "validate", there, "--sample", 4)
    once(s3, there, local, configs)
    embedded = "s3://bucket/embedded/set"
    shutil.copytree(local, tmp_path / "set")
    invoke("embed", tmp_path / "set")
    sent(tmp_path / "set", embedded)
    cost(s3, "validate", embedded, "--sample", 4)
    once(s3, embedded, tmp_path / "set", configs | {"embeddings"})


def test_a_sampled_validation_finds_what_that_of_the_local_set_finds(
    s3: RunningS3, there: str, local: Path, scratch: Path
) -> None:
    for seed in range(2):
        found = cost(s3, "validate", there, "--sample", 2, "--seed", seed)
        assert found.sizes < size(local) / 4
        assert found.calls < 120
        assert "sound, as far as was looked" in found.said
        assert found.said.replace(there, str(local)) == invoke("validate", local, "--sample", 2, "--seed", seed)
    assert not scratch.exists()
    assert validate(Path(there), 1000) == validate(local, 1000)
    assert validate(Path(there)) == validate(local)


def test_stats_are_those_of_the_local_set_and_fetch_no_pictures(
    s3: RunningS3, there: str, local: Path, scratch: Path
) -> None:
    found = cost(s3, "stats", there, "--json")
    assert json.loads(found.said) == json.loads(invoke("stats", local, "--json"))
    assert found.sizes < size(local) / 20
    assert not scratch.exists()


def test_what_was_asked_of_models_is_told_from_there_too(s3: RunningS3, local: Path, tmp_path: Path) -> None:
    shutil.copytree(local, tmp_path / "set")
    ledger = {"form": 1, "runs": 2, "purposes": {"profile": {"calls": 7, "replies": 7, "accepted": 6}}}
    (tmp_path / "set/.work/requests").mkdir(exist_ok=True)
    (tmp_path / "set/.work/requests/ledger.json").write_text(json.dumps(ledger))
    sent(local, "s3://bucket/asked/set")
    Place("s3://bucket/asked/set").put(tmp_path / "set/.work/requests/ledger.json", ".work/requests/ledger.json")
    found = json.loads(invoke("stats", "s3://bucket/asked/set", "--json"))
    assert found["requests"]["purposes"]["profile"]["calls"] == 7
    assert found == json.loads(invoke("stats", tmp_path / "set", "--json"))


def spoilt(local: Path) -> tuple[str, bytes]:
    """A file of pictures in train, with a picture in it that cannot be read."""
    file = files_of(load_manifest(local).files, "images", "train")[0]
    data = bytearray((local / file.path).read_bytes())
    group = pq.read_metadata(local / file.path).row_group(0)
    for number in range(group.num_columns):
        column = group.column(number)
        first = column.dictionary_page_offset or column.data_page_offset
        data[first : first + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    return file.path, bytes(data)


def test_a_damaged_object_is_named(s3: RunningS3, local: Path, tmp_path: Path) -> None:
    path, data = spoilt(local)
    address = "s3://bucket/damaged/set"
    shutil.copytree(local, tmp_path / "set", ignore=shutil.ignore_patterns(".work"))
    (tmp_path / "set" / path).write_bytes(data)
    sent(tmp_path / "set", address)
    for command in ("preview", "audit"):
        with pytest.raises(RunError, match=rf"^{address}/{path} is damaged \(.*\): fetch the set again, or remove"):
            invoke(command, address)
    for how in ({"sample": 1000}, {}):
        here = validate(tmp_path / "set", **how)
        assert f"{path}: cannot be read to its end" in "\n".join(here[0])
        assert validate(Path(address), **how) == here
    Place(address).write(path, data[: len(data) // 2])
    (tmp_path / "set" / path).write_bytes(data[: len(data) // 2])
    breaches, _ = validate(Path(address), 1000)
    assert breaches == validate(tmp_path / "set", 1000)[0]
    assert f"{path}: its bytes are not those that the manifest names" in breaches
    Place(address).remove([path])
    (tmp_path / "set" / path).unlink()
    for command in ("preview", "audit"):
        with pytest.raises(RunError, match=rf"^{address}/{path} is not there \(any more\): .* publish it again"):
            invoke(command, address)
    assert validate(Path(address), 1000)[0] == validate(tmp_path / "set", 1000)[0]
    assert f"{path}: is missing" in invoke("validate", address, "--sample", 1000, code=1)


@pytest.mark.parametrize("command", [["preview"], ["audit"], ["validate", "--sample", 3], ["stats"]])
def test_nothing_where_a_set_should_be_is_one_sentence(s3: RunningS3, command: list[object]) -> None:
    with pytest.raises(UsageError, match=r"s3://no-such/set/manifest.json is refused: there is no such bucket"):
        invoke(*command, "s3://no-such/set")
    with pytest.raises(UsageError, match=r"^s3://bucket/empty/set holds no published set"):
        invoke(*command, "s3://bucket/empty/set")


@pytest.mark.parametrize("command", [["preview"], ["audit"], ["validate", "--sample", 3]])
def test_a_set_that_is_published_anew_meanwhile_ends_the_reading(
    s3: RunningS3, tmp_path: Path, command: list[object]
) -> None:
    address = f"s3://bucket/{command[0]}/set"
    build(address, tmp_path, count=4)
    s3.control(stall=rf"^(HEAD|GET) /bucket/{command[0]}/set/data/", reset=True)
    try:
        with ThreadPoolExecutor(1) as pool:
            reader = pool.submit(invoke, *command, address)
            wait_for(lambda: s3.control().get("HEAD", 0) > 0)
            build(address, tmp_path, count=8)
            s3.well()
            with pytest.raises(RunError, match="was published anew meanwhile") as error:
                reader.result()
    finally:
        s3.well()
    assert str(error.value).startswith(address) and "start again" in str(error.value)
