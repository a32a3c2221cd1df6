"""`dsd weights`: a trained network for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dsd.cli.options import pass_lab

if TYPE_CHECKING:
    from dsd.lab import Lab

IMPORTS = {
    "dsd": "import dsd",
    "torchvision": "import torch\n  from torchvision.models.regnet import BlockParams, RegNet\n"
                   "  from torchvision.ops import Conv2dNormActivation",
    "timm": "from timm.models.regnet import RegNet, RegNetCfg",
    "onnx": "import onnxruntime",
}  # fmt: skip


@click.command()
@click.argument("run")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="File: .safetensors, or .onnx.")  # fmt: skip
@click.option("--format", "kind", type=click.Choice(["dsd", "torchvision", "timm", "onnx"]),
              help="Whose network it is.  [dsd; onnx for .onnx]")  # fmt: skip
@click.option("--kept", metavar="DIR", help="Folder of kept weights.  [dsd.toml, else weights]")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@pass_lab
def weights(
    lab: Lab, run: str, output: Path, kind: str | None, kept: str | None, force: bool
) -> None:
    """Write the weights of RUN, a trained one, and say how they are loaded.

    Workers keep the weights of selections' runs (`dsd enqueue`), and of all with --keep-weights.

    \b
        dsd weights 17 -o net.safetensors
        dsd weights 17 -o net.onnx
        dsd weights 17 -o net.safetensors --format torchvision
    """
    from dsd.errors import UsageError
    from dsd.store.notes import run_number
    from dsd.store.runs import one_run

    number = run_number(run)
    if number is None:
        raise UsageError(f"'{run}' is no run: a number such as `dsd runs` lists.")
    kind = kind or ("onnx" if output.suffix == ".onnx" else "dsd")
    ending = ".onnx" if kind == "onnx" else ".safetensors"
    if output.suffix != ending:
        raise UsageError(f"{output}: a file of the format {kind} ends in {ending}.")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already: --force replaces it.")
    known = one_run(lab.reader, number)
    from dsd.train.formats import write
    from dsd.train.weights import trained

    folder = kept or lab.settings.weights
    net = trained(known, Path(folder) if folder else None)
    call = write(net, output, kind)
    click.echo(f"Wrote {output}: run {number}, {net.arch.digest}, error "
               f"{known['error_last']:.2f}%, format {kind}. To load it:")  # fmt: skip
    click.echo(f"  {IMPORTS[kind]}")
    if kind in ("dsd", "onnx"):
        click.echo(f"  {call}")
    else:
        click.echo(f"  from safetensors.torch import load_file\n  net = {call}.eval()\n"
                   f'  net.load_state_dict(load_file("{output}"))')  # fmt: skip
