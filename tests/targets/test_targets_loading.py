from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgevad.errors import OptionError
from edgevad.targets import load_target, target_names

MINE = """
name = "my-box"
description = "The computer in my van"
backend = "tensorrt"
precisions = ["fp16", "fp32"]
static_batch = true
opset_max = 17
latency_budget_ms = 20
memory_gb = [12]

[[software]]
tensorrt = "10.3"

[sources]
memory_gb = "the invoice"
"""


def write(folder: Path, text: str | bytes, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    for path in (write(tmp_path, MINE), str(tmp_path / "mine.toml")):
        target = load_target(path)
        assert (target.name, target.backend, target.precisions) == ("my-box", "tensorrt", ("fp16", "fp32"))
        assert (target.latency_budget_ms, target.memory_gb) == (20.0, (12.0,))
        assert target.software[0].tensorrt == "10.3"


def test_a_path_relative_to_where_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, MINE)
    monkeypatch.chdir(tmp_path)
    assert load_target("mine.toml").name == load_target("./mine.toml").name == "my-box"


def test_a_name_is_a_name_even_where_a_file_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, MINE, name="cpu")
    monkeypatch.chdir(tmp_path)
    assert load_target("cpu").name == "cpu"


@pytest.mark.parametrize(
    ("name", "close"),
    [("jetson-orin-nan", "jetson-orin-nano"), ("orin", "jetson-orin"), ("CPU", "cpu"), ("xavier-nx", "xavier-nx")],
)
def test_an_unknown_name_is_told_what_it_looks_like(name: str, close: str) -> None:
    with pytest.raises(OptionError) as caught:
        load_target(name)
    assert f"unknown target '{name}'; expected one of cpu, cuda, " in str(caught.value)
    hint = str(caught.value).partition("Did you mean ")[2]
    assert close in hint
    assert hint.endswith("?")


def test_nothing_is_suggested_where_nothing_is_close() -> None:
    with pytest.raises(OptionError) as caught:
        load_target("zzzz")
    assert str(caught.value).endswith("or the path of a .toml file")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name = ", "is no TOML"),
        ("name = 'a'\nname = 'b'", "is no TOML"),
        (b"\xff\xfe", "is no TOML"),
        ("x = " + "[" * 5000 + "]" * 5000, "is no TOML"),
        ("", "the field name is missing. See docs/targets.md"),
        (MINE.replace("opset_max = 17", ""), "the field opset_max is missing"),
        (MINE.replace("opset_max = 17", "opset_max = '17'"), "opset_max is '17', expected a whole number"),
        (MINE.replace("opset_max = 17", "opset_max = 1979-05-27"), "expected a whole number"),
        (MINE.replace("opset_max = 17", "opset_max = 500"), "opset_max is 500, expected 7 to 99"),
        (MINE.replace("memory_gb = [12]", "memory_bg = [12]"), "unknown field 'memory_bg'. Did you mean memory_gb?"),
        (MINE.replace("memory_gb = [12]", "wheels = 4"), "unknown field 'wheels'"),
        ("x" * 200_000, "is too large for a profile; expected at most 100000 bytes"),
    ],
)
def test_broken_files_are_told_apart(text: str | bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(OptionError) as caught:
        load_target(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_a_missing_file_and_a_refused_one(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="is a folder"):
        load_target(tmp_path)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(OptionError, match="is a folder"):
        load_target(tmp_path / "folder.toml")
    for name in ("missing.toml", "no/such.toml", "no/such"):
        with pytest.raises(OptionError, match="cannot be read"):
            load_target(tmp_path / name)
    with pytest.raises(OptionError, match="cannot be read"):
        load_target("x" * 5000 + ".toml")
    if os.geteuid() != 0:
        write(tmp_path, MINE).chmod(0)
        with pytest.raises(OptionError, match="Permission denied"):
            load_target(tmp_path / "mine.toml")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(OptionError, match="is no file"):
        load_target(tmp_path / "pipe.toml")


def test_a_path_with_a_null_byte_is_an_unknown_target() -> None:
    with pytest.raises(OptionError, match="unknown target"):
        load_target("bad\0name.toml")


def test_a_copy_of_each_profile_is_that_profile(tmp_path: Path) -> None:
    folder = Path(__file__).resolve().parents[2] / "targets"
    for name in target_names():
        path = write(tmp_path, (folder / f"{name}.toml").read_bytes(), name=f"copy-of-{name}.toml")
        assert load_target(path) == load_target(name)
