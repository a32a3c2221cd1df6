"""The paper's published errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def paper() -> dict[str, list[float]]:
    """Errors in percent of each population of RegNet's figures (see data/SOURCE.md)."""
    text = (Path(__file__).parent / "data" / "regnet_edf.json").read_text(encoding="utf-8")
    return json.loads(text)["populations"]
