"""The pipeline file: each mistake gives one sentence with the file, the key and what would do."""

from __future__ import annotations

import pytest

from sanderling import config
from sanderling.errors import ConfigError

HEAD = '[pipeline]\nname = "x"\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[pipeline", "not TOML"),
        ("\x00", "not TOML"),
        (HEAD, "missing the key 'stage'"),
        ("stage = []\n" + HEAD, "0 tables [[stage]]; a pipeline has 1 to 32"),
        ("[[stage]]\nguest = 'a'", "missing the key 'pipeline'"),
        ("[pipeline]\n[[stage]]\nguest = 'a'", "pipeline: missing the key 'name'"),
        (HEAD + "nmae = 1\n[[stage]]\nguest = 'a'", "unknown key 'nmae'; known are name, threads"),
        (HEAD + "[[stage]]\nguest = 'a'\n[[stage]]\ngest = 'b'", "stage 2: unknown key 'gest'"),
        (HEAD + "[[stage]]\nguest = 7", "stage 1.guest: Expected"),
        (HEAD + "[[stage]]\nname = 'a'", "[[stage]] 1: it has neither of guest and model"),
        (HEAD + "[[stage]]\nguest = 'a'\nmodel = 'b'", "it has both of guest and model"),
        (HEAD + "[[stage]]\nguest = 'a'\nlabels = ['b']", "'labels' means nothing for a guest"),
        (HEAD + "[[stage]]\nmodel = 'a'\nparams = { k = 1 }", "'params' means nothing for a"),
        (HEAD + "[[stage]]\nmodel = 'a'\nimage = { oder = 'rgb' }", "known are order, mean, std"),
        (HEAD + "[[stage]]\nmodel = 'a'\nimage = { mean = [1, 2] }", "stage 1.image.mean"),
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


def test_deeply_nested_toml_is_refused() -> None:
    with pytest.raises(ConfigError):
        config.parse(b"a = " + b"[" * 100_000, "p.toml")


def test_stages_without_a_name_get_that_of_their_file() -> None:
    text = HEAD + "[[stage]]\nguest = 'nms'\n[[stage]]\nguest = 'own/nms.wasm'\n"
    text += "[[stage]]\nguest = 'c'\nname = 'nms#2'"
    assert config.stage_names(config.parse(text.encode(), "p")) == ["nms", "nms#3", "nms#2"]
