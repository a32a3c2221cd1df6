"""Training on a GPU: plain loops as in torchvision's reference scripts, and dsd, side by side.

python benchmarks/training_gpu.py                      # both parts, ten minutes each
python benchmarks/training_gpu.py --part large --minutes 20
python benchmarks/training_gpu.py --device cpu --small # all of it in a minute, figures without use

small: whole runs at 28 to 32 pixels, in networks an hour (see small_images.py).
large: steady training at 224 pixels, in images a second, with the share of what the memory's
bandwidth allows (see large_images.py and traffic.py).
Each figure is printed as it is known: what ran before a machine is taken away is not lost.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import large_images
import small_images
from machine import described, say
from random_images import RandomSet

from dsd.errors import DsdError
from dsd.train.device import named_device, prepare

PARTS = ("small", "large")


def main() -> None:
    """Run the parts asked for, each within its minutes."""
    given = arguments()
    try:
        device = named_device(given.device)
    except DsdError as error:
        raise SystemExit(str(error)) from None
    prepare(device)  # as a worker does
    for line in described(device):
        say(line)
    if given.small:
        say("SMALL: this run shows that the script works; its figures mean nothing")
    for part in PARTS if given.part == "all" else (given.part,):
        say(f"== {part}, {given.minutes:g} minutes")
        deadline = time.monotonic() + 60 * given.minutes
        with tempfile.TemporaryDirectory() as name:
            if part == "large":
                large_images.compare(large(given), Path(name), device, deadline)
                continue
            for share, regime in enumerate(given.regimes, 1):
                left = (deadline - time.monotonic()) / (len(given.regimes) - share + 1)
                question = small(given, regime)
                small_images.compare(question, Path(name), device, time.monotonic() + left)


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=(*PARTS, "all"), default="all")
    parser.add_argument("--device", default="cuda:0", help="cuda:0, or cpu for a trial")
    parser.add_argument("--minutes", type=float, default=10, help="of each part")
    parser.add_argument("--repeats", type=int, default=3, help="at most; large: blocks a side")
    parser.add_argument("--small", action="store_true", help="tiny sizes: a trial of the script")
    parser.add_argument("--n", type=int, help="networks: small part 16, large part 8 sampled ones")
    parser.add_argument("--space", default="anynetx_a")
    parser.add_argument("--regimes", nargs="+", default=["cifar10", "fashion"],
                        choices=("cifar10", "fashion"), help="of the small part")  # fmt: skip
    parser.add_argument("--slots", nargs="+", default=["1", "4", "auto"],
                        help="networks at a time on the device: numbers or auto")  # fmt: skip
    parser.add_argument("--data", type=Path, help="folder with the real CIFAR-10")
    given = parser.parse_args()
    for name in ("minutes", "repeats", "n"):
        value = getattr(given, name)
        if value is not None and value <= 0:
            parser.error(f"--{name} {value}: a number above 0 would work")
    wrong = [one for one in given.slots if one != "auto" and not (one.isdigit() and int(one))]
    if wrong:
        parser.error(f"--slots {wrong[0]}: numbers from 1, or auto, would work")
    return given


def small(given: argparse.Namespace, regime: str) -> small_images.Question:
    """The question of the small part; cifar10 gets two epochs, fashion has few images already."""
    tiny = given.small
    epochs = 1 if tiny else 2 if regime == "cifar10" else 0
    return small_images.Question(
        regime, given.space, given.n or (2 if tiny else 16), epochs, 256 if tiny else 10_240,
        given.data, tuple(given.slots), given.repeats,
    )  # fmt: skip


def large(given: argparse.Namespace) -> large_images.Question:
    """The question of the large part."""
    if given.small:
        images = RandomSet("random", 40, 4, 8, 4)
        return large_images.Question("regnetx-200mf", given.space, "imagenet_400mf", given.n or 0,
                                     images, 32, 4, given.repeats, 1 << 22)  # fmt: skip
    images = RandomSet("random", 256, 1000, 4096, 1000)
    return large_images.Question("regnetx-400mf", given.space, "imagenet_400mf", given.n or 8,
                                 images, 224, 128, given.repeats, 1 << 30)  # fmt: skip


if __name__ == "__main__":
    main()
