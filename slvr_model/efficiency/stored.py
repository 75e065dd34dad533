"""What a run takes outside of its GPUs: files of a checkpoint, and memory of the host. By formula, as `estimate.py`.

model         w Z + 4 T    bytes of model.safetensors; adapters are merged into the matrices, which are fp32 then
to go on      8 T          Adam's moments; and 4 T under adapters, which are kept as they are beside the model
host          p w' N       p processes of a machine open N parameters in w' bytes each, before a GPU has them
"""

from __future__ import annotations

from slvr_model.efficiency.estimate import GIB, Estimate


def model_bytes(found: Estimate) -> int:
    """Of a finished checkpoint."""
    step, setup = found.setup.step, found.setup
    wide = {part for part in found.parameters.parts if part == "layers" or setup.trains(part)} if step.rank else set()
    return sum(number * (4 if part in wide else step.weight) for part, number in found.parameters.parts.items())


def checkpoint_bytes(found: Estimate) -> int:
    """Of a checkpoint that a run can go on from."""
    trained = found.parameters.trained(found.setup)
    beside = 4 * trained if found.setup.step.rank else 0
    return model_bytes(found) + beside + 2 * found.setup.step.trained * trained


def most_bytes(found: Estimate, keep: int) -> int:
    """Of a run's folder at most, copies of data apart: what is kept, one that is being written, the finished one."""
    return (keep + 1) * checkpoint_bytes(found) + model_bytes(found)


def host_bytes(found: Estimate, processes: int, opened: int) -> int:
    """Of a machine's memory while `processes` open the start in `opened` bytes a parameter."""
    return processes * opened * (found.parameters.total - found.parameters.adapters)


def stored(found: Estimate, keep: int, processes: int, opened: int) -> list[tuple[str, str]]:
    """Lines of a dry run: what they say, and the number."""
    sizes = {
        "disk per checkpoint, GiB": checkpoint_bytes(found),
        "disk at most, GiB": most_bytes(found, keep),
        "host while opening, GiB": host_bytes(found, processes, opened),
    }
    return [(name, f"{size / GIB:.1f}") for name, size in sizes.items()]
