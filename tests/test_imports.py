"""Who may import whom. The lowest modules import nothing of ours, and each rung knows only those below it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "stream_guard"
TESTS = Path(__file__).resolve().parent
FILES = sorted(PACKAGE.rglob("*.py"))

LADDER = (
    {"__init__", "types", "errors"},
    {
        "resources",
        "document",
        "queues",
        "backoff",
        "metrics",
        "allocator",
        "tracing",
        "torch_gate",
        "scratch",
        "wording",
    },
    {"media", "inference", "otlp"},
    {"magdr"},
    {"stages"},
    {"config"},
    {"policy", "outcome", "crew"},
    {"chain"},
    {"lane", "stills"},
    {"pipeline"},
    {"protect", "screen", "audit", "talking_head", "live"},
    {"demo", "daemon"},
    {"commands"},
    {"cli"},
    {"__main__"},
)
"""From the ground up. A package counts as one; inside it, its own files may import one another."""

OWNERS = {
    "av": {"media"},
    "ffmpeg": {"media"},
    "onnx": {"inference"},
    "onnxruntime": {"inference"},
    "openvino": {"inference"},
    "prometheus_client": {"metrics"},
    "opentelemetry": {"otlp"},
    "fastapi": {"daemon"},
    "uvicorn": {"daemon"},
    "typer": {"commands", "cli"},
    "rich": {"commands"},
    "yaml": {"document"},
}
"""The only parts that may import a package at run time; naming it in a type is free."""

ALONE = {
    "torch": {"inference/torch_session.py", "inference/torch_graph.py", "inference/torch_operators.py"},
    "tensorrt": {"inference/tensorrt_api.py"},
    "cuda": {"inference/cuda_api.py"},
}
"""Packages of a GPU's, large and often absent: these files alone may import them, and they are imported only where
such a backend is opened. torch is one backend among five, for GPUs without TensorRT; nothing else may need it."""

NEVER = {"torchvision", "cv2", "deface", "engines", "tests"}


def part(path: Path) -> str:
    """`media/source.py` belongs to `media`, `pipeline.py` is `pipeline`."""
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each imported module as an absolute name, and whether it is imported for type checking only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    here = ["stream_guard", *path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*here[: len(here) - node.level], *([node.module] if node.module else [])])
            module = base if node.level else str(node.module)
            names = [f"{module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            yield name, id(node) in for_types


def ours(name: str) -> str | None:
    """The part of ours that `stream_guard.media.pixels.read_rgb` belongs to; None for other packages."""
    words = name.split(".")
    if words[0] != "stream_guard":
        return None
    known = set().union(*LADDER)
    return words[1] if len(words) > 1 and words[1] in known else "__init__"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_knows_only_the_rungs_below(path: Path) -> None:
    rung = {name: number for number, names in enumerate(LADDER) for name in names}
    assert part(path) in rung, f"{part(path)} has no place on the ladder yet; give it one in {Path(__file__).name}"
    for name, _ in imports(path):
        other = ours(name)
        if other is not None and other != part(path):
            assert rung[other] < rung[part(path)], f"{part(path)} may not import {name}: it stands no lower"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_foreign_package_is_imported_by_its_owner_only(path: Path) -> None:
    for name, for_types in imports(path):
        package = name.split(".")[0]
        assert package not in NEVER, f"{path.name} imports {package}"
        if package in ALONE and not for_types:
            assert path.relative_to(PACKAGE).as_posix() in ALONE[package], f"only {ALONE[package]} may import {package}"
        if package in OWNERS and not for_types:
            assert part(path) in OWNERS[package], f"only {OWNERS[package]} may import {package}"


def test_nothing_of_a_gpu_is_imported_before_it_is_wanted() -> None:
    code = (
        "import sys, stream_guard.cli, stream_guard.stages.disrupt, stream_guard.stages.faces\n"
        "from stream_guard.inference import BACKENDS\n"
        "[backend.why_not() for backend in BACKENDS]\n"
        f"print([name for name in {sorted(ALONE)} if name in sys.modules and name != 'cuda'])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_tests_lend_one_another_nothing() -> None:
    """What several of them use is in tests/support, or a fixture in a conftest: a test file can be split at will."""
    lent = []
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                words = ast.unparse(node).replace(",", " ").replace(".", " ").split()
                if any(word.startswith("test_") for word in words):
                    lent.append(f"{path.relative_to(TESTS)}: {ast.unparse(node)}")
    assert not lent
