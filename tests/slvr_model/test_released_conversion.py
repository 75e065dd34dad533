"""`slvr-train convert-checkpoint`: released checkpoints, built small here, are asked by the benchmark afterwards."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmark.runlog import read_log
from slvr_data.errors import UsageError
from slvr_model.checkpoints import SHIPPED, open_checkpoint
from slvr_model.latents import KEY
from slvr_model.modeling import SlvrModel
from slvr_model.released import convert
from slvr_model.tiny import answer_of
from slvr_model.tokens import ABSENT, LatentTokens
from tests.benching import folder as bench_folder
from tests.inside import inside

LVR = {
    "vis_start": "<|lvr_start|>", "vis_slot": "<|lvr|>", "vis_end": "<|lvr_end|>", "sem_start": "<|lvr_latent_end|>",
    "sem_slot": "<spare1>", "sem_end": "<spare2>",
}  # fmt: skip
SLVR = {
    "vis_start": "<|slvr_latent_end|>", "vis_slot": "<|slvr|>", "vis_end": "<|sem_latent_end|>", "sem_start": "<sem>",
    "sem_slot": "<|sem|>", "sem_end": "</sem>",
}  # fmt: skip
IDS = {
    "lvr": {"start_id": LVR["vis_start"], "id": LVR["vis_slot"], "end_id": LVR["vis_end"],
            "latent_end_id": LVR["sem_start"]},
    "slvr": {"start_id": "<|vision_start|>", "id": "<|slvr|>", "end_id": "<|vision_end|>", "text_start_id": "<sem>",
             "text_id": "<|sem|>", "text_end_id": "</sem>", "latent_end_id": "<|slvr_latent_end|>"},
}  # fmt: skip
EMBEDDING = 24


def released(folder: Path, code: str, named: bool = True) -> Path:
    """`slvr:tiny`'s weights in the layout of the released code: its tokens and names, no maps of latents."""
    shutil.copytree(SHIPPED["slvr:tiny"], folder, ignore=shutil.ignore_patterns("log.txt", "report.json"))
    for file in folder.glob("*token*.json"):
        text = file.read_text(encoding="utf-8")
        for ours, theirs in (LVR if code == "lvr" else SLVR).items():
            text = text.replace(f"<|slvr_{ours}|>", theirs)
        file.write_text(text, encoding="utf-8")
    tree = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    known = {token["content"]: token["id"] for token in tree["added_tokens"]}
    told = json.loads((folder / "config.json").read_text())
    del told[KEY]
    told |= {f"{code}_{key}": known[word] for key, word in IDS[code].items()} if named else {}
    (folder / "config.json").write_text(json.dumps(told))
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not name.startswith("latents.")}
    assert len(kept) < len(weights)
    if code == "slvr":
        width = told["text_config"]["hidden_size"]
        kept["text_embedding_projector.weight"] = torch.randn(width, EMBEDDING, generator=torch.Generator()) / 5
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.mark.parametrize("code", ["lvr", "slvr"])
def test_a_converted_checkpoint_is_asked_by_the_benchmark(tmp_path: Path, code: str) -> None:
    source = released(tmp_path / "released", code)
    said = inside("slvr-train", "convert-checkpoint", source, "--out", tmp_path / "ours")
    slot = f"a semantic slot of {EMBEDDING} numbers" if code == "slvr" else "no semantic slot"
    assert "8 visual steps" in said and slot in said and f"--model slvr:{tmp_path / 'ours'}" in said
    model, processor = open_checkpoint(str(tmp_path / "ours"))
    direct = SlvrModel.from_released(source, target_dim=EMBEDDING)
    assert model.latent_config == direct.latent_config
    for name, value in direct.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    ids = [number for number in vars(model.latent_config.tokens).values() if number != ABSENT]
    assert answer_of(processor.tokenizer, [*ids, *processor.tokenizer(" red").input_ids, *ids]) == "red"
    bench_folder(tmp_path / "bench", 2)
    model_option, bench = f"slvr:{tmp_path / 'ours'}", tmp_path / "bench"
    inside("slvr-bench", "run", "--model", model_option, "--data", bench, "--max-new-tokens", 8)
    [run] = (bench / "runs").iterdir()
    lines = read_log(run).lines
    replies = [line.reply for line in lines]
    assert len(replies) == 4 and all(line.error is None for line in lines)
    assert not any("<|" in (reply or "") or "sem>" in (reply or "") for reply in replies)


@pytest.mark.parametrize("code", ["lvr", "slvr"])
def test_tokens_that_config_does_not_name_are_found_by_their_spelling(tmp_path: Path, code: str) -> None:
    convert(str(released(tmp_path / "named", code)), tmp_path / "one")
    convert(str(released(tmp_path / "bare", code, named=False)), tmp_path / "two")
    found = [tokens(tmp_path / name) for name in ("one", "two")]
    assert found[0] == found[1] and (found[0].sem_slot == ABSENT) == (code == "lvr")


def test_tokens_that_the_public_tokenizer_lacks_are_added_where_config_has_them(tmp_path: Path) -> None:
    """A checkpoint from the middle of a training may come without its processor."""
    source = released(tmp_path / "released", "lvr")
    for file in source.glob("*token*.json"):
        text = file.read_text(encoding="utf-8")
        for number, word in enumerate(LVR.values()):
            text = text.replace(word, f"<other{number}>")
        file.write_text(text, encoding="utf-8")
    size = len(json.loads((source / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"])
    ids = {"lvr_start_id": size, "lvr_id": size + 1, "lvr_latent_end_id": size + 2, "lvr_end_id": size + 3}
    told = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(told | ids))
    convert(str(source), tmp_path / "ours")
    _, processor = open_checkpoint(str(tmp_path / "ours"))
    known = processor.tokenizer.get_vocab()
    assert [known[IDS["lvr"][key.removeprefix("lvr_")]] for key in ids] == list(ids.values())
    assert answer_of(processor.tokenizer, list(ids.values())) == ""
    (source / "config.json").write_text(json.dumps(told | ids | {"lvr_id": size + 9}))
    with pytest.raises(UsageError, match=rf"<\|lvr\|> is {size + 3} here and {size + 9} in config"):
        convert(str(source), tmp_path / "other")


def tokens(folder: Path) -> LatentTokens:
    told = json.loads((folder / "config.json").read_text())
    return LatentTokens(**told[KEY]["tokens"])


def test_latent_tokens_that_were_plain_become_special(tmp_path: Path) -> None:
    source = released(tmp_path / "released", "lvr")
    path = source / "tokenizer.json"
    tree: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for token in tree["added_tokens"]:
        token["special"] = token["special"] and "lvr" not in token["content"]
    path.write_text(json.dumps(tree), encoding="utf-8")
    told = json.loads((source / "tokenizer_config.json").read_text(encoding="utf-8"))
    told["extra_special_tokens"] = [word for word in told["extra_special_tokens"] if "lvr" not in word]
    (source / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    convert(str(source), tmp_path / "ours")
    model, processor = open_checkpoint(str(tmp_path / "ours"))
    held = model.latent_config.tokens
    latent_end = model.config.lvr_latent_end_id
    assert answer_of(processor.tokenizer, [held.vis_start, held.vis_slot, held.vis_end, latent_end]) == ""


def test_what_cannot_be_converted_is_one_sentence_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not the released layout"):
        plain = released(tmp_path / "plain", "lvr", named=False)
        for file in plain.glob("*token*.json"):
            file.write_text(file.read_text(encoding="utf-8").replace("<|lvr|>", "<spare3>"), encoding="utf-8")
        convert(str(plain), tmp_path / "out")
    source = released(tmp_path / "released", "slvr")
    with pytest.raises(UsageError, match=r"of another checkpoint \(<\|slvr\|> is \d+ here and 5 in config"):
        changed = shutil.copytree(source, tmp_path / "changed")
        told = json.loads((changed / "config.json").read_text()) | {"slvr_id": 5}
        (changed / "config.json").write_text(json.dumps(told))
        convert(str(changed), tmp_path / "out")
    bare = shutil.copytree(source, tmp_path / "bare", ignore=shutil.ignore_patterns("*token*", "*processor*"))
    with pytest.raises(UsageError, match=r"bare has no processor that can be read .*--processor NAME"):
        convert(str(bare), tmp_path / "out")
    assert "visual steps" in convert(str(bare), tmp_path / "out", processor=str(source))
    dumb = shutil.copytree(source, tmp_path / "dumb", ignore=shutil.ignore_patterns("*.jinja"))
    with pytest.raises(UsageError, match=r"dumb has no chat template: .*--processor NAME"):
        convert(str(dumb), tmp_path / "x")
    with pytest.raises(UsageError, match="holds something else: name a new folder"):
        convert(str(source), tmp_path / "out")
    refused = inside("slvr-train", "convert-checkpoint", tmp_path / "no where", "--out", tmp_path / "x", code=2)
    assert "no where is no folder" in refused and refused.count("\n") == 1
    with pytest.raises(UsageError, match="--revision main is of a hub's repository"):
        convert(str(source), tmp_path / "x", revision="main")
