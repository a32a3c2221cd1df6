"""The paper's published errors."""

from __future__ import annotations

import json

import pytest

from dsd.store.papers import FOLDER


@pytest.fixture(scope="session")
def paper() -> dict[str, list[float]]:
    """Errors in percent of each population of RegNet's figures (see dsd/store/published)."""
    text = (FOLDER / "regnet_edf.json").read_text(encoding="utf-8")
    return json.loads(text)["populations"]
