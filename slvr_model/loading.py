"""Checkpoints into models: ours, the public Qwen2.5-VL's, and the released research code's; nothing left to chance."""

from __future__ import annotations

import dataclasses
import difflib
import logging
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase, Qwen2_5_VLConfig
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping
from transformers.utils import logging as reports

from slvr_data.errors import RunError, UsageError
from slvr_model.latents import KEY, LatentConfig
from slvr_model.memory import memory
from slvr_model.tokens import ABSENT, LatentTokens

if TYPE_CHECKING:
    from slvr_model.modeling import SlvrModel

Loader = Callable[..., Any]
"""The library's `from_pretrained`, bound to our class."""
RELEASED = {
    "vis_start": "start_id",
    "vis_slot": "id",
    "vis_end": "end_id",
    "sem_start": "text_start_id",
    "sem_slot": "text_id",
    "sem_end": "text_end_id",
}
"""Keys of the released code's config.json, behind "slvr_" or "lvr_"."""
RELEASED_STEPS = 8
"""Latent steps of its inference; in training it had one for each visual token of the box."""
OPTIONS = ("dtype", "device_map", "attn_implementation", "revision", "cache_dir", "token")
"""Of the library's loader, those that are often wanted: an unknown one is compared with them."""
UNUSED = ("lvr_head.", "slvr_head.", "slvr_latent_end_emb", "lvr_latent_end_emb")
"""Released tensors of switched-off options: a head that training never ran, an end vector that it never taught."""


def share_names(ours: str, public: str) -> None:
    """Let the class named `ours` read and write tensors under the names of the class named `public`.

    The library renames tensors of Qwen2.5-VL between files and memory, by the name of the class.
    """
    mapping = get_checkpoint_conversion_mapping(public)  # type: ignore[no-untyped-call]
    if mapping is not None:
        register_checkpoint_conversion_mapping(ours, mapping, overwrite=True)


def checked_config(name: Any) -> Any:
    """The configuration of a checkpoint, read without its weights.

    Raises:
        UsageError: it cannot be read, or is no Qwen2.5-VL.
    """
    try:
        data, _ = PreTrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        raise UsageError(f"{name} is no checkpoint: {str(error).splitlines()[0]}") from error
    kind, wanted = data.get("model_type"), Qwen2_5_VLConfig.model_type
    if kind != wanted:
        raise UsageError(f'{name} is of architecture "{kind}"; only "{wanted}" can carry latents here')
    try:
        return Qwen2_5_VLConfig.from_dict(data)
    except (StrictDataclassError, TypeError, ValueError) as error:
        raise UsageError(f"{name}: config.json is wrong: {' '.join(str(error).split())}") from error


def load(
    loader: Loader,
    name: Any,
    *args: Any,
    fresh: tuple[str, ...] = (),
    spare: tuple[str, ...] = (),
    **kwargs: Any,
) -> SlvrModel:
    """A model whose tensors are exactly those of the files.

    Args:
        loader: the library's loader.
        name: folder or hub name.
        args: for the loader, as `kwargs`.
        fresh: only tensors beginning so may be absent; they get their first values.
        spare: only tensors beginning so may be in the files without being used.

    Raises:
        UsageError: an option is unknown (the nearest known one is named).
        RunError: tensors are missing, unknown or of another shape (named), the files cannot be read, or memory is
            short.
    """
    level = reports.get_verbosity()
    reports.set_verbosity(logging.ERROR)  # what is amiss is an error here, not a report
    try:
        with memory(f"reading {name}", "its precision (dtype=torch.bfloat16), or what else is held"):
            model, info = loader(name, *args, output_loading_info=True, ignore_mismatched_sizes=True, **kwargs)
    except TypeError as error:
        _check_option(error)
        raise
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise RunError(f"{name} cannot be read: {str(error).strip().splitlines()[0]}") from error
    finally:
        reports.set_verbosity(level)
    missing = [key for key in info["missing_keys"] if not key.startswith(fresh)]
    unknown = [key for key in info["unexpected_keys"] if not key.startswith(spare)]
    other = [str(entry[0]) for entry in info["mismatched_keys"]]
    for keys, what in ((missing, "lacks tensors"), (unknown, "has unknown tensors"), (other, "has other shapes for")):
        if keys:
            raise RunError(f"{name} {what}: {_some(keys)}; it is damaged, or of another version")
    return cast("SlvrModel", model.eval())


def _check_option(error: TypeError) -> None:
    """Say it where the error is an option that neither we nor the library know."""
    found = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if found is not None:
        known = [*OPTIONS, *(field.name for field in dataclasses.fields(LatentConfig) if field.name != "tokens")]
        near = difflib.get_close_matches(found[1], known, 1)
        raise UsageError(f'unknown option "{found[1]}"' + (f'; did you mean "{near[0]}"?' if near else "")) from error


def from_public(loader: Loader, name: Any, tokenizer: PreTrainedTokenizerBase, **options: Any) -> SlvrModel:
    """A model with fresh latents from a public Qwen2.5-VL. Latent tokens are added to `tokenizer`: save it as well.

    Args:
        loader: the library's loader.
        name: folder or hub name of a Qwen2.5-VL.
        tokenizer: its tokenizer.
        options: fields of `LatentConfig` but `tokens`; all others go to the loader.
    """
    names = {field.name for field in dataclasses.fields(LatentConfig)} - {"tokens"}
    shape = {key: options.pop(key) for key in list(options) if key in names}
    config = checked_config(name)
    tokens = LatentTokens.add_to(tokenizer)
    setattr(config, KEY, LatentConfig(tokens, **shape).to_dict())
    model = load(loader, name, fresh=("latents.",), config=config, **options)
    _give_rows(model, tokens, len(tokenizer))
    return model


@torch.no_grad()
def _give_rows(model: SlvrModel, tokens: LatentTokens, size: int) -> None:
    """Rows of the vocabulary for the latent tokens: the mean of all others, for spare rows hold nothing."""
    inputs: Any = model.get_input_embeddings()
    if size > len(inputs.weight):
        model.resize_token_embeddings(size, mean_resizing=False)
    ids = sorted(dataclasses.astuple(tokens))
    heads: tuple[Any, Any] = (model.get_input_embeddings(), model.lm_head)
    tables: list[Tensor] = list({id(head.weight): head.weight for head in heads}.values())
    for table_VD in tables:
        others = torch.ones(len(table_VD), dtype=torch.bool, device=table_VD.device)
        others[ids] = False
        table_VD[ids] = table_VD[others].float().mean(0).to(table_VD.dtype)


def from_released(loader: Loader, name: Any, **options: Any) -> SlvrModel:
    """A model from a checkpoint in the layout of the released LVR or SLVR code.

    There a slot is fed the last state itself: both visual maps are the identity, nothing is standardised. A semantic
    target is W e (W: the checkpoint's `text_embedding_projector`), in the space of states; its maps are the identity
    as well, and embeddings of a batch are passed through W. W gets no gradient from here (it did there, and W -> 0
    was a minimum).

    Args:
        loader: the library's loader.
        name: folder or hub name.
        options: for the loader; `target_dim`, the length of an embedding (4096 in the released data); and `tokens`,
            the `LatentTokens` of a checkpoint whose config.json does not name them.

    Raises:
        UsageError: config.json names no latent tokens of that code.
    """
    config, embedding = checked_config(name), int(options.pop("target_dim", 4096))
    tokens = options.pop("tokens", None) or _released_tokens(name, config)
    shape: dict[str, Any] = {"visual_slots": RELEASED_STEPS, "unit_semantic": False}
    if tokens.sem_slot != ABSENT:
        shape |= {"semantic_dim": config.get_text_config(decoder=True).hidden_size, "target_dim": embedding}
    setattr(config, KEY, LatentConfig(tokens, **shape).to_dict())
    model = load(loader, name, fresh=("latents.",), spare=UNUSED, config=config, **options)
    _identities(model)
    return model


def _released_tokens(name: Any, config: Any) -> LatentTokens:
    """The ids that the released code keeps in config.json, as "slvr_..." or "lvr_..."."""
    for prefix in ("slvr_", "lvr_"):
        found = {ours: getattr(config, prefix + theirs, None) for ours, theirs in RELEASED.items()}
        visual = [value for ours, value in found.items() if ours.startswith("vis")]
        if all(isinstance(value, int) for value in visual):
            return LatentTokens(**{ours: ABSENT if value is None else value for ours, value in found.items()})
    wanted = ", ".join(f"slvr_{theirs}" for theirs in list(RELEASED.values())[:3])
    raise UsageError(f"{name}: config.json has none of {wanted} (nor the same with lvr_): not the released layout")


@torch.no_grad()
def _identities(model: SlvrModel) -> None:
    """A latent is the last state, and so is the input it becomes."""
    heads: Any = model.latents
    maps = [heads.visual_in, heads.visual_out]
    if model.latent_config.semantic_dim:
        maps += [heads.semantic_in, heads.semantic_out]
    for one in maps:
        torch.nn.init.eye_(one.weight)
        torch.nn.init.zeros_(one.bias)


def _some(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
