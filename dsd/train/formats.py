"""Trained networks as files for other programs: safetensors by a library's names, and ONNX."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dsd.errors import DsdError, UsageError
from dsd.net.arch import Arch
from dsd.net.names import TIMM, TORCHVISION, tensor_names, timm_call, torchvision_call
from dsd.train.checkpoint import first_line
from dsd.train.weights import Trained

NEEDED = "pip install 'dsd[weights]'"


def write(net: Trained, path: Path, kind: str) -> str:
    """Write weights for a program; Python that loads them there. Raises UsageError, DsdError.

    Every file names the network, the regime and the run in its metadata, as strings.
    """
    about = {**net.about, "format": kind}
    if kind == "onnx":
        _write_whole(path, lambda partial: _onnx(net, partial, about))
        return f'onnxruntime.InferenceSession("{path}").run(None, {{"images": images}})'
    state, call = _renamed(net, kind)
    about["build"] = call or f'dsd.load_network("{path}")'
    safetensors = _safetensors()
    plain = {name: tensor.contiguous() for name, tensor in state.items()}
    try:
        _write_whole(path, lambda file: safetensors.torch.save_file(plain, str(file), about))
    except safetensors.SafetensorError as error:  # a full disk, mostly
        raise DsdError(f"{path} was not written: {first_line(error)}.") from None
    return about["build"]


def load_network(path: str | Path) -> nn.Module:
    """The torch module of a file that `dsd weights` wrote, in its own format; in eval mode.

    Raises DsdError for a file that holds something else.
    """
    safetensors = _safetensors()
    try:
        with safetensors.safe_open(str(path), "pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        raise DsdError(f"{path} cannot be read: {first_line(error)}.") from None
    if about.get("format") != "dsd":
        kind = about.get("format", "unknown")
        raise DsdError(f"{path} holds weights of the format {kind}; `dsd weights RUN -o FILE` "
                       "writes what can be loaded here.")  # fmt: skip
    return Trained(Arch.from_json(about["network"]), state, about, 0).module()


def _renamed(net: Trained, kind: str) -> tuple[dict[str, Tensor], str]:
    """The tensors by the names of a library, and Python that builds its module, "" for dsd's."""
    arch = net.arch
    if kind == "dsd":
        return dict(net.state), ""
    if kind == "timm":
        call, names = timm_call(arch, net.line), tensor_names(arch, TIMM)
        _check_line(arch, net.line)
    else:
        call, names = torchvision_call(arch), tensor_names(arch, TORCHVISION)
    return {names[name]: tensor for name, tensor in net.state.items()}, call


def _check_line(arch: Arch, line: tuple[float, float, float] | None) -> None:
    """Raises UsageError unless timm finds the network's stages on the line, as dsd did."""
    assert line is not None
    ours = [(s.d, s.w, s.bottleneck if arch.block == "R" else s.g) for s in arch.stages]
    if line[0] % 8 or _timm_stages(arch, *line) != ours:
        raise UsageError("timm rounds the widths of this network otherwise: --format torchvision "
                         "holds it.")  # fmt: skip


def _timm_stages(arch: Arch, w0: float, wa: float, wm: float) -> list[tuple[int, int, int]]:
    """(d, w, g) of each stage as timm computes them, in single precision."""
    line = torch.arange(arch.d, dtype=torch.float32) * wa + w0
    levels = torch.round(torch.log(line / w0) / math.log(wm))
    widths = (torch.round(w0 * torch.pow(wm, levels) / 8) * 8).int()
    wanted = 1 << 20 if arch.block == "R" else max(stage.g for stage in arch.stages)
    ratio = arch.stages[0].bottleneck / arch.stages[0].w
    stages = []
    for w, d in zip(*(x.tolist() for x in widths.unique(return_counts=True)), strict=True):
        g = min(wanted, int(w * ratio))
        stages.append((d, int(round(int(w * ratio) / g) * g / ratio), g))
    return stages


def _onnx(net: Trained, path: Path, about: Mapping[str, str]) -> None:
    try:
        import onnx
        import onnxscript  # noqa: F401
    except ImportError:
        raise DsdError(f"ONNX needs more packages: {NEEDED}") from None
    images = torch.zeros(2, net.arch.stem.inputs, net.resolution, net.resolution)
    program = torch.onnx.export(
        net.module(), (images,), dynamo=True, verbose=False, input_names=["images"],
        output_names=["logits"], dynamic_shapes=({0: torch.export.Dim("n")},),
    )  # fmt: skip
    assert program is not None
    model = program.model_proto
    for key, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, str(path))


def _safetensors() -> Any:
    """The module, with its part for torch."""
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        raise DsdError(f"Files of weights need safetensors: {NEEDED}") from None
    return safetensors


def _write_whole(path: Path, save: Callable[[Path], None]) -> None:
    """Write a file whole or not at all. Raises UsageError without its folder, DsdError."""
    if not path.parent.is_dir():
        raise UsageError(f"No folder '{path.parent}' for {path.name}.")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        save(partial)
        partial.replace(path)
    except OSError as error:
        raise DsdError(f"{path} was not written: {error.strerror or error}.") from None
    finally:
        partial.unlink(missing_ok=True)
