"""Batched augmentation against torchvision's transforms of one image."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as one

from dsd.regime import Augment
from dsd.train import augment
from dsd.train.augment import Normalization, flip, pad_crop, random_boxes, random_resized_crop

CPU = torch.device("cpu")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def outcomes(images: torch.Tensor) -> Counter:
    return Counter(image.numpy().tobytes() for image in images)


def test_pad_crop_has_exactly_torchvisions_outcomes_equally_often():
    image = torch.arange(1, 2 * 4 * 4 + 1, dtype=torch.uint8).view(1, 2, 4, 4)
    seen = outcomes(pad_crop(image.expand(4000, -1, -1, -1), 2, seeded()))
    padded = one.pad(image, [2])
    places = itertools.product(range(5), repeat=2)
    expected = {one.crop(padded, top, left, 4, 4).numpy().tobytes() for top, left in places}
    assert set(seen) == expected
    assert len(expected) == 25
    assert max(abs(count - 160) for count in seen.values()) < 5 * 160**0.5
    torch.manual_seed(0)
    theirs = v2.RandomCrop(4, padding=2)
    assert {theirs(image).numpy().tobytes() for _ in range(400)} == expected


def test_every_image_of_a_batch_gets_its_own_crop():
    images = torch.arange(64, dtype=torch.uint8).view(64, 1, 1, 1).expand(64, 3, 8, 8)
    out = pad_crop(images, 2, seeded())
    middle = out[:, :, 2:6, 2:6]
    assert torch.equal(middle, images[:, :, 2:6, 2:6])  # never another image's pixels
    assert len(outcomes((out > 0)[1:].to(torch.uint8))) > 10


def test_flip_mirrors_half_of_the_images():
    image = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4)
    out = flip(image.expand(2000, -1, -1, -1), seeded())
    mirrored = (out == one.horizontal_flip(image)).flatten(1).all(1)
    kept = (out == image).flatten(1).all(1)
    assert torch.equal(mirrored, ~kept)
    assert abs(int(mirrored.sum()) - 1000) < 110


@pytest.mark.parametrize(("h", "w"), [(32, 32), (40, 64), (8, 64)])
def test_boxes_are_distributed_like_torchvisions(h, w):
    ours = torch.stack(random_boxes(4000, h, w, seeded(), CPU)).float()
    torch.manual_seed(1)
    theirs = v2.RandomResizedCrop(8)
    given = [theirs.make_params([torch.empty(1, h, w)]) for _ in range(4000)]
    keys = ("top", "left", "height", "width")
    expected = torch.tensor([[p[key] for p in given] for key in keys]).float()
    error = expected.std(1) * (2 / 4000) ** 0.5 + 1e-6
    assert ((ours.mean(1) - expected.mean(1)).abs() < 5 * error).all()
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        assert torch.allclose(ours.quantile(quantile, 1), expected.quantile(quantile, 1), atol=2.5)
    assert (ours[0] >= 0).all()
    assert (ours[0] + ours[2] <= h).all()
    assert (ours[1] + ours[3] <= w).all()


def test_resized_boxes_have_torchvisions_pixels(monkeypatch):
    images = torch.randint(256, (40, 3, 48, 40), generator=seeded(), dtype=torch.uint8)
    boxes = random_boxes(40, 48, 40, seeded(1), CPU)
    monkeypatch.setattr(augment, "random_boxes", lambda *_: boxes)
    for size in (16, 32, 64):
        out = random_resized_crop(images, size, seeded())
        for image, ours, *box in zip(images, out, *(b.long().tolist() for b in boxes), strict=True):
            theirs = one.resized_crop(image, *box, [size, size], antialias=True)
            assert (ours.int() - theirs.int()).abs().max() <= 1


def test_normalization_is_torchvisions():
    images = torch.randint(256, (5, 3, 6, 6), generator=seeded(), dtype=torch.uint8)
    setting = Augment()
    theirs = one.normalize(one.to_dtype(images, torch.float32, scale=True),
                           list(setting.mean), list(setting.std))  # fmt: skip
    lit = Normalization.of(setting, CPU)
    assert torch.allclose(lit(images), theirs, atol=1e-5)  # no generator: tests are never lit
    unlit = Normalization.of(Augment(lighting=0.0), CPU)
    assert torch.allclose(unlit(images, seeded()), theirs, atol=1e-5)


def test_lighting_has_the_covariance_of_the_principal_components():
    setting = Augment(lighting=0.1, mean=(0.0,) * 3, std=(1.0,) * 3)
    images = torch.full((20000, 3, 1, 1), 100, dtype=torch.uint8)
    light = Normalization.of(setting, CPU)(images, seeded())[:, :, 0, 0] - 100 / 255
    basis = torch.tensor(augment.EIGENVECTORS) * torch.tensor(augment.EIGENVALUES)
    assert torch.allclose(light.T.cov(), 0.01 * basis @ basis.T, atol=2e-5)
    assert light.mean(0).abs().max() < 1e-3


def test_lighting_lights_a_whole_image_alike():
    images = torch.zeros(4, 3, 5, 5, dtype=torch.uint8)
    lit = Normalization.of(Augment(), CPU)(images, seeded())
    assert torch.equal(lit, lit[:, :, :1, :1].expand_as(lit))
    assert len(lit[:, 0, 0, 0].unique()) == 4


def test_augmented_follows_the_regime():
    images = torch.randint(256, (8, 3, 20, 20), generator=seeded(), dtype=torch.uint8)
    plain = augment.augmented(images, Augment(crop="none", flip=False), 20, seeded())
    assert torch.equal(plain, images)
    assert augment.augmented(images, Augment(), 16, seeded()).shape == (8, 3, 16, 16)
    first = augment.augmented(images, Augment(crop="pad"), 20, seeded(3))
    assert torch.equal(first, augment.augmented(images, Augment(crop="pad"), 20, seeded(3)))
    assert not torch.equal(first, augment.augmented(images, Augment(crop="pad"), 20, seeded(4)))
