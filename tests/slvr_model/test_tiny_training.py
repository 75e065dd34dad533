"""Training of the embedded model: packing is exact, runs resume to the bit, samples can be learnt by heart."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import astuple, replace
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np
import pytest
import torch

from slvr_data.errors import RunError, UsageError
from slvr_data.sources.scenes.forms import PLAIN
from slvr_model.checkpoints import open_checkpoint
from slvr_model.examination import examine_decoded, rows_to_ask
from slvr_model.labels import ALIKE, LABELS, MIDDLE, cell_labels, labels_of
from slvr_model.lessons import Lesson, Thing, kept_lessons, lessons
from slvr_model.muon import orthogonal
from slvr_model.naming import Names
from slvr_model.packing import ANSWERED, CHOSEN, read_pictures, states_of
from slvr_model.teaching import Settings, Teacher, examine, loss_of, plain_loss, shown_at
from slvr_model.tiny import new_tiny
from slvr_model.tiny_training import Run, rate_at, table_of
from slvr_model.together import Group, together
from tests.builds import wait_for
from tests.slvr_model import preloaded, small_training


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def few() -> list[Lesson]:
    return list(lessons("easy", 5, 12))


def test_a_packed_block_is_what_the_same_question_alone_is(few: list[Lesson]) -> None:
    """Against the public forward pass over picture and question as the processor prepares them."""
    from PIL import Image

    model, processor = new_tiny(1)
    teacher = Teacher(processor.tokenizer, Settings())
    rows = [
        [teacher.asked(q, q.wordings[0], q.choices if i % 2 else ()) for i, q in enumerate(few[n].things[0].questions)]
        for n in (0, 1)
    ]
    batch = teacher.packed(few[:2], rows)
    with torch.no_grad():
        seen = read_pictures(model, batch, teacher.image)
        states = {}
        for part in batch.parts:
            logits_SV = model.lm_head(states_of(model, batch, seen, part).last_SD)
            for number in set(part.number_S.tolist()):
                states[number] = logits_SV[part.number_S == number]
        blocks = [(n, block) for n in (0, 1) for block in rows[n]]
        for number, (picture, block) in enumerate(blocks):
            text = processor.tokenizer.decode(teacher.prefix[:2]) + "<|vision_start|><|image_pad|><|vision_end|>"
            inputs = processor(text=[text], images=[Image.fromarray(few[picture].picture)], return_tensors="pt")
            inputs = processor(
                text=[text.replace(" user", "user") + processor.tokenizer.decode([*block.prompt, *block.reply])],
                images=[Image.fromarray(few[picture].picture)],
                return_tensors="pt",
            )
            assert inputs["input_ids"][0].tolist() == [*teacher.prefix, *block.prompt, *block.reply]
            alone_LV = model(**inputs).logits[0]
            first = len(teacher.prefix) + len(block.prompt) - 1
            expected = alone_LV[first : first + len(block.reply)]
            torch.testing.assert_close(states[number], expected, atol=1e-4, rtol=1e-4)


def test_what_a_step_shows_depends_on_seed_and_step_alone(few: list[Lesson]) -> None:
    _, processor = new_tiny(0)

    def ids(seed: int, step: int) -> list[list[int]]:
        teacher = Teacher(processor.tokenizer, Settings(pictures=4, seed=seed))
        return [row for part in teacher.batch(few, step).parts for row in part.ids_RL.tolist()]

    assert ids(0, 7) == ids(0, 7)
    assert ids(0, 7) != ids(0, 8)
    assert ids(0, 7) != ids(1, 7)


def test_choices_come_in_random_order_and_the_letter_follows(few: list[Lesson]) -> None:
    _, processor = new_tiny(0)
    teacher = Teacher(processor.tokenizer, Settings())
    dice = np.random.default_rng(0)
    letters = set()
    for _ in range(20):
        for _, question, _, choices in teacher.chosen(few[0], 1.0, dice):
            assert sorted(choices) == sorted(question.choices)
            letter = teacher.reply_of(question, choices)
            assert choices["ABCD".index(letter)] == question.answer
            letters.add(letter)
    assert letters == set("ABCD")


def test_labels_name_the_thing_under_a_token(few: list[Lesson]) -> None:
    labels = cell_labels(few[0]).reshape(len(LABELS), 8, 8)
    for thing in few[0].things:
        x, y = (int((thing.box[i] + thing.box[i + 2]) / 2 // 8) for i in (0, 1))
        assert labels[0, y, x] == PLAIN.index(thing.profile.appearance.entity)
        assert labels[MIDDLE, y, x] == 0
    assert ((labels[0] == 6) == (labels[1] == -100)).all()
    assert (labels[MIDDLE] == 0).sum() == len(few[0].things)


def test_names_end_where_a_thing_has_been_told_apart(few: list[Lesson]) -> None:
    _, processor = new_tiny(0)
    teacher, decode = Teacher(processor.tokenizer, Settings()), processor.tokenizer.decode
    names = Names(teacher._ids)
    seen = set()
    for lesson in few:
        known = names.of(lesson)
        for thing in lesson.things:
            for question in thing.questions:
                block = names.asked(teacher.asked(question, question.wordings[0], ()), known, thing, question)
                assert block.hints == ()
                for at, labels in block.named:
                    word = decode(block.prompt[at])
                    seen.add(question.facet)
                    if question.facet == "count":
                        assert word.endswith("s") and labels[ALIKE] + 1 == int(question.answer)
                    elif question.facet == "entity":
                        assert LABELS[0][labels[0]] == question.answer
                    elif question.facet == "color":
                        assert labels == labels_of(thing)
    assert {"color", "entity", "count", "relation"} <= seen


def test_hints_tell_the_answer_and_the_letters(few: list[Lesson]) -> None:
    _, processor = new_tiny(0)
    teacher, decode = Teacher(processor.tokenizer, Settings()), processor.tokenizer.decode
    names = Names(teacher._ids)
    for thing in few[0].things:
        for question in thing.questions:
            block = teacher.asked(question, question.wordings[0], question.choices)
            found = names.hints(block, question.answer)
            hints = [(decode(block.prompt[: at + 1]), decode(token)) for layer, at, token in found if layer == ANSWERED]
            ends = {f"\n{letter}. {choice}": letter for letter, choice in zip("ABCD", question.choices, strict=False)}
            for end, letter in ends.items():
                assert any(text.endswith(end) and token == letter for text, token in hints), (hints, end)
            assert hints[0][1] == question.answer.split(" ")[0]
            chosen = [(at, token) for layer, at, token in found if layer == CHOSEN]
            assert chosen[-1] == (len(block.prompt) - 1, block.reply[0])
            assert {token for _, token in chosen} == {block.reply[0]}


def test_a_drill_gives_its_answer_and_asks_for_the_letter() -> None:
    _, processor = new_tiny(0)
    teacher, decode = Teacher(processor.tokenizer, Settings()), processor.tokenizer.decode
    block = teacher.drill(["top left", "red", "3"], "red")
    assert decode(block.prompt[:-3]) == "Which?\nA. top left\nB. red\nC. 3\n red"
    assert decode(block.reply[:1]) == "B"
    letters = {
        at: decode(token) for layer, at, token in block.hints if layer == ANSWERED and at < len(block.prompt) - 3
    }
    assert [(decode(block.prompt[at]), letter) for at, letter in sorted(letters.items())] == [
        ("top", "A"), ("left", "A"), ("red", "B"), ("3", "C"),
    ]  # fmt: skip
    last = [(decode(token), layer) for layer, at, token in block.hints if at == len(block.prompt) - 1]
    assert last == [("red", ANSWERED), ("B", CHOSEN)]


def test_processes_share_a_step(few: list[Lesson]) -> None:
    settings = Settings(pictures=4, seed=3)
    whole, _ = shown_at(few, 7, settings)
    shares = [shown_at(few, 7, settings, Group(rank, 2)) for rank in (0, 1)]
    assert [id(lesson) for lesson in whole[::2]] == [id(lesson) for lesson in shares[0][0]]
    assert [id(lesson) for lesson in whole[1::2]] == [id(lesson) for lesson in shares[1][0]]
    assert shares[0][1].random() != shares[1][1].random()
    with pytest.raises(UsageError, match="too few for 5 processes"):
        shown_at(few, 7, settings, Group(0, 5))


def test_lessons_come_back_from_disk_and_have_one_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("slvr_model.lessons.SHARD", 4)
    made, digest = kept_lessons(tmp_path, "easy", 3, 5)
    again, same = kept_lessons(tmp_path, "easy", 3, 5)
    fresh = list(lessons("easy", 3, 5))
    assert digest == same
    for one, two, three in zip(made, again, fresh, strict=True):
        assert one.things == two.things == three.things
        assert (one.picture == two.picture).all() and (one.picture == three.picture).all()
    assert len(list(tmp_path.iterdir())) == 2
    (tmp_path / "easy-3-00000.npz").write_bytes(b"PK damaged")
    with pytest.raises(RunError, match="drawn again"):
        kept_lessons(tmp_path, "easy", 3, 5)


def test_orthogonal_keeps_directions_and_evens_lengths() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(3, 24, 40, generator=generator)
    values = torch.linalg.svdvals(orthogonal(matrices))
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3
    torch.testing.assert_close(orthogonal(matrices.mT), orthogonal(matrices).mT, atol=1e-5, rtol=0)


def test_rates_rise_stay_and_fall() -> None:
    settings = Settings(steps=1000, warmup=50, decay=0.3)
    assert rate_at(0, settings) == pytest.approx(0.02)
    assert rate_at(400, settings) == 1.0
    assert rate_at(850, settings) == pytest.approx(0.5)
    assert rate_at(999, settings) == pytest.approx(0.03)


def test_examinations_agree_with_free_running_decoding(few: list[Lesson]) -> None:
    """One forward pass finds exactly the questions that greedy decoding answers rightly, here about half of them."""
    model, processor = open_checkpoint("slvr:tiny")
    teacher, dice = Teacher(processor.tokenizer, Settings()), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weights in model.model.language_model.parameters():
            if weights.dim() > 1:
                weights.add_(0.3 * weights.std() * torch.randn(weights.shape, generator=dice))
        model.lm_head.weight[list(astuple(model.latent_config.tokens))] = 0  # it opens no latents of its own accord
    for lettered in (False, True):
        fast = examine(model, teacher, few[:4], lettered)
        slow = examine_decoded(model, teacher, processor, few[:4], lettered=lettered, latents=False)
        assert fast == slow
        right, asked = (sum(pair[i] for pair in fast.values()) for i in (0, 1))
        assert 0 < right < asked
    assert len(rows_to_ask(teacher, processor, few[0], False)) == sum(len(t.questions) for t in few[0].things)


def by_heart(shown: list[Lesson], steps: int, folder: Path | None = None):  # type: ignore[no-untyped-def]
    """A new model that has been shown every question of these lessons at each step, in its first wording."""
    model, processor = new_tiny(0)
    settings = Settings(
        steps=steps, pictures=len(shown), questions=99, profiles=0, drills=0, lettered=0.0, warmup=10, muon_lr=5e-3
    )
    teacher = Teacher(processor.tokenizer, settings)
    worded = [replace(lesson, things=tuple(map(in_one_wording, lesson.things))) for lesson in shown]

    def loss(step: int) -> torch.Tensor:
        return loss_of(model, teacher.batch(worded, step), teacher, teacher.labels(worded, step))

    import tempfile

    run = Run(folder or Path(tempfile.mkdtemp()), model, loss, settings, {})
    run.train(steps, save_every=1000, tell=lambda line: None)
    return model.eval(), teacher, run


def in_one_wording(thing: Thing) -> Thing:
    return replace(thing, questions=tuple(replace(one, wordings=one.wordings[:1]) for one in thing.questions))


@pytest.mark.slow
def test_64_samples_are_learnt_by_heart_in_a_minute(few: list[Lesson]) -> None:
    begun = time.process_time()
    model, teacher, _ = by_heart(few[:5], steps=40)
    scores = examine(model, teacher, few[:5], lettered=False)
    right, asked = (sum(pair[i] for pair in scores.values()) for i in (0, 1))
    assert asked >= 64
    assert right / asked >= 0.95, table_of(scores)
    assert time.process_time() - begun < 2 * 60, "twice: cores that are shared count each second double"


@pytest.mark.slow
def test_a_killed_run_of_two_processes_goes_on_to_the_same_bits(few: list[Lesson], tmp_path: Path) -> None:
    """SIGKILL after the second state was kept; then the same training again. One process learns the same."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    small_training.trained(straight)
    said = tmp_path / "said"
    process = preloaded.python(("-m", small_training.__name__, killed), said)
    wait_for(lambda: process.exitcode is not None or (said.exists() and "step 6 " in said.read_text()), 600)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL, said.read_text()
    assert torch.load(killed / "state.pt", weights_only=True)["step"] == 4
    small_training.trained(killed)
    assert (killed / "log.jsonl").read_bytes() == (straight / "log.jsonl").read_bytes()
    one, two = (torch.load(folder / "state.pt", weights_only=True) for folder in (straight, killed))
    assert one["step"] == two["step"] == 8
    assert all(torch.equal(one["model"][name], two["model"][name]) for name in one["model"])
    assert [json.loads(line)["step"] for line in (straight / "log.jsonl").read_text().splitlines()] == [2, 4, 6, 8]
    alone = both_shares_in_one_process(few, tmp_path / "alone")
    for name, value in alone.items():
        torch.testing.assert_close(value, one["model"][name], atol=2e-3, rtol=2e-3, msg=name)


def both_shares_in_one_process(few: list[Lesson], folder: Path) -> dict[str, torch.Tensor]:
    """The same training by one process that takes the mean of both losses itself."""
    model, processor = new_tiny(0)
    settings = small_training.SETTINGS
    teachers = [Teacher(processor.tokenizer, settings, Group(rank, 2)) for rank in (0, 1)]

    def loss(step: int) -> torch.Tensor:
        return (plain_loss(model, teachers[0], few, step) + plain_loss(model, teachers[1], few, step)) / 2

    Run(folder, model, loss, settings, {}).train(settings.steps, tell=lambda line: None)
    return model.state_dict()


def gone(group: Group) -> None:
    """What another process does that ends at once."""


def test_an_other_process_that_ends_is_told() -> None:
    loss = torch.zeros((), requires_grad=True)
    with together(2, gone) as group, pytest.raises(RunError, match="a process of this training has ended"):
        group.mean([], loss)


def test_an_other_process_that_ends_at_its_start_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    resource_tracker.ensure_running()  # by the real interpreter
    monkeypatch.setattr("multiprocessing.spawn._python_exe", b"/bin/false")
    with pytest.raises(RunError, match=r"ended at its start, with code 1: .* needs `if __name__"), together(2, gone):
        pass


def test_a_folder_of_another_run_is_refused(few: list[Lesson], tmp_path: Path) -> None:
    _, _, run = by_heart(few[:2], steps=1, folder=tmp_path)
    with pytest.raises(UsageError, match="muon_lr"):
        Run(tmp_path, run.model, run.loss, Settings(steps=1, muon_lr=1.0), {})
    torch.save({**torch.load(tmp_path / "state.pt", weights_only=True), "model": {}}, tmp_path / "state.pt")
    with pytest.raises(RunError, match="cannot be read"):
        Run(tmp_path, run.model, run.loss, run.settings, {})
    (tmp_path / "state.pt").write_bytes(b"no state")
    with pytest.raises(RunError, match="cannot be read"):
        Run(tmp_path, run.model, run.loss, run.settings, {})
