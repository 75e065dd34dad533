"""From a published set to batches: the mapped copy, rows, lengths, order, the stream."""

from __future__ import annotations

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from slvr_data.errors import RunError
from slvr_model.data import SlvSamples
from slvr_model.efficiency.lengths import Plan
from slvr_model.efficiency.shared import SharedPlan
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.collate import Collator
from slvr_model.sft.config import SftConfig
from slvr_model.sft.copying import opened as mapped_file
from slvr_model.sft.dealing import Deal
from slvr_model.sft.mapped import MappedSamples, mapped
from slvr_model.sft.order import PlannedBatches, batches_of, plan_of
from slvr_model.sft.samples import RowMaker, ShownSamples, StreamedBatches
from slvr_model.sft.sizes import lengths_of, prefixes_of
from slvr_model.tiny import new_tiny

Configured = Callable[..., SftConfig]


@pytest.fixture(scope="module")
def copied(scenes_set: Path, tmp_path_factory: pytest.TempPathFactory) -> MappedSamples:
    return mapped(SlvSamples(scenes_set, embeddings=True), tmp_path_factory.mktemp("copies"))


def maker_of(config: SftConfig, kind: str = "slvr") -> RowMaker:
    model, processor = new_tiny(0)
    objective = open_objective(ObjectiveConfig(kind=kind), model, processor.tokenizer)
    return RowMaker(SampleRows(processor, model.layout), objective, config.data, 0)


def test_the_copy_holds_what_the_set_holds(scenes_set: Path, copied: MappedSamples) -> None:
    published = list(SlvSamples(scenes_set, embeddings=True))
    assert len(copied) == len(published) > 50
    for number in (0, 7, len(published) - 1):
        found, wanted = copied[number], published[number]
        assert np.array_equal(np.asarray(found.picture), np.asarray(wanted.picture))
        assert found.embedding is not None and np.array_equal(found.embedding, wanted.embedding)
        plain = [vars(one) | {"picture": 0, "embedding": 0} for one in (found, wanted)]
        assert plain[0] == plain[1]
    again = pickle.loads(pickle.dumps(copied))
    assert again[3].query_id == published[3].query_id


def test_the_copy_is_made_once_and_named_when_damaged(scenes_set: Path, tmp_path: Path) -> None:
    first = mapped(SlvSamples(scenes_set), tmp_path)
    made = (first.folder / "samples.arrow").stat().st_mtime_ns
    assert (mapped(SlvSamples(scenes_set), tmp_path).folder / "samples.arrow").stat().st_mtime_ns == made
    taught = mapped(SlvSamples(scenes_set, embeddings=True), tmp_path)
    assert taught.folder != first.folder
    assert mapped(SlvSamples(scenes_set, embeddings=True, dimension=256), tmp_path).folder == taught.folder
    vectors = [mapped_file(one.folder / "vectors.arrow") for one in (first, taught)]
    assert [len(one) for one in vectors] == [0, len(set(taught.column("region_id")))], "of regions, not of questions"
    assert vectors[1].schema.field("vector").type.value_type == pa.float16(), "as it is published"
    assert [list(piece[0]) for piece in first.rows("width", "facet")] == [["width", "facet"]]
    (first.folder / "samples.arrow").write_bytes(b"not arrow")
    with pytest.raises(RunError, match=r"is damaged.*remove it"):
        mapped(SlvSamples(scenes_set), tmp_path)


def test_pictures_are_copied_once_for_all_that_is_learnt_from_them(scenes_set: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes_set, tmp_path / "set", ignore=shutil.ignore_patterns(".work"))
    cache = tmp_path / "cache"
    folders = [mapped(SlvSamples(tmp_path / "set", embeddings=needed), cache).folder for needed in (True, False)]
    (pictures,) = cache.glob("pictures-*/pictures.arrow")
    made = pictures.stat().st_mtime_ns
    manifest = json.loads((tmp_path / "set/manifest.json").read_text())
    manifest["configuration"]["embeddings"]["revision"] = "another"
    (tmp_path / "set/manifest.json").write_text(json.dumps(manifest))
    assert mapped(SlvSamples(tmp_path / "set"), cache).folder not in folders
    assert list(cache.glob("pictures-*/*")) == [pictures] and pictures.stat().st_mtime_ns == made


def test_a_picture_that_cannot_be_read_is_counted_in_the_copy_as_in_the_set(scenes_set: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes_set, tmp_path / "set", ignore=shutil.ignore_patterns(".work"))
    file = next((tmp_path / "set/data/images").glob("train-*.parquet"))
    table = pq.read_table(file)
    rows = table.to_pylist()
    rows[0]["image"]["bytes"] = rows[0]["image"]["bytes"][:90]
    rows[1]["image"] = None
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)
    published = SlvSamples(tmp_path / "set", budget=1)
    ids = [one.query_id for one in published]
    copy = mapped(SlvSamples(tmp_path / "set", budget=1), tmp_path / "cache")
    assert copy.column("query_id") == ids and copy[0].query_id == ids[0]
    told = published.accounts
    assert told.unusable.keys() == {"picture-unreadable"} and copy.accounts["seen"] == told.seen > len(ids)
    assert copy.accounts["unusable"] == dict(told.unusable)
    with pytest.raises(RunError, match="cannot be used, more than the error budget"):
        mapped(SlvSamples(tmp_path / "set"), tmp_path / "other")


def test_lengths_are_found_once_and_kept(
    scenes_set: Path, tmp_path: Path, configured: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, maker = mapped(SlvSamples(scenes_set), tmp_path), maker_of(configured(), "text")
    found = lengths_of(copy, 30, maker)
    asked = list[tuple[str, ...]]()
    rows = MappedSamples.rows
    monkeypatch.setattr(MappedSamples, "rows", lambda self, *names: asked.append(names) or rows(self, *names))
    again = mapped(SlvSamples(scenes_set), tmp_path)
    assert (
        lengths_of(again, 30, maker).tolist() == found.tolist()
        and lengths_of(again, 9, maker).tolist() == found[:9].tolist()
    )
    assert not asked, "they are read"
    assert lengths_of(again, len(copy), maker)[:30].tolist() == found.tolist() and len(asked) == 1
    assert lengths_of(again, 30, maker_of(configured("data.lettered=0"), "text")).tolist() != found.tolist()
    assert lengths_of(again, 30, maker_of(configured(), "direct")).tolist() != found.tolist() and len(asked) == 3
    for file in copy.folder.glob("lengths-*.npy"):
        file.write_bytes(b"no numbers")
    with pytest.raises(RunError, match=r"lengths-\w+\.npy is damaged.*remove it"):
        lengths_of(again, 30, maker)


def test_a_showing_is_drawn_from_seed_sample_and_number_alone(copied: MappedSamples, configured: Configured) -> None:
    maker = maker_of(configured())
    rows = [[maker.row(copied[number], showing) for number in range(12)] for showing in (0, 0, 1)]
    asked = [[(row.prefix, row.blocks[0].reply) for row in one] for one in rows]
    assert asked[0] == asked[1] != asked[2]
    letters = [maker_of(configured("data.lettered=1")).row(copied[n], 0).blocks[0].reply[-2] for n in range(12)]
    tokenizer = maker.rows.processor.tokenizer
    assert {tokenizer.decode([letter]).strip() for letter in letters} <= set("ABCD")


@pytest.mark.parametrize("kind", ["slvr", "text", "pause"])
@pytest.mark.parametrize("lettered", [0, 1])
def test_lengths_are_known_without_a_picture(
    copied: MappedSamples, configured: Configured, kind: str, lettered: int
) -> None:
    maker = maker_of(configured(f"data.lettered={lettered}", "data.paraphrases=false"), kind)
    rows = [maker.row(copied[number], 0) for number in range(10)]
    whole = [len(row.prefix) + sum(len(block.prompt) + len(block.reply) for block in row.blocks) for row in rows]
    assert lengths_of(copied, 10, maker).tolist() == whole


def test_so_many_questions_of_each_region_are_learnt(copied: MappedSamples, configured: Configured) -> None:
    groups = [copied[number].group_id for number in range(len(copied))]
    one, two = copied.chosen(1), copied.chosen(2)
    assert copied.chosen(None) == list(range(len(copied)))
    assert sorted({groups[number] for number in one}) == sorted(set(groups)) and len(one) == len(set(groups))
    assert Counter(groups[number] for number in two) == {group: min(2, n) for group, n in Counter(groups).items()}
    assert set(one) < set(two) and two == sorted(two)
    assert len({copied[number].facet for number in one}) > 2, "not always a region's first question"
    config = configured("training.lengths=shared", "data.lettered=0", "data.paraphrases=false")
    maker = maker_of(config)
    plan = plan_of(config.training, copied, one[:9], maker, 1)
    assert isinstance(plan, SharedPlan) and plan.pictures == [copied.pictures[number] for number in one[:9]]
    assert plan.lengths.tolist() == [lengths_of(copied, number + 1, maker)[-1] for number in one[:9]]


def test_questions_of_a_picture_are_shown_behind_it(copied: MappedSamples, configured: Configured) -> None:
    """What the plan counts is what the collator makes, and the trainer is given."""
    config = configured(
        "data.lettered=0", "data.paraphrases=false", "training.lengths=shared", "training.rows=6",
        "training.questions=3",
    )  # fmt: skip
    maker = maker_of(config)
    numbers = list(range(40))
    plan = plan_of(config.training, copied, numbers, maker, 1)
    assert isinstance(plan, SharedPlan) and plan.together == 3
    for number in range(10):
        row = maker.row(copied[number], 0)
        assert prefixes_of(copied, 10, maker)[number] == len(row.prefix) - row.prefix[::-1].index(
            maker.rows.layout.image_token
        )
    shown, collator = ShownSamples(copied, numbers, maker), Collator(maker.objective, None, maker.rows.layout, 3)
    found = Counter[int]()
    for keys in PlannedBatches(plan, Deal(3)):
        made = collator([shown[key] for key in keys])
        batch, pictures = made["batch"], {copied.pictures[number] for _, number in keys}
        rows = [row for row in plan.rows(0) if set(row) & {number for _, number in keys}]
        assert batch.grids_N3 is not None and len(batch.grids_N3) == len(pictures) <= len(batch.ids_BL)
        assert len(batch.ids_BL) == len(rows) and int(batch.kept_BL.sum()) == sum(map(plan.positions, rows))
        assert maker.objective.samples(batch) == len(keys) == made["seen"]
        replies = [len(maker.row(copied[number], 0).blocks[0].reply) for _, number in keys]
        assert (made["processed"], made["emitted"]) == (int(batch.kept_BL.sum()), sum(replies))
        found.update(number for _, number in keys)
    assert max(found.values()) == 1


def test_an_unusable_sample_is_replaced_by_the_next_and_named(copied: MappedSamples, configured: Configured) -> None:
    lengths = lengths_of(copied, len(copied), maker_of(configured("data.lettered=0", "data.paraphrases=false")))
    config = configured("data.lettered=0", "data.paraphrases=false", f"data.positions={int(lengths.max()) - 1}")
    maker = maker_of(config)
    longest = int(lengths.argmax())
    shown = ShownSamples(copied, range(len(copied)), maker)[0, longest]
    assert shown.faults[0][:2] == (f"query {copied[longest].query_id} of region {copied[longest].region_id}",
                                   "prompt-too-long")  # fmt: skip
    following = copied[(longest + len(shown.faults)) % len(copied)]
    assert shown.row.blocks[0].reply == maker.row(following, 0).blocks[0].reply
    with pytest.raises(RunError, match=r"20 samples in a row cannot be used.*prompt-too-long"):
        ShownSamples(copied, range(30), maker_of(configured("data.positions=16")))[0, 0]


def test_processes_share_each_epoch_and_any_batch_can_be_gone_on_from() -> None:
    plan = Plan(np.arange(1, 41), "grouped", 4, 3, ranks=2)
    each = batches_of(plan)
    deals = [Deal(2 * each, 1, 2, rank, 2) for rank in range(2)]
    shares = [list(PlannedBatches(plan, deal)) for deal in deals]
    for epoch in range(2):
        part = slice(epoch * each, (epoch + 1) * each)
        keys = Counter(key for share in shares for batch in share[part] for key in batch)
        assert keys == Counter((epoch, number) for number in range(40))
    assert list(islice(PlannedBatches(plan, deals[1]), each, None)) == shares[1][each:]


def test_a_stream_is_shuffled_shared_and_the_same_twice(scenes_set: Path, configured: Configured) -> None:
    maker = maker_of(configured("data.buffer=16", "data.lettered=0", "data.paraphrases=false"))

    def stream(rank: int) -> list[tuple[int, ...]]:
        samples = SlvSamples(scenes_set, embeddings=True)
        batches = StreamedBatches(samples, maker, 4, Deal(3, 1, 2, rank, 2))
        return [one.row.prefix + one.row.blocks[0].reply for batch in batches for one in batch]

    first, second = stream(0), stream(1)
    assert len(first) == len(second) == 12 and first == stream(0)
    in_order = [
        row.prefix + row.blocks[0].reply
        for row in (maker.row(sample, 0) for sample in islice(SlvSamples(scenes_set, embeddings=True), 60))
    ]
    assert set(first) | set(second) <= set(in_order) and first != in_order[:12]
