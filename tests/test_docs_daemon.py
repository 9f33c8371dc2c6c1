"""docs/daemon.md says what the daemon does: every key, every event, every count."""

from __future__ import annotations

import ast
import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from sanderling import counts, daemonfile, errors
from sanderling.look import Policy
from sanderling.persist import Change
from test_docs import blocks, said, table

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "runtime" / "sanderling"
DAEMON = (ROOT / "docs" / "daemon.md").read_text()


@pytest.mark.parametrize(
    ("heading", "kind"),
    [
        ("### `[daemon]`", daemonfile.DaemonTable),
        ("### `[[pipeline]]`", daemonfile.PipelineTable),
        ("### `[[camera]]`", daemonfile.CameraTable),
        ("### `[[sink]]`", daemonfile.SinkTable),
    ],
)
def test_the_tables_have_every_key_and_its_default(
    heading: str, kind: type[msgspec.Struct]
) -> None:
    found = table(DAEMON, heading)
    shown = dict(list(found.items())[: len(msgspec.structs.fields(kind))])
    assert shown == {
        field.encode_name: "required" if field.required else said(default(field))
        for field in msgspec.structs.fields(kind)
    }


def default(field: msgspec.structs.FieldInfo) -> object:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def test_the_file_in_the_page_is_one() -> None:
    (text,) = blocks(DAEMON, "toml")
    daemonfile.parse(text.encode(), "daemon.md")


def rows(head: str) -> list[str]:
    """The first column of the table with this head."""
    _, found, rest = DAEMON.partition(f"| {head} |")
    assert found, head
    return re.findall(r"^\| `([a-z_]+)` \|", rest.partition("\n\n")[0], re.MULTILINE)


def test_the_page_has_every_policy_count_and_reason() -> None:
    assert set(rows("policy")) == set(typing.get_args(Policy))
    assert rows("count") == [field.name for field in dataclasses.fields(counts.Counts)]
    reasons = {
        value for name, value in vars(counts).items() if name.isupper() and isinstance(value, str)
    }
    assert set(rows("dropped")) == reasons


def calls(module: str, name: str) -> Iterator[list[str]]:
    """What each call of a function is given as text, of its positional arguments."""
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == name:
            yield [
                argument.value
                for argument in node.args
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
            ]


def logged(module: str) -> set[str]:
    return {words[0] for words in calls(module, "event") if words}


def kinds(root: type[errors.FrameError]) -> set[str]:
    """The reasons for which a stage may lose a frame."""
    return {root.reason}.union(*(kinds(below) for below in root.__subclasses__()))


def test_the_page_has_every_event() -> None:
    camera = {words[0] for words in calls("camera", "_tell") if words}
    camera |= {words[1] for words in calls("camera", "_lose") if len(words) > 1}
    camera |= kinds(errors.FrameError)
    camera |= set(typing.get_args(typing.get_type_hints(Change)["state"]))
    told = {words[0] for words in calls("deployment", "_tell") if words}
    told |= {words[0] for words in calls("outlet", "_on_event")}
    told |= {f"camera_{kind}" for kind in camera}
    worker = logged("daemon")
    assert len(worker) > 10
    assert len(told) > 10
    assert set(rows("event of the supervisor")) == logged("supervisor")
    assert {*rows("event of the worker"), "stopped"} == worker
    assert set(rows("event of a camera")) | set(rows("event of a sink")) == told
