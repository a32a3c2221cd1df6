"""What a project settles once: `dsd.toml`, under `DSD_*` variables, under flags."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from dsd.toml import parse_toml, read_table

FILE = "dsd.toml"
READERS = ("auto", "dali", "torchvision")


@dataclass(frozen=True)
class Settings:
    """Database (URL or file), folders of data, checkpoints and weights, the default regime, what
    reads image folders."""

    db: str = "dsd.db"
    data: str = "data"
    regime: str = "imagenet_400mf"
    checkpoints: str = "checkpoints"
    weights: str = "weights"
    reader: str = field(default="auto", metadata={"one_of": READERS})

    @property
    def database(self) -> str:
        """The database for a message: a file as it was given, a URL without its password."""
        return re.sub(r"(://[^:/@]*):.*@", r"\1:***@", self.db).partition("?")[0]

    @property
    def regime_name(self) -> str:
        """How references name the default regime, also where it is given as a file."""
        return Path(self.regime).stem if self.regime.endswith(".toml") else self.regime


def read_settings(folder: Path | None = None) -> Settings:
    """The working folder's `dsd.toml`, or the defaults. Raises UsageError for a faulty file."""
    path = (folder or Path.cwd()) / FILE
    if not path.is_file():
        return Settings()
    settings: Settings = read_table(Settings, parse_toml(path), FILE, "")
    return settings


def as_toml(settings: Settings) -> str:
    """The text of a `dsd.toml`."""
    import json

    return (
        "# Settings of this dsd project; DSD_DB, DSD_DATA, DSD_REGIME and flags override them.\n"
        f"db = {json.dumps(settings.db)}          # a file, or postgresql+psycopg://user@host/name\n"
        f"data = {json.dumps(settings.data)}          # folder with imagenet/, cifar-10-..., ...\n"
        f"regime = {json.dumps(settings.regime)}  # default conditions: a file of regimes/\n"
        f"checkpoints = {json.dumps(settings.checkpoints)}  # folder of networks in mid-training\n"
        f"weights = {json.dumps(settings.weights)}  # folder of a selection's trained networks\n"
        f"reader = {json.dumps(settings.reader)}  # of image folders: {', '.join(READERS)}\n"
    )
