"""Every random stream of a run, derived from one number: nothing depends on what ran before."""

from __future__ import annotations

import hashlib


def run_seed(seed: int, network: str, regime: str) -> int:
    """The seed of one run, from its own seed and the digests of its network and its regime."""
    return derive("run", seed, network, regime)


def derive(*parts: str | int) -> int:
    """63 bits that name a stream, such as ("order", seed, epoch); fit for torch.manual_seed."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
