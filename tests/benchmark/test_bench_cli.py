"""The command `slvr-bench` from the outside: instant help, one line for every mistake, and a whole way to a report."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import typer.main

from benchmark.cli import app, main
from benchmark.models.base import FORMS
from slvr_data.audit.verdicts import FORMAT, VERSION
from tests.benchmark.bench_logs import able, items, picture, write_run
from tests.benchmark.bench_pictures import scenes
from tests.builds import BIN, environment

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
HEAVY = {
    "pyarrow",
    "PIL",
    "numpy",
    "torch",
    "transformers",
    "pandas",
    "jinja2",
    "openai",
    "aiohttp",
    "rich",
    "pydantic",
}
PEEK = (
    "import sys, atexit, json\n"
    "atexit.register(lambda: print(json.dumps(sorted(sys.modules)), file=sys.stderr))\n"
    "sys.argv[0] = 'slvr-bench'\n"
    "from slvr_data.console import bench\n"
    "bench()\n"
)


def bench(*arguments: object, code: int = 0) -> str:
    """What `slvr-bench` prints on stdout, in this process; where it does not end well, its one line on stderr."""
    out, error = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(error):
        patch.setattr(sys, "argv", ["slvr-bench", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code or 0) == code, out.getvalue() + error.getvalue()
    if code:
        assert error.getvalue().startswith("slvr-bench: ") and error.getvalue().count("\n") == 1, error.getvalue()
        return error.getvalue()
    return out.getvalue()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / name, name, able(skill, name), items()) for name, skill in (("a", 0.8), ("b", 0.3))]


def test_the_commands_are_those_of_the_documentation() -> None:
    assert set(COMMANDS) == {"build", "import", "edited", "review", "run", "join", "compare", "report", "arms", "list"}


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["report", "--help"]], ids=" ".join)
def test_help_loads_nothing_of_weight(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PEEK, *arguments], capture_output=True, text=True, env=environment(), check=True
    )
    assert "Usage: slvr-bench" in done.stdout
    found = HEAVY & {name.split(".")[0] for name in json.loads(done.stderr.splitlines()[-1])}
    assert found <= (set() if arguments == ["--help"] else {"pydantic"}), "pydantic is what typer itself loads then"


def parameters() -> list[tuple[str, Any]]:
    return [(name, parameter) for name, entry in COMMANDS.items() for parameter in entry.params]


def test_every_command_and_option_is_explained() -> None:
    for name, entry in COMMANDS.items():
        assert len(entry.help or "") > 20, name
    for name, parameter in parameters():
        assert parameter.help and parameter.help.rstrip().endswith("."), f"{name} {parameter.name}"


def test_what_can_be_run_is_listed() -> None:
    text = bench("list")
    for word in ("slvr:tiny", "served:NAME@URL", "noisy-oracle", "circular", "masked", "letter-1"):
        assert word in text


def test_a_model_that_does_not_ship_is_listed_with_what_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from benchmark import listing
    from slvr_model.checkpoints import SHIPPED

    assert set(SHIPPED) == {form for form in FORMS if form.startswith("slvr:") and form != "slvr:PATH"}
    for name, folder in SHIPPED.items():
        assert listing.shipped(name.removeprefix("slvr:")) == (folder / "config.json").is_file()
        assert (f"  {name}\n" in listing.kinds()) == (folder / "config.json").is_file()
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(listing, "find_spec", lambda _: package)
    assert "  slvr:tiny  (after slvr-train tiny DIR, as slvr:DIR/checkpoint)\n" in listing.kinds()
    (tmp_path / "checkpoints" / "tiny").mkdir(parents=True)
    (tmp_path / "checkpoints" / "tiny" / "config.json").write_text("{}")
    assert "  slvr:tiny\n" in listing.kinds()


def test_the_list_loads_no_torch() -> None:
    code = "import sys; from benchmark.listing import kinds; kinds(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    assert done.stdout == "False\n"


def test_runs_are_listed(runs: list[Path], tmp_path: Path) -> None:
    lines = bench("list", runs[0].parent).splitlines()
    assert [line.split("  ")[:2] for line in lines] == [[str(path), path.name] for path in runs]
    assert all(line.endswith("whole") for line in lines)
    assert bench("list", tmp_path) == f"no runs in {tmp_path}\n"
    assert "is no folder" in bench("list", tmp_path / "nothing", code=2)


def test_two_runs_are_compared(runs: list[Path]) -> None:
    text = bench("compare", *runs)
    assert "b less a, over 60 regions of 30 pictures" in text and ": b is lower" in text
    tree = json.loads(bench("compare", *runs, "--json"))
    assert {row["score"] for row in tree["comparisons"]} == {"accuracy", "both", "all_right", "lift"}
    assert tree["comparisons"][0]["difference"] < 0 and tree["differs"]["model"] == ["a", "b"]


def test_mistakes_are_one_line(runs: list[Path], tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", "c", able(0.5), items(), max_new_tokens=8)
    assert "limit on new tokens 64 and 8" in bench("compare", runs[0], other, code=2)
    assert "name two or more" in bench("compare", runs[0], code=2)
    assert "holds no run" in bench("report", tmp_path, code=2)
    assert "no benchmark folder" in bench("run", "--model", "oracle", "--data", tmp_path, code=2)
    assert "--protocol x: no such protocol" in bench(
        "run", "--model", "oracle", "--data", tmp_path, "--protocol", "x", code=2
    )
    assert "'rotations' is none of" in bench(
        "run", "--model", "oracle", "--data", tmp_path, "--variants", "rotations", code=2
    )
    assert "go together" in bench("review", tmp_path, "--read", tmp_path / "x.json", code=2)
    assert "--out" in bench("build", tmp_path, code=2)
    assert "No such command" in bench("fly", code=2)
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/run.jsonl").write_text('{"kind": "something"}\n')
    assert "does not begin with the header of a run" in bench("report", tmp_path / "odd", code=2)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark folder of embedded scenes."""
    folder = tmp_path_factory.mktemp("made") / "bench"
    said = bench("build", scenes(tmp_path_factory), "--out", folder, "--split", "test", "--review")
    assert "items of" in said and (folder / "review.html").is_file()
    return folder


def test_from_a_set_to_a_report(made: Path, tmp_path: Path) -> None:
    run = [BIN / "slvr-bench", "run", "--data", made, "--limit", "12", "--variants", "paraphrase,evidence", "--model"]
    bench(*run[1:], "noisy-oracle:0.6,0.2")
    done = subprocess.run([*run, "oracle"], capture_output=True, text=True, env=environment(), timeout=300, check=True)
    announced, finished = done.stderr.splitlines()[0], done.stderr.splitlines()[-1]
    calls = int(announced.split(" asks about 12 items")[0].replace(",", ""))
    assert finished.startswith("asking: ") and done.stdout.startswith(f"{calls:,} replies, 0 of them from before")
    again = bench(*run[1:], "oracle")
    assert again.startswith(f"{calls:,} replies, {calls:,} of them from before")
    table = pd.read_json(made / "runs/oracle/run.jsonl", lines=True)
    assert len(table) == calls + 1 and table.correct[1:].all()
    folders = [made / "runs/oracle", made / "runs/noisy-oracle-0.6-0.2"]
    page = Path(bench("report", *folders, "--out", tmp_path / "report", "--samples", 5).splitlines()[0])
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/jpeg") >= 4 and 'class="item sheet"' in text
    scores = json.loads((tmp_path / "report/scores.json").read_text())["runs"]
    assert scores[0]["scores"]["all_right"]["value"] == 1.0 and "contradiction_rate" in scores[0]["scores"]
    assert ": noisy-oracle:0.6,0.2 is lower" in bench("compare", *folders)
    wrong = bench("report", folders[0], "--data", tmp_path, code=2)
    assert "is no benchmark folder" in wrong


def test_a_review_is_read_back(made: Path, tmp_path: Path) -> None:
    item = json.loads((made / "items.jsonl").read_text().splitlines()[0])
    about = json.loads((made / "bench.json").read_text())
    judgement = {
        "id": f"{item['item_id']}/{item['queries'][0]['query_id']}", "kind": "question", "region_id": item["region_id"],
        "verdict": "wrong", "class": "vague", "note": "", "time": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    saved = {
        "format": FORMAT, "version": VERSION, "set": about["revision"], "seed": 0, "n": 400, "judge": "ann",
        "saved": "2026-01-01T00:00:00Z", "items": [judgement],
    }  # fmt: skip
    (tmp_path / "verdicts.json").write_text(json.dumps(saved))
    said = bench("review", made, "--read", tmp_path / "verdicts.json", "--out", tmp_path / "kept")
    assert "1 queries judged by ann, 1 wrong" in said
    kept = (tmp_path / "kept/items.jsonl").read_text()
    assert judgement["id"].split("/")[1] not in kept


def test_the_papers_form_is_imported(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture("a"))
    rows = [
        {"id": f"x-{turn}", "images": ["a.png"], "conversations": [question, answer]}
        for turn, (question, answer) in enumerate([("What color?\nA. red\nB. blue", "A"), ("What is it?", "a cup")], 1)
    ]
    (tmp_path / "pairs.json").write_text(json.dumps(rows))
    assert "1 items, 2 queries" in bench("import", tmp_path / "pairs.json", "--out", tmp_path / "bench")
    assert "replies" in bench("run", "--model", "oracle", "--data", tmp_path / "bench")
