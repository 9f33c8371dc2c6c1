"""Device profiles: read, chosen by what a board says of itself, and cut down to what it has."""

from __future__ import annotations

import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanderling import library, profile
from sanderling.errors import ConfigError
from sanderling.profile import Facts, Limits, Match, Profile

SHIPPED = {path.stem: profile.read(path) for path in library.profiles()}
HEAD = 'name = "x"\n'


def test_every_board_of_the_list_has_a_profile() -> None:
    assert set(SHIPPED) == {
        "generic", "intel-n100", "jetson-orin-nano", "raspberry-pi-3b-plus", "raspberry-pi-4b",
        "raspberry-pi-5", "raspberry-pi-cm4", "raspberry-pi-zero-2-w", "rock-5b"}  # fmt: skip


@pytest.mark.parametrize("name", SHIPPED)
def test_no_number_is_without_a_source(name: str) -> None:
    (path,) = [path for path in library.profiles() if path.stem == name]
    tables = tomllib.loads(path.read_text())
    assert tables.pop("name") == name
    assert tables.pop("title")
    assert set(tables) <= {"match", "board", "limits", "preferred"}
    for table, values in tables.items():
        sources = values.pop("sources")
        assert set(sources) == set(values), f"[{table}]"
        assert all(len(source) > 10 for source in sources.values()), f"[{table}.sources]"


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_profile_does_not_ask_for_more_than_its_board_has(name: str) -> None:
    shipped = SHIPPED[name]
    if name == profile.GENERIC:
        assert shipped.match == Match()
        return
    assert shipped.match.compatible or shipped.match.dmi or shipped.match.cpu
    least = Facts(cores=shipped.board.cores, memory_mb=min(shipped.board.memory_mb))
    assert profile.settle(shipped, least).warnings == ()
    assert shipped.preferred.threads <= shipped.board.cores
    assert {"asimddp", "avx2"} & set(shipped.board.features) or not shipped.board.features


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "missing the key 'name'"),
        ("name = 'A B'", "name: must be small letters, digits"),
        (HEAD + "[limit]\nthreads = 1", "unknown key 'limit'; known are"),
        (HEAD + "[limits]\nthreads = 'all'", "limits.threads: must be a whole number, not a text"),
        (HEAD + "[limits]\nthreads = -1", "limits.threads: must be at least 0"),
        (HEAD + "[limits]\nlimit_c = 500", "limits.limit_c: must be at most 125"),
        (HEAD + "[limits]\nlimit_c = nan", "limits.limit_c"),
        (HEAD + "[limits]\nlimit_c = 70", "limits.resume_c: must be below limit_c, 70; it is 70"),
        (HEAD + "[preferred]\nflavour = 's8u8'", "'s8u8' is not one of"),
        (HEAD + "[match]\ncompatible = 'a'", "match.compatible: must be a list, not a text"),
        (HEAD + "[[board]]\ncores = 1", "write [board], with one bracket"),
        (HEAD + "[board", "not TOML"),
        (".".join(["a"] * 100) + " = 1", "a key of more than 64 parts"),
    ],
)
def test_a_mistake_names_file_key_and_remedy(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        profile.parse(text.encode(), "p.toml")
    message = str(caught.value)
    assert message.startswith("p.toml: ")
    assert words in message
    assert "\n" not in message


def test_a_file_that_is_not_there_or_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        profile.read(tmp_path / "no.toml")
    (tmp_path / "big.toml").write_bytes(b"#" * (2 << 20))
    with pytest.raises(ConfigError, match="larger than 1 MiB; not a profile"):
        profile.read(tmp_path / "big.toml")


def named(name: str, **match: list[str]) -> Profile:
    return Profile(name=name, match=Match(**match))


def test_the_board_wins_over_its_chip_and_the_chip_over_nothing() -> None:
    profiles = [
        named("chip", compatible=["brcm,bcm2711"]),
        named("board", compatible=["raspberrypi,4-model-b"]),
        named("pc", dmi=["Acme Box"]),
        named("cpu", cpu=["0xd08", "Intel(R) N100"]),
        named("generic"),
    ]
    tree = ("raspberrypi,4-model-b", "brcm,bcm2711")
    for facts, name, why in [
        (Facts(tree, (), ("0xd08",)), "board", "the device tree says raspberrypi,4-model-b"),
        (Facts(("x", tree[1]), (), ("0xd08",)), "chip", "the device tree says brcm,bcm2711"),
        (Facts((), ("Acme Box",), ("Intel(R) N100",)), "pc", "the firmware says Acme Box"),
        (Facts((), ("Other",), ("Intel(R) N100",)), "cpu", "the processor says Intel(R) N100"),
        (Facts(("x",), ("y",), ("z",)), "generic", "no profile is for this board"),
        (Facts(), "generic", "no profile is for this board"),
    ]:
        for order in (profiles, profiles[::-1]):
            choice = profile.choose(order, facts)
            assert (choice.profile.name, choice.why) == (name, why)


def test_without_a_generic_profile_the_installation_is_damaged() -> None:
    with pytest.raises(ConfigError, match="the installation is damaged"):
        profile.choose([named("a", cpu=["b"])], Facts())


def test_what_the_board_has_not_is_cut_down_and_said() -> None:
    greedy = Profile(name="greedy", limits=Limits(threads=8, memory_mb=4096, megapixels=2.5))
    bounds = profile.settle(greedy, Facts(cores=4, memory_mb=1000))
    assert (bounds.threads, bounds.memory_mb, bounds.megapixels) == (4, 750, 2.5)
    assert bounds.warnings == (
        "profile greedy: limits.threads is 8, and 4 may be used here; 4 are used",
        "profile greedy: limits.memory_mb is 4096, and there are 1000 MiB here; 750 are used,"
        " three quarters",
    )
    assert profile.settle(greedy, Facts(cores=8, memory_mb=8192)).warnings == ()


def test_no_limit_means_the_board() -> None:
    bounds = profile.settle(Profile(name="x"), Facts(cores=3, memory_mb=2000))
    assert (bounds.threads, bounds.memory_mb, bounds.warnings) == (3, 1500, ())
    unknown = profile.settle(Profile(name="x", limits=Limits(memory_mb=700)), Facts(cores=0))
    assert (unknown.threads, unknown.memory_mb) == (1, 700)


@given(st.integers(0, 1024), st.integers(0, 1 << 24), st.integers(0, 256), st.integers(0, 1 << 20))
def test_bounds_never_exceed_the_board_nor_the_limits(
    threads: int, memory: int, cores: int, there: int
) -> None:
    asked = Profile(name="x", limits=Limits(threads=threads, memory_mb=memory))
    bounds = profile.settle(asked, Facts(cores=cores, memory_mb=there))
    assert 1 <= bounds.threads <= max(1, cores)
    assert not threads or bounds.threads <= threads
    assert not memory or bounds.memory_mb <= memory
    assert there < 2 or bounds.memory_mb <= there * 0.75
    assert bool(bounds.warnings) == (threads > max(1, cores) or memory > int(there * 0.75) > 0)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_profile_that_is_written_is_read_back(name: str) -> None:
    evidence = profile.Evidence(
        date="2026-01-01T00:00:00Z",
        versions={"onnxruntime": "1.32"},
        candidates=[profile.Measured(model='a "b"\u2028', threads=2, median_ms=1.5, agreement=1.0)],
    )
    whole = msgspec.structs.replace(SHIPPED[name], evidence=evidence)
    assert profile.parse(profile.dump(whole).encode(), "p.toml") == whole
