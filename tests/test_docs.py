"""What the documents show is what there is: code, files and commands in them are run."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest

import sanderling
from sanderling import (
    config,
    daemon,
    errors,
    imaging,
    library,
    limited,
    manifest,
    metadata,
    policy,
    profile,
    thermal,
    tuning,
)

ROOT = Path(__file__).resolve().parents[1]
ABI = (ROOT / "docs" / "abi.md").read_text()
PIPELINE = (ROOT / "docs" / "pipeline.md").read_text()
PYTHON = (ROOT / "docs" / "python.md").read_text()
BOARDS = (ROOT / "docs" / "boards.md").read_text()
README = (ROOT / "README.md").read_text()
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
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


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ("top", manifest.Manifest),
        ("`[[input]]`, `[[output]]`", manifest.TensorSpec),
        ("`[[param]]`", manifest.Param),
        ("`[limits]`", manifest.Limits),
    ],
)
def test_the_page_says_which_keys_a_manifest_must_have(
    row: str, kind: type[msgspec.Struct]
) -> None:
    (line,) = [line for line in ABI.splitlines() if line.startswith(f"| {row} |")]
    required, others = (
        set(re.findall(r"`([a-z_]+)`", re.sub(r"\(.*?\)", "", part)))
        for part in line.split("|")[2:4]
    )
    fields = msgspec.structs.fields(kind)
    assert required == {field.encode_name for field in fields if field.required}
    assert others == {field.encode_name for field in fields if not field.required}


def test_the_helpers_in_the_page_are_in_the_headers() -> None:
    include = ROOT / "wasm_modules" / "include"
    headers = squeezed(
        "".join((include / f"{n}.h").read_text() for n in ("sanderling", "sl_guest"))
    )
    shown = re.findall(r"`(\w[\w ]* \*?sl_\w+\([^`]*\w\))`", ABI)
    assert {"sl_fail", "sl_declare", "sl_params", "sl_ptr"} <= {
        re.findall(r"sl_\w+(?=\()", signature)[0] for signature in shown
    }
    for signature in shown:
        assert squeezed(signature) in headers, signature


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
    lines = [line for line in code.splitlines() if line.strip()]
    assert "## Eight lines of Python" in README
    assert len(lines) <= 8
    printed: list[tuple[object, ...]] = []
    monkeypatch.chdir(ROOT)
    assert '"0"' in code
    code = code.replace('"0"', '"examples/astronaut.png"')
    exec(compile(code, "README.md", "exec"), {"print": lambda *a: printed.append(a)})
    assert len(printed) == 1
    np.testing.assert_allclose(printed[0][0], [176, 56, 272, 178], atol=3)


def test_the_commands_in_the_readme_are_there() -> None:
    from sanderling.cli import _COMMANDS

    shown = re.findall(
        r"^(?:sudo \S*/)?sanderling (\w+)", "".join(blocks(README, "sh")), re.MULTILINE
    )
    assert set(shown) <= set(_COMMANDS)
    assert {"run", "daemon", "doctor", "tune", "config"} <= set(shown)


def test_the_line_in_the_readme_has_the_keys_of_a_real_one() -> None:
    shown = json.loads(blocks(README, "json")[0])
    with sanderling.open(ROOT / "examples" / "faces.toml") as faces:
        photo = imaging.read_image(ROOT / "examples" / "astronaut.png")
        real = faces(photo).as_dict()
    assert list(shown) == list(real)
    assert list(shown["detections"][0]) == list(real["detections"][0])
    first, wanted = shown["detections"][0], real["detections"][0]
    np.testing.assert_allclose(first["box"], wanted["box"], atol=1)
    assert abs(first["score"] - wanted["score"]) <= 0.005
    assert f"one face, {wanted['score']:.2f}, found" in README
    np.testing.assert_allclose(first["points"], wanted["points"][: len(first["points"])], atol=1)


def guest_reference() -> str:
    """The chapter on the installed guests, as their manifests have it."""
    text = ""
    for path in sorted((ROOT / "wasm_modules" / "dist").glob("*.wasm")):
        module = manifest.read_manifest(path.read_bytes(), path.name)
        text += f"### {module.name}\n\n{module.summary}\n\n"
        text += "| takes, gives | | |\n|---|---|---|\n"
        for way, specs in (("takes", module.inputs), ("gives", module.outputs)):
            for spec in specs:
                optional = "optional; " if spec.optional else ""
                note = f"{optional}{spec.help}".rstrip("; ")
                text += f"| {way} `{spec.name}` | {spec.kinds} | {note} |\n"
        text += "\n| parameter | type | default | |\n|---|---|---|---|\n"
        for param in module.params:
            kind = " ".join(f"`{choice}`" for choice in param.choices) or param.type
            low, high = (f"{end:g}" if end is not None else "" for end in (param.min, param.max))
            if low or high:
                kind += f", {low} to {high}" if low and high else f", at least {low}"
            follows = f"; follows `{param.source}`" if param.source else ""
            default = json.dumps(param.default)
            text += f"| `{param.name}` | {kind} | `{default}` | {param.help}{follows} |\n"
        text += "\n"
    return text.strip()


def test_the_page_has_every_installed_guest_as_its_manifest_has_it() -> None:
    _, _, shown = PIPELINE.partition("## Installed guests\n")
    assert shown[shown.index("### ") :].strip() == guest_reference()


def table(text: str, heading: str) -> dict[str, str]:
    """The first table under a heading: the first column and the second, without their ticks."""
    _, found, rest = text.partition(f"{heading}\n")
    assert found, heading
    part = re.split(r"^#", rest, maxsplit=1, flags=re.MULTILINE)[0]
    rows = re.findall(r"^\| `([^|]*)` \| ([^|]*) \|", part, re.MULTILINE)
    return {key: value.strip("`") for key, value in rows}


def said(default: object) -> str:
    """A default as the page writes it."""
    if default is msgspec.NODEFAULT:
        return "required"
    if default is None:
        return "none"
    return json.dumps(list(default) if isinstance(default, tuple) else default)


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("### `[pipeline]`", config.PipelineTable),
        ("### `image` of a model", metadata.ImageInput),
        ("### `tensors` of a model", metadata.Quantization),
        ("### `[policy]`", policy.Policy),
    ],
)
def test_the_tables_have_every_key_and_its_default(
    heading: str, kind: type[msgspec.Struct]
) -> None:
    keys = {field.encode_name: said(field.default) for field in msgspec.structs.fields(kind)}
    assert table(PIPELINE, heading) == keys


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("### `[match]`", profile.Match),
        ("### `[board]`", profile.Hardware),
        ("### `[limits]`", profile.Limits),
        ("### `[preferred]`", profile.Preferred),
    ],
)
def test_the_tables_of_a_profile_have_every_key_and_its_default(
    heading: str, kind: type[msgspec.Struct]
) -> None:
    empty = kind()
    keys = {name: said(getattr(empty, name)) for name in kind.__struct_fields__}
    assert table(BOARDS, heading) == keys


def test_the_boards_page_lists_the_profiles_and_the_steps() -> None:
    shipped = {path.stem: profile.read(path) for path in library.profiles()}
    assert set(table(BOARDS, "## Profiles")) == set(shipped)
    _, _, steps = BOARDS.partition("| step |")
    rates = re.findall(r"^\| (\d) \| (\w+)%? \|", steps, re.MULTILINE)
    assert [(int(step), rate) for step, rate in rates] == [
        (number, "full" if step.rate == 1 else f"{step.rate:.0%}".rstrip("%"))
        for number, step in enumerate(thermal.STEPS)
    ]
    assert f"for {thermal.DWELL_S:g} seconds" in BOARDS
    assert f"looks at the temperature every {daemon.BOARD_S:g} seconds" in BOARDS
    assert f"at least {tuning.WORTH:g} times as many frames a second" in BOARDS
    assert limited.AGAIN_S == 60, "once a minute, the page says"


@pytest.mark.parametrize(
    ("kind", "keys"), [("guest", config._GUEST_KEYS), ("model", config._MODEL_KEYS)]
)
def test_the_tables_have_every_key_of_a_stage(kind: str, keys: set[str]) -> None:
    assert set(table(PIPELINE, f"### `[[stage]]` with a {kind}")) == keys


def recipe(name: str) -> str:
    """The pipeline file under a heading of docs/pipeline.md."""
    return blocks(PIPELINE.partition(f"### {name}\n")[2], "toml")[0]


def test_the_recipes_in_the_page_are_pipeline_files() -> None:
    recipes = blocks(PIPELINE, "toml")
    assert len(recipes) == 6
    for text in recipes:
        config.parse(text.encode(), "pipeline.md")


def test_the_classifier_in_the_page_finds_the_digit(tmp_path: Path) -> None:
    path = tmp_path / "classify.toml"
    path.write_text(recipe("A classifier"))
    with sanderling.open(path) as digits:
        result = digits(imaging.read_image(ROOT / "examples" / "digits" / "6.png"))
    assert result.detections is None
    assert result.classes is not None
    assert (len(result.classes), result.classes.label(0)) == (3, "6")


def test_the_bare_model_in_the_page_does_what_its_metadata_did(tmp_path: Path) -> None:
    model = onnx.load(ROOT / "models" / "digits-int8.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    (tmp_path / "bare.toml").write_text(recipe("A model without metadata"))
    image = imaging.read_image(ROOT / "examples" / "digits" / "8.png")
    with (
        sanderling.open(tmp_path / "bare.toml") as bare,
        sanderling.open(ROOT / "examples" / "digits.toml") as whole,
    ):
        found, wanted = bare(image).classes, whole(image).classes
    assert found is not None
    assert wanted is not None
    assert found.labels == wanted.labels
    np.testing.assert_array_equal(found.classes[:3], wanted.classes)
    np.testing.assert_array_equal(found.scores[:3], wanted.scores)


def test_the_facts_in_the_page_are_those_that_guests_follow() -> None:
    shown = PIPELINE.partition("| fact | |\n")[2].partition("\n\n")[0]
    rows = [line.split("|")[1] for line in shown.splitlines()]
    listed = set(re.findall(r"`([a-z_]+)`", "".join(rows)))
    with sanderling.open(ROOT / "examples" / "digits.toml") as digits:
        model = digits._loaded.stages[1]
    assert listed == set(model.facts()) | {"classes"}


def test_the_python_page_has_every_field_and_method() -> None:
    for kind in (sanderling.Frame, sanderling.Result, sanderling.Detections, sanderling.Classes):
        fields = {field.name for field in dataclasses.fields(kind)}
        assert set(table(PYTHON, f"### `{kind.__name__}`")) == fields
    public = {name for name in vars(sanderling.Pipeline) if not name.startswith("_")}
    listed = table(PYTHON, "### `Pipeline`")
    assert {re.split(r"\W", call)[0] for call in listed} - {"pipeline"} == public


def test_the_errors_in_the_python_page_are_the_tree() -> None:
    (tree,) = blocks(PYTHON, "text")
    assert textwrap.indent(tree, "    ") in (errors.__doc__ or "")


def test_the_python_in_the_python_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed: list[tuple[object, ...]] = []
    names: dict[str, object] = {"print": lambda *a: printed.append(a)}
    for code in blocks(PYTHON, "python"):
        exec(compile(code, "python.md", "exec"), names)
    assert printed[0][0] == "face"
    assert printed[1][0] == 0, "the first frame of the pattern"


def anchors(page: Path) -> set[str]:
    """What its headings can be linked by."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", page.read_text()):
        linked = page.parent / target if target else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), f"{target}#{anchor}"


@pytest.mark.parametrize("guest", ["go", "invert"])
def test_the_pipelines_of_the_example_guests_are_pipeline_files(guest: str) -> None:
    (text,) = blocks((ROOT / "examples" / "guests" / guest / "README.md").read_text(), "toml")
    config.parse(text.encode(), guest)


def test_the_go_guest_s_page_shows_the_pipeline_beside_it() -> None:
    folder = ROOT / "examples" / "guests" / "go"
    (text,) = blocks((folder / "README.md").read_text(), "toml")
    assert text.strip() in (folder / "digits_go.toml").read_text()
