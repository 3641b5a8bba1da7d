"""What a user installs: a wheel with all its data, pins for every supported Python, light imports."""

import ast
import importlib
import inspect
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from packaging.requirements import Requirement

import cgap
import fpga_model
from cgap.app import models
from tests.lowering.models import residual_net

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGES = ("cgap", "fpga_model", "hls_templates")
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def package_files(root: Path) -> set[str]:
    """All files under the packages of a tree, as `cgap/cli.py`."""
    return {
        path.relative_to(root).as_posix()
        for package in PACKAGES
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the project to build in, because setuptools leaves its own folders behind."""
    root = tmp_path_factory.mktemp("source")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    return root


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", out, source]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """An environment with the wheel installed; only its dependencies come from the environment of the tests."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder


def run_in(environment: Path, cwd: Path, *command: str) -> str:
    """Standard output of a command of the environment, without the settings of this one."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    arguments = [str(environment / "bin" / command[0]), *command[1:]]
    result = subprocess.run(arguments, cwd=cwd, env=clean, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_wheel_holds_every_file_of_the_packages(wheel, source):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == package_files(source)


def test_every_folder_of_modules_is_a_package():
    """Without __init__.py a folder is a namespace package, whose data files an editable install does not find."""
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_the_wheel_says_what_it_is(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = archive.read(name).decode()
        assert any(name.endswith("/licenses/LICENSE") for name in archive.namelist())
    assert f"Version: {cgap.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata


def test_the_installed_command_works_from_any_folder(environment, tmp_path):
    assert run_in(environment, tmp_path, "cgap", "--version") == f"cgap {cgap.__version__}\n"
    listed = run_in(environment, tmp_path, "cgap", "models")
    assert all(entry.name in listed for entry in models.pretrained())


def test_the_installed_package_reads_its_own_data(environment, tmp_path):
    script = (
        "import sys, cgap, fpga_model, hls_templates, cgap.app.models\n"
        "for module in (cgap, fpga_model, hls_templates): print(module.__file__)\n"
        "print(cgap.app.models.pretrained_folder())\n"
        "print(*(entry.onnx for entry in cgap.app.models.pretrained()), sep='\\n')\n"
    )
    for line in run_in(environment, tmp_path, "python", "-c", script).split():
        assert Path(line).is_relative_to(environment)


def test_the_installed_package_emits_hardware_from_any_folder(environment, tmp_path):
    """Templates, platforms and the image sample are found without the source tree."""
    network = residual_net(tmp_path / "net.onnx", widths=(4, 6, 9), size=32)
    run_in(environment, tmp_path, "cgap", "hls", str(network), "--no-csim", "--images", "2")
    assert (tmp_path / "build" / "net" / "hls").is_dir()
    assert (tmp_path / "build" / "net" / "report.json").is_file()
    assert "zcu104" in run_in(environment, tmp_path, "cgap", "platforms")


def imported_by(statements: str) -> set[str]:
    """Top-level modules outside the standard library that the statements import in a fresh interpreter."""
    script = (
        "import importlib, pkgutil, sys\n"
        "before = set(sys.modules)\n"
        f"{statements}\n"
        "new = {name.split('.')[0] for name in set(sys.modules) - before}\n"
        "print(*(new - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_fpga_model_needs_only_numpy_networkx_and_pydantic():
    walk = (
        "import numpy, networkx\n"
        "before = set(sys.modules)\n"
        "import fpga_model\n"
        "for module in pkgutil.walk_packages(fpga_model.__path__, 'fpga_model.'): importlib.import_module(module.name)"
    )
    own = imported_by("import pydantic\nclass Model(pydantic.BaseModel):\n    pass\nModel.model_json_schema()")
    assert "onnx" not in own
    assert imported_by(walk) - {"numpy", "networkx", "tomli"} - own == {"fpga_model"}


def test_starting_the_command_imports_nothing_heavy():
    assert not imported_by("import cgap.cli") & {"torch", "numpy", "onnx", "onnxruntime", "networkx", "jinja2"}


@pytest.mark.parametrize("package", [cgap, fpga_model], ids=lambda package: package.__name__)
def test_the_public_interface_is_what_the_package_says(package):
    """Fails if an exported name is nowhere, undocumented, or another to type checkers than at run time."""
    tree = ast.parse(Path(package.__file__).read_text())
    (checked,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in checked.body if isinstance(node, ast.ImportFrom)]
    for_checkers = {alias.name: node.module for node in imports for alias in node.names}
    assert set(package.__all__) - {"__version__"} == set(for_checkers)
    page = (ROOT / "docs" / "api.md").read_text()
    for name, module in for_checkers.items():
        value = getattr(package, name)
        assert value is getattr(importlib.import_module(module), name)
        assert inspect.getdoc(value), f"{name} has no docstring"
        assert f"::: {package.__name__}.{name}\n" in page, f"docs/api.md lacks {package.__name__}.{name}"
        assert name in dir(package)
    with pytest.raises(AttributeError, match=f"'{package.__name__}' has no attribute 'nonsense'"):
        package.nonsense  # noqa: B018


@pytest.mark.parametrize("package", ["cgap", "fpga_model"])
def test_importing_a_package_imports_nothing_but_its_own(package):
    assert imported_by(f"import {package}; dir({package})") <= {"cgap", "fpga_model"}


def test_an_exported_name_imports_no_more_than_it_needs():
    """Fails if lowering a network needs PyTorch, or timing one needs ONNX."""
    assert "torch" not in imported_by("from cgap import import_onnx, quantise, build_accelerator, plan_model")
    assert imported_by("from fpga_model import build_schedule, simulate") <= {
        "fpga_model",
        "numpy",
        "networkx",
        "tomli",
    }


def pins_for(python: str) -> dict[str, list[Requirement]]:
    """The lines of constraints.txt that hold on a version of Python, by normalised name."""
    pins: dict[str, list[Requirement]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate({"python_version": python}):
                pins.setdefault(pin.name.lower().replace("_", "-"), []).append(pin)
    return pins


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_once_on(python):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = pins_for(python)
    assert [name for name, lines in pins.items() if len(lines) != 1] == []
    for text in sum(project["optional-dependencies"].values(), project["dependencies"]):
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": python}):
            assert wanted.name in pins, f"{wanted.name} is not pinned"
            (exact,) = pins[wanted.name][0].specifier
            assert exact.operator == "=="
            assert wanted.specifier.contains(exact.version), f"{text} excludes its pin {exact.version}"


def test_the_pythons_declared_are_the_pythons_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [text.split(" :: ")[-1] for text in project["classifiers"] if "Python :: 3." in text]
    assert tuple(declared) == PYTHONS
    assert project["requires-python"] == ">=3.10,<3.14"


def test_onnx_and_onnxruntime_are_a_pair():
    """onnx writes a newer format than onnxruntime reads, unless told to: IR version 10 must pass."""
    shape = [1, 3]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Relu", ["x"], ["y"])],
        "pair",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, shape)],
    )
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=[onnx.helper.make_opsetid("", 18)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.array([[-1, 0, 2]], np.float32)})
    assert result.tolist() == [[0, 0, 2]]
