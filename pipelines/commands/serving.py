"""Commands about servers: `doctor`, `serve`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.commands import served
from pipelines.commands.build import sources_told


def doctor(
    base_url: served.BaseUrls = None,
    model: served.Model = None,
    model_revision: served.Revision = None,
    api_key_env: served.KeyVariable = None,
    prompts: served.PromptFolder = None,
    box_format: served.BoxFormatName = None,
    estimate: Annotated[
        str | None,
        typer.Option(
            "--estimate", metavar="SOURCE", help="Ask about 50 regions of this source, and tell what all would cost."
        ),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(metavar="DIR", help="With --estimate: root of the pictures that the source names.")
    ] = None,
    annotations: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="With --estimate: annotation file of the source.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="With --estimate: the set to be built; its builds use these replies again.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="YAML file of a build: its settings of the model hold."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="key=value", help="Set one setting, e.g. served.max_pixels=501760."),
    ] = None,
) -> None:
    """Say whether a server is good for annotation, before money is spent; exit code 1 where it is not."""
    from pipelines.doctor import examine
    from pipelines.estimate import estimate as sampled
    from pipelines.estimate import examined, print_estimate
    from slvr_data.commandline import plain
    from slvr_data.errors import UsageError
    from slvr_data.remote.addresses import local_output

    if estimate is None and (images or annotations or out):
        raise UsageError("--images, --annotations and --out go with --estimate SOURCE")
    told = served.served_options(base_url, model, model_revision, api_key_env, prompts, box_format, None, None)
    sources = sources_told(estimate, images, annotations, None) if estimate is not None else None
    keep = local_output(out, "--out") if out is not None else None
    settings = examined(told, config, assignments or [], sources)

    def say(text: str) -> None:
        print(plain(text), file=sys.stderr, flush=True)

    found = examine(settings.served, say)
    for finding in found:
        print(f"{finding.verdict:<8} {finding.probe:<12} {plain(finding.text)}")
    if any(finding.verdict == "fault" for finding in found):
        sys.exit(1)
    if settings.build is not None:
        print_estimate(sampled(settings.build, say, keep))


def serve(
    context: typer.Context,
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name on the hub, or folder of a checkpoint.")],
    gpus: Annotated[int, typer.Option(metavar="N", min=0, help="GPUs to use; 0 for a server on the processor.")] = 1,
    gpu_memory: Annotated[float, typer.Option("--gpu-memory", metavar="GB", min=1, help="Memory of each.")] = 80,
    tensor_parallel: Annotated[
        int | None,
        typer.Option("--tensor-parallel", metavar="N", min=1, help="GPUs per replica (default: by the model's size)."),
    ] = None,
    revision: Annotated[str | None, typer.Option(metavar="R", help="Revision of the weights.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="Of the first replica; the next ones follow.")] = 8000,
    vllm: Annotated[str, typer.Option(metavar="PATH", help="The vllm executable.")] = "vllm",
    purpose: Annotated[
        Literal["build", "bench"],
        typer.Option("--for", help="Pictures as a build scales them, or of any size, as slvr-bench sends them."),
    ] = "build",
    max_model_len: Annotated[
        int | None,
        typer.Option(
            "--max-model-len", metavar="N", min=1, help="Tokens of a call with picture and reply (default: by --for)."
        ),
    ] = None,
    run: Annotated[bool, typer.Option("--run", help="Start the servers and stay until Ctrl-C.")] = False,
) -> None:
    """Print the `vllm serve` line that suits annotation or a benchmark, one per replica, or start them.

    What stands after -- is handed on to vLLM.
    """
    from pipelines.serve import LENGTHS, name_of, next_command, replicas
    from pipelines.serve import run as start

    longest = LENGTHS[purpose] if max_model_len is None else max_model_len
    servers = replicas(model, gpus, gpu_memory, port, host, revision, tensor_parallel, vllm, context.args, longest)
    for server in servers:
        print(server.line)
    print(f"# then: {next_command(purpose, servers, host, name_of(model, context.args))}")
    if run:
        start(servers, host, lambda text: print(text, file=sys.stderr, flush=True))
