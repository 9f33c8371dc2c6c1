"""The pipeline file: each mistake gives one sentence with the file, the key and what would do."""

from __future__ import annotations

from pathlib import Path

import pytest

from sanderling import config, library
from sanderling.errors import ConfigError

HEAD = '[pipeline]\nname = "x"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[pipeline", "not TOML"),
        ("\x00", "not TOML"),
        ("", "p.toml: missing the table [pipeline]"),
        (HEAD, "missing [[stage]]"),
        (HEAD + "[stage]\nguest = 'a'", "stage: write [[stage]], with two brackets"),
        ("[[pipeline]]\nname = 'x'\n[[stage]]\nguest = 'a'", "write [pipeline], with one bracket"),
        (HEAD + "threads = = 2", ": threads = = 2"),
        (HEAD + "[[stage]]\nguets = 'a'", "did you mean 'guest'?"),
        (HEAD.replace("x", "a b"), "pipeline.name: must be letters, digits"),
        (HEAD + "threads = 300\n[[stage]]\nguest = 'a'", "pipeline.threads: must be at most 256"),
        (HEAD + "[[stage]]\nmodel = 'a'\nimage = { order = 'q' }", "'q' is not one of 'bgr'"),
        (HEAD + "[[stage]]\nmodel = 'a'\ninputs = { a = 1 }", "must be a text, not a whole number"),
        ("stage = []\n" + HEAD, "0 tables [[stage]]; a pipeline has 1 to 32"),
        ("[[stage]]\nguest = 'a'", "missing the table [pipeline]"),
        ("[pipeline]\n[[stage]]\nguest = 'a'", "pipeline: missing the key 'name'"),
        (HEAD + "nmae = 1\n[[stage]]\nguest = 'a'", "unknown key 'nmae'; known are name, threads"),
        (HEAD + "[[stage]]\nguest = 'a'\n[[stage]]\ngest = 'b'", "stage 2: unknown key 'gest'"),
        (HEAD + "[[stage]]\nguest = 7", "stage 1.guest: must be a text, not a whole number"),
        (HEAD + "[[stage]]\nname = 'a'", "[[stage]] 1: it has neither of guest and model"),
        (HEAD + "[[stage]]\nguest = 'a'\nmodel = 'b'", "it has both of guest and model"),
        (HEAD + "[[stage]]\nguest = 'a'\nlabels = ['b']", "'labels' means nothing for a guest"),
        (HEAD + "[[stage]]\nmodel = 'a'\nparams = { k = 1 }", "'params' means nothing for a"),
        (HEAD + "[[stage]]\nmodel = 'a'\nimage = { oder = 'rgb' }", "known are order, mean, std"),
        (HEAD + "[[stage]]\nmodel = 'a'\nimage = { mean = [1, 2] }",
         "stage 1.image.mean: must be a list of 3, not of 2"),
        (HEAD + "[[stage]]\nguest = 'a'\nname = 'q'\n[[stage]]\nguest = 'b'\nname = 'q'",
         "two stages are named 'q'"),
        (HEAD + "[[stage]]\nguest = 'a'\n[policy]\nmemory_mb = 0", "policy.memory_mb"),
        (HEAD + "[[stage]]\nguest = 'a'\n[policy]\nwasy = true", "known are memory_mb, deadline"),
        (HEAD + "[[stage]]\nguest = 'a'\ncall = 'f'\nparams = { a = 1 }", "takes no params"),
    ],
)  # fmt: skip
def test_a_mistake_names_file_key_and_remedy(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(text.encode(), "p.toml")
    message = str(caught.value)
    assert message.startswith("p.toml: ")
    assert words in message
    assert "\n" not in message
    assert "$" not in message
    for word in ("Expected", "Object", "Invalid", "`", "regex"):
        assert word not in message or "not TOML" in message, "in msgspec's words"


def test_deeply_nested_toml_is_refused() -> None:
    with pytest.raises(ConfigError):
        config.parse(b"a = " + b"[" * 100_000, "p.toml")


@pytest.mark.parametrize("key", ["a", "'a b'", '"a\\"b"', "a b"])
def test_a_key_of_thousands_of_parts_is_refused_before_it_is_read(key: str) -> None:
    deep = ".".join([key] * 200_000) + " = 1\n"
    with pytest.raises(ConfigError, match=r"a key of more than 64 parts|not TOML"):
        config.parse((HEAD + deep).encode(), "p.toml")


@pytest.mark.parametrize("number", ["9" * 400, "9" * 5000, "0x" + "f" * 5000, "1e999", "nan"])
def test_a_number_out_of_all_bounds_is_refused(number: str) -> None:
    for line in (f"memory_mb = {number}", f"deadline_ms = {number}"):
        with pytest.raises(ConfigError):
            config.parse(f"{HEAD}[[stage]]\nguest = 'a'\n[policy]\n{line}".encode(), "p.toml")
    with pytest.raises(ConfigError):
        config.parse(f"{HEAD}threads = {number}\n[[stage]]\nguest = 'a'".encode(), "p.toml")


def test_a_message_holds_nothing_that_a_terminal_acts_upon() -> None:
    text = HEAD + '[[stage]]\nguest = "a"\n"\\u001b[2J" = 1'
    with pytest.raises(ConfigError) as caught:
        config.parse(text.encode(), "p.toml")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("field", "number"),
    [
        *(("scale", number) for number in ("nan", "inf", "-inf", "0", "-1", "1e39")),
        *(("zero_point", number) for number in ("nan", "0.5", "2147483648", "-2147483649")),
    ],
)
def test_a_scale_and_a_zero_point_are_what_they_can_be(field: str, number: str) -> None:
    good = {"scale": "0.5", "zero_point": "3"} | {field: number}
    line = ", ".join(f"{key} = {value}" for key, value in good.items())
    with pytest.raises(ConfigError, match=rf"{field}|not TOML"):
        config.parse(
            f"{HEAD}[[stage]]\nmodel = 'm'\ntensors = {{ a = {{ {line} }} }}".encode(), "p.toml"
        )


def test_the_numbers_of_a_picture_are_finite() -> None:
    for numbers in ("mean = [1, nan, 1]", "mean = [1, 1, inf]", "std = [1, 1, inf]"):
        with pytest.raises(ConfigError):
            config.parse(
                f"{HEAD}[[stage]]\nmodel = 'm'\nimage = {{ {numbers} }}".encode(), "p.toml"
            )


@pytest.mark.parametrize("name", ["~nosuch/x.wasm", "x" * 300, "d/" + "x" * 300, "a\0b", "a\0/b"])
@pytest.mark.parametrize("kind", ["guest", "model"])
def test_a_name_that_no_file_can_have_is_not_found(tmp_path: Path, kind: str, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        library.find(kind, name, tmp_path, "p.toml")
    assert str(caught.value).isprintable()


def test_stages_without_a_name_get_that_of_their_file() -> None:
    text = HEAD + "[[stage]]\nguest = 'nms'\n[[stage]]\nguest = 'own/nms.wasm'\n"
    text += "[[stage]]\nguest = 'c'\nname = 'nms#2'"
    assert config.stage_names(config.parse(text.encode(), "p")) == ["nms", "nms#3", "nms#2"]
