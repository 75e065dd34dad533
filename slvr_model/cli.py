"""The command `slvr-train`: its front. Everything heavy is imported inside the commands."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Annotated

import typer

from slvr_data import commandline
from slvr_data.errors import UsageError

app = typer.Typer(
    name="slvr-train",
    help="Train models that write latents for a region before they answer.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _front() -> None:
    """Train models that write latents for a region before they answer."""


@app.command()
def tiny(
    out: Annotated[Path, typer.Argument(help="Folder of the run: state, curve, and at the end the checkpoint.")],
    lessons: Annotated[int, typer.Option(min=64, help="Easy scenes to learn from.")] = 24000,
    seed: Annotated[int, typer.Option(min=0, help="Of weights and of what is shown.")] = 0,
    scale: Annotated[float, typer.Option(min=0.001, help="Factor on the steps of all stages; 1 is the recipe.")] = 1.0,
    held_out: Annotated[int, typer.Option(min=8, help="Fresh easy scenes to examine on at the end.")] = 300,
    cache: Annotated[Path | None, typer.Option(help="Folder where drawn lessons are kept.")] = None,
    processes: Annotated[int, typer.Option(min=1, help="That train together. Other numbers give another model.")] = 2,
) -> None:
    """Train the embedded model from nothing on drawn scenes: plain answers, then latents. The same command goes on."""
    _need_torch()
    from slvr_model.recipes.tiny import Recipe, train_tiny

    recipe = Recipe(lessons=lessons, seed=seed, scale=scale, held_out=held_out)
    train_tiny(out, recipe, cache or out / "lessons", processes)


@app.command()
def chat(
    checkpoint: Annotated[str, typer.Argument(help="Folder or hub name of an SLVR checkpoint.")],
    image: Annotated[Path, typer.Option(help="A picture, or a published set, whose first region is asked about.")],
    question: Annotated[str | None, typer.Option(help="Default: the set's, or what is in the box or center.")] = None,
    box: Annotated[str | None, typer.Option(help="x1,y1,x2,y2 in pixels: latents of this region, not its own.")] = None,
    page: Annotated[Path | None, typer.Option("--html", help="Write the answer and its latents as a page.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1; auto: a GPU where there is one.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16, float16; auto: on a GPU mostly bfloat16.")] = "auto",
) -> None:
    """Ask a model about a picture; show the answer and what its latents hold."""
    _need_torch()
    from slvr_model import chat as talk

    region, shown = talk.box_of(box) if box else None, talk.shown(image, question)
    model, processor = talk.opened(checkpoint, device, dtype)
    replies = [(talk.asked(model, processor, shown.picture, asked, region), right) for asked, right in shown.asked]
    print("\n".join(talk.as_text(*reply) for reply in replies))
    if page is not None:
        talk.write_page(page, shown.picture, replies[0][0])
        print(f"written: {page}")


Config = Annotated[str, typer.Option("--config", help="A shipped configuration (slvr-train configs), or a YAML file.")]
Assignments = Annotated[list[str] | None, typer.Option("--set", help="key=value, for example training.rows=4.")]


@app.command()
def sft(
    config: Config,
    assignments: Assignments = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last whole checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it takes: nothing is loaded.")] = False,
) -> None:
    """Stage 1: teach a model latents and answers from an SLV-Set. On several GPUs: torchrun -m slvr_model.sft."""
    from slvr_model.sft.settings import load_config

    if dry_run:
        _need_torch()
        from slvr_model.sft.dry import told

        print(told(load_config(config, assignments or [])))
        return
    settings = load_config(config, assignments or [])
    _need_torch("accelerate")
    from slvr_model.sft.run import train_sft

    train_sft(settings, resume)


@app.command()
def mgrpo(
    config: Config,
    init: Annotated[str | None, typer.Option(help="The checkpoint of stage 1 to start from.")] = None,
    assignments: Assignments = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the run's last whole checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it takes: nothing is loaded.")] = False,
) -> None:
    """Stage 2: reinforcement learning over a region's questions. On several GPUs: torchrun -m slvr_model.mgrpo."""
    from slvr_model.sft.settings import load_config

    settings = load_config(config, assignments or [], "mgrpo")
    init = init or settings.model.init
    if init is None:
        cure = "--init is missing: name a checkpoint of stage 1 (RUN/checkpoint of slvr-train sft), or slvr:tiny"
        raise UsageError(cure)
    settings.model.init = init
    if dry_run:
        _need_torch()
        from slvr_model.mgrpo.dry import told

        print(told(settings, init))
        return
    _need_torch("accelerate")
    from slvr_model.mgrpo.run import train_mgrpo

    train_mgrpo(settings, init, resume)


@app.command()
def cases(
    run: Annotated[Path, typer.Argument(help="Folder of a run of mgrpo.")],
    page: Annotated[Path | None, typer.Option("--html", help="Write a page with pictures, questions, answers.")] = None,
    steps: Annotated[str | None, typer.Option(help="Only this step, or these: first:last.")] = None,
    groups: Annotated[int, typer.Option(min=1, help="Regions on the page, spread evenly over the steps.")] = 60,
) -> None:
    """Show how the rollouts of a run fared: a table over its steps, and a page to look at them."""
    from slvr_model.mgrpo.cases_page import show_cases

    print(show_cases(run, page, steps, groups))


@app.command("convert-checkpoint")
def convert_checkpoint(
    released: Annotated[str, typer.Argument(help="Folder or hub name of a checkpoint of the LVR or SLVR code.")],
    out: Annotated[Path, typer.Option("--out", help="Where to write it: a new folder.")],
    processor: Annotated[str | None, typer.Option(help="Of this folder or hub name, where it has none.")] = None,
    revision: Annotated[str | None, typer.Option(help="Of the checkpoint on the hub.")] = None,
) -> None:
    """Write a released LVR or SLVR checkpoint as one of ours, for slvr-bench run --model slvr:DIR."""
    _need_torch()
    from slvr_model.released import convert

    print(convert(released, out, processor, revision))
    print(f"slvr-bench run --model slvr:{out} --data BENCH")


@app.command()
def configs() -> None:
    """List the configurations that ship."""
    from slvr_model.sft.settings import STAGES, shipped

    for stage in STAGES:
        for name, purpose in shipped(stage).items():
            print(f"{name:17} {purpose}")


@app.command()
def show(
    config: Annotated[str, typer.Argument(help="A shipped configuration, or a YAML file.")],
    assignments: Assignments = None,
) -> None:
    """Print a configuration with every setting and what it means, as a file to start from."""
    from slvr_model.sft.settings import as_yaml, load_any

    print(as_yaml(load_any(config, assignments or []), explained=True), end="")


def _need_torch(*more: str) -> None:
    """Say what to install where it is missing.

    Raises:
        UsageError: torch, transformers or one of `more` is missing.
    """
    missing = [name for name in ("torch", "transformers", *more) if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} is missing: pip install '.[train]' in a clone")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> None:
    """Run the command; what a user can meet is one line, never a traceback."""
    commandline.run(
        "slvr-train",
        app,
        stopped="stopped; run the same command again (sft, mgrpo: with --resume) to go on from the last state kept",
        memory="out of memory: fewer --lessons (tiny), training.rows (sft), training.micro_rows (mgrpo), or pictures",
    )
