"""`sanderling install`: what is put in place, kept, and taken away again; and the unit itself."""

from __future__ import annotations

import json
import os
import pwd
import re
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

import system
from commandline import refused, run
from sanderling import board, library, profile, service
from sanderling.board import Memory
from sanderling.cli import service as cli_service
from sanderling.errors import ConfigError, OutputError
from sanderling.service import CONFIG, LIMITS, LIST, MODES, UNIT, USERS, Service

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "/opt/bird/bin/sanderling"


def files(root: Path) -> set[str]:
    """All files below a folder, as the paths they have in the image."""
    found = (path for path in root.rglob("*") if path.is_symlink() or not path.is_dir())
    return {f"/{path.relative_to(root)}" for path in found}


def install(root: Path, **options: str) -> tuple[bool, list[str]]:
    said: list[str] = []
    wanted = Service(root, **{"program": PROGRAM, **options})
    wanted.check()
    return service.install(wanted, said.append), said


def uninstall(root: Path, *, purge: bool = False) -> list[str]:
    said: list[str] = []
    assert service.uninstall(root, said.append, purge=purge)
    return said


def test_an_image_gets_all_that_the_service_needs(tmp_path: Path) -> None:
    fresh, said = install(tmp_path, user="bird", config="/etc/bird.toml")
    assert fresh
    assert files(tmp_path) == {UNIT, LIMITS, USERS, MODES, LIST, "/etc/bird.toml"}
    assert len(said) == 5
    unit = (tmp_path / UNIT[1:]).read_text()
    assert f"\nExecStart={PROGRAM} daemon --config /etc/bird.toml\n" in unit
    assert "\nUser=bird\n" in unit
    assert "\nu bird " in (tmp_path / USERS[1:]).read_text()
    assert "z /etc/bird.toml 0640 root bird -" in (tmp_path / MODES[1:]).read_text()
    assert {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*.*")} <= {0o644, 0o755}


def test_to_install_again_changes_nothing(tmp_path: Path) -> None:
    install(tmp_path)
    before = {path: (tmp_path / path[1:]).stat().st_mtime_ns for path in files(tmp_path) - {LIST}}
    written = (tmp_path / LIST[1:]).read_text()
    fresh, said = install(tmp_path)
    assert not fresh
    assert not any("written" in line for line in said)
    assert (tmp_path / LIST[1:]).read_text() == written
    assert before == {path: (tmp_path / path[1:]).stat().st_mtime_ns for path in before}


def limits(root: Path) -> dict[str, str]:
    lines = (root / LIMITS[1:]).read_text().splitlines()
    return dict(line.split("=") for line in lines if line.startswith("Memory"))


def test_an_image_s_memory_is_in_per_cent_or_as_a_named_profile_has_it(tmp_path: Path) -> None:
    common = ("--root", tmp_path, "--program", PROGRAM)
    run("install", *common)
    assert limits(tmp_path) == {"MemoryHigh": "60%", "MemoryMax": "75%"}
    assert "Per cent are" in (tmp_path / LIMITS[1:]).read_text()
    done = run("install", *common, "--profile", "raspberry-pi-zero-2-w")
    assert f"{tmp_path}{LIMITS}: written" in done.stdout
    assert limits(tmp_path) == {"MemoryHigh": "299M", "MemoryMax": "342M"}
    text = (tmp_path / LIMITS[1:]).read_text()
    assert "The profile raspberry-pi-zero-2-w allows 256 MiB" in text
    assert "Per cent" not in text
    run("install", *common, "--profile", "generic")
    assert limits(tmp_path) == {"MemoryHigh": "60%", "MemoryMax": "75%"}
    assert "no profile of that name" in refused("install", *common, "--profile", "nosuch")


def test_what_the_configuration_says_of_memory_counts_for_more(tmp_path: Path) -> None:
    config = tmp_path / CONFIG[1:]
    config.parent.mkdir(parents=True)
    config.write_text("[daemon]\nmemory_mb = 300\n")
    common = ("--root", tmp_path, "--program", PROGRAM)
    run("install", *common, "--profile", "raspberry-pi-zero-2-w")
    assert limits(tmp_path) == {"MemoryHigh": "350M", "MemoryMax": "400M"}
    assert f"{CONFIG} (daemon.memory_mb) allows 300" in (tmp_path / LIMITS[1:]).read_text()
    config.write_text("[daemon]\nmemory = 300\n")
    run("install", *common)
    assert limits(tmp_path) == {"MemoryHigh": "60%", "MemoryMax": "75%"}


def test_within_the_unit_s_memory_the_daemon_takes_what_its_profile_allows() -> None:
    """What a control group gives is what there is, and of that the daemon takes three quarters."""
    for path in library.profiles():
        chosen = profile.read(path)
        if not (mb := chosen.limits.memory_mb):
            continue
        text = Service(memory=service.Memory(mb, "x")).files()[LIMITS]
        most = int(re.search(r"MemoryMax=(\d+)M", text)[1])
        bounds = profile.settle(chosen, profile.Facts(cores=64, memory_mb=most))
        assert (bounds.memory_mb, bounds.warnings) == (mb, ()), chosen.name


def test_on_this_machine_the_board_s_own_profile_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    boards = Path(__file__).parent / "boards"
    pi = board.read(boards / "raspberry-pi-4b")
    monkeypatch.setattr(cli_service.board, "read", lambda: pi)
    found = cli_service._memory(Service(config="/nosuch/daemon.toml"), None)
    assert found == service.Memory(512, "The profile raspberry-pi-4b")
    small = replace(pi, reading=replace(pi.reading, memory=Memory(400 << 20, 0, 0)))
    monkeypatch.setattr(cli_service.board, "read", lambda: small)
    found = cli_service._memory(Service(config="/nosuch/daemon.toml"), None)
    assert found == service.Memory(300, "The profile raspberry-pi-4b")


def test_an_upgrade_brings_its_own_files_up_to_date_and_no_other(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / CONFIG[1:]).write_text("# mine\n")
    (tmp_path / LIMITS[1:]).write_text("[Service]\nMemoryMax=1G\n")
    _, said = install(tmp_path, program="/opt/new/bin/sanderling")
    assert "/opt/new/bin/sanderling" in (tmp_path / UNIT[1:]).read_text()
    assert (tmp_path / CONFIG[1:]).read_text() == "# mine\n"
    assert (tmp_path / LIMITS[1:]).read_text() == "[Service]\nMemoryMax=1G\n"
    assert [line for line in said if "by hand" in line] == [
        f"{tmp_path}{LIMITS}: left as it is, since it was changed by hand"
    ]


def test_a_configuration_that_was_there_is_left_with_its_mode(tmp_path: Path) -> None:
    mine = tmp_path / CONFIG[1:]
    mine.parent.mkdir(parents=True)
    mine.write_text("# mine\n")
    mine.chmod(0o600)
    fresh, _ = install(tmp_path)
    assert not fresh
    assert (mine.read_text(), mine.stat().st_mode & 0o777) == ("# mine\n", 0o600)
    assert MODES not in files(tmp_path)
    uninstall(tmp_path, purge=True)
    assert files(tmp_path) == {CONFIG}


def test_what_was_put_there_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "etc/systemd").mkdir(parents=True)
    (tmp_path / "etc/hostname").write_text("board\n")
    before = sorted(tmp_path.rglob("*"))
    install(tmp_path)
    (tmp_path / "var/lib/sanderling").mkdir(parents=True)
    (tmp_path / "var/lib/sanderling/found.jsonl").write_text("{}\n")
    said = uninstall(tmp_path)
    assert files(tmp_path) == {
        "/etc/hostname", CONFIG, LIST, "/var/lib/sanderling/found.jsonl"
    }  # fmt: skip
    assert f"{tmp_path}{CONFIG}: kept; --purge removes it" in said
    uninstall(tmp_path, purge=True)
    for folder in ("var/lib", "var"):
        (tmp_path / folder).rmdir()
    assert sorted(tmp_path.rglob("*")) == before
    assert not service.uninstall(tmp_path, said.append, purge=True)


def test_what_a_person_changed_stays_until_it_is_purged(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / UNIT[1:]).write_text("[Service]\n")
    (tmp_path / LIMITS[1:]).with_name("mine.conf").write_text("[Service]\n")
    kept = f"{tmp_path}{UNIT}: kept, since it was changed by hand; --purge removes it"
    assert kept in uninstall(tmp_path)
    mine = str(Path(LIMITS).with_name("mine.conf"))
    assert files(tmp_path) == {UNIT, CONFIG, LIST, mine}
    assert f"{tmp_path}{UNIT}: removed" in uninstall(tmp_path, purge=True)
    assert files(tmp_path) == {mine}, "which was never in the list"


def test_what_a_person_changed_stays_over_another_install(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / UNIT[1:]).write_text("[Service]\n")
    uninstall(tmp_path)
    install(tmp_path)
    assert (tmp_path / UNIT[1:]).read_text() == "[Service]\n"
    uninstall(tmp_path, purge=True)
    assert files(tmp_path) == set()


def test_another_configuration_leaves_the_first_to_its_owner(tmp_path: Path) -> None:
    install(tmp_path)
    install(tmp_path, config="/etc/other.toml")
    uninstall(tmp_path, purge=True)
    assert files(tmp_path) == {CONFIG}


@pytest.mark.parametrize("link", ["etc", "etc/systemd", "etc/sanderling"])
def test_a_link_out_of_the_image_is_not_followed(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    image = tmp_path / "image"
    (image / link).parent.mkdir(parents=True)
    (image / link).symlink_to(outside)
    with pytest.raises(OutputError, match="outside"):
        install(image)
    assert files(outside) == set()
    assert files(image) == {f"/{link}"}


def test_data_behind_a_link_is_not_purged(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    image = tmp_path / "image"
    install(image_folder(image))
    (image / "var/lib").mkdir(parents=True)
    (image / "var/lib/sanderling").symlink_to(outside)
    with pytest.raises(OutputError, match="cannot be removed"):
        uninstall(image, purge=True)
    assert (outside / "precious").exists()


def image_folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"config": 1}',
        '{"config": "/etc/x", "files": {"/etc/shadow": ""}}',
        '{"config": "/../x", "files": {"/../x": ""}}',
        '{"config": "etc", "files": {"etc": ""}}',
        '{"config": "/etc/x", "surprise": 1}',
        "[" * 100_000,
    ],
)
def test_a_list_that_is_not_ours_removes_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "etc/sanderling").mkdir(parents=True)
    (tmp_path / LIST[1:]).write_text(text)
    (tmp_path / "etc/shadow").touch()
    with pytest.raises((ConfigError, OutputError)):
        uninstall(tmp_path, purge=True)
    assert files(tmp_path) == {LIST, "/etc/shadow"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"user": "root"}, "every right"),
        ({"user": "a b"}, "lower-case"),
        ({"user": "x\nUser=root"}, "lower-case"),
        ({"user": ""}, "lower-case"),
        ({"program": "sanderling"}, "--program sanderling: must be a whole path"),
        ({"program": "/opt/../home/x"}, "without .."),
        ({"program": "/opt/x\nUser=root"}, "not allowed"),
        ({"program": "/opt/$HOME"}, "not allowed"),
        ({"program": "/home/pi/venv/bin/sanderling"}, "under /home.*venv /opt/sanderling"),
        ({"config": "/root/daemon.toml"}, "under /root.*put it into /etc/sanderling"),
        ({"config": "/tmp/daemon.toml"}, "under /tmp.*PrivateTmp"),
    ],
)
def test_what_cannot_run_is_refused_first(
    tmp_path: Path, options: dict[str, str], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        install(tmp_path, **options)
    assert files(tmp_path) == set()


def test_the_program_is_the_one_of_this_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(service, "_HIDDEN", {})
    with pytest.raises(ConfigError, match="--program PATH"):
        service.this_program()
    (tmp_path / "sanderling").touch()
    assert service.this_program() == str(tmp_path / "sanderling")
    for name in ("prefix", "base_prefix", "executable"):
        monkeypatch.setattr(service, "_HIDDEN", {str(tmp_path / name): "ProtectHome"})
        with monkeypatch.context() as context:
            context.setattr(sys, name, str(tmp_path / name / "bin"))
            if name == "executable":
                (tmp_path / name).mkdir()
                (tmp_path / name / "sanderling").touch()
            with pytest.raises(ConfigError, match="does not see"):
                service.this_program()


def test_the_command_line_says_what_it_did_and_what_comes_next(tmp_path: Path) -> None:
    done = run("install", "--root", tmp_path, "--program", PROGRAM)
    head, _, steps = done.stdout.partition("\n\nNext:\n")
    assert head.count("written") == 5
    assert steps.splitlines()[0] == f"  write your cameras into {tmp_path}{CONFIG}"
    assert f"so that {PROGRAM} is there" in steps
    (tmp_path / PROGRAM[1:]).parent.mkdir(parents=True)
    (tmp_path / PROGRAM[1:]).touch()
    again = run("install", "--root", tmp_path, "--program", PROGRAM)
    assert "write your cameras" not in again.stdout
    assert "is there" not in again.stdout
    assert "kept" in run("uninstall", "--root", tmp_path).stdout
    run("uninstall", "--root", tmp_path, "--purge")
    assert "Nothing is installed" in run("uninstall", "--root", tmp_path).stdout


def test_the_command_line_refuses_in_one_line(tmp_path: Path) -> None:
    assert "is no folder" in refused("install", "--root", tmp_path / "x")
    given = ["install", "--root", tmp_path, "--program", PROGRAM]
    assert "no systemd" in refused(*given, "--now")
    assert "--user root" in refused(*given, "--user", "root")
    assert files(tmp_path) == set()


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_only_root_may_touch_this_machine(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from sanderling.cli import service as cli

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(OutputError, match=f"only root may do this: sudo /.*/sanderling {command}"):
        cli._checked(Path("/"), command)


class Machine:
    """Stands in for this machine: `/` is a folder, and each program of the system is a line."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ran: list[str] = []
        self.booted = True
        self.user: str | None = None
        self.folder = folder
        monkeypatch.setattr(service, "Root", lambda _: self._root(folder))
        monkeypatch.setattr(service, "_run", self._run)
        monkeypatch.setattr(service, "_protect", lambda wanted: self._run("chown", wanted.config))
        monkeypatch.setattr(service, "_user_exists", lambda name: name == self.user)
        monkeypatch.setattr(service.systemd, "is_running", lambda: self.booted)
        monkeypatch.setattr(service.shutil, "which", lambda _: "/bin/x")

    def _root(self, folder: Path):
        from sanderling.staging import Root

        return Root(folder)

    def _run(self, *command: str) -> None:
        self.ran.append(" ".join(command))
        if command[0] in {"systemd-sysusers", "useradd"}:
            self.user = service.NAME


def test_on_a_machine_systemd_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(tmp_path, monkeypatch)
    install(Path("/"))
    assert machine.ran == [
        f"systemd-sysusers {USERS}",
        f"chown {CONFIG}",
        "systemctl daemon-reload",
        "systemctl enable --quiet sanderling",
    ]
    machine.ran.clear()
    install(Path("/"))
    assert machine.ran == ["systemctl daemon-reload", "systemctl enable --quiet sanderling"]
    machine.ran.clear()
    uninstall(Path("/"), purge=True)
    assert machine.ran == [
        "systemctl disable --quiet --now sanderling",
        "systemctl daemon-reload",
        "userdel sanderling",
    ]
    assert files(tmp_path) == set()


def test_a_user_that_was_there_is_not_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch)
    machine.user, machine.booted = service.NAME, False
    install(Path("/"))
    uninstall(Path("/"), purge=True)
    assert machine.ran == [f"chown {CONFIG}"]


def test_without_sysusers_useradd_makes_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(tmp_path, monkeypatch)
    monkeypatch.setattr(service.shutil, "which", lambda _: None)
    install(Path("/"))
    assert machine.ran[0].startswith("useradd --system")
    assert machine.ran[0].endswith(" sanderling")


def test_a_program_of_the_system_that_fails_is_told_in_its_words() -> None:
    from sanderling.errors import SanderlingError

    with pytest.raises(SanderlingError, match="no-such-program"):
        service._run("no-such-program")
    with pytest.raises(SanderlingError, match="no such unit"):
        service._run(sys.executable, "-c", "raise SystemExit('no such unit')")
    with pytest.raises(SanderlingError, match="exit code 3"):
        service._run(sys.executable, "-c", "raise SystemExit(3)")


def test_the_example_configuration_is_toml_with_and_without_its_examples() -> None:
    text = (ROOT / "deploy" / "daemon.toml").read_text()
    assert list(tomllib.loads(text)) == ["daemon"]
    shown = re.sub(r"^# (?=\[\[|\w+ += )", "", text, flags=re.MULTILINE)
    assert list(tomllib.loads(shown)) == ["daemon", "pipeline", "camera", "sink"]
    assert set(tomllib.loads(shown)["camera"][0]) == {
        "name", "source", "pipeline", "rate", "policy", "roi", "mask"
    }  # fmt: skip


def test_the_unit_is_one_that_systemd_takes(tmp_path: Path) -> None:
    verify = system.require("systemd-analyze", "systemd")
    # A path that needs quotes, and one that a careless unit would take for a specifier.
    for name in ("sanderling", "sander ling", "100%h"):
        image = image_folder(tmp_path / name)
        program = image_folder(tmp_path / f"bin-{name}") / "sanderling"
        program.touch(mode=0o755)
        wanted = Service(image, str(program), "/etc/a b/100%h.toml")
        service.install(wanted, lambda _: None)
        unit = image / UNIT[1:]
        done = subprocess.run(
            [verify, "verify", "--man=no", unit], capture_output=True, text=True, check=False
        )
        said = [line for line in done.stderr.splitlines() if "sanderling" in line]
        assert (done.returncode, said) == (0, []), done.stderr


def test_the_unit_is_hardened() -> None:
    analyze = system.require("systemd-analyze", "systemd")
    command = [analyze, "security", "--offline=true", "--no-pager", "--threshold=20"]
    done = subprocess.run(
        [*command, ROOT / "deploy" / "sanderling.service"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    exposure = re.search(r"exposure level for sanderling.service: ([\d.]+)", done.stdout)
    assert exposure is not None
    assert float(exposure[1]) <= 2.0


# Says in prctl(2)'s words what MemoryDenyWriteExecute=yes means: 65 is PR_SET_MDWE, from Linux 6.3.
DENIED = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):
    sys.exit(77)
from sanderling import guest, policy
from pathlib import Path
try:
    module = guest.load(Path(sys.argv[1]), policy.Policy())
    guest.Instance(module, "stage").close()
except Exception as exc:
    print(exc)
    sys.exit(1)
"""


def test_guests_need_memory_that_becomes_executable(tmp_path: Path) -> None:
    """When this fails, MemoryDenyWriteExecute=yes has its place in the unit."""
    guest = ROOT / "wasm_modules" / "dist" / "softmax.wasm"
    environ = os.environ | {"SANDERLING_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", DENIED, guest],
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )
    if done.returncode == 77:
        pytest.skip("this kernel cannot deny it (Linux 6.3)")
    assert (done.returncode, "Permission denied" in done.stdout) == (1, True), (
        done.stdout + done.stderr
    )
    assert "MemoryDenyWriteExecute=yes" not in [
        line.strip() for line in (ROOT / "deploy" / "sanderling.service").read_text().splitlines()
    ]


def test_the_list_of_what_was_installed_can_be_read_by_a_person(tmp_path: Path) -> None:
    install(tmp_path)
    read = json.loads((tmp_path / LIST[1:]).read_text())
    assert read["config"] == CONFIG
    assert set(read["files"]) == {UNIT, LIMITS, USERS, MODES, CONFIG}
    assert (tmp_path / LIST[1:]).read_text().count("\n") > 5


def test_the_configuration_is_for_root_and_the_service_alone(tmp_path: Path) -> None:
    (tmp_path / "daemon.toml").touch(mode=0o644)
    nobody = pwd.getpwnam("nobody")
    try:
        os.chown(tmp_path / "daemon.toml", 0, nobody.pw_gid)
    except OSError:
        pytest.skip("only root may give a file away")
    service._protect(Service(config=str(tmp_path / "daemon.toml"), user="nobody"))
    status = (tmp_path / "daemon.toml").stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o777) == (0, nobody.pw_gid, 0o640)


def test_the_page_has_what_is_installed_and_the_events() -> None:
    page = (ROOT / "docs" / "daemon.md").read_text()
    for path in (UNIT, LIMITS, USERS, MODES, CONFIG, LIST):
        assert f"| `{path}` |" in page
    supervisor = (ROOT / "runtime" / "sanderling" / "supervisor.py").read_text()
    events = set(re.findall(r'event\(\s*self\._log, "(\w+)"', supervisor))
    assert len(events) >= 8
    assert {name for name in events if f"`{name}`" not in page} == set()


# Allows what it is told on stdin, answers EPERM to the rest as the unit does, and becomes argv.
FILTERED = """
import ctypes, os, sys
seccomp = ctypes.CDLL("libseccomp.so.2")
seccomp.seccomp_init.restype = ctypes.c_void_p
context = ctypes.c_void_p(seccomp.seccomp_init(0x00050001))
for name in sys.stdin.read().split():
    number = seccomp.seccomp_syscall_resolve_name(name.encode())
    if number >= 0:
        assert seccomp.seccomp_rule_add_array(context, 0x7FFF0000, number, 0, None) == 0, name
assert seccomp.seccomp_load(context) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""


def allowed_calls(analyze: str) -> set[str]:
    """The system calls that the unit allows, without those it takes away again."""
    done = subprocess.run(
        [analyze, "syscall-filter", "--no-pager"], capture_output=True, text=True, check=True
    )
    sets: dict[str, list[str]] = {}
    for line in re.findall(r"^(?!\s*#)(\s*)(\S+)$", done.stdout, re.MULTILINE):
        if not line[0].strip("\n"):
            members = sets.setdefault(line[1], [])
        else:
            members.append(line[1])

    def calls(name: str) -> set[str]:
        if not name.startswith("@"):
            return {name}
        return {call for member in sets[name] for call in calls(member)}

    unit = (ROOT / "deploy" / "sanderling.service").read_text()
    allowed: set[str] = set()
    for sign, name in re.findall(r"^SystemCallFilter=(~?)(\S+)$", unit, re.MULTILINE):
        allowed = allowed - calls(name) if sign else allowed | calls(name)
    return allowed


def test_a_pipeline_runs_with_the_system_calls_that_the_unit_allows(tmp_path: Path) -> None:
    allowed = allowed_calls(system.require("systemd-analyze", "systemd"))
    assert {"openat", "clone3", "mprotect", "ioctl", "execve", "sched_setaffinity"} <= allowed
    assert not {"mount", "reboot", "chroot", "bpf", "ptrace", "kexec_load"} & allowed
    here = [sys.executable, "-c", "from sanderling.cli import main; main()", "run"]
    pipeline = [ROOT / "examples" / "faces.toml", "--source", ROOT / "examples" / "astronaut.png"]
    environ = os.environ | {"SANDERLING_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", FILTERED, *here, *pipeline],
        input="\n".join(allowed),
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "face 0." in done.stdout
    assert done.stderr == ""
    small = subprocess.run(
        [sys.executable, "-c", FILTERED, *here, *pipeline],
        input="\n".join(allowed - {"openat"}),
        capture_output=True,
        text=True,
        env=environ,
        check=False,
    )
    assert small.returncode != 0, "the filter does nothing"
