from __future__ import annotations

from dataclasses import fields, replace

import pytest

from edgevad.errors import OptionError
from edgevad.runtime.engines.key import EngineKey
from edgevad.runtime.engines.machine import Machine
from edgevad.runtime.engines.options import EngineOptions

MACHINE = Machine("Orin", "8.7", True, "540.4.0", "12.6", "10.3.0", 2, "2")
KEY = EngineKey.of("ab" * 32, MACHINE, EngineOptions("fp16"))


@pytest.mark.parametrize("field", [field.name for field in fields(EngineKey)])
def test_every_part_makes_another_key_and_is_named(field: str) -> None:
    other = replace(KEY, **{field: "cd" * 32})
    assert other.name != KEY.name
    (change,) = other.changes_since(KEY)
    assert change.endswith(", is " + ("cdcdcdcdcdcd" if field == "bundle" else "cd" * 32))
    assert other.same_but_bundle(KEY) is (field == "bundle")


def test_changes_are_sentences() -> None:
    newer = replace(KEY, tensorrt="10.13.0", power_mode="0")
    assert newer.changes_since(KEY) == ["TensorRT was 10.3.0, is 10.13.0", "the power mode was 2, is 0"]
    assert KEY.changes_since(KEY) == []


@pytest.mark.parametrize(
    "machine", [replace(MACHINE, cuda="12.8"), replace(MACHINE, dla_cores=1), replace(MACHINE, is_integrated=False)]
)
def test_what_an_engine_does_not_depend_on_leaves_the_key(machine: Machine) -> None:
    assert EngineKey.of("ab" * 32, machine, EngineOptions("fp16")) == KEY


@pytest.mark.parametrize("options", [{"workspace_mib": 512}, {"refittable": False}, {"dla_core": 0}])
def test_every_build_option_makes_another_key(options: dict[str, int]) -> None:
    assert EngineKey.of("ab" * 32, MACHINE, EngineOptions("fp16", **options)).name != KEY.name  # type: ignore[arg-type]


def test_json_there_and_back() -> None:
    assert EngineKey.from_json(KEY.to_json()) == KEY
    for wrong in ({**KEY.to_json(), "gpu": 1}, {"gpu": "x"}, {**KEY.to_json(), "more": "x"}):
        with pytest.raises(TypeError):
            EngineKey.from_json(wrong)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "precision 'fp8'"),
        ({"workspace_mib": -1}, "workspace of -1 MiB"),
        ({"precision": "int8", "dla_core": 0}, "DLA core 0 for int8"),
        ({"precision": "fp16", "dla_core": -1}, "DLA core -1"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        EngineOptions(**options)  # type: ignore[arg-type]
