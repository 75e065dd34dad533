"""Any vision-language model that transformers can load, from a hub or a folder: batched, greedy."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
import transformers
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, ProcessorMixin

from benchmark.models.base import Detail, ModelOptions, refuse_sampling
from benchmark.models.bounds import bounds_of, set_most
from benchmark.models.local import batches_of, details_of, device_of, dtype_of, no_bars
from benchmark.models.pictures import PictureError, pixels_of
from benchmark.models.places import hf_name
from benchmark.records import Ask, Reply
from slvr_data.errors import RunError, UsageError


def open_hf(spec: str, options: ModelOptions) -> HfAdapter:
    """`hf:ID_OR_PATH`.

    Raises:
        UsageError: it is a path that does not exist, cannot be loaded, or has no processor for pictures and text.
    """
    name = hf_name(spec)
    no_bars()
    refuse_sampling(spec, options)
    device = device_of(options)
    processor = processor_of(name, options.revision)
    try:
        known = options.dtype != "auto" or device.type == "cpu"
        model: Any = AutoModelForImageTextToText.from_pretrained(
            name,
            revision=options.revision or "main",
            dtype=dtype_of(options, device, torch.float32) if known else "auto",
        )
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"--model {spec} cannot be loaded: {_first(error)}") from None
    dtype = dtype_of(options, device, model.dtype)
    model = model if model.dtype == dtype else model.to(dtype)
    return HfAdapter(spec, model.to(device).eval(), processor, options)


def processor_of(name: str, revision: str | None) -> Any:
    """The processor of a model; where its part for videos cannot be loaded, the same class without that part.

    transformers needs torchvision for videos, and will not load a processor of which a part is missing.

    Raises:
        UsageError: there is none for pictures and text.
    """
    where = {"revision": revision or "main"}
    try:
        auto: Any = AutoProcessor
        found = auto.from_pretrained(name, **where)
        if hasattr(found, "image_processor") and hasattr(found, "tokenizer"):
            return found
        why = f"it has a {type(found).__name__} and no more"
    except (OSError, ValueError, ImportError) as error:
        why = _first(error)
    try:
        kind = _class_of(name, revision)
        if kind is not None and "video_processor" in kind.get_attributes():
            return still(kind).from_pretrained(name, **where)
    except (OSError, ValueError, ImportError, TypeError) as error:
        again = _first(error)
        why = why if again == why else f"{why}; without its part for videos: {again}"
    raise UsageError(f"--model hf:{name} has no processor for pictures and text that can be loaded: {why}")


def _class_of(name: str, revision: str | None) -> type[Any] | None:
    """The class that transformers has for processors of this kind of model."""
    from transformers.models.auto import processing_auto

    config = AutoConfig.from_pretrained(name, revision=revision or "main")
    names: Any = vars(processing_auto)["PROCESSOR_MAPPING_NAMES"]
    found = getattr(transformers, names.get(config.model_type) or "", None)
    return found if isinstance(found, type) and issubclass(found, ProcessorMixin) else None


def still(kind: type[Any]) -> type[Any]:
    """A processor's class without its part for videos."""

    class Still(kind):  # type: ignore[misc]
        def __init__(
            self, image_processor: Any = None, tokenizer: Any = None, chat_template: Any = None, **others: Any
        ) -> None:
            super().__init__(image_processor, tokenizer, chat_template=chat_template)

    return Still


class HfAdapter:
    """Generates batches, padded on the left."""

    def __init__(self, spec: str, model: Any, processor: Any, options: ModelOptions) -> None:
        self.name = spec
        self._model, self._processor, self._options = model, processor, options
        set_most(processor.image_processor, options)
        found = getattr(processor, "image_token_id", None)
        self._shown = getattr(model.config, "image_token_id", None) if found is None else found
        """What stands for a visual token; None where the model does not tell."""
        tokenizer = processor.tokenizer
        tokenizer.padding_side = "left"
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        if getattr(processor, "chat_template", None) is None and getattr(tokenizer, "chat_template", None) is None:
            raise UsageError(f"--model {spec} has no chat template: a model that was trained to answer is needed")
        ends = model.generation_config.eos_token_id
        self._ends = set(ends if isinstance(ends, list) else [ends if ends is not None else tokenizer.eos_token_id])

    def details(self) -> dict[str, Detail]:
        """Hashes, numbers and versions."""
        template = getattr(self._processor, "chat_template", None) or self._processor.tokenizer.chat_template
        return {
            **details_of(self._model, str(template), self._options),
            **bounds_of(self._processor.image_processor, self._options),
            "class": type(self._model).__name__,
            "repetition_penalty": self._model.generation_config.repetition_penalty,
        }

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        """Batch by batch; see `Model.replies`."""
        for batch in batches_of(asks, self._options.batch_size):
            ready: list[tuple[Ask, Image.Image]] = []
            for ask in batch:
                try:
                    ready.append((ask, pixels_of(ask.picture, self._options.max_pixels)))
                except PictureError as error:
                    yield ask, Reply(None, "error", str(error))
            if ready:
                yield from self._answered(ready)

    def _answered(self, ready: Sequence[tuple[Ask, Image.Image]]) -> Iterator[tuple[Ask, Reply]]:
        """A batch; one that the processor refuses is tried ask by ask, so that one bad ask costs that ask."""
        started = time.monotonic()
        try:
            inputs = self._inputs(ready)
        except (ValueError, IndexError) as error:
            if len(ready) == 1:
                yield ready[0][0], Reply(None, "error", _first(error))
                return
            for one in ready:
                yield from self._answered([one])
            return
        new = self._generated(inputs)
        seconds = time.monotonic() - started
        kept = inputs["attention_mask"].sum(1).tolist()
        shown = [None] * len(ready) if self._shown is None else (inputs["input_ids"] == self._shown).sum(1).tolist()
        for (ask, _), ids, prompt, tokens in zip(ready, new.tolist(), kept, shown, strict=True):
            length = next((n for n, token in enumerate(ids, 1) if token in self._ends), None)
            text = self._processor.tokenizer.decode(ids[:length], skip_special_tokens=True).strip()
            finish = "length" if length is None else "stop"
            yield ask, Reply(text, finish, None, int(prompt), length or len(ids), seconds, tokens)

    def _inputs(self, ready: Sequence[tuple[Ask, Image.Image]]) -> Any:
        conversations = [
            [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": ask.prompt}]}]
            for ask, picture in ready
        ]
        return self._processor.apply_chat_template(
            conversations,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            processor_kwargs={"padding": True},
        ).to(self._model.device, self._model.dtype)

    @torch.no_grad()
    def _generated(self, inputs: Any) -> torch.Tensor:
        """New ids [B, T]."""
        try:
            ids = self._model.generate(
                **inputs,
                max_new_tokens=self._options.max_new_tokens,
                do_sample=False,
                num_beams=1,
                pad_token_id=self._processor.tokenizer.pad_token_id,
            )
        except torch.OutOfMemoryError as error:
            raise RunError(f"out of memory: lower --batch-size or --max-pixels ({_first(error)})") from error
        new: torch.Tensor = ids[:, inputs["input_ids"].shape[1] :]
        return new


def _first(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
