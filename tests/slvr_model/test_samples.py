"""A published SLV-Set as samples; what cannot be used is counted, named, and bounded."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slvr_data.errors import RunError, UsageError
from slvr_model.data import Accounts, SlvSamples, Unusable, check_question, checked_box, checked_embedding
from slvr_model.sample_rows import SampleRows, batches
from slvr_model.tiny import new_tiny
from tests.builds import run


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty easy scenes with questions and local embeddings."""
    out = tmp_path_factory.mktemp("sets") / "set"
    run("build-attributes", "scenes", "--annotator", "exact", "--limit", "40", "--out", out)
    run("build-multiquery", out)
    run("embed", out, "--model", "local-hash-1:64")
    return out


def test_every_published_query_is_a_sample(published: Path) -> None:
    samples = SlvSamples(published, "train", embeddings=True, dimension=64)
    found = list(samples)
    assert found and samples.accounts.used == samples.accounts.seen == len(found)
    assert {sample.query_id for sample in found} == _published_queries(published)
    for sample in found:
        assert sample.picture.mode == "RGB" and sample.picture.size == (64, 64)
        assert sample.answer in sample.choices
        assert sample.wordings[0] == sample.question and len(sample.wordings) > 1
        assert sample.embedding is not None and sample.embedding.shape == (64,)
        assert abs(float(np.linalg.norm(sample.embedding)) - 1) < 1e-2
        x1, y1, x2, y2 = sample.box
        assert 0 <= x1 < x2 <= 64 and 0 <= y1 < y2 <= 64
    assert [s.query_id for s in samples] == [s.query_id for s in found]


def _published_queries(folder: Path) -> set[str]:
    from slvr_data.manifest import load_manifest
    from slvr_data.reader import rows_of

    groups = rows_of(folder, load_manifest(folder), "multiquery", "train")
    return {query["query_id"] for group in groups for query in group["queries"]}


def test_embeddings_of_another_size_end_the_run_by_name(published: Path) -> None:
    with pytest.raises(
        RunError, match=r"error budget of 1\.0%.*embedding-size.*64 numbers where the model expects 256"
    ):
        list(SlvSamples(published, embeddings=True, dimension=256))


def test_what_is_not_there_is_said(published: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no published set"):
        SlvSamples(tmp_path)
    with pytest.raises(UsageError, match="no multiquery of split 'nowhere'"):
        SlvSamples(published, "nowhere")


def test_unusable_records_within_the_budget_are_counted_and_named(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slvr_data.pictures import Pictures

    first = next(iter(SlvSamples(published))).image_id
    whole = Pictures.__getitem__

    def broken(self: Pictures, image_id: str) -> Any:
        if image_id == first:
            raise OSError("the disk is gone")
        return whole(self, image_id)

    monkeypatch.setattr(Pictures, "__getitem__", broken)
    samples = SlvSamples(published, budget=0.5)
    found = list(samples)
    lost = samples.accounts.unusable["picture-unreadable"]
    assert lost > 0 and lost + len(found) == samples.accounts.seen
    assert all(sample.image_id != first for sample in found)
    assert "the disk is gone" in samples.accounts.report()
    with pytest.raises(RunError, match="picture-unreadable"):
        list(SlvSamples(published, budget=0.001))


def test_boxes_outside_or_empty_are_refused() -> None:
    assert checked_box([0, 0, 10, 10], (10, 10)) == (0, 0, 10, 10)
    for box, reason in (([5, 5, 5, 9], "box-empty"), ([0, 0, 12, 5], "box-outside"), ([-3, 0, 4, 5], "box-outside")):
        with pytest.raises(Unusable) as caught:
            checked_box(box, (10, 10))
        assert caught.value.reason == reason


def test_questions_without_an_answer_among_their_choices_are_refused() -> None:
    check_question("What is it?", "a cup", [])
    for question, answer, choices, reason in (
        (" ", "red", [], "question-length"),
        ("x" * 2001, "red", [], "question-length"),
        ("What?", " ", [], "answer-empty"),
        ("What?", "red", ["blue", "green"], "answer-not-in-choices"),
        ("What?", "1", [str(n) for n in range(9)], "choices-too-many"),
    ):
        with pytest.raises(Unusable) as caught:
            check_question(question, answer, choices)
        assert caught.value.reason == reason


def test_embeddings_that_are_missing_or_no_numbers_are_refused() -> None:
    assert checked_embedding([1.0, 0.0], 2).tolist() == [1.0, 0.0]
    for vector, reason in (
        (None, "embedding-missing"),
        ([1.0], "embedding-size"),
        ([float("nan"), 0.0], "embedding-not-finite"),
    ):
        with pytest.raises(Unusable) as caught:
            checked_embedding(vector, 2)
        assert caught.value.reason == reason


def test_the_budget_waits_for_a_hundred_records_and_then_counts() -> None:
    accounts = Accounts(budget=0.02)
    for number in range(3):
        accounts.seen += 1
        if number < 2:
            accounts.count(f"r{number}", Unusable("box-empty", "x"))
    with pytest.raises(RunError, match=r"2 of 3 records.*box-empty, e\.g\. r0 \(x\)"):
        accounts.check()
    assert json.loads(json.dumps(dict(accounts.unusable))) == {"box-empty": 2}


def test_samples_become_batches_the_embedded_model_can_learn_from(published: Path) -> None:
    model, processor = new_tiny(0)
    samples = SlvSamples(published, "train", embeddings=True)
    narrow = SampleRows(processor, model.layout)
    with pytest.raises(RunError, match=r"embedding-size.*64 numbers where the model expects 256"):
        list(batches(samples, narrow, 4, samples.accounts))
    first = replace(next(iter(samples)), embedding=np.full(256, 1 / 16, np.float32))
    batch = next(batches([first, first], narrow, 2, Accounts()))
    out = model.latent_forward(batch)
    assert out.visual_TD.shape == (4, 128) and out.target.visual_TD is not None
    spoken = batch.labels_BL[0][batch.labels_BL[0] >= 0].tolist()
    assert processor.tokenizer.decode(spoken, skip_special_tokens=True) == first.answer
    assert len(batch.grids_N3) == 1, "one picture, shown twice, is encoded once"


def test_a_prompt_beyond_the_limit_is_unusable(published: Path) -> None:
    model, processor = new_tiny(0)
    sample = next(iter(SlvSamples(published)))
    rows = SampleRows(processor, replace(model.layout, limit=70))
    with pytest.raises(Unusable, match="prompt-too-long"):
        rows.row(sample, latents=False)
    lettered = SampleRows(processor, model.layout).row(sample, lettered=True, latents=False)
    assert processor.tokenizer.decode(lettered.blocks[0].reply, skip_special_tokens=True) in "ABCD"


def test_chance_does_not_end_a_reading_before_its_end() -> None:
    """1 % of 100 are 1, and up to 3 standard deviations more are chance; at the end 2 are too many."""
    accounts, fault = Accounts(budget=0.01, seen=100), Unusable("broken", "cure")
    for _ in range(4):
        accounts.count("a", fault)
    with pytest.raises(RunError, match=r"4 of 100 records cannot be used.*4 x broken, e\.g\. a \(cure\)"):
        accounts.check()
    with pytest.raises(RunError, match="5 of 100 records"):
        accounts.count("a", fault)
    with pytest.raises(RunError, match="1 of 1 "):
        Accounts(budget=0, seen=1).count("a", fault)
