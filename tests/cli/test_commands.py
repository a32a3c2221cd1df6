"""Single commands: what they print, what they cost, how they fail."""

from __future__ import annotations

import errno
import json
import os
import re
import shlex
from pathlib import Path

import pytest

from dsd.cli.main import _line as one_line
from dsd.cli.main import cli
from dsd.errors import UsageError
from dsd.settings import Settings
from dsd.store.location import database_url

ROOT = Path(__file__).parent.parent.parent


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def test_a_population_reaches_its_size_and_asking_again_adds_nothing(dsd):
    assert "500 queued, 0 already known" in dsd("sample", "anynetx_c", "--n", "500")
    assert "0 queued, 500 already known" in dsd("sample", "anynetx_c", "--n", "500")
    assert "100 queued, 500 already known" in dsd("sample", "anynetx_c", "--n", "600")
    assert dsd.states() == {"anynetx_c": {"queued": 600}}


def test_dry_run_prints_one_object_a_network_and_stores_nothing(dsd):
    lines = dsd("sample", "regnetx", "--n", "20", "--dry-run", "--json").splitlines()
    networks = [json.loads(line) for line in lines]
    assert len({n["digest"] for n in networks}) == 20
    for n in networks:
        assert n["space"] == "regnetx"
        assert {"d", "w0", "wa", "wm", "flops", "params", "acts"} <= n.keys()
        assert [sorted(stage) for stage in n["stages"]] == [["b", "d", "g", "w"]] * 4
        assert sum(stage["d"] for stage in n["stages"]) == n["d"]
        assert 360e6 <= n["flops"] <= 400e6
    assert list(dsd.folder.iterdir()) == []


def test_the_same_seed_prints_the_same_bytes_and_another_does_not(dsd):
    ask = ("sample", "anynetx_e", "--n", "50", "--dry-run", "--json", "--seed")
    assert dsd(*ask, "3") == dsd(*ask, "3") != dsd(*ask, "4")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no processor affinity here")
def test_one_core_prints_the_same_bytes_as_many(dsd):
    ask = ("sample", "anynetx_a", "--n", "200", "--dry-run", "--json")
    everywhere, cores = dsd(*ask), os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(cores)})
        assert dsd(*ask) == everywhere
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.skipif(has_cuda(), reason="there is a CUDA device")
def test_a_worker_without_a_gpu_says_so_and_names_the_cpu(dsd):
    dsd("sample", "anynetx_c", "--n", "5")
    message = dsd.fails("worker", "--gpu", "0", code=1)
    assert "no CUDA device" in message
    assert "--cpu" in message
    assert dsd.states() == {"anynetx_c": {"queued": 5}}


def test_a_worker_without_its_images_says_where_it_looked(dsd):
    dsd("sample", "anynetx_c", "--n", "5")
    message = dsd.fails("worker", "--cpu", "--data", "elsewhere", code=3)
    assert str(dsd.folder / "elsewhere") in message
    assert "DSD_DATA" in message
    assert dsd.states() == {"anynetx_c": {"queued": 5}}


def test_edf_with_nothing_trained_says_what_to_run(here):
    assert "dsd sample" in here.fails("edf", "anynetx_d", "anynetx_e", "--plot", code=1)
    here("sample", "anynetx_d", "--n", "5")
    here("sample", "anynetx_e", "--n", "5")
    assert "dsd worker" in here.fails("edf", "anynetx_d", "anynetx_e", "--plot", code=1)


WRONG = [
    (("sample", "anynetx_cc"), 2, "Did you mean 'anynetx_c'?"),
    (("sampel", "anynetx_c"), 2, "Did you mean 'sample'?"),
    (("sample", "anynetx_c", "--n", "-3"), 2, "--n"),
    (("sample", "anynetx_c", "--n", "many"), 2, "--n"),
    (("sample", "anynetx_c", "--regime", "imagenet_400"), 2, "imagenet_400mf"),
    (("sample", "./nowhere.toml"), 2, "No file"),
    (("worker", "--gpu", "0", "--cpu"), 2, "exclude each other"),
    (("edf", "a b"), 1, "No database"),
    (("status", "--db", "nothing.db"), 1, "nothing.db"),
    (("edf",), 2, "POPULATIONS"),
    (("sample", "anynetx_c@fashion"), 2, "--regime"),
    (("sample", "anynetx_c", "--seed", "9" * 30), 2, "--seed"),
    (("sample", "anynetx_c", "--priority", "9" * 30), 2, "--priority"),
    (("regimes", "fashio"), 2, "Did you mean 'fashion'?"),
]


@pytest.mark.parametrize(("arguments", "code", "part"), WRONG, ids=lambda x: str(x)[:40])
def test_wrong_input_ends_in_one_clear_line(here, arguments, code, part):
    assert part in here.fails(*arguments, code=code)
    assert here.stderr.count("\n") == 1, here.stderr


def test_what_a_disk_does_is_no_unforeseen_error():
    full, nameless = (OSError(errno.ENOSPC, "No space left on device", *name)
                      for name in (["a/b"], []))  # fmt: skip
    assert one_line(full) == "Error: a/b: No space left on device."
    assert one_line(nameless) == "Error: No space left on device."
    assert "--debug" in one_line(OSError("odd"))


def test_an_unforeseen_error_shows_its_trace_only_with_debug(dsd):
    (dsd.folder / "dsd.db").write_bytes(b"this is no database, whatever its name" * 100)
    assert "Traceback" not in dsd.fails("status", code=1)


@pytest.mark.parametrize("command", [("--help",), ("status",), ("spaces",), ("edf", "anynetx_c")])
def test_what_needs_no_torch_does_not_import_it(dsd, command):
    dsd("sample", "anynetx_c", "--n", "2")
    process = dsd.popen(*command, python=("-X", "importtime"))
    imported = re.findall(r"\| +([\w.]+)$", process.communicate()[1], re.MULTILINE)
    assert "click" in imported
    assert not {"torch", "torchvision", "matplotlib"} & {name.split(".")[0] for name in imported}
    if command == ("--help",):
        assert not {"sqlalchemy", "pandas", "numpy"} & set(imported)


def test_settings_come_from_flags_then_variables_then_the_file(dsd):
    dsd("init", "--regime", "cifar10", "--db", "mine.db")
    dsd("sample", "anynetx_a", "--n", "3")
    assert (dsd.folder / "mine.db").exists()
    dsd.environment["DSD_REGIME"] = "fashion"
    assert "anynetx_a@fashion" in dsd("sample", "anynetx_a", "--n", "3")
    assert "@imagenet_400mf" in dsd("sample", "anynetx_a", "--n", "3", "--regime", "imagenet_400mf")
    assert "--force" in dsd.fails("init", code=1)
    del dsd.environment["DSD_REGIME"]
    dsd("init", "--force", "--regime", "fashion")
    text = (dsd.folder / "dsd.toml").read_text()
    assert '"mine.db"' in text
    (dsd.folder / "dsd.toml").write_text("db = [")
    assert "Replaced" in (dsd("init", "--force") and dsd.stderr)
    assert (dsd.folder / "dsd.toml").read_text() == text.replace("mine.db", "dsd.db").replace(
        '"fashion"', '"imagenet_400mf"'
    )


def test_regimes_are_listed_and_every_key_is_explained(dsd):
    listed = {one["name"]: one for one in json.loads(dsd("regimes", "--json"))}
    assert listed["fashion"]["train"]["epochs"] == 4
    shown = dsd("regimes", "fashion").splitlines()[3:]
    values = [v for k, v in listed["fashion"].items() if k not in ("name", "digest")]
    assert len(shown) == sum(len(v) if isinstance(v, dict) else 1 for v in values)
    meanings = [re.split(r"  +", line.strip())[2] for line in shown]
    assert len(meanings) == len(set(meanings))


def test_a_space_and_a_regime_of_ones_own_serve_by_their_path(dsd):
    (dsd.folder / "narrow.toml").write_text('extends = "anynetx_e"\nrestrict = ["w4 <= 512"]\n')
    (dsd.folder / "half.toml").write_text('extends = "imagenet_200mf"\nresolution = 160\n')
    dsd("sample", "narrow.toml", "--n", "7", "--regime", "half.toml", "--seed", "3")
    assert "dsd worker" in dsd.fails("edf", "narrow", "--regime", "half.toml", code=1)
    assert "dsd worker" in dsd.fails("edf", "narrow@half#3", code=1)
    assert "narrow@half" in dsd.fails("edf", "narrow", code=1)
    (dsd.folder / "a b.toml").write_text('extends = "anynetx_e"\n')
    assert "would work" in dsd.fails("sample", "a b.toml", code=2)


def test_a_space_that_changed_keeps_its_population(dsd):
    mine = dsd.folder / "mine.toml"
    mine.write_text('extends = "anynetx_e"\n')
    dsd("sample", "mine.toml", "--n", "3")
    mine.write_text('extends = "anynetx_d"\n')
    assert "has changed" in dsd.fails("sample", "mine.toml", "--n", "5", code=1)
    assert dsd.states() == {"mine": {"queued": 3}}


def test_no_password_is_printed():
    url = "postgresql+psycopg://lab:s3@cret@host:5432/dsd?sslpassword=more"
    assert Settings(db=url).database == "postgresql+psycopg://lab:***@host:5432/dsd"
    assert Settings(db="demo/dsd.db").database == "demo/dsd.db"


def test_an_init_prints_no_password_and_keeps_none(dsd):
    out = dsd("init", "--db", "postgresql://lab:s3cret@127.0.0.1:1/dsd?sslmode=prefer")
    assert "s3cret" not in out + dsd.stderr + (dsd.folder / "dsd.toml").read_text()
    assert "~/.pgpass" in dsd.stderr
    assert "127.0.0.1:1/dsd" in dsd.fails("sample", "anynetx_a", "--n", "2", code=1)


@pytest.mark.parametrize(
    "given",
    ["host=server password=s3cret", "postgresql//lab:s3cret@server/dsd", "pg://lab:s3cret@h:x/d"],
)
def test_what_is_no_url_but_holds_a_password_is_not_taken_for_a_file(given):
    with pytest.raises(UsageError, match="cannot be read") as caught:
        database_url(given)
    assert "s3cret" not in str(caught.value)


def test_an_option_that_postgresql_does_not_know_is_wrong_input(dsd):
    said = dsd.fails("--db", "postgresql://lab:s3cret@127.0.0.1:1/dsd?bogus=1", "status", code=2)
    assert 'invalid connection option "bogus"' in said
    assert "s3cret" not in said


def test_a_worker_makes_no_database(dsd):
    assert "dsd sample" in dsd.fails("worker", "--cpu", "--db", "none.db", code=1)
    assert list(dsd.folder.iterdir()) == []


def test_a_broken_space_file_hides_no_other(dsd):
    (dsd.folder / "spaces").mkdir()
    (dsd.folder / "spaces" / "broken.toml").write_text("stages = = 4")
    assert "anynetx_e" in dsd("spaces")
    assert "broken.toml" in dsd.stderr


def test_two_seeds_are_pooled_and_it_is_said(tiny):
    tiny.environment["DSD_REGIME"] = "fashion"
    for seed in ("0", "7"):
        tiny("sample", "anynetx_d", "--n", "1", "--seed", seed)
    tiny("worker", "--cpu", "--exit-when-empty")
    assert json.loads(tiny("edf", "anynetx_d", "--json"))["populations"][0]["n"] == 2
    assert "pools anynetx_d@fashion#0, anynetx_d@fashion#7" in tiny.stderr
    tiny("edf", "anynetx_d#7")
    assert "pools" not in tiny.stderr


def test_a_group_flag_serves_its_commands(dsd):
    dsd("--db", "other.db", "sample", "anynetx_a", "--n", "3")
    assert "anynetx_a" in dsd("status", "--db", "other.db")


def test_spaces_are_listed_and_shown(dsd):
    assert "anynetx_e" in dsd("spaces")
    assert "w[i+1] >= w[i]" in dsd("spaces", "anynetx_d")
    freedom = {s["name"]: s["degrees_of_freedom"] for s in json.loads(dsd("spaces", "--json"))}
    assert [freedom[f"anynetx_{x}"] for x in "abcde"] == [16, 13, 10, 10, 10]
    assert freedom["regnetx"] == 6


def readme_commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("dsd ")]


@pytest.mark.parametrize("line", readme_commands())
def test_every_command_of_the_readme_is_one(line):
    _, *arguments = shlex.split(line)
    with cli.make_context("dsd", arguments) as context:
        name, command, rest = cli.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        command.make_context(name, rest, parent=context)


def test_the_readme_has_the_three_lines():
    for line in ("dsd sample anynetx_c --n 500", "dsd worker --gpu 0",
                 "dsd edf anynetx_d anynetx_e --plot"):  # fmt: skip
        assert line in readme_commands()


def test_a_published_network_prints_its_exact_cost(here):
    found = json.loads(here("net", "regnetx-400mf", "--json"))
    same = json.loads(
        here("net", "regnet", "--d", "22", "--w0", "24", "--wa", "24.48", "--wm", "2.54",
            "--g", "16", "--json")
    )  # fmt: skip
    assert (found["flops"], found["params"], found["acts"]) == (397678568, 5157512, 3143272)
    assert {**found, "name": ""} == {**same, "name": ""}
    small = json.loads(here("net", "regnetx-400mf", "--resolution", "33", "--json"))
    assert small["params"] == found["params"]
    assert small["flops"] < found["flops"]
    assert "net-regnetx-400mf.png" in here("net", "regnetx-400mf", "--plot")
    assert (here.folder / "net-regnetx-400mf.png").stat().st_size > 5000


NETS = [
    (("regnetz",), "Did you mean"),
    (("regnet", "--d", "22"), "missing --w0"),
    (("anynet", "--d", "1,2", "--w", "8", "--b", "1", "--g", "1"), "2 of d, 1 of w"),
    (("anynet", "--d", "1", "--w", "8", "--b", "1", "--g", "x"), "--g x"),
    (("regnetx-400mf", "--d", "3"), "only for"),
    (("regnet", "--d", "4", "--w0", "8", "--wa", "8", "--wm", "0.5", "--g", "1"), "wm > 1"),
    (("regnet", "--d", "4", "--w0", "nan", "--wa", "8", "--wm", "2", "--g", "1"), "w0=nan"),
    (("anynet", "--d", "1", "--w", "8", "--b", "nan", "--g", "1"), "b = nan"),
    (("anynet", "--d", "1", "--w", "8", "--b", "1", "--g", "0"), "g = 0"),
]


@pytest.mark.parametrize(("arguments", "part"), NETS, ids=lambda x: str(x)[:40])
def test_a_network_that_cannot_be_is_refused(here, arguments, part):
    assert part in here.fails("net", *arguments, code=2)


def test_a_space_is_counted_in_its_band(dsd):
    (dsd.folder / "small.toml").write_text(
        'extends = "anynetx_e"\nrestrict = ["d <= 6", "w <= 128", "b == 1"]\n'
    )
    found = json.loads(dsd("count", "small.toml", "--regime", "fashion", "--json"))
    assert found["exact"]
    assert 0 < found["inside"] < found["total"]
    assert f"{found['inside']:,} settings" in dsd("count", "small.toml", "--regime", "fashion")
    assert "Did you mean" in dsd.fails("count", "anynetx_ee", code=2)


def test_a_count_takes_the_time_it_is_given(dsd):
    (dsd.folder / "hard.toml").write_text(
        'extends = "anynetx_e"\n'
        'restrict = ["d <= 6", "w <= 96", "b == 1", "params <= 1e5 or acts < 2e4"]\n'
    )
    exact = json.loads(dsd("count", "hard.toml", "--regime", "fashion", "--json"))
    bounds = json.loads(
        dsd("count", "hard.toml", "--regime", "fashion", "--json", "--minutes", "0")
    )
    assert exact["exact"]
    assert not bounds["exact"]
    assert bounds["at_least"] <= exact["inside"] <= bounds["at_most"]
    said = dsd("count", "hard.toml", "--regime", "fashion", "--minutes", "0")
    assert f"between {bounds['at_least']:,} and {bounds['at_most']:,} settings" in said
    assert "with more --minutes" in said
    assert "--minutes" in dsd.fails("count", "hard.toml", "--minutes", "-1", code=2)
