"""Networks that share a GPU have the errors of networks that have it to themselves."""

from __future__ import annotations

import json

import pytest
import torch
from scipy.stats import ks_2samp

from tests.cli.conftest import Shell

N = 48


@pytest.mark.gpu
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_errors_do_not_depend_on_the_slots(tmp_path) -> None:
    """The embedded regime, the same networks: by pairs, and as distributions."""
    shell = Shell(tmp_path, gpu=True)
    shell.environment["DSD_REGIME"] = "fashion"
    found = []
    for slots in ("1", "4"):
        shell.environment["DSD_DB"] = f"slots-{slots}.db"
        shell("sample", "anynetx_d", "--n", str(N))
        worker = shell.popen("worker", "--gpu", "0", "--slots", slots, "--exit-when-empty")
        out, err = worker.communicate(timeout=1400)
        assert worker.returncode == 0, err
        assert slots == "1" or "share GPU 0" in out
        assert shell.states() == {"anynetx_d": {"done": N}}
        rows = json.loads(shell("runs", "--json"))
        found.append({row["digest"]: row["error_last"] for row in rows})
    alone, together = found
    assert alone.keys() == together.keys()
    apart = torch.tensor([together[key] - alone[key] for key in alone])
    margin = 2.58 * apart.std() / N**0.5
    assert apart.mean().abs() <= max(0.2, float(margin)), "percentage points"
    assert ks_2samp(list(alone.values()), list(together.values())).pvalue > 0.01
