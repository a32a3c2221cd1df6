"""Final weights of networks: kept by a worker, found again by their run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import dsd
from dsd.errors import DsdError
from dsd.net.arch import Arch
from dsd.net.build import build
from dsd.store.claims import Claim
from dsd.train.checkpoint import first_line, whole
from dsd.train.files import write_whole


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
            path.parent.mkdir(parents=True, exist_ok=True)
            kept = {"about": about, "model": state}
            write_whole(path, lambda file: torch.save(kept, file))
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
        kept = whole(path)
        about, state = kept["about"], kept["model"]
    except Exception as error:  # damaged bytes fail in their own ways
        raise DsdError(f"{path} cannot be read: {first_line(error)}.") from None
    if (about["network"], about["error"]) != (run["network"], run["error_last"]):
        raise DsdError(f"{path} holds other weights than those of run {run['id']}: error "
                       f"{about['error']}, the run's is {run['error_last']}.")  # fmt: skip
    arch = Arch.from_json(json.dumps(run["network_text"]))
    resolution = json.loads(run["regime_text"])["resolution"]
    return Trained(arch, state, _about(run, arch), resolution, _line(run))


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
