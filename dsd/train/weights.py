"""Final weights of networks: kept by a worker, found by their run, written for other programs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dsd
from dsd.errors import DsdError, UsageError
from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.net.names import timm_call, timm_names, torchvision_call, torchvision_names
from dsd.store.claims import Claim
from dsd.train.checkpoint import UNREADABLE, first_line, save_whole

FORMATS = ("dsd", "torchvision", "timm", "onnx")
SAFETENSORS = "pip install 'dsd[weights]'"


@dataclass(frozen=True)
class Keep:
    """Whose weights a worker keeps in `folder`: those of selections' runs, or of `every` run."""

    folder: Path | None = None
    every: bool = False

    def weights(
        self, claim: Claim, model: nn.Module, error: float, say: Callable[[str], None]
    ) -> Path | None:
        """Keep a trained model's weights; their file, None where they are not kept.

        A full disk is said and costs the weights only: the result counts.
        """
        if self.folder is None or not (self.every or claim.selected):
            return None
        owner = claim.owner.rpartition("-")[2]
        name = f"{claim.digest}-{claim.run_id}-{claim.attempt}-{owner}.pt"
        path = (self.folder / name).absolute()
        about = {"network": claim.digest, "regime": claim.regime_name, "error": float(error)}
        state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
        try:
            save_whole({"about": about, "model": state}, path)
        except (OSError, RuntimeError) as failure:
            say(f"No weights written to {self.folder}: {first_line(failure)}")
            return None
        return path


@dataclass(frozen=True)
class Trained:
    """A network with its weights, and what is known of them; `line` is its w0, wa, wm, if known."""

    arch: Arch
    state: Mapping[str, Tensor]
    about: Mapping[str, str]
    resolution: int
    line: tuple[float, float, float] | None = None

    def module(self) -> nn.Module:
        """The torch module, ready for inference."""
        model = build(self.arch)
        model.load_state_dict(dict(self.state))
        return model.eval()


def trained(run: Mapping[str, Any], folder: Path | None) -> Trained:
    """The weights of a run (see `dsd.store.runs.one_run`).

    They lie where the worker left them, or under the same name in `folder`. Raises DsdError where
    none were kept, they are gone, or are not those of the run's result.
    """
    if run["state"] != "done":
        raise DsdError(f"Run {run['id']} is {run['state']}: only one that is done has weights.")
    recorded = (run["provenance"] or {}).get("weights")
    if not recorded:
        raise DsdError(
            f"The weights of run {run['id']} were not kept: `dsd worker --keep-weights DIR` keeps "
            "them; those of a selection's runs are kept without it."
        )
    path = _kept_file(Path(recorded), folder, run["id"])
    try:
        kept = torch.load(path, map_location="cpu", weights_only=True)
        about, state = kept["about"], kept["model"]
    except UNREADABLE as error:
        raise DsdError(f"{path} cannot be read: {first_line(error)}.") from None
    if (about["network"], about["error"]) != (run["network"], run["error_last"]):
        raise DsdError(f"{path} holds other weights than those of run {run['id']}: error "
                       f"{about['error']}, the run's is {run['error_last']}.")  # fmt: skip
    arch = Arch.from_json(json.dumps(run["network_text"]))
    resolution = json.loads(run["regime_text"])["resolution"]
    return Trained(arch, state, _about(run, arch), resolution, _line(run))


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
    save = _safetensors().save_file
    plain = {name: tensor.contiguous() for name, tensor in state.items()}
    _write_whole(path, lambda partial: save(plain, str(partial), about))
    return about["build"]


def load_network(path: str | Path) -> nn.Module:
    """The torch module of a file that `dsd weights` wrote, in its own format; in eval mode.

    Raises DsdError for a file that holds something else.
    """
    try:
        with _safetensors().safe_open(str(path), "pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except DsdError:
        raise
    except Exception as error:  # safetensors' own error is no class that it exports everywhere
        raise DsdError(f"{path} cannot be read: {first_line(error)}.") from None
    if about.get("format") != "dsd":
        kind = about.get("format", "unknown")
        raise DsdError(f"{path} holds weights of the format {kind}; `dsd weights RUN -o FILE` "
                       "writes what can be loaded here.")  # fmt: skip
    return Trained(Arch.from_json(about["network"]), state, about, 0).module()


def _kept_file(recorded: Path, folder: Path | None, run: int) -> Path:
    places = [recorded, *([folder / recorded.name] if folder else [])]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        looked = " and ".join(str(place) for place in places)
        raise DsdError(f"The weights of run {run} are not in {looked}: --kept DIR names their "
                       "folder.")  # fmt: skip
    return found


def _about(run: Mapping[str, Any], arch: Arch) -> dict[str, str]:
    """What a file's metadata says: the network's JSON, the regime whole, the run and its errors."""
    known = {
        "network": arch.canonical, "regime": run["regime"], "regime_text": run["regime_text"],
        "run": run["id"], "seed": run["seed"],
        "error_last": run["error_last"], "error_lowest": run["error_lowest"],
        "dataset": (run["provenance"] or {}).get("dataset", ""), "dsd": dsd.__version__,
    }  # fmt: skip
    return {key: str(value) for key, value in known.items()}


def _line(run: Mapping[str, Any]) -> tuple[float, float, float] | None:
    """w0, wa, wm as some population drew them."""
    draws = (place["draw"] for place in run["populations"])
    known = (draw for draw in draws if all(draw.get(key) for key in ("w0", "wa", "wm")))
    return next(((draw["w0"], draw["wa"], draw["wm"]) for draw in known), None)


def _renamed(net: Trained, kind: str) -> tuple[dict[str, Tensor], str]:
    """The tensors by the names of a library, and Python that builds its module, "" for dsd's."""
    arch = net.arch
    if kind == "dsd":
        return dict(net.state), ""
    if kind == "timm":
        call, names = timm_call(arch, net.line), timm_names(arch)
        _check_line(arch, net.line)
    else:
        call, names = torchvision_call(arch), torchvision_names(arch)
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
        raise DsdError(f"ONNX needs more packages: {SAFETENSORS}") from None
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
    try:
        import safetensors
        import safetensors.torch
    except ImportError:
        raise DsdError(f"Files of weights need safetensors: {SAFETENSORS}") from None
    return _Both(safetensors.safe_open, safetensors.torch.save_file)


@dataclass(frozen=True)
class _Both:
    """What is used of safetensors."""

    safe_open: Any
    save_file: Any


def _write_whole(path: Path, save: Callable[[Path], None]) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        save(partial)
        partial.replace(path)
    except OSError as error:
        raise DsdError(f"{path} was not written: {error.strerror or error}.") from None
    finally:
        partial.unlink(missing_ok=True)
