"""What else could be done in a step of training on the CPU, each against dsd's own way, in pairs.

python benchmarks/training_variants.py [--pairs 7] [--only channels,bf16] [--regime fashion]

dsd's way: one thread, channels_last, fp32, SGD in one kernel, freed memory kept. Each variant runs
in a process of its own beside one of dsd's way. They take turns on the same random images, a block
of steps each, so that what else the machine does meets both alike. Printed: variant over dsd, of
processor time and of the clock, over the pairs; below 1 the variant is faster. "test" variants are
of the pass over the test images.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from machine import described, say


@dataclass(frozen=True)
class Variant:
    """One change, by the name of what it sets; `environment` is that of its process."""

    about: str
    change: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)


VARIANTS = {
    "same": Variant("dsd's way once more: how much pairs differ by chance"),
    "nchw": Variant("NCHW", {"channels_last": False}),
    "bf16": Variant("bf16 by autocast", {"bf16": True}),
    "compiled": Variant("torch.compile, its minute of compiling not counted", {"compiled": True}),
    "inplace": Variant("ReLU in place", {"inplace": True}),
    "foreach": Variant("SGD by foreach", {"sgd": {"foreach": True}}),
    "each": Variant("SGD a parameter at a time", {"sgd": {"foreach": False}}),
    "denormals": Variant("denormal numbers flushed to zero", {"denormals": True}),
    "interop": Variant("one thread between operators", {"interop": True}),
    "freed": Variant("freed memory returned to the kernel (glibc's way)", {"keep": False}),
    "pages": Variant("huge pages for tensors", {}, {"THP_MEM_ALLOC_ENABLE": "1"}),
    "primitives": Variant("oneDNN keeps 16,384 primitives, not 1,024", {},
                          {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "16384"}),
    "bf16-math": Variant("oneDNN may compute fp32 in bf16", {},
                         {"ONEDNN_DEFAULT_FPMATH_MODE": "BF16"}),
    "test-500": Variant("test, batches of 500 in place of 200", {"test": 500}),
    "test-1000": Variant("test, batches of 1000 in place of 200", {"test": 1000}),
    "test-folded": Variant("test, batch norm folded into convolutions",
                           {"test": 200, "fold": True}),
}  # fmt: skip


def block_of(change: dict[str, Any], regime: str, space: str, index: int) -> Callable[[], None]:
    """A block of work in the way asked for: eight steps of training, or 2,000 images tested."""
    import torch
    from torch import nn

    from dsd.net.build import build
    from dsd.regime import load_regime
    from dsd.space.sample import sample
    from dsd.space.spec import load_space
    from dsd.train.memory import keep_freed_memory

    torch.set_num_threads(1)
    if change.get("interop"):
        torch.set_num_interop_threads(1)
    if change.get("denormals"):
        torch.set_flush_denormal(True)
    if change.get("keep", True):
        keep_freed_memory()
    torch.manual_seed(0)
    conditions = load_regime(regime)
    drawn = sample(load_space(space), conditions, index + 1, 0).archs[index]
    layout = torch.channels_last if change.get("channels_last", True) else torch.contiguous_format
    model = build(drawn).to(memory_format=layout)
    for part in model.modules() if change.get("inplace") else ():
        if isinstance(part, nn.ReLU):
            part.inplace = True
    size = change.get("test", conditions.train.batch)
    side = conditions.resolution
    images = torch.randn(size, conditions.stem.inputs, side, side).contiguous(memory_format=layout)
    labels = torch.arange(size) % conditions.classes
    if "test" in change:
        model = folded(model.eval()) if change.get("fold") else model.eval()

        def test() -> None:
            with torch.inference_mode():
                for _ in range(2000 // size):
                    model(images)

        return test
    optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, nesterov=True, weight_decay=5e-5,
                                **change.get("sgd", {"fused": True}))  # fmt: skip
    ready = torch.compile(model) if change.get("compiled") else model

    def train() -> None:
        for _ in range(8):
            with torch.autocast("cpu", torch.bfloat16, bool(change.get("bf16"))):
                logits = ready(images)
            loss = nn.functional.cross_entropy(logits.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return train


def folded(model: Any) -> Any:
    """The network with each batch norm made part of the convolution before it."""
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    for part in model.modules():
        if (
            isinstance(part, nn.Sequential)
            and len(part) > 1
            and isinstance(part[1], nn.BatchNorm2d)
        ):
            part[0], part[1] = fuse_conv_bn_eval(part[0], part[1]), nn.Identity()
    return model


def serve(name: str, regime: str, space: str, index: int) -> None:
    """A child: a block for each line read, its seconds of processor and clock printed."""
    block = block_of(changes(name), regime, space, index)
    block()
    print("ready", flush=True)
    for _ in sys.stdin:
        cpu, wall = time.process_time(), time.perf_counter()
        block()
        print(time.process_time() - cpu, time.perf_counter() - wall, flush=True)


def changes(name: str) -> dict[str, Any]:
    """What a child's name asks for; "dsd" and "dsd-test" are dsd's way."""
    known = {"dsd": {}, "dsd-test": {"test": 200}}
    return known[name] if name in known else VARIANTS[name].change


class Child:
    """A process that runs a block when told."""

    def __init__(self, name: str, words: list[str], environment: dict[str, str]) -> None:
        command = [sys.executable, str(Path(__file__)), "--child", name, *words]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env={**os.environ, **environment},
        )  # fmt: skip

    def block(self) -> tuple[float, float]:
        """Seconds of processor and clock of one block."""
        assert self.process.stdin
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        cpu, wall = self.line().split()
        return float(cpu), float(wall)

    def line(self) -> str:
        """Its next line. Raises RuntimeError, with its last words, when it has ended."""
        assert self.process.stdout
        assert self.process.stderr
        line = self.process.stdout.readline()
        if not line:
            words = self.process.stderr.read().strip().splitlines()
            raise RuntimeError(words[-1] if words else "it ended without a word")
        return line

    def leave(self) -> None:
        """Close its input, at which it ends, and wait for that."""
        self.process.communicate()


def pairs(name: str, words: list[str], count: int) -> list[tuple[float, float]]:
    """Variant over dsd, of processor time and of the clock, for each of `count` pairs."""
    base = "dsd-test" if "test" in VARIANTS[name].change else "dsd"
    both = [Child(base, words, {}), Child(name, words, VARIANTS[name].environment)]
    found = []
    try:
        for child in both:
            child.line()
        for turn in range(count):
            order = both if turn % 2 else both[::-1]  # neither is always the first
            times = {id(child): child.block() for child in order}
            mine, theirs = (times[id(child)] for child in both)
            found.append((theirs[0] / mine[0], theirs[1] / mine[1]))
    finally:
        for child in both:
            child.leave()
    return found


def spread(values: list[float]) -> str:
    """Min, median, max."""
    ordered = sorted(values)
    return "".join(f"{one:>7.2f}" for one in (ordered[0], ordered[len(ordered) // 2], ordered[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--only", default="", help=f"some of {','.join(VARIANTS)}")
    parser.add_argument("--regime", default="fashion")
    parser.add_argument("--space", default="anynetx_a")
    parser.add_argument("--networks", type=int, nargs="+", default=[0, 1, 2],
                        help="which draws of the space, from 0")  # fmt: skip
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        serve(given.child, given.regime, given.space, given.networks[0])
        return
    names = given.only.split(",") if given.only else list(VARIANTS)
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or given.pairs < 1:
        parser.error(f"--only {','.join(unknown)} --pairs {given.pairs}: some of "
                     f"{','.join(VARIANTS)}, and pairs from 1, would work")  # fmt: skip
    import torch

    torch.set_num_threads(1)
    for line in described(torch.device("cpu")):
        say(line)
    say(f"{given.space} under {given.regime}; variant over dsd: min, median, max of {given.pairs} "
        "pairs a network")  # fmt: skip
    say(f"  {'':<66}{'processor':>21}{'clock':>23}")
    for name in names:
        for index in given.networks:
            words = ["--regime", given.regime, "--space", given.space, "--networks", str(index)]
            about = f"{index}: {VARIANTS[name].about}"
            try:
                found = pairs(name, words, given.pairs)
            except RuntimeError as error:
                say(f"  {about}: not measured: {error}")
                continue
            cpu, wall = zip(*found, strict=True)
            say(f"  {about:<66}{spread(list(cpu))}  {spread(list(wall))}")


if __name__ == "__main__":
    main()
