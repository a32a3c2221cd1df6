"""What is drawn without an image's pixels is what torchvision does to the image, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from dsd.regime import Augment
from dsd.train.folders import transform
from dsd.train.views import seen, view_of

SIDES = st.integers(1, 70)
AUGMENTS = st.builds(
    Augment, crop=st.sampled_from(["random-resized", "pad", "none"]), pad=st.integers(0, 9),
    flip=st.booleans(), test_resize=st.integers(0, 50), test_crop=st.integers(0, 60),
)  # fmt: skip


@settings(deadline=None, max_examples=150)
@given(SIDES, SIDES, AUGMENTS, st.integers(1, 40), st.booleans(), st.integers(0, 2**62))
def test_a_view_is_torchvisions_transform(height, width, augment, resolution, training, seed):
    rng = np.random.default_rng(height * 71 + width)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    steps = transform(augment, resolution, training)
    torch.manual_seed(seed)
    expected, next_draw = steps(image), torch.rand(1)
    torch.manual_seed(seed)
    view = view_of(steps, height, width)
    assert torch.equal(torch.rand(1), next_draw)  # it drew as much
    top, left, high, wide = view.box
    box = image.crop((left, top, left + wide, top + high))
    assert torch.equal(F.pil_to_tensor(seen(box, view)), expected)
    assert view.shape == expected.shape[1:]


@pytest.mark.parametrize("steps", [
    [v2.GaussianBlur(3)], [v2.Resize(8), v2.RandomResizedCrop(8)], [v2.CenterCrop(8), v2.Resize(8)],
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(steps):
    with pytest.raises(TypeError, match=f"^{type(steps[-1]).__name__} cannot be drawn here"):
        view_of(v2.Compose(steps), 20, 30)
