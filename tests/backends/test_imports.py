"""A CPU conversion imports no GPU code, and there are no import cycles."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import animevid
from media import write_clip

_ENGINE = Path(animevid.__file__).parent

_CONVERT = """
import json, sys
import animevid.cli
code = animevid.cli.main(sys.argv[1:])
print(json.dumps([code, sorted(sys.modules)]))
"""


def test_a_conversion_on_the_cpu_imports_nothing_of_the_gpu_or_of_torch(tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", frames=3)
    ran = subprocess.run(
        [sys.executable, "-c", _CONVERT, str(clip), str(tmp_path / "out.mp4"), "--backend", "onnxruntime"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    code, modules = json.loads(ran.stdout.splitlines()[-1])
    assert code == 0, ran.stderr
    assert "animevid.backends.onnxruntime" in modules
    unwanted = ("animevid.gpu", "torch", "cuda", "tensorrt", "tensorrt_rtx", "openvino", "MNN", "onnx")
    assert [name for name in modules if name.startswith("animevid.gpu") or name.split(".")[0] in unwanted] == []
    others = {"animevid.backends.torch", "animevid.backends.openvino", "animevid.backends.mnn"}
    assert others.isdisjoint(modules)


def test_nothing_of_the_gpu_imports_in_a_circle():
    """At import time. A cycle would fail only for some orders of imports."""
    modules = {_name(path): path for path in [*_ENGINE.glob("gpu/**/*.py"), *_ENGINE.glob("backends/*.py")]}
    graph = {name: _imported(path) & modules.keys() - {name} for name, path in modules.items()}
    assert graph["animevid.gpu.fatbin"] <= {"animevid.gpu"}
    TopologicalSorter(graph).prepare()  # raises CycleError


def _name(path: Path) -> str:
    parts = path.relative_to(_ENGINE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names
