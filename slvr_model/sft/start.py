"""The model that a run starts from: an SLVR checkpoint, a public Qwen2.5-VL given latents, or a small untrained one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from slvr_data.errors import UsageError
from slvr_model.batches import Row, collate
from slvr_model.checkpoints import SHIPPED, open_checkpoint
from slvr_model.checkpoints.precision import hold
from slvr_model.latents import KEY
from slvr_model.memory import memory
from slvr_model.modeling import SlvrModel
from slvr_model.sft.config import LoraConfig, ModelConfig
from slvr_model.tiny import StillProcessor, new_plain, new_tiny, start_weights, tiny_processor

NEW = ("new:tiny", "new:public")
"""Untrained starts: the embedded model, and the public class of its shape that is given latents as any public one."""
_AT_ONCE = 8


def is_public(name: str, option: str = "model.start") -> bool:
    """Whether a start has no latents yet.

    Args:
        name: of the start.
        option: that names it.

    Raises:
        UsageError: there is no such checkpoint.
    """
    if name.startswith("new:"):
        if name not in NEW:
            raise UsageError(f"{option} {name}: the untrained ones are {' and '.join(NEW)}")
        return name == "new:public"
    if name.startswith("slvr:"):
        return False
    try:
        if Path(name).is_dir() and not (Path(name) / "config.json").exists():  # transformers makes an empty one
            raise FileNotFoundError("it has no config.json")
        data, _ = PreTrainedConfig.get_config_dict(name)
    except (OSError, ValueError) as error:
        ships = ", ".join((*SHIPPED, *NEW))
        reason = str(error).splitlines()[0]
        inside = Path(name) / "checkpoint"
        meant = f"; {inside} is one" if (inside / "config.json").exists() else ""
        raise UsageError(f"{option} {name} is no checkpoint ({reason}){meant}; besides folders: {ships}") from None
    return KEY not in data


def open_start(config: ModelConfig, dimension: int | None, seed: int) -> tuple[SlvrModel, StillProcessor]:
    """The model and its processor, as `config` has them; the latents' maps and statistics are float32 in any case.

    Args:
        config: what to start from.
        dimension: of the set's embeddings; None where it has none.
        seed: of new weights.
    """
    dtype = getattr(torch, config.dtype)
    if config.start == "new:tiny":
        model, processor = new_tiny(seed)
    elif is_public(config.start):
        model, processor = _from_public(config, dimension or 0, seed)
    else:
        model, processor = open_checkpoint(config.start)
    for name, part in model.named_children():
        if name in ("latents", "text_embedding_projector"):
            part.float()
        else:
            hold(part, dtype)
    if config.attention != model.config._attn_implementation:
        model.set_attn_implementation(config.attention)
    size = processor.image_processor.size
    least, most = config.min_pixels or size["shortest_edge"], config.max_pixels or size["longest_edge"]
    if least > most:
        raise UsageError(f"pictures of {least} to {most} pixels: model.min_pixels must not be above model.max_pixels")
    processor.image_processor.size = type(size)(shortest_edge=least, longest_edge=most)
    return model, processor


def _from_public(config: ModelConfig, dimension: int, seed: int) -> tuple[SlvrModel, StillProcessor]:
    semantic = dimension if config.semantic_dim is None else config.semantic_dim
    shape: dict[str, Any] = {"visual_slots": config.visual_slots, "semantic_dim": semantic}
    torch.manual_seed(seed)  # of the latents' maps
    if config.start != "new:public":
        processor = _processor(config.start)
        options = shape | {"dtype": getattr(torch, config.dtype), "attn_implementation": config.attention}
        return SlvrModel.from_public(config.start, processor.tokenizer, **options), processor
    with tempfile.TemporaryDirectory() as folder:
        processor = tiny_processor()
        new_plain(seed).save_pretrained(folder)
        model = SlvrModel.from_public(folder, processor.tokenizer, **shape)
    start_weights(model.latents, seed)
    return model, processor


def _processor(name: str) -> StillProcessor:
    try:
        processor: StillProcessor = StillProcessor.from_pretrained(name, backend="pil")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(f"model.start {name} has no processor ({str(error).strip().splitlines()[0]})") from error
    return processor


@torch.no_grad()
def measure(model: SlvrModel, rows: Iterable[Row]) -> int:
    """Set mean and deviation per channel of visual latents from the regions of `rows`; the number of tokens taken.

    Raises:
        UsageError: the rows have fewer than two regions.
    """
    held: list[Row] = []
    found: list[Tensor] = []
    device = model.lm_head.weight.device

    def encode() -> None:
        batch = collate(held, model.layout).to(device)
        visual_MD = model.encode(batch)
        if batch.regions is not None and visual_MD is not None:
            found.append(batch.regions.pool(visual_MD).float().cpu())
        held.clear()

    with memory("measuring visual tokens", "model.max_pixels"):
        for row in rows:
            held.append(row)
            if len(held) == _AT_ONCE:
                encode()
        if held:
            encode()
    tokens_ND = torch.cat(found) if found else torch.empty(0, 1)
    model.latents.set_statistics(tokens_ND.to(device))
    return len(tokens_ND)


def prepare(model: SlvrModel, config: ModelConfig, lora: LoraConfig | None, seed: int) -> None:
    """Leave gradients to what is trained, and hold that in float32: small steps are lost in bfloat16's rounding.

    Args:
        model: as it was opened.
        config: what of its encoder is trained.
        lora: adapters of its language model, which then stands still; None: it is trained itself.
        seed: of the adapters' first values.
    """
    freeze(model, config)
    if lora is not None:
        torch.manual_seed(seed)
        add_lora(model, lora)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def freeze(model: SlvrModel, config: ModelConfig) -> None:
    """Switch off gradients of the vision tower and of the merger, unless they are to be trained."""
    visual: Any = model.model.visual
    for parameter in visual.parameters():
        parameter.requires_grad_(config.train_vision)
    for parameter in visual.merger.parameters():
        parameter.requires_grad_(config.train_merger)


def checkpoint_layers(model: SlvrModel) -> None:
    """Keep only the inputs of the language model's layers for the backward pass, and compute the rest again."""
    text = model.text
    name = "activation_checkpointing_enable"  # older versions of the library call it gradient_checkpointing_enable
    getattr(text, name, text.gradient_checkpointing_enable)()


def add_lora(model: SlvrModel, config: LoraConfig) -> None:
    """Put adapters on the language model and freeze the rest of it; latents stay trained in full.

    Raises:
        UsageError: peft is missing, or no layer has a name among the targets.
    """
    try:
        import peft
    except ImportError:
        raise UsageError("training.lora needs peft, which is missing: pip install '.[train]' in a clone") from None
    text = model.text
    ends = {name.rsplit(".", 1)[-1] for name, part in text.named_modules() if isinstance(part, nn.Linear)}
    if unknown := [name for name in config.targets if name not in ends]:
        raise UsageError(f"training.lora.targets {unknown}: the language model has {', '.join(sorted(ends))}")
    for parameter in (*text.parameters(), *model.lm_head.parameters()):
        parameter.requires_grad_(False)
    adapters = peft.LoraConfig(
        r=config.rank, lora_alpha=config.alpha, lora_dropout=config.dropout, target_modules=list(config.targets)
    )
    peft.inject_adapter_in_model(adapters, text)
    for parameter in (*text.embed_tokens.parameters(), *model.lm_head.parameters()):
        parameter.requires_grad_(config.vocabulary)


def plain_state(state: dict[str, Tensor], scale: float) -> dict[str, Tensor]:
    """A model's tensors with adapters merged, W + alpha/r B A, under the names that they have without adapters.

    What is merged is float32, on the host: added to weights on the grid of bfloat16, most of a small change would be
    rounded away.
    """
    plain = {}
    for name, value in state.items():
        if ".lora_" in name:
            continue
        if ".base_layer." not in name:
            plain[name] = value
            continue
        low = name.replace(".base_layer.weight", ".lora_A.default.weight")
        if name.endswith(".weight") and low in state:
            high = low.replace("lora_A", "lora_B")
            change = scale * (state[high].float() @ state[low].float())
            value = (value.float() + change).cpu()
        plain[name.replace(".base_layer.", ".")] = value
    return plain


def sizes(model: nn.Module) -> tuple[int, int]:
    """(parameters that are trained, all parameters), tied ones once."""
    every = list(model.parameters())
    return sum(p.numel() for p in every if p.requires_grad), sum(p.numel() for p in every)


def folder_of(name: str) -> Path | None:
    """The folder of a start, where it is one on this machine."""
    folder = SHIPPED.get(name, Path(name))
    return folder if folder.is_dir() else None
