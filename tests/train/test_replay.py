"""Steps recorded as CUDA graphs, the choice of a memory format, and how both end up with a run."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from functools import partial

import pytest
import torch

from dsd.net.build import build
from dsd.train.counters import counting
from dsd.train.data import Dataset
from dsd.train.how import FORMATS, MEASURED, How
from dsd.train.loop import Session
from dsd.train.probe import LONG, fastest
from dsd.train.replay import WARM_UP, Pool, Replayed
from dsd.train.step import Step
from tests.train.conftest import make_regime, random_images, small_arch

CPU = torch.device("cpu")
AUGMENTED = {"crop": "random-resized", "flip": True, "lighting": 0.1,
             "mean": [0.5, 0.5, 0.5], "std": [0.3, 0.3, 0.3]}  # fmt: skip
IN_COLOUR = {"stem": {"inputs": 3, "width": 8}, "augment": AUGMENTED}


def color_arch(width: int = 8):
    arch = small_arch(width)
    return dataclasses.replace(arch, stem=dataclasses.replace(arch.stem, inputs=3))


def epochs_and_weights(device: torch.device, how: How, seed: int = 3, **changes):
    """Untimed epochs of a small network, its weights on the CPU, and how it was trained."""
    regime = make_regime(**{**IN_COLOUR, "train": {"precise_bn_images": 256}, **changes})
    torch.manual_seed(seed)
    model = build(color_arch())
    data = Dataset(*(random_images(n, channels=3) for n in (500, 130)), "")
    data = Dataset(*(dataclasses.replace(part, pixels=part.pixels.to(device),
                                         labels=part.labels.to(device))
                     for part in (data.train, data.test)), "")  # fmt: skip
    said: list[str] = []
    session = Session.start(model, regime, data, device, seed, lambda: False, how, said.append)
    outcomes = [(e.train_loss, e.train_error, e.test_error, e.test_error5, e.lr)
                for e in session.epochs()]  # fmt: skip
    weights = {k: v.detach().cpu().clone() for k, v in model.state_dict().items()}
    return outcomes, weights, session.chosen, said


def test_on_the_cpu_nothing_is_recorded_and_nothing_changes():
    plain = epochs_and_weights(CPU, How(graphs=False))
    usual = epochs_and_weights(CPU, How())
    assert plain[0] == usual[0]
    assert all(torch.equal(a, b) for a, b in zip(plain[1].values(), usual[1].values(), strict=True))
    assert usual[2] == {"memory_format": "channels_last"}


def test_memory_formats_differ_by_rounding_only():
    (first, *_), (second, *_) = (
        epochs_and_weights(CPU, How(memory_format=name), train={"epochs": 1, "lr": 0.01})
        for name in FORMATS
    )
    assert first[0] == pytest.approx(second[0], rel=1e-3)


def test_a_probe_leaves_the_network_and_all_random_streams_alone():
    regime = make_regime(**IN_COLOUR)
    model = build(color_arch())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = torch.get_rng_state()
    assert fastest(model, regime, CPU, 16, How(), print) in FORMATS
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("enough", [set(), {"contiguous"}, set(FORMATS)])
def test_a_format_without_memory_is_not_chosen(enough, monkeypatch):
    def train(self, images, labels):
        if self.memory_format not in enough:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Step, "train", train)
    found = fastest(build(color_arch()), make_regime(**IN_COLOUR), CPU, 4, How(), print)
    assert found in (enough or FORMATS)  # where none fits, training says so


def test_a_short_training_has_a_short_probe(monkeypatch):
    taken: list[str] = []
    monkeypatch.setattr(
        Step, "train", lambda self, images, labels: taken.append(self.memory_format)
    )
    probe = partial(fastest, build(color_arch()), make_regime(**IN_COLOUR), CPU, 4, How(), print)
    probe(steps=LONG)
    usual, taken[:] = len(taken), []
    probe(steps=LONG - 1)
    assert set(taken) == set(FORMATS)
    assert len(taken) == 18 < usual, taken


def test_what_needs_no_probe():
    cuda = torch.device("cuda:0")
    assert How().choice(CPU) == "channels_last"
    assert How().choice(cuda) == "", "each network is probed, however short its training"
    assert How(deterministic=True).choice(cuda) == "contiguous"
    assert How(memory_format="channels_last", deterministic=True).choice(cuda) == "channels_last"


def test_kernels_are_timed_where_training_is_long_and_need_not_be_repeatable():
    assert How().measures(MEASURED)
    assert not How().measures(MEASURED - 1)
    assert not How(deterministic=True).measures(MEASURED)


def test_where_one_recording_failed_all_of_the_network_is_done_plainly():
    """Without a GPU: what is to be recorded next would fail here, as would a replay."""
    calls: list[int] = []
    pool, cuda = Pool(), torch.device("cuda:0")
    passes = [Replayed(lambda images, labels: calls.append(len(images)), cuda, None, print, pool)
              for _ in range(2)]  # fmt: skip
    pool.failed = True
    for one in passes:
        for size in (4, 4, 4, 4, 3):
            one(torch.zeros(size, 1), torch.zeros(size))
        assert not one.recorded
    assert calls == [4, 4, 4, 4, 3] * 2


@pytest.mark.parametrize("name", FORMATS)
def test_counters_advanced_at_once_are_those_of_each_batch_norm(name):
    """What a step on a GPU does with them changes nothing else, to the bit."""
    found, regime = [], make_regime()
    images, labels = random_images(16).pixels, torch.arange(16) % 10
    for at_once in (False, True):
        torch.manual_seed(1)
        step = Step.of(build(small_arch(depth=2)), regime, CPU, name)
        assert not step.norms, "on the CPU they cost nothing"
        step = dataclasses.replace(step, norms=counting(step.model) if at_once else ())
        step.model.train()
        step.generator.manual_seed(0)
        for _ in range(3):
            step.train(images, labels)
        found.append(step.model.state_dict())
    plain, ours = found
    assert plain.keys() == ours.keys()
    assert all(torch.equal(value, ours[key]) for key, value in plain.items())
    counters = [value for key, value in ours.items() if key.endswith("num_batches_tracked")]
    assert [*map(int, counters)] == [3] * len(counting(step.model))


@pytest.mark.slow
def test_every_network_of_a_worker_is_compiled(monkeypatch):
    """torch compiles one code for so many modules only, and says so in a warning at most."""
    from torch._dynamo.utils import counters

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    regime, found = make_regime(), []
    for width in range(8, 88, 8):
        before = counters["stats"]["unique_graphs"]
        step = Step.of(build(small_arch(width)), regime, CPU, "contiguous", compiled=True)
        step.call(torch.zeros(2, 1, 14, 14))
        found.append(counters["stats"]["unique_graphs"] - before)
    assert found == [1] * 10


@pytest.mark.slow
def test_a_compiled_network_learns_the_same_but_for_rounding():
    short = {"epochs": 1, "lr": 0.01}
    plain, _, _, _ = epochs_and_weights(CPU, How(), train=short)
    compiled, weights, _, _ = epochs_and_weights(CPU, How(compiled=True), train=short)
    assert plain[0] == pytest.approx(compiled[0], rel=1e-2)
    assert not [name for name in weights if "_orig_mod" in name], "the names stay as they were"


# On a GPU


@pytest.fixture
def gpu() -> torch.device:
    from dsd.train.device import prepare

    device = torch.device("cuda:0")
    prepare(device, deterministic=False)
    return device


def counted(device: torch.device, say):
    """What is replayed, its counter, and its last sum on the device."""
    total = torch.zeros((), device=device)
    generator = torch.Generator(device)
    calls = []

    def on_batch(images, labels):
        calls.append(1)
        noise = torch.rand(len(images), generator=generator, device=device)
        total.add_((images.float().mean((1, 2, 3)) * noise).sum() + labels.sum())

    return Replayed(on_batch, device, generator, say), calls, total, generator


@pytest.mark.gpu
def test_a_replay_does_what_the_plain_calls_do(gpu):
    batches = [(random_images(8).pixels.to(gpu) // (i + 1), torch.arange(8, device=gpu) + i)
               for i in range(10)]  # fmt: skip
    said: list[str] = []
    replayed, calls, total, generator = counted(gpu, said.append)
    plain, plain_calls, expected, other = counted(gpu, said.append)
    for epoch in range(3):
        generator.manual_seed(epoch)
        other.manual_seed(epoch)
        for batch in batches:
            replayed(*batch)
            plain.on_batch(*batch)
        assert total.item() == pytest.approx(expected.item(), rel=1e-6)
    assert not said
    assert len(calls) == WARM_UP + 1
    assert len(plain_calls) == 30
    replayed(*(part[:5] for part in batches[0]))  # a short batch is done plainly
    assert len(calls) == WARM_UP + 2


@pytest.mark.gpu
def test_what_cannot_be_recorded_is_done_plainly(gpu):
    said: list[str] = []
    total = torch.zeros((), device=gpu)
    generator = torch.Generator(gpu).manual_seed(1)

    def on_batch(images, labels):
        total.add_(float(images.float().mean().item()) + labels.sum())  # waits: not recordable

    replayed = Replayed(on_batch, gpu, generator, said.append)
    images, labels = torch.ones(4, 1, 2, 2, device=gpu), torch.ones(4, device=gpu)
    for _ in range(WARM_UP + 4):
        replayed(images, labels)
    assert total.item() == 5.0 * (WARM_UP + 4)
    assert len(said) == 1
    assert "kernels are started one by one" in said[0]
    assert not replayed.recorded
    assert torch.cuda.current_stream(gpu) == torch.cuda.default_stream(gpu)


@pytest.mark.gpu
def test_a_broken_recording_leaves_draws_memory_and_later_networks_alone(gpu):
    """The first pass is recorded and draws, the second cannot be: both go on, by the same draws."""
    said: list[str] = []
    pool, images = Pool(), torch.ones(4, 1, 2, 2, device=gpu)

    def summed(generator: torch.Generator, broken: bool):
        total = torch.zeros((), device=gpu)

        def on_batch(images, labels):
            total.add_(torch.rand(4, generator=generator, device=gpu).sum())
            if broken:
                total.add_(total.item() * 0)

        return on_batch, total

    generator, other = torch.Generator(gpu), torch.Generator(gpu)
    made = [summed(generator, broken) for broken in (False, True)]
    plain = [summed(other, broken) for broken in (False, True)]
    passes = [Replayed(one, gpu, generator, said.append, pool) for one, _ in made]
    for epoch in range(3):
        for replayed, (on_batch, _) in zip(passes, plain, strict=True):
            generator.manual_seed(epoch)
            other.manual_seed(epoch)
            for _ in range(WARM_UP + 2):
                replayed(images, images)
                on_batch(images, images)
    for (_, found), (_, expected) in zip(made, plain, strict=True):
        assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert len(said) == 1
    torch.cuda.empty_cache()
    after, _, total, draws = counted(gpu, said.append)
    draws.manual_seed(0)
    for _ in range(WARM_UP + 2):
        after(images, torch.ones(4, device=gpu))
    assert after.recorded
    assert total.item() >= 4 * (WARM_UP + 2)
    torch.cuda.empty_cache()
    assert len(said) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("memory_format", list(FORMATS))
def test_graphs_change_nothing_but_rounding(gpu, precision, memory_format):
    changes = {"train": {"precise_bn_images": 256, "precision": precision, "lr": 0.01}}
    (with_, _, chosen, said), (without, *_) = (
        epochs_and_weights(gpu, How(graphs=on, memory_format=memory_format), **changes)
        for on in (True, False)
    )
    assert not said
    assert chosen == {"memory_format": memory_format, "graphs": "yes", "kernels": "by rule"}
    for ours, theirs in zip(with_, without, strict=True):
        assert ours[0] == pytest.approx(theirs[0], rel=0.02), "the training loss"
        assert ours[1:4] == pytest.approx(theirs[1:4], abs=3.0), "errors in percent"
        assert ours[4] == theirs[4]


TWICE = """
import torch
from dsd.train.device import prepare
from dsd.train.how import How
from tests.train.test_replay import epochs_and_weights
gpu = torch.device("cuda:0")
prepare(gpu, deterministic=True)
first, second = (epochs_and_weights(gpu, How(deterministic=True)) for _ in range(2))
assert first[0] == second[0], (first[0], second[0])
assert all(torch.equal(a, second[1][k]) for k, a in first[1].items())
assert first[2]["graphs"] == "yes", first[3]
"""


@pytest.mark.gpu
def test_deterministic_training_is_the_same_to_the_bit():
    """In a process of its own: cuBLAS must be told before its first product."""
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
def test_the_faster_format_is_chosen_and_stored(gpu, monkeypatch):
    monkeypatch.setattr("dsd.train.how.MEASURED", 1)
    _, _, chosen, said = epochs_and_weights(gpu, How())
    assert chosen["memory_format"] in FORMATS
    assert chosen["kernels"] == "measured"
    assert not said


@pytest.mark.gpu
def test_a_checkpoint_goes_on_under_graphs(gpu, tmp_path):
    from dsd.train.checkpoint import Checkpoint

    how = How(deterministic=False, memory_format="contiguous")
    regime = make_regime(**IN_COLOUR, train={"epochs": 3})
    data = Dataset(*(random_images(n, channels=3) for n in (500, 130)), "")
    data = Dataset(*(dataclasses.replace(p, pixels=p.pixels.to(gpu), labels=p.labels.to(gpu))
                     for p in (data.train, data.test)), "")  # fmt: skip

    def session() -> Session:
        torch.manual_seed(0)
        return Session.start(build(color_arch()), regime, data, gpu, 0, lambda: False, how)

    whole = list(session().epochs())
    half = session()
    checkpoint = Checkpoint.of(tmp_path, "n", "r", 0, print)
    checkpoint.save(half, [half.epoch(0)], at_once=True)
    kept = checkpoint.read()
    assert kept is not None
    assert kept.memory_format(gpu) == "contiguous"
    rest = session()
    kept.put_into(rest)
    again = list(rest.epochs(kept.epochs))
    assert again[-1].train_loss == pytest.approx(whole[-1].train_loss, rel=0.05)
    assert again[-1].lr == whole[-1].lr


@pytest.mark.gpu
@pytest.mark.slow
def test_a_compiled_network_learns_the_same_on_a_gpu(gpu):
    short = {"epochs": 2, "lr": 0.01}
    plain, *_ = epochs_and_weights(gpu, How(memory_format="contiguous"), train=short)
    how = How(compiled=True, memory_format="contiguous")
    compiled, _, chosen, said = epochs_and_weights(gpu, how, train=short)
    assert [e[0] for e in plain] == pytest.approx([e[0] for e in compiled], rel=0.02)
    assert chosen["graphs"] == "yes", said
