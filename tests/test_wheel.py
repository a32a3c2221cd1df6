"""The built wheel carries its spaces, regimes, migrations and images, and works from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that holds what the wheel would install."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def run(site, folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_wheel_runs_in_an_empty_folder(site, tmp_path):
    where = run(site, tmp_path, "-c", "import dsd; print(dsd.__file__)").stdout
    assert where.startswith(str(site))
    done = run(site, tmp_path, "-m", "dsd", "sample", "anynetx_c", "--n", "20")
    assert "20 queued" in done.stdout, done.stderr
    status = run(site, tmp_path, "-m", "dsd", "status")
    assert "anynetx_c@imagenet_400mf#0" in status.stdout, status.stderr
    assert "anynetx_e" in run(site, tmp_path, "-m", "dsd", "spaces", "--lineage").stdout


def test_the_wheel_carries_the_images(site, tmp_path):
    code = (
        "import torch; from pathlib import Path; from dsd.regime import load_regime\n"
        "from dsd.train.data import load\n"
        "print(len(load(load_regime('fashion'), Path('.'), torch.device('cpu')).test))"
    )
    done = run(site, tmp_path, "-c", code)
    assert done.stdout.strip() == "2000", done.stderr
