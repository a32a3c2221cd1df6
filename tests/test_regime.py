"""The text and the digest of a regime: what results are stored under, for ever."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsd.regime import Recipe, Regime, load_regime, regime_from, regime_names

# As results are stored since these regimes were first shipped: never to be changed.
DIGESTS = {
    "cifar10": "9ba57e26ea4d1473",
    "cifar10_nds": "e1fd55b2c799b41a",
    "fashion": "b2856addedf43f6b",
    "imagenet_1.6gf": "73bfd79bddd60c56",
    "imagenet_1.6gf_25ep": "510a0c8ba2916aa0",
    "imagenet_12.8gf": "6fc9d666de748885",
    "imagenet_12.8gf_25ep": "dcb4bf5f606a99f5",
    "imagenet_200mf": "48475c080f03d84e",
    "imagenet_200mf_25ep": "0adce805cbde407b",
    "imagenet_3.2gf": "085c35ab27526cc1",
    "imagenet_3.2gf_25ep": "c0b3283ce41f6793",
    "imagenet_400mf": "430f930e05843bae",
    "imagenet_400mf_100ep": "843d0af3a76e4222",
    "imagenet_400mf_25ep": "103f4d1d03d32290",
    "imagenet_400mf_50ep": "a4ac3db5f9cb4e36",
    "imagenet_6.4gf": "f00d7419c72024df",
    "imagenet_6.4gf_25ep": "3a4603f00a09fbb3",
    "imagenet_800mf": "38fbb815b3ef4aa7",
    "imagenet_800mf_25ep": "fc9273122de53a1e",
}
# The text of `fashion` as a database of the first release holds it.
STORED = (
    '{"augment":{"crop":"none","flip":true,"lighting":0.0,"mean":[0.286],"pad":4,"std":[0.353],'
    '"test_crop":0,"test_resize":0},"band":{"flops":[700000.0,800000.0]},"classes":10,"dataset":'
    '"fashion-mnist-5k","resolution":28,"restrict":["w <= 256","d <= 16"],"stem":{"inputs":1,'
    '"kernel":3,"pool":false,"stride":2,"width":16},"strides":[],"train":{"batch":128,"epochs":4,'
    '"label_smoothing":0.0,"lr":0.1,"momentum":0.9,"nesterov":true,"precise_bn_images":0,'
    '"precision":"fp32","schedule":"cosine-step","warmup_epochs":1.0,"weight_decay":5e-05}}'
)
LATER = {"train.bn_weight_decay": False, "train.ema": 0.99}


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_a_shipped_regime_keeps_its_digest(name: str) -> None:
    assert load_regime(name).digest == DIGESTS[name]
    assert set(DIGESTS) <= set(regime_names())


def test_a_text_stored_before_a_key_was_added_reads_back_as_it_was() -> None:
    regime = Regime.from_text(STORED, "fashion")
    assert regime == load_regime("fashion")
    assert regime.text == STORED
    assert (regime.train.ema, regime.train.bn_weight_decay) == (0.0, True)
    assert regime.values["train"]["ema"] == 0.0


def test_every_later_key_is_known_here() -> None:
    found = {f"train.{spec.name}" for spec in fields(Recipe) if spec.metadata["later"]}
    assert found == set(LATER)
    for key, value in LATER.items():
        changed = with_key(key, value)
        assert json.loads(changed.text)["train"][key.partition(".")[2]] == value
        assert changed.digest != DIGESTS["fashion"]


def with_key(key: str, value: Any) -> Regime:
    fashion = load_regime("fashion")
    return replace(fashion, train=replace(fashion.train, **{key.partition(".")[2]: value}))


RECIPES = st.builds(
    Recipe,
    epochs=st.integers(1, 3),
    lr=st.floats(0.001, 10),
    ema=st.sampled_from([0.0, 0.5, 0.999]) | st.floats(0, 0.9999),
    bn_weight_decay=st.booleans(),
)


@given(RECIPES, RECIPES)
def test_a_text_holds_all_and_two_regimes_share_one_only_if_they_are_the_same(
    one: Recipe, other: Recipe
) -> None:
    a, b = (replace(load_regime("fashion"), train=recipe) for recipe in (one, other))
    assert Regime.from_text(a.text, a.name) == a
    assert regime_from({**a.values}, a.name, "values") == a
    assert (a.digest == b.digest) == (one == other)


COMPUTE = ("200mf", "400mf", "800mf", "1.6gf", "3.2gf", "6.4gf", "12.8gf")
# epochs, batch, lr, weight decay, warm-up, label smoothing, average, as the papers have them
PAPERS = {
    **{f"imagenet_{size}": (10, 128, 0.05, 5e-5, 0, 0, 0) for size in COMPUTE},  # RegNet 3
    **{f"imagenet_{size}_25ep": (25, 128, 0.1, 5e-5, 0, 0, 0) for size in COMPUTE},  # RegNet 4
    "imagenet_400mf_50ep": (50, 128, 0.05, 5e-5, 0, 0, 0),  # RegNet 3.4, NDS
    "imagenet_400mf_100ep": (100, 128, 0.1, 5e-5, 5, 0, 0),  # RegNet 5
    "cifar10_nds": (100, 128, 0.1, 5e-4, 0, 0, 0),  # NDS
}


@pytest.mark.parametrize("name", PAPERS)
def test_a_regime_of_the_papers_has_their_recipe(name: str) -> None:
    regime = load_regime(name)
    recipe = regime.train
    found = (recipe.epochs, recipe.batch, recipe.lr, recipe.weight_decay, recipe.warmup_epochs)
    assert (*found, recipe.label_smoothing, recipe.ema) == PAPERS[name]
    assert (recipe.momentum, recipe.nesterov, recipe.bn_weight_decay) == (0.9, True, True)
    assert recipe.schedule == "cosine-epoch"
    if name.startswith("imagenet"):
        size, unit = name.split("_")[1][:-2], 1e6 if "mf" in name else 1e9
        low, high = regime.band["flops"]
        assert high == pytest.approx(float(size) * unit)
        assert low == pytest.approx(0.9 * high), "the paper's 360 to 400 MF, in proportion"
        augment = regime.augment
        assert (augment.crop, augment.lighting, augment.flip) == ("random-resized", 0.1, True)
        assert (regime.resolution, augment.test_resize, augment.test_crop) == (224, 256, 224)
