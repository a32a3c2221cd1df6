"""Weights: kept by a worker where they are wanted, found by their run, read by other programs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import dsd
from dsd.errors import DsdError, UsageError
from dsd.net.arch import Arch, Stage, Stem, text_digest
from dsd.regime import Regime
from dsd.store import queue
from dsd.store.engine import Store
from dsd.store.populations import save_sample
from dsd.store.results import frame
from dsd.store.runs import one_run
from dsd.train.data import load
from dsd.train.evaluate import Tally, evaluate
from dsd.train.events import Event, aloud
from dsd.train.formats import write
from dsd.train.weights import Keep, trained
from dsd.train.worker import work
from tests.train.conftest import fill, make_regime, small_arch
from tests.train.test_checkpoint import damage

CPU = torch.device("cpu")


def train_all(store: Store, keep: Keep, **given: Any) -> int:
    hear = aloud(given.pop("say", lambda _: None))
    plain = {"folder": Path("."), "device": CPU, "exit_when_empty": True, "hear": hear}
    return work(store, keep=keep, **{**plain, **given})


def choose(store: Store, archs: list[Arch], regime: Regime) -> None:
    """Queue networks as a selection."""
    text = '{"selection":{}}'
    sample: Any = SimpleNamespace(
        space=SimpleNamespace(name="top/hand", text=text, digest=text_digest(text)),
        regime=regime, seed=3, archs=tuple(archs), draws=({"first_error": 1.0},) * len(archs),
        tally={}, **dict.fromkeys(("flops", "params", "acts"), np.full(len(archs), 1000)),
    )  # fmt: skip
    save_sample(store, sample, kind="selection")


@pytest.fixture
def run(store: Store, tmp_path: Path) -> dict[str, Any]:
    """A trained run of a selection, its weights kept."""
    choose(store, [small_arch()], make_regime("brief", train={"epochs": 1, "batch": 500}))
    assert train_all(store, Keep(tmp_path / "kept")) == 1
    return one_run(store, 1)


def test_a_selection_s_weights_are_kept_and_others_when_asked(store, tmp_path):
    brief = make_regime("brief", train={"epochs": 1, "batch": 500})
    choose(store, [small_arch(8)], brief)
    fill(store, [small_arch(16)], brief)
    kept = tmp_path / "kept"
    train_all(store, Keep(kept))
    (file,) = kept.iterdir()
    assert file.name.startswith(small_arch(8).digest)
    fill(store, [small_arch(24)], brief, space="more")
    train_all(store, Keep(kept, every=True))
    assert len(list(kept.iterdir())) == 2
    where = {run: one_run(store, run)["provenance"].get("weights") for run in frame(store)["run"]}
    assert sorted(path is None for path in where.values()) == [False, False, True]


def test_the_kept_network_has_the_error_that_is_recorded(run, tmp_path):
    net = trained(run, None)
    regime = Regime.from_text(run["regime_text"], "brief")
    dataset = load(regime, Path("."), CPU)
    mean, std = regime.augment.mean[0], regime.augment.std[0]
    batches = (
        ((images.float() / 255 - mean) / std, labels)
        for images, labels in dataset.test.batches(200)
    )
    module = net.module()
    tally = Tally.on(CPU)
    found = evaluate(module, tally.scored(module), batches, tally).means()[1]
    assert found == pytest.approx(run["error_last"])


def test_dsd_reads_back_what_it_wrote(run, tmp_path):
    pytest.importorskip("safetensors")
    from safetensors import safe_open

    net, path = trained(run, None), tmp_path / "net.safetensors"
    assert write(net, path, "dsd") == f'dsd.load_network("{path}")'
    images = torch.randn(3, 1, 14, 14)
    with torch.inference_mode():
        assert torch.equal(dsd.load_network(path)(images), net.module()(images))
    with safe_open(str(path), "pt") as file:
        about = file.metadata()
    assert Arch.from_json(about["network"]).digest == run["network"]
    assert Regime.from_text(about["regime_text"], "x").train.epochs == 1
    assert (about["regime"], about["run"]) == ("brief", "1")
    assert float(about["error_last"]) == run["error_last"]
    write(net, path, "torchvision")
    with pytest.raises(DsdError, match="holds weights of the format torchvision"):
        dsd.load_network(path)
    with pytest.raises(UsageError, match="No folder"):
        write(net, tmp_path / "no" / "net.safetensors", "dsd")
    path.write_bytes(b"nothing")
    with pytest.raises(DsdError, match="cannot be read"):
        dsd.load_network(path)


def test_any_network_becomes_onnx(run, tmp_path):
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    arch = Arch(Stem(1, 8, pool=True), (Stage(1, 8, 1, 8, 1), Stage(2, 16, 1, 8)), "VR", "silu", 10)
    from dsd.net.build import build

    net = replace(trained(run, None), arch=arch, state=build(arch).state_dict())
    path = tmp_path / "net.onnx"
    write(net, path, "onnx")
    session = runtime.InferenceSession(str(path))
    images = torch.randn(5, 1, 14, 14)
    (logits,) = session.run(None, {"images": images.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.tensor(logits), net.module()(images), rtol=1e-4, atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["network"])["block"] == "X"
    assert about["run"] == "1"
    for kind in ("torchvision", "timm"):
        with pytest.raises(UsageError, match=rf"{kind}'s RegNet has no block VR.*--format onnx"):
            write(net, tmp_path / "none.safetensors", kind)
    assert not (tmp_path / "none.safetensors").exists()


def test_weights_that_are_not_there_or_not_the_run_s_are_refused(run, tmp_path):
    file = Path(run["provenance"]["weights"])
    (tmp_path / "elsewhere").mkdir()
    shutil.move(file, tmp_path / "elsewhere")
    with pytest.raises(DsdError, match=r"run 1 are not in .*--kept DIR"):
        trained(run, tmp_path)
    assert trained(run, tmp_path / "elsewhere").arch == small_arch()
    with pytest.raises(DsdError, match="holds other weights than those of run 1"):
        trained({**run, "error_last": run["error_last"] + 0.1}, tmp_path / "elsewhere")
    weights = next(iter(trained(run, tmp_path / "elsewhere").state.values()))
    damage(tmp_path / "elsewhere" / file.name, weights)
    with pytest.raises(DsdError, match=r"cannot be read: .* is damaged"):
        trained(run, tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / file.name).write_bytes(b"half a file")
    with pytest.raises(DsdError, match="cannot be read"):
        trained(run, tmp_path / "elsewhere")
    with pytest.raises(DsdError, match=r"were not kept: `dsd worker --keep-weights"):
        trained({**run, "provenance": {}}, None)
    with pytest.raises(DsdError, match="is queued: only one that is done"):
        trained({**run, "state": "queued"}, None)


def test_a_full_disk_costs_the_weights_only_and_a_lost_lease_leaves_none(store, tmp_path, said):
    brief = make_regime("brief", train={"epochs": 1, "batch": 500})
    (tmp_path / "file").write_text("no folder")
    choose(store, [small_arch()], brief)
    assert train_all(store, Keep(tmp_path / "file"), say=said.say) == 1
    assert any("No weights written to" in line for line in said.lines)
    fill(store, [small_arch(16)], brief)
    kept = tmp_path / "kept"

    def steal(event: Event) -> None:
        if event.name == "epoch":  # the last one: trained, and its result not recorded yet
            (held,) = [
                run for run in frame(store)["run"] if one_run(store, run)["state"] == "running"
            ]
            from dsd.store.steer import cancel

            cancel(store, [held])

    assert train_all(store, Keep(kept, every=True), hear=steal) == 0
    assert list(kept.iterdir()) == []
    assert queue.pending(store) == 0
