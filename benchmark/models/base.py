"""What a model is to the benchmark: asks in, replies out. A specification names one, options say how it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from benchmark.records import Ask, Reply
from slvr_data.errors import UsageError

if TYPE_CHECKING:
    from benchmark.folder import Bench
    from benchmark.interventions.latents import Attention, Survey
    from benchmark.interventions.names import Shape
    from benchmark.interventions.profiles import Profiles

LatentMode = Literal["on", "off", "zero", "noise", "swapped"]
"""What is fed into the latent slots of an SLVR model: its own latents, none at all (no slots), zeros, noise, or the
latents that it writes about another picture."""
LATENT_MODES: tuple[LatentMode, ...] = ("on", "off", "zero", "noise", "swapped")
BASELINES = ("random", "majority", "prior", "oracle", "noisy-oracle:P,RHO", "blind")
"""Models without a network (`benchmark.models.simple`) and the fitted text-only answerer (`benchmark.models.blind`)."""
FORMS = ("slvr:tiny", "slvr:PATH", "hf:ID_OR_PATH", "served:NAME@URL", *BASELINES)
"""How specifications look."""

Detail = str | int | float | bool | None


class Model(Protocol):
    """A model that can be asked."""

    name: str
    """The specification that opened it."""

    def details(self) -> dict[str, Detail]:
        """What may differ between runs that are compared: hash of the weights, revision, dtype, versions, ...

        "least_pixels" and "most_pixels", where they are among it, are the model's picture budget and no detail.
        """
        ...

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        """Each ask with its reply, in any order.

        `asks` is taken in as it is needed: batches or calls side by side are made in here. An ask that cannot be
        answered (its picture is refused, its prompt too long) gives a reply without text that says why.

        Raises:
            UnfinishedError: asks are left without a reply, and the same command may go on with them later; replies
                that came before have been given out.
            RunError: going on is of no use.
        """
        ...


class LatentModel(Model, Protocol):
    """A model whose replies open with latents, which can be read and replaced."""

    def latent_shape(self) -> Shape:
        """What latents it has."""
        ...

    def survey(self, asks: Iterable[Ask]) -> Survey:
        """The latents of plain asks, before anything is changed. Their mean is what "mean" feeds."""
        ...

    def attention(self, asks: Iterable[Ask]) -> list[Attention]:
        """How much the positions that an answer is read from attend to the latents."""
        ...


@dataclass(frozen=True)
class ModelOptions:
    """How a model is run. An option that a model has no use for is left alone."""

    max_new_tokens: int = 512
    """Of a reply."""
    max_pixels: int | None = None
    """Pictures of more pixels are scaled down to this, and a processor in this process lets so many through; None: the
    processor's own bounds."""
    temperature: float = 0.0
    """0: greedy."""
    top_p: float = 1.0
    """Nucleus of the sampling, where the temperature is above 0."""
    seeds: int = 1
    """How often each query is asked; more than once only where replies are drawn."""
    batch_size: int = 16
    """Asks that a model in this process answers at once."""
    device: str = "auto"
    """Of a model in this process: "auto" (a GPU where there is one), "cpu", "cuda:0", ..."""
    dtype: str = "auto"
    """"auto" (as the weights are kept, bfloat16 for float32 ones on CUDA; float32 on a CPU), "float32", "bfloat16" or
    "float16"."""
    revision: str | None = None
    """Of the weights: of a repository on a hub, or what is told of a served model."""
    latents: LatentMode = "on"
    """Of an SLVR model."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the key of a served model."""
    concurrency: int = 64
    """Calls of a served model in flight at most, per server."""
    timeout: float = 300.0
    """Seconds for one call."""
    patience: float = 60.0
    """Seconds without any reply of any server, before the run stops and leaves the rest for later."""
    transport_retries: int = 8
    """Calls without a reply, before an ask is left for later."""
    scratch: Path | None = None
    """Folder on a local disk for the store of a served model's replies."""
    prompt_version: str = ""
    """Name and hash of the prompt's form: part of the key that a served reply is kept by."""
    work: Path | None = None
    """Folder of the run for what is not the log: the store and ledger of a served model. None: nothing is kept."""
    bench: Bench | None = field(default=None, repr=False)
    """The items that are asked, for baselines that learn from its training statistics, and for swapped latents."""
    profiles: Profiles | None = field(default=None, repr=False)
    """Of the items' regions, for the semantic targets of interventions."""
    say: Callable[[str], None] = field(default=lambda text: None, repr=False)
    """Takes a line for the person who waits."""


def open_model(spec: str, options: ModelOptions) -> Model:
    """The model that a specification names (`FORMS`).

    Raises:
        UsageError: it names none, options do not fit it, or a package that it needs is missing.
        RunError: its checkpoint is damaged.
    """
    kind, colon, rest = spec.partition(":")
    if kind in {name.partition(":")[0] for name in BASELINES}:
        return _baseline(kind, spec, options)
    if kind not in ("slvr", "hf", "served") or not colon or not rest:
        raise UsageError(f"--model {spec}: no such model; give one of {', '.join(FORMS)}")
    if options.seeds > 1 and options.temperature == 0:
        raise UsageError(
            f"{options.seeds} seeds at temperature 0 would give the same replies {options.seeds} times: "
            "set --temperature above 0, or ask once"
        )
    if kind == "served":
        from benchmark.models.served import open_served

        return open_served(spec, options)
    _need_place(spec)
    _need_torch(spec)
    if kind == "slvr":
        from benchmark.models.slvr import open_slvr

        return open_slvr(spec, options)
    from benchmark.models.hf import open_hf

    return open_hf(spec, options)


def _baseline(kind: str, spec: str, options: ModelOptions) -> Model:
    if kind == "blind":
        from benchmark.models import blind

        return blind.open_model(spec, options)
    from benchmark.models import simple

    return simple.open_model(spec, options)


def _need_place(spec: str) -> None:
    """Say that a folder is not there before torch is loaded, which takes seconds."""
    from benchmark.models.places import hf_name, slvr_folder

    if spec.startswith("hf:"):
        hf_name(spec)
    elif spec not in FORMS:
        slvr_folder(spec)


def _need_torch(spec: str) -> None:
    """Say which extra is missing, in place of an import error from somewhere inside."""
    from importlib.util import find_spec

    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise UsageError(f"--model {spec} needs {' and '.join(missing)}: pip install '.[train]' in a clone")


def refuse_sampling(spec: str, options: ModelOptions) -> None:
    """For models that only decode greedily.

    Raises:
        UsageError: a temperature was asked for.
    """
    if options.temperature > 0:
        raise UsageError(f"--model {spec} decodes greedily: leave --temperature {options.temperature} out")
