"""`slvr-train convert-checkpoint`: a checkpoint of the released LVR or SLVR code, and its processor, become ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedTokenizerBase

from slvr_data.errors import RunError, UsageError
from slvr_data.files import folder_atomic
from slvr_model.checkpoints import check_pair
from slvr_model.loading import RELEASED
from slvr_model.modeling import SlvrModel
from slvr_model.tiny import StillProcessor
from slvr_model.tokens import ABSENT, LatentTokens

_SPELLED = {
    "lvr": {
        "start_id": "<|lvr_start|>",
        "id": "<|lvr|>",
        "latent_end_id": "<|lvr_latent_end|>",
        "end_id": "<|lvr_end|>",
    },
    "slvr": {
        "start_id": "<|vision_start|>",
        "id": "<|slvr|>",
        "latent_end_id": "<|slvr_latent_end|>",
        "end_id": "<|vision_end|>",
        "text_start_id": "<sem>",
        "text_id": "<|sem|>",
        "text_latent_end_id": "<|sem_latent_end|>",
        "text_end_id": "</sem>",
    },
}
"""How the released code spells its tokens, by what its config.json calls them behind "lvr_" and "slvr_"."""
_PROJECTOR = "text_embedding_projector.weight"
_FILES = ["*.json", "*.safetensors", "*.txt", "*.jinja", "*.model"]


def convert(name: str, out: Path, processor: str | None = None, revision: str | None = None) -> str:
    """Write a released checkpoint as one that `slvr:DIR` opens; what was written, in words.

    Added are the maps of the latents (identities), their configuration in config.json, and, where config.json does not
    name the latent tokens, their ids by the tokenizer. These tokens become special ones, so that no answer shows them.

    Args:
        name: folder or hub name.
        out: a new folder.
        processor: folder or hub name of its processor, where the checkpoint has none.
        revision: of the checkpoint on the hub.

    Raises:
        UsageError: there is no such checkpoint, it is of another layout or has no processor, or `out` is occupied.
        RunError: its tensors are not those of the layout, it is damaged, or the disk is full.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out {out} holds something else: name a new folder")
    folder = _folder(name, revision)
    taken = _processor(name, folder, processor)
    tokens = _tokens(folder, taken.tokenizer)
    model = SlvrModel.from_released(folder, target_dim=_embedding(folder), tokens=tokens)
    _hide(taken.tokenizer, model)
    check_pair(name, model, taken)
    try:
        with folder_atomic(out) as making:
            model.save_pretrained(making)
            taken.save_pretrained(making)
    except SafetensorError as error:
        raise RunError(f"writing {out} failed: {error}: free space and run the same command again") from error
    latents = model.latent_config
    semantic = f"a semantic slot of {latents.target_dim} numbers" if latents.semantic_dim else "no semantic slot"
    size = sum(one.numel() for one in model.parameters()) / 1e9
    return f"written: {out} ({size:.3g} B parameters, {latents.visual_slots} visual steps, {semantic})"


def _folder(name: str, revision: str | None) -> Path:
    """Where the checkpoint's files are, downloaded where they are on the hub."""
    path = Path(name).expanduser()
    if path.is_dir():
        if revision is not None:
            raise UsageError(f"--revision {revision} is of a hub's repository; {name} is a folder: leave it out")
        return path
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (HfHubHTTPError, OSError, ValueError) as error:
        text = " ".join(str(error).split())[:200]
        raise UsageError(f"{name} is no folder, and cannot be had from the hub ({text}): name either") from None


def _processor(name: str, folder: Path, other: str | None) -> StillProcessor:
    cure = "name the folder or hub name of the one that it was trained with: --processor NAME"
    try:
        found: StillProcessor = StillProcessor.from_pretrained(other or folder, backend="pil")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        text = " ".join(str(error).split())[:200]
        raise UsageError(f"{other or name} has no processor that can be read ({text}): {cure}") from None
    found.chat_template = found.chat_template or found.tokenizer.chat_template
    if not found.chat_template:
        raise UsageError(f"{other or name} has no chat template: {cure}")
    return found


def _tokens(folder: Path, tokenizer: PreTrainedTokenizerBase) -> LatentTokens | None:
    """The latent tokens by their spelling; None where config.json names them.

    Those that config.json names and the tokenizer lacks, as the public one does, are added to it.

    Raises:
        UsageError: nothing names them, or config.json and the tokenizer are of different checkpoints.
    """
    told, known = _told(folder), tokenizer.get_vocab()
    for code, spelled in reversed(_SPELLED.items()):
        ids = {word: told.get(f"{code}_{key}") for key, word in spelled.items()}
        if isinstance(ids[spelled["id"]], int):
            _agree(tokenizer, {word: number for word, number in ids.items() if isinstance(number, int)})
            return None
        if spelled["id"] in known:
            found = {ours: known.get(spelled.get(theirs, ""), ABSENT) for ours, theirs in RELEASED.items()}
            return LatentTokens(**found)
    raise UsageError(
        f"{folder}: neither config.json (slvr_id, lvr_id) nor the tokenizer (<|slvr|>, <|lvr|>) names latent tokens: "
        "not the released layout"
    )


def _agree(tokenizer: PreTrainedTokenizerBase, ids: dict[str, int]) -> None:
    """Give a tokenizer the tokens that it lacks behind all others; then it has each where config.json has it."""
    lacks = sorted((number, word) for word, number in ids.items() if number >= len(tokenizer))
    words = [word for _, word in lacks if word not in tokenizer.get_vocab()]
    if words:
        tokenizer.add_special_tokens({"extra_special_tokens": words}, replace_extra_special_tokens=False)
    known = tokenizer.get_vocab()
    other = [
        f"{word} is {known[word]} here and {number} in config.json"
        for word, number in ids.items()
        if known.get(word, number) != number
    ]
    if other:
        raise UsageError(f"the tokenizer is of another checkpoint ({'; '.join(other)}): name its own with --processor")


def _told(folder: Path) -> dict[str, Any]:
    """config.json; {} where it cannot be read, which the loader says better."""
    try:
        tree = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _embedding(folder: Path) -> int:
    """The length of the embeddings that the checkpoint's projector takes; that of the released data without one."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(file, "pt") as tensors:
                if _PROJECTOR in tensors.keys():  # noqa: SIM118 - it is no mapping
                    return int(tensors.get_slice(_PROJECTOR).get_shape()[1])
        except (SafetensorError, OSError) as error:
            raise RunError(f"{file} cannot be read: {error}: get it again") from None
    return 4096


def _hide(tokenizer: PreTrainedTokenizerBase, model: SlvrModel) -> None:
    """Make special tokens of the latent ones, and of the end that training never used."""
    ids = {number for name in RELEASED for number in [getattr(model.latent_config.tokens, name)] if number != ABSENT}
    ends = (getattr(model.config, f"{code}_latent_end_id", None) for code in _SPELLED)
    shown = sorted((ids | {number for number in ends if isinstance(number, int)}) - set(tokenizer.all_special_ids))
    words = [word for word in tokenizer.convert_ids_to_tokens(shown) if word]
    if words:
        tokenizer.add_special_tokens({"extra_special_tokens": words}, replace_extra_special_tokens=False)
