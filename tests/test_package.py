"""What the package promises as a whole."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgevad
from edgevad import errors

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "cv2", "onnxruntime", "matplotlib", "sklearn", "onnx", "numpy")


def loaded_after(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.splitlines()[-1].split()) if done.stdout.strip() else set()


def test_help_loads_nothing_heavy() -> None:
    code = "from edgevad.cli.app import build_app\ntry:\n    build_app()(['--help'])\nexcept SystemExit:\n    pass"
    assert loaded_after(code) == set()


def test_importing_edgevad_loads_nothing_heavy() -> None:
    assert loaded_after("import edgevad") == set()


def test_the_device_runtime_loads_no_training_package() -> None:
    code = "import edgevad\nedgevad.Pipeline, edgevad.Scorer, edgevad.Bundle, edgevad.open_source, edgevad.Event\n"
    code += "import edgevad.runtime.backends.ort, edgevad.runtime.session, edgevad.calibration"
    assert loaded_after(code) & {"torch", "matplotlib", "sklearn", "onnx"} == set()


@pytest.mark.parametrize("name", edgevad.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(edgevad, name) is not None


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = edgevad.nothing  # type: ignore[attr-defined]


def modules() -> list[str]:
    found = [info.name for info in pkgutil.walk_packages(edgevad.__path__, "edgevad.")]
    for room in ("calibration", "export", "targets"):
        package = importlib.import_module(f"edgevad.{room}")
        found += [
            package.__name__,
            *(info.name for info in pkgutil.walk_packages(package.__path__, f"edgevad.{room}.")),
        ]
    return sorted(set(found) - {"edgevad.__main__"})


@pytest.mark.parametrize("name", modules())
def test_every_module_imports_and_its_all_is_true(name: str) -> None:
    module = importlib.import_module(name)
    for public in getattr(module, "__all__", ()):
        assert hasattr(module, public), public


def test_pyproject_lists_every_package() -> None:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib came with Python 3.11")
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    folders = {"edgevad", "edgevad.calibration", "edgevad.export", "edgevad.targets"}
    for init in (ROOT / "edgevad").rglob("__init__.py"):
        folders.add(".".join(init.parent.relative_to(ROOT).parts))
    assert listed == folders


def test_every_error_is_ours_and_says_where_and_how() -> None:
    names = [name for name in errors.__all__ if name != "MissingExtraError"]
    for name in names:
        kind = getattr(errors, name)
        assert issubclass(kind, errors.EdgevadError)
        error = kind("is broken", where="here", expected="whole", fix="Mend it")
        assert str(error) == "here: is broken; expected whole. Mend it"
        assert name in (errors.__doc__ or "")
    missing = errors.MissingExtraError("torch", extra="train", needed_for="training")
    assert "pip install 'edgevad[train]'" in str(missing)


def test_messages_are_one_line() -> None:
    assert "\n" not in str(errors.SourceError("two\nlines", fix="and\n  more"))


@pytest.mark.parametrize("first", ["from edgevad.export.onnx_from_model import OPSET", "import edgevad.export"])
def test_a_verb_is_a_function_whoever_imported_its_module_first(first: str) -> None:
    code = f"{first}\nfrom edgevad.export import onnx_from_model\nassert callable(onnx_from_model), onnx_from_model"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_importing_export_loads_no_torch() -> None:
    assert "torch" not in loaded_after("import edgevad.export")
