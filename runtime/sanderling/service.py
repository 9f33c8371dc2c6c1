"""The daemon as a systemd service: what `sanderling install` puts in place, and takes away again.

What was written is kept in a list with digests, beside the configuration. So a file that a person
has changed since is known, and left alone; and what is taken away is what was put there.
"""

from __future__ import annotations

import hashlib
import math
import os
import pwd
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import msgspec

from sanderling import systemd
from sanderling.errors import ConfigError, OutputError, SanderlingError
from sanderling.staging import Root
from sanderling.text import printable

NAME = "sanderling"
PROGRAM = "/opt/sanderling/bin/sanderling"
UNIT = "/etc/systemd/system/sanderling.service"
LIMITS = "/etc/systemd/system/sanderling.service.d/limits.conf"
USERS = "/etc/sysusers.d/sanderling.conf"
MODES = "/etc/tmpfiles.d/sanderling.conf"
CONFIG = "/etc/sanderling/daemon.toml"
LIST = "/etc/sanderling/installed.json"
DATA = ("/var/lib/sanderling", "/var/cache/sanderling")

_HIDDEN = {"/home": "ProtectHome", "/root": "ProtectHome", "/run/user": "ProtectHome"}
_HIDDEN |= {"/tmp": "PrivateTmp", "/var/tmp": "PrivateTmp"}  # noqa: S108 - nothing is put there
_ELSEWHERE = (
    "install it elsewhere: python3 -m venv /opt/sanderling && /opt/sanderling/bin/pip install"
    " . (in the checkout) && /opt/sanderling/bin/sanderling install"
)
_LONGEST_S = 60

Say = Callable[[str], None]


class Written(msgspec.Struct, forbid_unknown_fields=True):
    """What was put in place.

    Attributes:
        config: the path of the configuration.
        user: the user that was made for it; empty when it was there before.
        files: SHA-256 of each file, by path.
        folders: those that were made for them.
    """

    config: str
    user: str = ""
    files: dict[str, str] = {}
    folders: list[str] = []


@dataclass(frozen=True, slots=True)
class Memory:
    """What the daemon's worker allows itself, before it starts anew.

    Attributes:
        mb: MiB.
        said_by: who says so, for people: a profile, or the configuration.
    """

    mb: int
    said_by: str


@dataclass(frozen=True, slots=True)
class Service:
    """What is to be installed, and where.

    Attributes:
        root: the folder that stands for `/`: that itself, or an image's.
        program: the `sanderling` that the unit calls, as the service will see it.
        config: the daemon's configuration, as the service will see it.
        user: whom the service runs as.
        memory: what the worker allows itself; None where that is not known, as in an image.
    """

    root: Path = Path("/")
    program: str = PROGRAM
    config: str = CONFIG
    user: str = NAME
    memory: Memory | None = None

    @property
    def live(self) -> bool:
        """It is this machine, not an image."""
        return self.root == Path("/")

    def check(self) -> None:
        """Whether the service could run like this.

        Raises:
            ConfigError: it could not; says why, and what to do.
        """
        if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,30}", self.user):
            raise ConfigError(
                f"--user {self.user!r}: a user is lower-case letters, digits, - and _, at most 31"
            )
        if self.user == "root":
            raise ConfigError("--user root: it would have every right; leave the option away")
        beside = f"put it into {PurePosixPath(CONFIG).parent}"
        paths = (("--program", self.program, _ELSEWHERE), ("--config", self.config, beside))
        for option, path, remedy in paths:
            if not path.startswith("/") or ".." in PurePosixPath(path).parts:
                raise ConfigError(f"{option} {path}: must be a whole path, from / on, without ..")
            if not path.isprintable() or set(path) & set("\"'\\$"):
                raise ConfigError(f"{option} {path!r}: quotes, \\, $ and controls are not allowed")
            check_visible(path, remedy)

    def files(self) -> dict[str, str]:
        """What is written where; the configuration is not among it."""
        unit = _template("sanderling.service")
        unit = unit.replace(PROGRAM, _quoted(self.program))
        unit = unit.replace(f"--config {CONFIG}", f"--config {_quoted(self.config)}")
        unit = unit.replace(f"\nUser={NAME}\n", f"\nUser={self.user}\n")
        users = _template("sysusers.conf").replace(f"u {NAME} ", f"u {self.user} ")
        modes = _template("tmpfiles.conf").replace(CONFIG, _quoted(self.config))
        modes = modes.replace(f"root {NAME} ", f"root {self.user} ")
        return {UNIT: unit, LIMITS: self._limits(), USERS: users, MODES: modes}

    def _limits(self) -> str:
        """The kernel's limits, above what the worker keeps to by itself.

        The daemon takes for itself three quarters of what a control group gives it, so the group
        has four thirds.
        """
        text = _template("limits.conf")
        if self.memory is None:
            return text
        high, most = math.ceil(self.memory.mb * 7 / 6), math.ceil(self.memory.mb * 4 / 3)
        text = text.replace("MemoryHigh=60%", f"MemoryHigh={high}M")
        text = text.replace("MemoryMax=75%", f"MemoryMax={most}M")
        return text.replace(
            "# Per cent are of the board's memory.",
            f"# {self.memory.said_by} allows {self.memory.mb} MiB; above that the worker starts\n"
            "# anew by itself. This is for when it does not come to that. After a change there,\n"
            "# install again.",
        )


def this_program() -> str:
    """The `sanderling` of this interpreter.

    Raises:
        ConfigError: there is none, or the service would not see all of it.
    """
    program = Path(sys.executable).parent / NAME
    if not program.is_file():
        raise ConfigError(
            f"{program}: not there, so which sanderling is to run? Say --program PATH"
        )
    for part in (program, Path(sys.prefix), Path(sys.base_prefix), Path(__file__)):
        check_visible(str(part), _ELSEWHERE)
        check_visible(str(part.resolve()), _ELSEWHERE)
    return str(program)


def check_visible(path: str, remedy: str) -> None:
    """Whether the service, which sees no homes and no /tmp of others, can see a path.

    Args:
        path: from `/` on.
        remedy: what the message ends with.

    Raises:
        ConfigError: it cannot.
    """
    for folder, setting in _HIDDEN.items():
        if PurePosixPath(path).is_relative_to(folder):
            raise ConfigError(
                f"{path}: lies under {folder}, which the service does not see ({setting}); {remedy}"
            )


def install(service: Service, say: Say) -> bool:
    """Put the service in place; what is there already is left.

    Args:
        service: what and where; its `check` has passed.
        say: is told each thing that was done.

    Returns:
        Whether the configuration was written, so that nobody has edited it yet.

    Raises:
        OutputError: something cannot be written.
        SanderlingError: a program of the system failed.
    """
    root = Root(service.root)
    before = _read_list(root) or Written(service.config)
    files = service.files()
    kept = {path: before.files[path] for path in before.files if path in {*files, service.config}}
    written = Written(service.config, before.user, kept, list(before.folders))
    fresh = root.digest(service.config) is None
    if not fresh and service.config not in before.files:
        del files[MODES]  # a person's own configuration has the mode that they gave it
    todo = {}
    for path, text in files.items():
        there, ours = root.digest(path), _digest(text)
        if there in {None, before.files.get(path)} and there != ours:
            todo[path] = text
            written.files[path] = ours
        elif there == ours:
            written.files[path] = ours
            say(f"{root.shown(path)}: as it should be")
        else:
            say(f"{root.shown(path)}: left as it is, since it was changed by hand")
    if fresh:
        todo[service.config] = _template("daemon.toml")
        written.files[service.config] = _digest(todo[service.config])
    else:
        say(f"{root.shown(service.config)}: left as it is")
    missing = (root.missing_folders(path) for path in (*todo, LIST))
    written.folders += sorted({folder for path in missing for folder in path} - {*written.folders})
    if service.live and not _user_exists(service.user):
        written.user = service.user
    # The list first: what is cut off in the middle can still be taken away.
    root.write(LIST, msgspec.json.format(msgspec.json.encode(written)).decode() + "\n")
    for path, text in todo.items():
        root.write(path, text)
        say(f"{root.shown(path)}: written")
    if service.live:
        _make_user(service.user, say)
        if fresh:
            _protect(service)
        if systemd.is_running():
            _run("systemctl", "daemon-reload")
            _run("systemctl", "enable", "--quiet", NAME)
            say("systemd: has read it, and starts it at every boot")
    return fresh


def start() -> None:
    """Start the service, or start it anew.

    Raises:
        SanderlingError: systemd would not.
    """
    _run("systemctl", "restart", "--no-block", NAME)


def uninstall(folder: Path, say: Say, *, purge: bool) -> bool:
    """Take away what `install` put in place.

    Args:
        folder: the folder that stands for `/`.
        say: is told each thing that was done.
        purge: the configuration, the data and the user too, and what was changed by hand.

    Returns:
        Whether there was anything to take away.

    Raises:
        ConfigError: the list of what was put there cannot be read.
        OutputError: something cannot be removed.
        SanderlingError: a program of the system failed.
    """
    root = Root(folder)
    written = _read_list(root)
    if written is None:
        return False
    live = folder == Path("/")
    if live and systemd.is_running() and root.digest(UNIT) is not None:
        _run("systemctl", "disable", "--quiet", "--now", NAME)
        say("systemd: the service is stopped, and is not started at boot")
    left = {}
    for path, digest in written.files.items():
        there = root.digest(path)
        if path == written.config and not purge:
            left[path] = digest
            say(f"{root.shown(path)}: kept; --purge removes it")
        elif there is not None and there != digest and not purge:
            left[path] = digest
            say(f"{root.shown(path)}: kept, since it was changed by hand; --purge removes it")
        elif there is not None:
            root.remove(path)
            say(f"{root.shown(path)}: removed")
    if purge:
        for path in DATA:
            if root.remove_tree(path):
                say(f"{root.shown(path)}: removed")
    if any(root.digest(path) is not None for path in left):
        written.files = left
        root.write(LIST, msgspec.json.format(msgspec.json.encode(written)).decode() + "\n")
    else:
        root.remove(LIST)
    for path in sorted(written.folders, key=len, reverse=True):
        root.remove_if_empty(path)
    if live and systemd.is_running():
        _run("systemctl", "daemon-reload")
    if live and purge and written.user and _user_exists(written.user):
        _run("userdel", written.user)
        say(f"user {written.user}: removed")
    return True


def _read_list(root: Root) -> Written | None:
    data = root.read(LIST)
    if data is None:
        return None
    try:
        written = msgspec.json.decode(data, type=Written)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise ConfigError(
            f"{root.shown(LIST)}: cannot be read: {printable(exc)}; without it nobody knows what"
            " was installed: remove it to begin anew"
        ) from exc
    known = {UNIT, LIMITS, USERS, MODES, written.config}
    if strange := sorted(set(written.files) - known):
        raise ConfigError(f"{root.shown(LIST)}: {printable(strange[0])}: not a file of ours")
    return written


def _template(name: str) -> str:
    """A file of `deploy/`: beside the modules when installed, in the source tree when run there."""
    package = Path(__file__).resolve().parent
    installed = package / "_bundled" / "deploy" / name
    path = installed if installed.is_file() else package.parents[1] / "deploy" / name
    return path.read_text(encoding="utf-8")


def _quoted(path: str) -> str:
    """A path as a word of a unit file."""
    path = path.replace("%", "%%")
    return f'"{path}"' if " " in path else path


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _user_exists(user: str) -> bool:
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def _make_user(user: str, say: Say) -> None:
    if _user_exists(user):
        return
    if shutil.which("systemd-sysusers"):
        _run("systemd-sysusers", USERS)
    else:
        _run("useradd", "--system", "--user-group", "--no-create-home", "--shell",
             "/usr/sbin/nologin", "--home-dir", DATA[0], user)  # fmt: skip
    say(f"user {user}: made")


def _protect(service: Service) -> None:
    """The configuration may hold passwords: let root and the service read it, nobody else."""
    try:
        group = pwd.getpwnam(service.user).pw_gid
        os.chown(service.config, 0, group)
        os.chmod(service.config, 0o640)
    except (KeyError, OSError) as exc:
        raise OutputError(f"{service.config}: its owner cannot be set: {exc}") from exc


def _run(*command: str) -> None:
    """Run a program of the system; what it says goes into the error."""
    shown = " ".join(command)
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_LONGEST_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise SanderlingError(f"{shown}: {exc}") from exc
    if done.returncode:
        said = done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
        raise SanderlingError(f"{shown}: {printable(said)}")
