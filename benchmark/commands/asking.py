"""The commands that ask a model: `run`, and `join` for a run that was parted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def run(
    model: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="slvr:tiny, slvr:PATH, hf:ID_OR_PATH, served:NAME@URL, or a baseline (slvr-bench list).",
        ),
    ],
    data: Annotated[Path, typer.Option(metavar="DIR", help="A benchmark folder, of build or import.")],
    variants: Annotated[
        str, typer.Option(metavar="LIST", help="What is asked beside: circular,paraphrase,evidence or some of them.")
    ] = "",
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Ask everything so often (with --temperature).")] = 1,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only so many regions; may grow later.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the run (default: DATA/runs/NAME_OF_THE_MODEL).")
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Only part I of N (from 0), into its own folder in --out; then slvr-bench join."
        ),
    ] = None,
    form: Annotated[Literal["lettered", "open"], typer.Option(help="With lettered choices, or openly.")] = "lettered",
    protocol: Annotated[
        str, typer.Option(metavar="NAME", help="The words of the prompt (slvr-bench list).")
    ] = "bare-1",
    max_new_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Of a reply.")] = 512,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Scale larger pictures down to so many pixels.")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2, metavar="X", help="Of sampling; 0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(min=0, max=1, metavar="X", help="Nucleus of sampling.")] = 1.0,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="Asks at once, of a model in this process.")] = 16,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda:0, ...; of a model in this process.")] = (
        "auto"
    ),
    dtype: Annotated[str, typer.Option(metavar="NAME", help="auto, float32, bfloat16 or float16.")] = "auto",
    revision: Annotated[str | None, typer.Option(metavar="NAME", help="Of the weights.")] = None,
    latents: Annotated[
        Literal["on", "off", "zero", "noise", "swapped"],
        typer.Option(help="What an SLVR model's latent slots are fed."),
    ] = "on",
    interventions: Annotated[
        str,
        typer.Option(
            metavar="LIST",
            help="Ask again with an SLVR model's latents replaced: zeroed, noise, mean, picture, region, targets (each "
            "also as NAME:visual, NAME:semantic), slots:0..2K.",
        ),
    ] = "",
    profiles: Annotated[
        Path | None,
        typer.Option(metavar="SLV_SET_DIR", help="With --interventions: the published set that the items are of."),
    ] = None,
    api_key_env: Annotated[
        str, typer.Option("--api-key-env", metavar="NAME", help="Environment variable with a server's key.")
    ] = "OPENAI_API_KEY",
    judge: Annotated[
        str | None,
        typer.Option(metavar="NAME@URL", help="With --form open: a served judge of what the rules leave undecided."),
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Calls of a server in flight at most.")] = 64,
    timeout: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="For one call of a server.")] = 300.0,
    patience: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Without any reply of a server, before the run stops.")
    ] = 60.0,
    transport_retries: Annotated[
        int, typer.Option(min=0, metavar="N", help="Calls without a reply, before one is left for the next run.")
    ] = 8,
    scratch: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder on a local disk for the store of a server's replies.")
    ] = None,
) -> None:
    """Ask a model. The number of calls is printed before the first; the same command goes on after a stop."""
    from dataclasses import replace

    from benchmark.asks import Plan, families_of
    from benchmark.folder import open_bench
    from benchmark.interventions.names import wanted_of
    from benchmark.interventions.profiles import open_profiles
    from benchmark.models.base import ModelOptions
    from benchmark.opened import place_of
    from benchmark.prompts import protocol_of
    from benchmark.run import run_bench
    from benchmark.runlog import LOG
    from benchmark.shards import shard_of, shards_in
    from slvr_data.errors import UsageError
    from slvr_data.remote.addresses import local_output

    if judge is not None and form != "open":
        raise UsageError("--judge: lettered choices are read by rules alone; ask with --form open")
    part = None if shard is None else shard_of(shard)
    if judge is not None and part is not None:
        raise UsageError("--judge judges a whole run: slvr-bench join first, then the same command without --shard")
    plan = Plan(protocol_of(protocol), families_of(variants), seeds, limit, form, shard=part)
    changes = wanted_of(interventions)
    if profiles is not None and not changes:
        raise UsageError("--profiles tells what latents should be: give it with --interventions")
    bench = open_bench(data)
    known = None if profiles is None else open_profiles(profiles, (item.region_id for item in bench.items))
    options = ModelOptions(
        max_new_tokens=max_new_tokens, max_pixels=max_pixels, temperature=temperature, top_p=top_p,
        batch_size=batch_size, device=device, dtype=dtype, revision=revision, latents=latents,
        api_key_env=api_key_env, concurrency=concurrency, timeout=timeout,
        patience=patience, transport_retries=transport_retries, scratch=scratch, profiles=known,
    )  # fmt: skip
    place = local_output(out, "--out") if out else place_of(data, model)
    folder = place if part is None else place / part.folder
    if part is None and shards_in(place) and not (place / LOG).is_file():
        raise UsageError(f"{place} holds shards of a run: slvr-bench join {place}, or take another --out")
    ran = run_bench(bench, model, replace(plan, profiles=known), options, folder, _say, changes)
    typer.echo(f"{ran.asks:,} replies, {ran.reused:,} of them from before: {ran.log}")
    if judge is not None:
        from benchmark.judged import judge_run

        typer.echo(f"judged: {judge_run(folder, judge, options, _say)}")
    typer.echo(f"slvr-bench report {folder}" if part is None else f"slvr-bench join {place}  (after all {part.of})")


def join(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that --out named for the shards.")],
) -> None:
    """Make one run of the shards that slvr-bench run --shard i/n made; each stays as it is."""
    from benchmark.joined import join as joined
    from slvr_data.remote.addresses import local_output

    made = joined(local_output(run, "RUN"))
    typer.echo(f"{made.asks:,} replies of {made.shards} shards: {made.log}")
    typer.echo(f"slvr-bench report {run}")


def _say(text: str) -> None:
    typer.echo(text, err=True)
