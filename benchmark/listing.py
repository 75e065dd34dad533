"""What `slvr-bench list` prints: what can be run, or what was."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from benchmark.interventions.names import MEANINGS
from benchmark.opened import open_runs, runs_below
from benchmark.panels import EXPECTED
from benchmark.wording import plural
from slvr_data.errors import UsageError

_VARIANTS = {
    "circular": "every rotation of the choices",
    "paraphrase": "the queries in other words",
    "evidence": "on changed pictures, with “cannot be seen” as a further choice",
}


def kinds() -> str:
    """Models, variants, transforms and protocols, as text."""
    from benchmark.models.base import FORMS
    from benchmark.prompts import DEFAULT_PROTOCOL, PROTOCOLS

    lines = ["models (--model)", *(f"  {form}{_needed(form)}" for form in FORMS), "", "variants (--variants)"]
    lines += [f"  {name:<12}{meaning}" for name, meaning in _VARIANTS.items()]
    lines += ["", "pictures of the variant evidence"]
    lines += [f"  {name:<12}{meaning}" for name, meaning in EXPECTED.items()]
    lines += ["", "latents of an SLVR model (--interventions)"]
    lines += [f"  {name:<12}{meaning}" for name, meaning in MEANINGS.items()]
    lines += [f"  {'slots:0..2K':<12}that many visual slots, K being the model's own number"]
    lines += ["", "protocols (--protocol)"]
    for protocol in PROTOCOLS.values():
        default = " (default)" if protocol.name == DEFAULT_PROTOCOL else ""
        lines.append(f"  {protocol.name:<12}{' '.join(protocol.lettered.split()) or 'nothing is added'}{default}")
    return "\n".join([*lines, ""])


def _needed(form: str) -> str:
    """What must be done before a model can be named, where it does not ship with this installation."""
    kind, _, name = form.partition(":")
    if kind != "slvr" or name.isupper() or shipped(name):
        return ""
    return f"  (after slvr-train {name} DIR, as slvr:DIR/checkpoint)"


def shipped(name: str) -> bool:
    """Whether this installation has the checkpoint `slvr:NAME`, by its files: nothing of `slvr_model` is imported.

    The folder is the one that `slvr_model.checkpoints.SHIPPED` names.
    """
    found = find_spec("slvr_model")
    places = (found and found.submodule_search_locations) or ()
    return any((Path(place) / "checkpoints" / name / "config.json").is_file() for place in places)


def runs_in(folder: Path) -> str:
    """The runs in a folder, one per line: where, the model, what was asked, and what is missing.

    Raises:
        UsageError: the folder is missing.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name a benchmark folder, or one with runs")
    found = runs_below(folder)
    if not found:
        return f"no runs in {folder}\n"
    lines = []
    for run in open_runs(found):
        header = run.header
        variants = f" + {', '.join(header.variants)}" if header.variants else ""
        asked = f"{plural(header.items, 'region')} of {header.data}{variants}, {header.protocol}, {header.form}"
        lines.append(f"{run.folder}  {header.model}  {asked}  {run.state or 'whole'}\n")
    return "".join(lines)
