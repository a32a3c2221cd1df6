"""Every published network has the size in its name and the cost that the paper's tables print."""

from __future__ import annotations

import pytest

from dsd.errors import UsageError
from dsd.net.cost import cost
from dsd.space.networks import published, published_network

PARAMS = {  # millions, RegNet tables 3, 4 and figures 16, 17
    "regnetx-4.0gf": 22.1, "regnetx-6.4gf": 26.2, "regnetx-12gf": 46.1, "regnetx-16gf": 54.3,
    "regnetx-32gf": 107.8, "regnety-600mf": 6.1, "regnety-3.2gf": 19.4, "regnety-4.0gf": 20.6,
    "regnety-6.4gf": 30.6, "regnety-8.0gf": 39.2, "regnety-12gf": 51.8, "regnety-16gf": 83.6,
    "regnety-32gf": 145.0,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(published()))
def test_a_published_network_is_as_large_as_its_name_says(name):
    size = name.split("-")[1]
    flops = float(size[:-2]) * {"mf": 1e6, "gf": 1e9}[size[-2:]]
    found = cost(published_network(name), 224)
    assert found.flops == pytest.approx(flops, rel=0.015)
    assert round(found.params / 1e6, 1) == PARAMS.get(name, round(found.params / 1e6, 1))


def test_capitals_do_not_lead_a_suggestion_astray():
    with pytest.raises(UsageError, match="Did you mean 'regnetx-400mf'"):
        published_network("RegNetX-400MF")
