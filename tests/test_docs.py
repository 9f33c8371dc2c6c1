"""What the documents show is what there is: code, files and commands in them are run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sanderling
from sanderling import imaging, manifest

ROOT = Path(__file__).resolve().parents[1]
ABI = (ROOT / "docs" / "abi.md").read_text()
README = (ROOT / "README.md").read_text()
INVERT = ROOT / "examples" / "guests" / "invert"


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def squeezed(text: str) -> str:
    """Without comments and white space."""
    return re.sub(r"/\*.*?\*/|\s+", "", text, flags=re.DOTALL)


def test_the_guest_in_the_page_is_the_one_in_the_examples() -> None:
    whole = squeezed((INVERT / "invert.c").read_text())
    parts = blocks(ABI, "c")
    assert len(parts) == 3
    assert "".join(map(squeezed, parts)) == whole


def test_the_manifest_in_the_page_is_the_one_in_the_examples() -> None:
    shown = manifest.parse_toml(blocks(ABI, "toml")[0], "abi.md")
    kept = manifest.parse_toml((INVERT / "module.toml").read_text(), "module.toml")
    assert (shown.inputs, shown.outputs, shown.limits) == (kept.inputs, kept.outputs, kept.limits)
    assert [param.name for param in shown.params] == [param.name for param in kept.params]


@pytest.mark.toolchain
def test_the_commands_in_the_page_make_a_guest_that_runs(tmp_path: Path) -> None:
    (build,) = blocks(ABI, "sh")
    for folder in ("wasm_modules/include", "examples/guests/invert"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    tool = f"{sys.executable} -c 'from sanderling.cli import main; main()'"
    script = build.replace("pip install", "true").replace("python -m", f"{sys.executable} -m")
    script = script.replace("sanderling module", f"{tool} module")
    subprocess.run(["bash", "-euc", script], cwd=tmp_path, check=True)
    (tmp_path / "pipeline.toml").write_text(blocks(ABI, "toml")[1])
    image = np.random.default_rng(5).integers(0, 256, (33, 47, 3), np.uint8)
    with sanderling.open(tmp_path / "pipeline.toml") as pipeline:
        made = pipeline(image).tensors["image"]
    np.testing.assert_array_equal(made, np.where(image < 16, image, 255 - image))


def test_the_pipeline_in_the_readme_is_the_example() -> None:
    shown = blocks(README, "toml")[0]
    kept = (ROOT / "examples" / "faces.toml").read_text()
    assert "\n".join(line for line in kept.splitlines() if not line.startswith("#")).strip() == (
        shown.strip()
    )


def test_the_python_in_the_readme_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = blocks(README, "python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    photo = imaging.read_image(ROOT / "examples" / "astronaut.png")
    shown = [(True, photo), (True, photo), (False, None)]

    class Camera:
        def __init__(self, index: int) -> None:
            assert index == 0

        def read(self) -> tuple[bool, np.ndarray | None]:
            return shown.pop(0)

    printed: list[tuple[object, ...]] = []
    monkeypatch.chdir(ROOT)
    code = code.replace("cv2.VideoCapture(0)", "Camera(0)")
    exec(
        compile(code, "README.md", "exec"),
        {"Camera": Camera, "print": lambda *a: printed.append(a)},
    )
    assert len(printed) == 2
    np.testing.assert_allclose(printed[0][0], [176, 56, 272, 178], atol=3)


def test_the_line_in_the_readme_has_the_keys_of_a_real_one() -> None:
    shown = json.loads(blocks(README, "json")[0])
    with sanderling.open(ROOT / "examples" / "faces.toml") as faces:
        photo = imaging.read_image(ROOT / "examples" / "astronaut.png")
        real = faces(photo).as_dict()
    assert list(shown) == list(real)
    assert list(shown["detections"][0]) == list(real["detections"][0])
    np.testing.assert_allclose(shown["detections"][0]["box"], real["detections"][0]["box"], atol=1)


def test_every_link_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
