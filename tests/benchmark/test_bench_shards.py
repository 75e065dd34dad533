"""A run that was parted and joined is the run that one process makes; what does not belong together is refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmark.asks import Asks
from benchmark.compare import check_comparable
from benchmark.interventions.measured import FILE
from benchmark.interventions.names import SURVEYED, Intervention, wanted_of
from benchmark.joined import join
from benchmark.models.base import ModelOptions
from benchmark.opened import open_runs
from benchmark.records import LogLine
from benchmark.report import files_of, gather
from benchmark.run import run_bench
from benchmark.runlog import LOG, read_log
from benchmark.scores import scores_of
from benchmark.shards import Shard, shard_of, shards_in
from slvr_data.errors import UsageError
from slvr_model.tiny import new_tiny
from tests.benching import folder, item, plan, shelf
from tests.benchmark.bench_logs import items, picture
from tests.builds import BIN, environment

ROOT = Path(__file__).parents[2]
OPTIONS = ModelOptions(max_new_tokens=2, batch_size=5)
Edit = Callable[[Path], object]


class Bench:
    """Sixty regions of thirty pictures, with two to four queries each."""

    name, revision, training = "scenes", "d" * 64, None

    def __init__(self, number: int = 60) -> None:
        self.items = items(number)

    def picture(self, image_id: str) -> bytes:
        """Its encoded picture."""
        return picture(image_id)


def asked(out: Path, parts: int | None, bench: Any = None, spec: str = "noisy-oracle:0.6,0.3", **more: Any) -> Path:
    """A run in one part or in several, not yet joined."""
    wanted, options = more.pop("wanted", ()), more.pop("options", OPTIONS)
    made = plan("circular", "paraphrase", "evidence", **more) if not wanted else plan(**more)
    shards = [None] if parts is None else [Shard(number, parts) for number in range(parts)]
    for shard in shards:
        place = out if shard is None else out / shard.folder
        run_bench(bench or Bench(), spec, replace(made, shard=shard), options, place, interventions=wanted)
    return out


def timeless(lines: list[LogLine]) -> dict[str, LogLine]:
    return {line.ask_id: line.model_copy(update={"seconds": None}) for line in lines}


def scores(run: Path) -> str:
    """Everything that a report says in numbers."""
    (opened,) = open_runs([run])
    return files_of(gather([opened], None), 0, "")["scores.json"]


def test_every_item_is_of_one_shard_and_none_is_large() -> None:
    names = [f"item {n}" for n in range(4000)]
    for of in (1, 2, 8):
        counts = [sum(Shard(number, of).has(name) for name in names) for number in range(of)]
        assert sum(counts) == 4000 and max(counts) < 1.2 * 4000 / of


@pytest.mark.parametrize("text", ["8/8", "1", "0/0", "-1/2", "1/2/3", "a/b"])
def test_what_is_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match=f"--shard {text}: give i/n with i from 0 to n - 1"):
        shard_of(text)
    assert shard_of("7/8") == Shard(7, 8)


@pytest.mark.parametrize("parts", [1, 3])
def test_shards_joined_are_one_run(tmp_path: Path, parts: int) -> None:
    one, several = asked(tmp_path / "one", None), asked(tmp_path / "several", parts)
    made = join(several)
    whole, joined = read_log(one), read_log(several)
    assert joined.header == whole.header and (made.shards, made.asks) == (parts, whole.header.asks)
    assert timeless(joined.lines) == timeless(whole.lines)
    assert scores(several) == scores(one)
    runs = open_runs([one, several])
    check_comparable(runs)
    before = (several / LOG).read_bytes()
    assert join(several).log.read_bytes() == before


def test_more_shards_than_items_leave_some_empty(tmp_path: Path) -> None:
    run = asked(tmp_path, 5, shelf(2), "oracle")
    empty = [folder for folder in shards_in(run).values() if not read_log(folder).lines]
    assert len(empty) >= 3
    join(run)
    assert {line.item_id for line in read_log(run).lines} == {"item-00000", "item-00001"}


def test_a_run_goes_on_with_a_larger_limit_in_every_shard(tmp_path: Path) -> None:
    run = asked(tmp_path / "run", 3, limit=20)
    join(run)
    larger = plan("circular", "paraphrase", "evidence", limit=40, shard=Shard(1, 3))
    run_bench(Bench(), "noisy-oracle:0.6,0.3", larger, OPTIONS, run / "shard-1-of-3")
    with pytest.raises(UsageError, match="whole_items 20, not 40"):
        join(run)
    asked(run, 3, limit=40)
    join(run)
    assert scores(run) == scores(asked(tmp_path / "one", None, limit=40))


def test_a_shard_alone_is_no_run(tmp_path: Path) -> None:
    run = asked(tmp_path, 2)
    with pytest.raises(UsageError, match=f"{run} holds shards of a run: slvr-bench join"):
        open_runs([run])
    opened = open_runs(shards_in(run).values())
    assert [one.state.split(";")[0] for one in opened] == ["shard 0/2 alone", "shard 1/2 alone"]
    with pytest.raises(UsageError, match=r"is not whole \(shard 0/2 alone"):
        check_comparable(opened)


def cut(run: Path) -> None:
    log = run / "shard-1-of-3" / LOG
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-2]))


def moved_line(run: Path) -> None:
    """A line of one shard in the place of one of another."""
    rows = [(run / f"shard-{n}-of-3" / LOG).read_bytes().splitlines(keepends=True) for n in range(3)]
    (run / "shard-1-of-3" / LOG).write_bytes(b"".join([*rows[1][:-1], rows[2][-1]]))


def copied(run: Path) -> None:
    shutil.copytree(run / "shard-0-of-3", run / "shard-1-of-3", dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda run: shutil.rmtree(run / "shard-1-of-3"), r"lacks shard 1/3: slvr-bench run --shard"),
        (lambda run: (run / "shard-2-of-3" / LOG).unlink(), "lacks shard 2/3"),
        (cut, r"shard-1-of-3 has [\d,]+ of [\d,]+ replies: the command that began it"),
        (moved_line, "which is of another shard"),
        (lambda run: asked(run, 2, spec="oracle"), "holds shards of 2 and of 3"),
        (copied, "holds shard 0/3"),
        (lambda run: [shutil.rmtree(folder) for folder in shards_in(run).values()], "holds no shards: slvr-bench run"),
    ],
)
def test_what_is_missing_or_foreign_is_refused(tmp_path: Path, edit: Edit, said: str) -> None:
    run = asked(tmp_path, 3)
    edit(run)
    with pytest.raises(UsageError, match=said):
        join(run)
    assert not (run / LOG).exists()


@pytest.mark.parametrize(
    ("spec", "number", "said"),
    [
        ("oracle", 60, "model 'noisy-oracle:0.6,0.3', not 'oracle'"),
        ("noisy-oracle:0.6,0.3", 50, "whole_items 60, not 50"),
    ],
)
def test_a_shard_of_another_run_is_refused(tmp_path: Path, spec: str, number: int, said: str) -> None:
    run = asked(tmp_path, 2)
    shutil.rmtree(run / "shard-1-of-2")
    families = plan("circular", "paraphrase", "evidence", shard=Shard(1, 2))
    run_bench(Bench(number), spec, families, OPTIONS, run / "shard-1-of-2")
    with pytest.raises(UsageError, match=f"is of another run than the first shard: {said}"):
        join(run)


def test_another_run_in_the_folder_is_kept(tmp_path: Path) -> None:
    run = asked(tmp_path, 2)
    run_bench(Bench(), "oracle", plan(), OPTIONS, run)
    before = (run / LOG).read_bytes()
    with pytest.raises(UsageError, match="is another run's"):
        join(run)
    assert (run / LOG).read_bytes() == before


# --- interventions: what is drawn is drawn over all items


def test_donors_and_surveyed_queries_do_not_depend_on_shards() -> None:
    changes = (Intervention("picture"), Intervention("region"))
    whole = Asks(Bench(), plan(changes=changes))
    parts = [Asks(Bench(), plan(changes=changes, shard=Shard(number, 4))) for number in range(4)]

    def donors(made: Asks) -> dict[str, str]:
        return {ask.ask_id: ask.donor.ask_id for ask in made.asks() if ask.donor is not None}

    found: dict[str, str] = {}
    for part in parts:
        found |= donors(part)
    assert found == donors(whole) and len(found) > 300
    foreign = [own for own, donor in donors(parts[0]).items() if not Shard(0, 4).has(donor.split("/")[0])]
    assert foreign, "some donors are of other shards"
    surveyed = [[ask.ask_id for ask in made.plain(SURVEYED)] for made in (whole, *parts)]
    assert surveyed == [surveyed[0]] * 5
    assert sum(len(part) for part in parts) == len(whole) == parts[0].whole_length


def test_replaced_latents_are_the_same_in_shards(tmp_path: Path) -> None:
    model, processor = new_tiny(3)
    model.save_pretrained(tmp_path / "tiny")
    processor.save_pretrained(tmp_path / "tiny")
    bench = shelf(0)
    bench.items = [item(n, n // 2) for n in range(6)]
    bench.__post_init__()
    more: dict[str, Any] = {"wanted": wanted_of("noise:all,mean:all,picture:all,region:all"), "bench": bench}
    spec = f"slvr:{tmp_path / 'tiny'}"
    one, several = (asked(tmp_path / str(parts), parts, spec=spec, **more) for parts in (None, 2))
    join(several)
    assert timeless(read_log(several).lines) == timeless(read_log(one).lines)
    assert read_log(several).header == read_log(one).header
    assert (several / FILE).read_bytes() == (one / FILE).read_bytes()
    assert scores_of(read_log(several).lines) == scores_of(read_log(one).lines)


# --- the recipe


def recipe(run: Path, data: Path, *more: str, **told: str) -> subprocess.CompletedProcess[str]:
    """`recipes/bench/gpus.sh`, with a `slvr-bench` that notes which GPU it was given before it is the real one."""
    tools = run.parent / "tools"
    tools.mkdir(exist_ok=True)
    (tools / "slvr-bench").write_text(
        f'#!/bin/sh\necho "${{CUDA_VISIBLE_DEVICES-}} $*" >>"{run.parent}/gpus"\nexec "{BIN}/slvr-bench" "$@"\n'
    )
    (tools / "slvr-bench").chmod(0o755)
    own = {name: value for name, value in environment().items() if name not in ("GPUS", "CUDA_VISIBLE_DEVICES")}
    own |= {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"} | told
    command = [ROOT / "recipes/bench/gpus.sh", run, "--data", data, *more]
    return subprocess.run(command, capture_output=True, text=True, env=own, timeout=300, check=False)


def test_one_process_for_each_gpu(tmp_path: Path) -> None:
    folder(tmp_path / "bench", 8)
    done = recipe(tmp_path / "run", tmp_path / "bench", "--model", "oracle", CUDA_VISIBLE_DEVICES="4,6")
    assert done.returncode == 0, done.stderr
    gpus = sorted(line.split(" run ")[0] for line in (tmp_path / "gpus").read_text().splitlines() if " run " in line)
    assert gpus == ["4", "6"]
    log = read_log(tmp_path / "run")
    assert len(log.lines) == log.header.asks == 16 and f"slvr-bench report {tmp_path / 'run'}" in done.stdout
    few = recipe(tmp_path / "run", tmp_path / "bench", "--model", "oracle", CUDA_VISIBLE_DEVICES="4,6", GPUS="3")
    assert few.returncode == 2 and "names fewer than GPUS=3" in few.stderr


def test_a_process_that_fails_ends_the_recipe_with_its_last_line(tmp_path: Path) -> None:
    folder(tmp_path / "bench", 4)
    done = recipe(tmp_path / "run", tmp_path / "bench", "--model", "nothing", GPUS="2")
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [f"shard {n} ended with code 2" for n in (0, 1)]
    assert "no such model" in done.stderr and not (tmp_path / "run" / LOG).exists()


def test_the_commands(tmp_path: Path) -> None:
    from tests.benchmark.test_bench_cli import bench

    made = tmp_path / "bench"
    folder(made, 6)
    for number in range(2):
        said = bench("run", "--model", "oracle", "--data", made, "--shard", f"{number}/2")
        assert f"slvr-bench join {made / 'runs/oracle'}  (after all 2)" in said
    judged = ["--form", "open", "--judge", "x@http://h/v1"]
    refused = bench("run", "--model", "oracle", "--data", made, "--shard", "0/2", *judged, code=2)
    assert "judges a whole run" in refused
    assert "holds shards of a run: slvr-bench join" in bench("run", "--model", "oracle", "--data", made, code=2)
    said = bench("join", made / "runs/oracle")
    assert said.startswith("12 replies of 2 shards: ") and f"slvr-bench report {made / 'runs/oracle'}" in said
    bench("run", "--model", "random", "--data", made)
    tree = json.loads(bench("compare", made / "runs/oracle", made / "runs/random", "--json"))
    assert tree["comparisons"][0]["first"] == "oracle"
    assert tree["too_few"].endswith("after Holm's correction 0.12. To show one, ask about more pictures.")
    assert "oracle" in bench("list", made)
