"""Faulty space and regime files: one clear line each, naming the file and what would work."""

from __future__ import annotations

import pytest

from dsd.errors import UsageError
from dsd.regime import Regime, load_regime, regime_names
from dsd.space.spec import load_space, space_names

GOOD = """form = "per-stage"
stages = 4
[draw]
d = { log = [1, 16] }
w = { log = [8, 64], step = 8 }
b = [1, 2, 4]
g = [1, 2]
"""
FAULTS = {
    "unknown key": ('colour = "red"\n' + GOOD, "unknown key 'colour'"),
    "near key": ("stagez = 4\n" + GOOD, "Did you mean 'stages'"),
    "wrong type": (GOOD.replace("stages = 4", 'stages = "four"'), "needs int"),
    "no stage": (GOOD.replace("stages = 4", "stages = 0"), "1 is the least that works"),
    "missing parent": ('extends = "nowhere"\n', "No space 'nowhere'"),
    "unknown name": ('restrict = ["q <= 3"]\n' + GOOD, "unknown name 'q'"),
    "python": ('restrict = ["__import__(\\"os\\")"]\n' + GOOD, "not part of the language"),
    "attribute": ('restrict = ["w.real > 1"]\n' + GOOD, "not part of the language"),
    "number": ('restrict = ["w1 + 1"]\n' + GOOD, "not a condition"),
    "no column": ('restrict = ["1 < 2"]\n' + GOOD, "reads no column"),
    "far neighbour": ('restrict = ["w[i+4] >= w[i]"]\n' + GOOD, "4 stages ahead of 4"),
    "impossible": ('restrict = ["d1 < 1"]\n' + GOOD, "no d can satisfy"),
    "contradiction": ('restrict = ["w[i+1] > w[i]", "w <= 16"]\n' + GOOD, "no w can satisfy"),
    "negative range": (GOOD.replace("[1, 16]", "[-1, 16]"), "range [-1, 16]"),
    "large step": (GOOD.replace("step = 8", "step = 80"), "step 80 does not fit"),
    "missing draw": (GOOD.replace("b = [1, 2, 4]\n", ""), "'draw.b' is missing"),
    "fraction of a block": (GOOD.replace("{ log = [1, 16] }", "[1.5]"), "whole numbers"),
    "huge number": (f'restrict = ["d <= 1{"0" * 400}"]\n' + GOOD, "above 1.8e+308"),
    "deep rule": (f'restrict = ["{"-" * 900}d <= 4"]\n' + GOOD, "over 100 deep"),
    "long sum": (f'restrict = ["d{"+d" * 450} <= 4"]\n' + GOOD, "over 100 deep"),
    "odd index": ('restrict = ["w[i+True] >= w[i]"]\n' + GOOD, "not part of the language"),
    "too wide": (GOOD.replace("{ log = [8, 64], step = 8 }", "[1e300]"), "1,000,000 is the most"),
    "too deep": (GOOD.replace("{ log = [1, 16] }", "[10001]"), "10,000 is the most"),
    "no name of a file": (f'extends = "{"a" * 5000}"\n', "extends = 'aaa"),
    "no power": (GOOD.replace("[1, 2]", "{ power2 = [5, 7] }"), "no power of two fits in [5, 7]"),
    "not toml": ("form = = 1", "cannot be read as TOML"),
    "bad form": (GOOD.replace("per-stage", "per-block"), "needs one of 'per-stage'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_space_says_what_and_where(fault, tmp_path):
    text, message = FAULTS[fault]
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_space(str(path))
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_from_an_editor_that_marks_its_bytes_is_read(tmp_path):
    (tmp_path / "mine.toml").write_bytes(
        ("# mine\n" + GOOD).replace("\n", "\r\n").encode("utf-8-sig")
    )
    space = load_space(str(tmp_path / "mine.toml"))
    assert (space.about, space.draws["w"][0].values[-1]) == ("mine", 64)


def test_a_parent_lies_beside_its_child_whatever_the_working_folder(tmp_path):
    (tmp_path / "base.toml").write_text('restrict = ["d <= 9"]\n' + GOOD)
    path = tmp_path / "mine.toml"
    for name in ("base", "base.toml"):
        path.write_text(f'extends = "{name}"\nrestrict = ["d >= 5"]\n')
        space = load_space(str(path))
        assert (space.restrict, space.own_rules) == (("d <= 9", "d >= 5"), ("d >= 5",))


def test_powers_of_two_are_all_there_unless_a_step_is_given(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace("b = [1, 2, 4]", "b = { power2 = [0.125, 3] }"))
    assert load_space(str(path)).draws["b"][0].values.tolist() == [0.125, 0.25, 0.5, 1, 2]
    path.write_text(GOOD.replace("[1, 2]", "{ power2 = [4, 100], step = 16 }"))
    assert load_space(str(path)).draws["g"][0].values.tolist() == [16, 32, 64]


def test_a_cycle_is_named(tmp_path):
    (tmp_path / "a.toml").write_text('extends = "b"\n')
    (tmp_path / "b.toml").write_text('extends = "a"\n')
    with pytest.raises(UsageError, match="cycle: a -> b -> a"):
        load_space(str(tmp_path / "a.toml"))


def test_a_misspelt_name_brings_the_nearest():
    with pytest.raises(UsageError, match=r"No space .anynetx_cc. in spaces/\. Did you mean"):
        load_space("anynetx_cc")


BAD_REGIMES = [
    ("train.epochs = 0", "train.epochs = 0: at least 1"),
    ("train.batch = -1", "train.batch = -1"),
    ("train.lr = nan", "train.lr = nan"),
    ("train.warmup_epochs = 11", "in [0, epochs]"),
    ("train.ema = 1.0", "train.ema = 1.0: in [0, 1)"),
    ("train.bn_weight_decay = 0.0", "needs bool"),
    ("augment.std = [0.0]", "each above 0"),
    ("stem.kernel = 4", "odd"),
    ("stem.width = 0", "stem.width = 0"),
    ('train.schedule = "linear"', "needs one of"),
    ("band.flops = [2, 1]", "low <= high"),
    ("band.flop = [1, 2]", "band.flop is unknown"),
    ("train.epoch = 3", "Did you mean 'epochs'"),
]


@pytest.mark.parametrize(("text", "message"), BAD_REGIMES)
def test_a_faulty_regime_says_what_and_where(text, message, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(f'extends = "imagenet_400mf"\n{text}\n')
    with pytest.raises(UsageError) as caught:
        load_regime(str(path))
    assert message in str(caught.value)
    assert "mine.toml" in str(caught.value)


def test_the_working_folders_own_file_wins(tmp_path, monkeypatch):
    (tmp_path / "spaces").mkdir()
    (tmp_path / "spaces" / "anynetx_a.toml").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_space("anynetx_a").draws["w"][0].values[-1] == 64


def test_a_comment_changes_no_digest_and_a_rule_does(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    plain = load_space(str(path))
    path.write_text("# a word\n" + GOOD)
    assert load_space(str(path)).digest == plain.digest
    path.write_text('restrict = ["d <= 4"]\n' + GOOD)
    assert load_space(str(path)).digest != plain.digest


@pytest.mark.parametrize("name", sorted(regime_names()))
def test_a_regime_is_rebuilt_from_its_stored_text(name):
    regime = load_regime(name)
    assert Regime.from_text(regime.text, name) == regime


@pytest.mark.parametrize("name", sorted(space_names()))
def test_the_catalogue_reads(name):
    assert load_space(name).about
