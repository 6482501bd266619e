"""The walls between the rooms, and what no module may contain, read from the syntax trees."""

from __future__ import annotations

import ast
import functools
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("encoders", "synth", "protocols")
MODULES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))
EVERY_SOURCE = [*MODULES, *sorted((ROOT / "scripts").rglob("*.py"))]
FORBIDDEN = {
    "encoders": {"synth", "protocols", "scripts"},
    "synth": {"encoders", "protocols", "scripts"},
    "protocols": {"scripts"},
}
COMMAND_LINE = "protocols.cli"
READS_COMMAND_LINE = {"protocols/__main__.py", "scripts/handbook/commands.py"}
"""What starts the command line, and what writes the page of its commands."""
LIMIT = 400  # lines per module


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def nodes(path: Path) -> tuple[ast.AST, ...]:
    """Imports, calls and with blocks of a module."""
    return _nodes(path.read_text(encoding="utf-8"))


@functools.cache
def _nodes(text: str) -> tuple[ast.AST, ...]:
    kinds = (ast.Import, ast.ImportFrom, ast.Call, ast.With)
    return tuple(node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds))


def imported(path: Path) -> Iterator[str]:
    """Full dotted names of all that a module imports, relative imports resolved."""
    package = list(path.relative_to(ROOT).parent.parts)
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node).endswith(("import_module", "__import__")):
            yield from (a.value for a in node.args[:1] if isinstance(a, ast.Constant) and isinstance(a.value, str))


def called(node: ast.Call) -> str:
    """The dotted name of what is called, "" where it is not a name."""
    return ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""


def breaches(path: Path) -> list[str]:
    """Imports that cross a wall."""
    top = path.relative_to(ROOT).parts[0]
    forbidden = FORBIDDEN.get(top, set())
    modules = list(imported(path))
    found = [m for m in modules if m.partition(".")[0] in forbidden]
    if name(path) not in READS_COMMAND_LINE and not name(path).startswith("protocols/cli/"):
        found += [m for m in modules if m == COMMAND_LINE or m.startswith(COMMAND_LINE + ".")]
    return found


def test_the_walls_between_the_packages():
    found = {name(path): breaches(path) for path in EVERY_SOURCE}
    assert {place: crossed for place, crossed in found.items() if crossed} == {}


def test_the_wall_test_sees_every_kind_of_import(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    module = tmp_path / "synth" / "inner" / "m.py"
    module.parent.mkdir(parents=True)
    for line in (
        "import encoders",
        "import protocols.project.display as d",
        "from encoders.solvers.ridge import ridge",
        "def f():\n    from protocols import Display",
        "from importlib import import_module\nimport_module('encoders')",
        "__import__('protocols')",
    ):
        module.write_text(line)
        assert breaches(module), line
    module.write_text("from . import encoders\nfrom ..objectives import stretch\nimport torch")
    assert not breaches(module)
    for line in (
        "from .cli import main",
        "from . import cli",
        "import protocols.cli",
        "from protocols.cli import main",
    ):
        inside = tmp_path / "protocols" / "m.py"
        inside.parent.mkdir(exist_ok=True)
        inside.write_text(line)
        assert breaches(inside), line


RUNNING = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("yaml", "ruamel", "jsonpickle", "xml", "lxml", "xmltodict", "defusedxml", "code", "codeop"),
}
"""Modules that run what a file says, or follow it to other files."""
UNPACKING = {"extractall", "extract", "unpack_archive"}


def dangers(path: Path) -> list[str]:
    """Ways to run code that stands in a data file."""
    found = [m for m in imported(path) if m.partition(".")[0] in RUNNING]
    for node in nodes(path):
        if not isinstance(node, ast.Call):
            continue
        function = called(node)
        arguments = {k.arg: k.value for k in node.keywords}
        if function in {"eval", "exec", "builtins.eval", "builtins.exec", "os.system", "os.popen", "runpy.run_path"}:
            found.append(f"{function} in line {node.lineno}")
        if "shell" in arguments and not is_constant(arguments["shell"], False):
            found.append(f"a shell in line {node.lineno}")
        if function.rpartition(".")[2] in UNPACKING:
            found.append(f"{function} writes under names of an archive, in line {node.lineno}")
        if function == "torch.load" and not is_constant(arguments.get("weights_only"), True):
            found.append(f"torch.load without weights_only=True in line {node.lineno}")
        if "allow_pickle" in arguments and not is_constant(arguments["allow_pickle"], False):
            found.append(f"allow_pickle in line {node.lineno}")
    return found


def is_constant(node: ast.expr | None, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_no_data_file_is_ever_run():
    found = {name(path): dangers(path) for path in EVERY_SOURCE}
    assert {place: lines for place, lines in found.items() if lines} == {}


def test_the_danger_test_sees_each_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "m.py"
    for line in (
        "import pickle",
        "from joblib import load",
        "eval('1')",
        "torch.load(p)",
        "torch.load(p, weights_only=flag)",
        "np.load(p, allow_pickle=True)",
        "import yaml\nyaml.load(p)",
        "from xml.etree import ElementTree",
        "subprocess.run(p, shell=True)",
        "subprocess.run(p, shell=flag)",
        "os.system(p)",
        "tarfile.open(p).extractall(q)",
        "shutil.unpack_archive(p)",
    ):
        path.write_text(line)
        assert dangers(path), line
    path.write_text("torch.load(p, weights_only=True); np.load(p, allow_pickle=False); model.eval()")
    assert not dangers(path)


GUARDED = {
    "h5py.File": {"protocols/disk/hdf5_reading.py", "synth/batch.py"},
    "np.load": {"protocols/disk/numpy_files.py"},
    "numpy.load": {"protocols/disk/numpy_files.py"},
    "zipfile.ZipFile": {"protocols/disk/archives.py", "encoders/backbones/sources/files.py"},
    "zipfile.is_zipfile": {"encoders/backbones/sources/files.py"},
    "tarfile.open": set[str](),
    "Image.open": {"protocols/disk/pictures.py", "protocols/project/picture_files.py"},
    "gzip.decompress": set[str](),
    "zlib.decompress": set[str](),
    "gzip.open": set[str](),
    "tomllib.loads": {"protocols/disk/toml.py", "protocols/importing/map.py", "protocols/importing/recording.py"},
    "tomllib.load": set[str](),
}
"""Functions that trust what a file says of itself, and the modules that look at the file before they call them."""
OURS = {
    "protocols/disk/locks.py",  # its own lock, and what the system says of a process
    "protocols/simulate/v4.py",  # recordings that come with the repository, for studies alone
    "protocols/project/photograph_import.py",  # the photographs of the package
    "protocols/packages.py",  # its own source
}


def unguarded(path: Path) -> list[str]:
    """Calls that open a file of anybody past the guarded openings of `protocols/disk`."""
    found, place = [], name(path)
    for node in nodes(path):
        if not isinstance(node, ast.Call) or place in OURS:
            continue
        function, attribute = called(node), node.func.attr if isinstance(node.func, ast.Attribute) else ""
        mode = node.args[1] if len(node.args) > 1 else None
        writes = isinstance(mode, ast.Constant) and str(mode.value)[:1] in ("w", "a", "x")
        if function in GUARDED and place not in GUARDED[function] and not writes:
            found.append(f"{function} in line {node.lineno}")
        whole = attribute in ("read_bytes", "read_text") and "resources" not in ast.unparse(node.func)
        if place.startswith("protocols/") and place != "protocols/disk/foreign.py" and whole and not is_own(node):
            found.append(f"{ast.unparse(node.func)} in line {node.lineno}")
    return found


def is_own(node: ast.Call) -> bool:
    """Whether what is read lies in the package itself."""
    return ast.unparse(node.func).split(".")[0] in {"entry", "script"}


def test_files_of_others_are_opened_by_guarded_functions_alone():
    found = {name(path): unguarded(path) for path in MODULES}
    assert {place: lines for place, lines in found.items() if lines} == {}, "protocols/disk has the guarded openings"


def test_the_guard_test_sees_each_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "protocols" / "m.py"
    path.parent.mkdir()
    for line in (*(f"{function}(p)" for function in GUARDED), "path.read_bytes()", "(folder / x).read_text()"):
        path.write_text(line)
        assert unguarded(path), line
    path.write_text("h5py.File(p, 'w'); zipfile.ZipFile(p, 'w'); read_bytes(p)")
    assert not unguarded(path)


GLOBAL_STATE = {
    "torch.manual_seed",
    "torch.seed",
    "torch.default_generator.manual_seed",
    "torch.cuda.manual_seed",
    "torch.cuda.manual_seed_all",
    "torch.set_default_device",
    "torch.set_default_dtype",
    "torch.set_default_tensor_type",
    "torch.cuda.set_device",
    "torch.use_deterministic_algorithms",
    "torch.set_grad_enabled",
    "np.random.seed",
    "numpy.random.seed",
    "random.seed",
    "matplotlib.use",
    "plt.switch_backend",
}


# Third-party networks draw their weights from the global generator: it may be seeded where its state is put back afterwards. Not
# torch.manual_seed, which seeds the generators of every GPU too.
ALLOWED_IN_FORK = {"torch.default_generator.manual_seed"}


def global_changes(path: Path) -> list[str]:
    """Calls that change the state of a whole process."""
    forks = [
        node
        for node in nodes(path)
        if isinstance(node, ast.With)
        and any(
            isinstance(i.context_expr, ast.Call) and called(i.context_expr) == "torch.random.fork_rng"
            for i in node.items
        )
    ]
    shielded = {id(inner) for fork in forks for inner in ast.walk(fork)}
    return [
        f"{called(node)} in line {node.lineno}"
        for node in nodes(path)
        if isinstance(node, ast.Call)
        and called(node) in GLOBAL_STATE
        and not (called(node) in ALLOWED_IN_FORK and id(node) in shielded)
    ]


def test_no_global_seed_device_or_backend():
    found = {name(path): global_changes(path) for path in MODULES}
    assert {place: lines for place, lines in found.items() if lines} == {}


def test_the_global_state_test_sees_each_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    path = tmp_path / "m.py"
    for line in (
        "torch.manual_seed(0)",
        "def f():\n    np.random.seed(1)",
        "torch.default_generator.manual_seed(0)",
        "with torch.random.fork_rng(devices=[]):\n    torch.manual_seed(0)",
    ):
        path.write_text(line)
        assert global_changes(path), line
    path.write_text(
        "with torch.random.fork_rng(devices=[]):\n    torch.default_generator.manual_seed(0)\ntorch.Generator().manual_seed(1)"
    )
    assert not global_changes(path)


def test_modules_stay_short():
    lengths = {name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in EVERY_SOURCE}
    assert {place: lines for place, lines in lengths.items() if lines > LIMIT} == {}, "split them"


NO_NETWORK = """
import socket, sys
def refuse(*args, **kwargs):
    raise OSError("a connection was opened on import")
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = socket.create_connection = refuse
import importlib
for module in {modules!r}:
    importlib.import_module(module)
print(*sorted({heavy!r} & set(sys.modules)))
"""
HEAVY = {
    "torch",
    "diffusers",
    "kornia",
    "matplotlib",
    "timm",
    "torchvision",
    "sklearn",
    "skimage",
    "transformers",
    "huggingface_hub",
}


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_is_light_and_offline(package, tmp_path):
    done = run_python(NO_NETWORK.format(modules=[package], heavy=HEAVY), tmp_path)
    assert done.stdout.split() == [], (
        f"import {package} loads {done.stdout.split()} at once; import them where they are used"
    )


def test_every_module_imports_offline(tmp_path):
    modules = [
        name(p).removesuffix(".py").replace("/", ".").removesuffix(".__init__")
        for p in MODULES
        if p.name != "__main__.py"
    ]
    run_python(NO_NETWORK.format(modules=modules, heavy=set()), tmp_path)


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def tracked() -> list[Path]:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: the list of tracked files is not at hand")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.split("\0") if line and (ROOT / line).is_file()]


# Built from parts, so that this file does not name what it forbids.
PRIVATE = re.compile(
    r"(?<![\w.~-])/(?:" + "|".join(["wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers", "mn" + "t"]) + r")/\w"
)


def test_no_path_of_one_machine_is_tracked():
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data[:4096] or path.suffix == ".zip":
            continue
        for number, line in enumerate(data.decode("utf-8").splitlines(), start=1):
            if match := PRIVATE.search(line):
                found.append(f"{name(path)}:{number}: {match[0]}")
    assert not found, "\n".join(found)


def test_nothing_but_the_agreed_folders_stands_at_the_top():
    folders = {p.relative_to(ROOT).parts[0] for p in tracked() if len(p.relative_to(ROOT).parts) > 1}
    assert folders <= {"encoders", "synth", "protocols", "tests", "scripts", "docs", ".ci", ".github"}, folders


@pytest.mark.slow
def test_the_wheel_holds_exactly_the_three_packages(tmp_path):
    if importlib.util.find_spec("build") is None:
        pytest.skip("the package `build` is not installed (extra dev)")
    source = tmp_path / "source"
    for entry in ("pyproject.toml", "README.md", "LICENSE", *PACKAGES, "tests", "scripts"):
        origin = ROOT / entry
        if origin.is_dir():
            shutil.copytree(origin, source / entry, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(origin, source / entry)
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path / "dist"),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        inside = {n for n in archive.namelist() if not n.endswith("/")}
    tops = {n.partition("/")[0] for n in inside}
    assert {t for t in tops if not t.endswith(".dist-info")} == set(PACKAGES)
    assert len(tops) == 4
    expected = {name(p) for p in MODULES} | {f"{package}/py.typed" for package in PACKAGES}
    expected |= {name(p) for p in (ROOT / "protocols" / "data").glob("*") if p.is_file()}
    expected.add("protocols/report/page.html")
    expected |= {name(p) for p in (ROOT / "synth" / "priors").glob("*.safetensors")}
    assert expected <= inside, f"missing in the wheel: {sorted(expected - inside)}"
