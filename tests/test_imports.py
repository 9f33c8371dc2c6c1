"""The import rule of the design: imports point one way, and each foreign library has one owner.

Checked by reading the sources, so that an import inside a function or for type checking counts too.
"""

from __future__ import annotations

import ast
import graphlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import sanderling

PACKAGE = Path(sanderling.__file__).resolve().parent

# Which layer a module is in. A package (`cli`) stands for all that is in it.
LAYERS = {
    0: """errors tensor frame detections abi config policy manifest metadata
          wasmfile families wiring breaker text schema source counts turns pace
          thermal modelthreads variants tomlfile profile daemonfile detached pattern persist
          trace cores limited agreement""",
    1: """guest compiled ticker model imaging sources sinks library board
          wholefile lines logs statuspipe systemd opencv capture push devices
          staging""",
    2: """stages step lane plan memory assembler pipeline pool look camera watch outlet
          deployed deployment checks tuning candidates readable""",
    3: "cli __main__ child supervisor daemon service preflight",
}
OFF_DEVICE = "quantize"

# `import sanderling` hands out names of every layer, lazily. Only the top imports it.
FACADE = "sanderling"

# Edges may not lean on each other, or one that is not needed is loaded with one that is; but for:
WITHIN_EDGES = {
    ("guest", "compiled"),
    ("guest", "ticker"),
    ("capture", "opencv"),
    ("imaging", "opencv"),
    ("sources", "capture"),
    ("sources", "imaging"),
    ("sources", "push"),
    ("sinks", "imaging"),
    ("sinks", "wholefile"),
    ("staging", "wholefile"),
}

# The modules that may import a foreign library. The rest get it translated, or not at all.
OWNERS = {
    "wasmtime": {"guest"},
    "onnxruntime": {"model", "quantize"},
    "cv2": {"opencv"},
    "picamera2": {"sources"},
    "supervision": {"detections"},
    "onnx": {"quantize"},
    "torch": {"quantize"},
}

# Device code that may import what is off the device, and only when a function is called.
LAZILY_OFF_DEVICE = {("cli.model", "quantize")}

# Modules that import by a name made at run time, which cannot be read from the source.
DYNAMIC = {FACADE, "cli"}


@dataclass(frozen=True)
class Import:
    """One import of a module.

    Attributes:
        target: `sanderling.x.y` or a foreign module, dotted.
        line: where it stands.
        lazy: inside a function.
    """

    target: str
    line: int
    lazy: bool


def imports(source: str, module: str, *, is_package: bool, ours: set[str]) -> Iterator[Import]:
    """What a module imports.

    Args:
        source: its text.
        module: its dotted name.
        is_package: it is an `__init__.py`.
        ours: the dotted names of all modules, to tell `from a import module` from `name`.
    """
    parts = module.split(".")
    stack: list[tuple[ast.AST, bool]] = [(ast.parse(source), False)]
    while stack:
        node, lazy = stack.pop()
        inner = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        stack += [(child, inner) for child in ast.iter_child_nodes(node)]
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, node.lineno, lazy)
        elif isinstance(node, ast.ImportFrom):
            above = len(parts) - node.level + is_package
            base = [*parts[:above], node.module] if node.level else [node.module]
            name = ".".join(part for part in base if part)
            for alias in node.names:
                full = f"{name}.{alias.name}"
                yield Import(full if full in ours else name, node.lineno, lazy)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            yield Import("?", node.lineno, lazy)


def unit(module: str) -> str:
    """What the tables call a module: `sanderling.cli.run` is `cli`."""
    return module.split(".")[1] if "." in module else FACADE


def layer_of(module: str) -> int | None:
    """Its layer; 4 for what is off the device, None when no table has it."""
    name = unit(module)
    if name == FACADE:
        return 3
    if name in OFF_DEVICE.split():
        return 4
    return next((layer for layer, names in LAYERS.items() if name in names.split()), None)


def violations(sources: dict[str, str], packages: set[str]) -> list[str]:
    """Where the rule is broken.

    Args:
        sources: text of each module, by dotted name.
        packages: which of them are an `__init__.py`.
    """
    found = [
        f"{name}: say which layer it is in, in tests/test_imports.py"
        for name in sources
        if layer_of(name) is None
    ]
    graph: dict[str, set[str]] = {name: set() for name in sources}
    for name, text in sources.items():
        for item in imports(text, name, is_package=name in packages, ours=set(sources)):
            if item.target in sources and name != FACADE:
                graph[name].add(item.target)
            fault = judge(name, item)
            if fault:
                found.append(f"{name}:{item.line}: {fault}")
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as exc:
        found.append(f"imports in a circle: {' -> '.join(reversed(exc.args[1]))}")
    return found


def judge(name: str, item: Import) -> str | None:
    """What is wrong with one import, if anything is."""
    short = name.removeprefix("sanderling.")
    if item.target == "?":
        return None if short in DYNAMIC else "imports by a name that cannot be read"
    root = item.target.split(".")[0]
    if root != "sanderling":
        owners = OWNERS.get(root)
        if owners is None or unit(name) in owners:
            return None
        return f"imports {root}, which only {' and '.join(sorted(owners))} may"
    here, there = layer_of(name), layer_of(item.target)
    target = unit(item.target)
    if here is None or there is None or name == FACADE or unit(name) == target:
        return None
    if there == 4 and here != 4:
        if (short, target) not in LAZILY_OFF_DEVICE:
            return f"runs on a device and imports {target}, which does not"
        return None if item.lazy else f"imports {target} when it is loaded, not when it is called"
    if item.target == FACADE and here != 3:
        return "imports the facade, which hands out what is above"
    if there > here:
        return f"imports upwards: layer {here} imports {target} of layer {there}"
    if here == there == 1 and (unit(name), target) not in WITHIN_EDGES:
        return f"one edge imports another: {target}"
    return None


def test_the_import_rule():
    sources, packages = {}, set()
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = ["sanderling", *path.relative_to(PACKAGE).with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
            packages.add(".".join(parts))
        sources[".".join(parts)] = path.read_text()
    assert len(sources) > 20, "the sources were not found"
    assert not violations(sources, packages), "\n".join(violations(sources, packages))


def test_the_tables_name_what_is_there():
    there = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    named = " ".join([*LAYERS.values(), OFF_DEVICE]).split()
    assert len(named) == len(set(named))
    assert set(named) <= there


FACADE_SOURCE = "if TYPE_CHECKING:\n    from sanderling.pipeline import Pipeline\n"
BROKEN = {
    "a module that no table names": (
        {"surprise": "x = 1"},
        "sanderling.surprise: say which layer",
    ),
    "upwards": (
        {"tensor": "import sanderling.plan", "plan": ""},
        "sanderling.tensor:1: imports upwards: layer 0 imports plan of layer 2",
    ),
    "upwards, from the package": (
        {"tensor": "from sanderling import plan", "plan": ""},
        "imports upwards",
    ),
    "upwards, relative": (
        {"tensor": "\nfrom . import plan", "plan": ""},
        "sanderling.tensor:2: imports upwards",
    ),
    "upwards, relative, from a name": (
        {"tensor": "from .plan import Plan", "plan": ""},
        "imports upwards",
    ),
    "upwards, in a function": (
        {"tensor": "def f():\n    from sanderling.plan import x", "plan": ""},
        "imports upwards",
    ),
    "upwards, for types": (
        {"tensor": "if TYPE_CHECKING:\n    from sanderling.plan import x", "plan": ""},
        "imports upwards",
    ),
    "upwards, from a package": (
        {"plan": "from sanderling.cli import text", "cli": "", "cli.text": ""},
        "sanderling.plan:1: imports upwards: layer 2 imports cli of layer 3",
    ),
    "the facade from below": (
        {"plan": "from sanderling import open"},
        "imports the facade",
    ),
    "from edge to edge": (
        {"model": "from sanderling.guest import load", "guest": ""},
        "one edge imports another: guest",
    ),
    "in a circle": (
        {"plan": "from sanderling import lane", "lane": "from sanderling.plan import Plan"},
        "imports in a circle: sanderling.",
    ),
    "another's library": (
        {"plan": "from wasmtime import Store"},
        "imports wasmtime, which only guest may",
    ),
    "another's library, by a part of it": (
        {"sources": "import cv2.dnn as dnn"},
        "imports cv2, which only opencv may",
    ),
    "another's library, in a method": (
        {"plan": "class A:\n    async def f(self):\n        import onnxruntime"},
        "sanderling.plan:3: imports onnxruntime, which only model and quantize may",
    ),
    "onnx on a device": (
        {"model": "import onnx"},
        "imports onnx, which only quantize may",
    ),
    "what is off the device": (
        {
            "plan": "def f():\n    import sanderling.quantize.run",
            "quantize": "",
            "quantize.run": "",
        },
        "runs on a device and imports quantize",
    ),
    "what is off the device, from elsewhere in the command line": (
        {"cli": "", "cli.run": "def f():\n    from sanderling import quantize", "quantize": ""},
        "runs on a device and imports quantize",
    ),
    "what is off the device, too early": (
        {"cli": "", "cli.model": "from sanderling import quantize", "quantize": ""},
        "imports quantize when it is loaded",
    ),
    "by a name made at run time": (
        {"plan": "import importlib\nx = importlib.import_module(f'sanderling.{y}')"},
        "sanderling.plan:2: imports by a name that cannot be read",
    ),
}


def dotted(sources: dict[str, str]) -> dict[str, str]:
    ours = {f"sanderling.{name}": text for name, text in sources.items()}
    return {"sanderling": FACADE_SOURCE, **ours}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_rule_is_found(case):
    sources, message = BROKEN[case]
    found = violations(dotted(sources), {"sanderling", "sanderling.cli", "sanderling.quantize"})
    assert len(found) == 1, found
    assert message in found[0]


def test_what_is_allowed_is_not_found():
    sources = {
        "errors": "import os, numpy",
        "guest": "import wasmtime._ffi\nfrom . import compiled\nfrom sanderling import errors",
        "compiled": "from sanderling.errors import ModuleError",
        "plan": "from sanderling import step\nfrom .guest import load",
        "step": "import sanderling.guest",
        "pipeline": "",
        "cli": "from importlib import import_module\nimport_module(x)\nimport sanderling",
        "cli.model": "from .text import table\ndef f():\n    from sanderling import quantize",
        "cli.text": "from ..errors import ConfigError",
        "quantize": "import onnx, onnxruntime\nfrom sanderling.plan import Plan",
    }
    assert not violations(dotted(sources), {"sanderling", "sanderling.cli", "sanderling.quantize"})


@pytest.mark.parametrize("module", ["sanderling", "sanderling.cli", "sanderling.config"])
def test_heavy_libraries_wait_until_they_are_needed(module):
    script = f"import json, sys, {module}; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert module in loaded
    assert not loaded & {"cv2", "onnxruntime", "wasmtime", "onnx", "torch", "supervision"}
