"""Batched augmentation against torchvision's transforms of one image."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, chisquare, ks_2samp, kstest
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
    assert chisquare(list(seen.values())).pvalue > LEAST_P
    torch.manual_seed(0)
    theirs = v2.RandomCrop(4, padding=2)
    assert {theirs(image).numpy().tobytes() for _ in range(400)} == expected


def test_every_image_of_a_batch_gets_its_own_crop():
    images = torch.arange(64, dtype=torch.uint8).view(64, 1, 1, 1).expand(64, 3, 8, 8)
    out = pad_crop(images, 2, seeded())
    middle = out[:, :, 2:6, 2:6]
    assert torch.equal(middle, images[:, :, 2:6, 2:6])  # never another image's pixels
    assert len(outcomes((out > 0)[1:].to(torch.uint8))) > 10


def test_flip_mirrors_half_of_the_images_each_on_its_own():
    image = torch.arange(12, dtype=torch.uint8).view(1, 1, 3, 4)
    out = flip(image.expand(4000, -1, -1, -1), seeded())
    mirrored = (out == one.horizontal_flip(image)).flatten(1).all(1)
    kept = (out == image).flatten(1).all(1)
    assert torch.equal(mirrored, ~kept)
    assert binomtest(int(mirrored.sum()), 4000, 0.5).pvalue > LEAST_P
    both = int((mirrored[:-1] & mirrored[1:])[::2].sum())  # pairs of neighbours
    assert binomtest(both, 2000, 0.25).pvalue > LEAST_P


DRAWS = 4000
LEAST_P = 1e-4  # of each test on fixed seeds; a changed distribution falls below it by far


def boxes_of(transform: v2.RandomResizedCrop, h: int, w: int, seed: int) -> torch.Tensor:
    """Top, left, height, width (4, DRAWS) as torchvision draws them, one image at a time."""
    torch.manual_seed(seed)
    image = torch.empty(1, h, w)
    drawn = [transform.make_params([image]) for _ in range(DRAWS)]
    return torch.tensor(
        [[one[key] for key in ("top", "left", "height", "width")] for one in drawn]
    ).T


def features(boxes: torch.Tensor, h: int, w: int) -> dict[str, np.ndarray]:
    """What a box is described by; its place as a share of the room that its size leaves."""
    top, left, height, width = boxes.double().numpy()
    some_rows, some_columns = height < h, width < w
    return {
        "area": height * width / (h * w), "ratio": width / height, "top": top, "left": left,
        "row": (top / (h - height).clip(1))[some_rows],
        "column": (left / (w - width).clip(1))[some_columns],
        "middle": (top + height / 2) * w + left + width / 2,
    }  # fmt: skip


def p_values(ours: torch.Tensor, theirs: torch.Tensor, h: int, w: int) -> dict[str, float]:
    """Of two-sample Kolmogorov-Smirnov tests, conservative where values repeat."""
    one, two = features(ours, h, w), features(theirs, h, w)
    return {name: ks_2samp(one[name], two[name]).pvalue for name in one
            if len(one[name]) and len(two[name])}  # fmt: skip


@pytest.mark.parametrize(("h", "w"), [(32, 32), (160, 160), (40, 64), (8, 64), (64, 8)])
def test_boxes_are_distributed_like_torchvisions(h, w):
    ours = torch.stack(random_boxes(DRAWS, h, w, seeded(), CPU)).long()
    theirs = boxes_of(v2.RandomResizedCrop(8), h, w, 1)
    found = p_values(ours, theirs, h, w)
    assert min(found.values()) > LEAST_P, found
    assert (ours[0] >= 0).all()
    assert (ours[0] + ours[2] <= h).all()
    assert (ours[1] + ours[3] <= w).all()


def test_the_area_and_the_ratio_of_large_images_have_their_declared_distributions():
    """Where nearly all draws fit: the area uniform, the ratio log-uniform (torchvision's law)."""
    side, small = 4096, 0.5
    _, _, height, width = random_boxes(20_000, side, side, seeded(), CPU)
    area, ratio = (height * width / side**2).numpy(), (width / height).log().numpy()
    low = area < small  # a box of at most half the area fits whatever its ratio is
    assert kstest(area[low], "uniform", (0.08, small - 0.08)).pvalue > LEAST_P
    bounds = np.log((3 / 4, 4 / 3))
    assert kstest(ratio[low], "uniform", (bounds[0], bounds[1] - bounds[0])).pvalue > LEAST_P
    assert abs(np.corrcoef(area[low], ratio[low])[0, 1]) < 4 / low.sum() ** 0.5


@pytest.mark.parametrize(
    "change", [{"scale": (0.15, 1.0)}, {"scale": (0.08, 0.75)}, {"ratio": (0.7, 1.4)}]
)
def test_boxes_of_another_distribution_would_be_noticed(change):
    ours = torch.stack(random_boxes(DRAWS, 160, 160, seeded(), CPU)).long()
    theirs = boxes_of(v2.RandomResizedCrop(8, **change), 160, 160, 1)
    assert min(p_values(ours, theirs, 160, 160).values()) < LEAST_P / 10


def test_boxes_of_a_batch_are_independent_of_each_other():
    boxes = torch.stack(random_boxes(DRAWS, 160, 160, seeded(2), CPU))
    found = features(boxes, 160, 160)
    for name in ("area", "ratio", "top", "left"):
        following = np.corrcoef(found[name][:-1], found[name][1:])[0, 1]
        assert abs(following) < 4 / DRAWS**0.5, name


@pytest.mark.parametrize("kind", [torch.float32, torch.float16], ids=["on the CPU", "on a GPU"])
def test_resized_boxes_have_torchvisions_pixels(kind, monkeypatch):
    monkeypatch.setattr(augment, "product_type", lambda device: kind)
    images = torch.randint(256, (40, 3, 48, 40), generator=seeded(), dtype=torch.uint8)
    boxes = random_boxes(40, 48, 40, seeded(1), CPU)
    monkeypatch.setattr(augment, "random_boxes", lambda *_: boxes)
    for size in (16, 32, 64):
        out = random_resized_crop(images, size, seeded())
        for image, ours, *box in zip(images, out, *(b.long().tolist() for b in boxes), strict=True):
            theirs = one.resized_crop(image, *box, [size, size], antialias=True)
            assert (ours.int() - theirs.int()).abs().max() <= 1


def test_a_gpus_products_move_few_pixels_and_keep_black_and_white(monkeypatch):
    noise = torch.randint(256, (40, 3, 64, 64), generator=seeded(), dtype=torch.uint8)
    exact = random_resized_crop(noise, 56, seeded(1))
    monkeypatch.setattr(augment, "product_type", lambda device: torch.float16)
    off = random_resized_crop(noise, 56, seeded(1)).int() - exact.int()
    assert off.abs().max() == 1
    assert (off != 0).float().mean() < 0.07
    assert off.float().mean().abs() < 0.002, "neither brighter nor darker"
    for value in (0, 255):
        flat = torch.full_like(noise, value)
        assert (random_resized_crop(flat, 56, seeded(2)) == value).all()


def test_normalization_is_torchvisions():
    images = torch.randint(256, (5, 3, 6, 6), generator=seeded(), dtype=torch.uint8)
    setting = Augment()
    theirs = one.normalize(one.to_dtype(images, torch.float32, scale=True),
                           list(setting.mean), list(setting.std))  # fmt: skip
    lit = Normalization.of(setting, CPU)
    assert torch.allclose(lit(images), theirs, atol=1e-5)  # no generator: tests are never lit
    unlit = Normalization.of(Augment(lighting=0.0), CPU)
    assert torch.allclose(unlit(images, seeded()), theirs, atol=1e-5)


def test_lighting_is_that_of_the_paper_image_by_image():
    """AlexNet, section 4.1: [p1 p2 p3] [a1 l1, a2 l2, a3 l3] with each a from N(0, 0.1)."""
    setting = Augment(lighting=0.1, mean=(0.0,) * 3, std=(1.0,) * 3)
    images = torch.full((20_000, 3, 1, 1), 100, dtype=torch.uint8)
    light = Normalization.of(setting, CPU)(images, seeded())[:, :, 0, 0].double() - 100 / 255
    vectors = torch.tensor(augment.EIGENVECTORS, dtype=torch.float64)
    values = torch.tensor(augment.EIGENVALUES, dtype=torch.float64)
    assert torch.allclose(vectors.T @ vectors, torch.eye(3, dtype=torch.float64), atol=1e-3)
    alpha = (torch.linalg.solve(vectors, light.T) / values[:, None]).numpy()
    for each in alpha:
        assert kstest(each, "norm", (0, 0.1)).pvalue > LEAST_P
        assert abs(each.mean()) < 4 * 0.1 / 20_000**0.5
        assert each.std() == pytest.approx(0.1, rel=4 / (2 * 20_000) ** 0.5)
        assert kstest(each * 1.1, "norm", (0, 0.1)).pvalue < LEAST_P  # it would be noticed
    assert np.abs(np.corrcoef(alpha) - np.eye(3)).max() < 4 / 20_000**0.5
    basis = vectors * values
    assert torch.allclose(light.T.cov(), 0.01 * basis @ basis.T, atol=2e-5)


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
