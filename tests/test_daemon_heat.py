"""A daemon whose board gets hot: it does less, step by step, and all again when it is cool."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import daemonkit

CONFIG = """
[daemon]
report_s = 0
[[pipeline]]
name = "eyes"
file = "large.toml"
{smaller}
[[camera]]
name = "door"
source = "pattern:64x64@100"
pipeline = "eyes"
[[sink]]
name = "log"
path = "found.jsonl"
"""
SMALLER = 'smaller = "small.toml"'
HOT, COOL, BETWEEN = 86.0, 60.0, 74.0  # the profile: 78 and 70


def ran(folder: Path) -> list[str]:
    """Which pipeline each result came from, in order: its stage has the pipeline's name."""
    lines = (folder / "found.jsonl").read_text().splitlines()
    return [next(iter(json.loads(line)["timings_ms"])) for line in lines]


def share(going: daemonkit.Running) -> float:
    """The share of the frames that are let through now."""
    before = going.counts("door")
    going.processed("door", 40)
    after = going.counts("door")
    left = after["dropped"].get("rate", 0) - before["dropped"].get("rate", 0)
    taken = after["processed"] - before["processed"]
    return taken / (taken + left)


def test_the_rate_goes_down_then_the_smaller_model_runs_and_all_comes_back(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format(smaller=SMALLER), large="", small="")
    with daemonkit.running(tmp_path, "raspberry-pi-5-hot") as going:
        going.heat(COOL)
        going.pass_time(3)
        going.processed("door", 20)
        assert "rate" not in going.counts("door")["dropped"]
        going.heat(HOT)
        shares = []
        for _ in range(5):  # one more than there are steps down
            going.pass_time(31)
            shares.append(share(going))
        # A busy machine's threads come late, so these are no exact shares.
        assert shares == pytest.approx([0.75, 0.5, 0.25, 0.25, 0.25], abs=0.2)
        assert 0.95 > shares[0] > shares[1] > max(shares[2:])
        down = going.said.all("thermal")
        assert down == [
            "too hot: 86.0 °C, limit 78 °C: frame rate down to 75%",
            "too hot: 86.0 °C, limit 78 °C: frame rate down to 50%",
            "too hot: 86.0 °C, limit 78 °C: frame rate down to 25%",
            "too hot: 86.0 °C, limit 78 °C: the smaller model runs",
        ]
        going.heat(BETWEEN)
        going.pass_time(300)
        going.heat(COOL)
        for _ in range(6):
            going.pass_time(31)
        going.processed("door", 5)
        back = going.said.all("thermal")[4:]
        assert [words.rpartition(": ")[2] for words in back] == [
            "the full model runs again",
            "frame rate up to 50%",
            "frame rate up to 75%",
            "the full frame rate again",
        ]
        assert share(going) > 0.95
        found = going.counts("door")
        assert found["failed"] == {}
        assert set(found["dropped"]) <= {"rate", "stale"}
    order = ran(tmp_path)
    first, last = order.index("small"), len(order) - order[::-1].index("small")
    assert set(order[:first]) == set(order[last:]) == {"large"}
    assert set(order[first:last]) == {"small"}


def test_without_a_smaller_model_none_is_spoken_of(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format(smaller=""), large="")
    with daemonkit.running(tmp_path, "raspberry-pi-5-hot") as going:
        for _ in range(6):
            going.pass_time(31)
        assert len(going.said.all("thermal")) == 3
        assert "smaller" not in " ".join(going.said.all("thermal"))


def test_a_smaller_model_that_a_reload_brings_runs_when_it_is_still_hot(tmp_path: Path) -> None:
    path = daemonkit.write(tmp_path, CONFIG.format(smaller=""), large="", small="")
    with daemonkit.running(tmp_path, "raspberry-pi-5-hot") as going:
        for _ in range(5):
            going.pass_time(31)
        path.write_text(CONFIG.format(smaller=SMALLER))
        going.daemon._reload = True
        going.pass_time(1)
        assert going.said.all("applied")[-1] == "pipeline eyes: changed"
        going.pass_time(31)
        assert going.said.all("thermal")[-1].endswith("the smaller model runs")
        # A change of something else leaves the smaller one running.
        path.write_text(CONFIG.format(smaller=SMALLER).replace("@100", "@90"))
        going.daemon._reload = True
        going.pass_time(1)
        going.processed("door", 5)
        # And when it is taken away again, the pipeline is the large one at the same rate.
        path.write_text(CONFIG.format(smaller=""))
        going.daemon._reload = True
        going.pass_time(1)
        going.processed("door", 5)
        assert going.daemon._governor.ease.rate == 0.25
        assert going.said.all("refused") == []
    order = ran(tmp_path)
    assert order[-1] == "large"
    assert "small" in order


def test_a_smaller_model_that_cannot_be_loaded_is_told_and_the_rest_is_eased(
    tmp_path: Path,
) -> None:
    other = CONFIG.format(smaller='smaller = "broken.toml"')
    other += '[[pipeline]]\nname = "more"\nfile = "large.toml"\nsmaller = "small.toml"\n'
    daemonkit.write(tmp_path, other, large="", small="")
    (tmp_path / "broken.toml").write_text(
        '[pipeline]\nname = "broken"\n[[stage]]\nguest = "nosuch"\n'
    )
    with daemonkit.running(tmp_path, "raspberry-pi-5-hot") as going:
        for _ in range(5):
            going.pass_time(31)
        (refusal,) = going.said.all("smaller_refused")
        assert "nosuch" in refusal
        going.processed("door", 5)
        eased = {name: one.eased for name, one in going.daemon._deployment._pipelines.items()}
        assert eased == {"eyes": False, "more": True}


def test_a_smaller_model_that_is_not_there_is_refused_while_it_is_cool(tmp_path: Path) -> None:
    path = daemonkit.write(tmp_path, CONFIG.format(smaller=""), large="")
    with daemonkit.running(tmp_path) as going:
        path.write_text(CONFIG.format(smaller='smaller = "nosuch.toml"'))
        going.daemon._reload = True
        going.pass_time(1)
        (refusal,) = going.said.all("refused")
        assert "nosuch.toml" in refusal
        going.processed("door", 5)


def test_a_sensor_that_breaks_changes_nothing(tmp_path: Path) -> None:
    daemonkit.write(tmp_path, CONFIG.format(smaller=""), large="")
    with daemonkit.running(tmp_path, "raspberry-pi-5-hot") as going:
        going.heat(HOT)
        for _ in range(2):
            going.pass_time(31)
        assert len(going.said.all("thermal")) == 1
        going.heat(5000)
        for _ in range(5):
            going.pass_time(31)
        assert len(going.said.all("thermal")) == 1
