"""The command line: `sanderling`.

Exit codes: 0 fine, 2 the user's input, 1 ours. Errors are one line on stderr, never a traceback.
"""

from __future__ import annotations

import contextlib
import os
import sys
from importlib import import_module

import click

from sanderling import __version__
from sanderling.errors import FrameError, InputError, SanderlingError
from sanderling.text import printable

_COMMANDS = {
    "run": "Run a pipeline on pictures, videos, cameras and streams.",
    "daemon": "Run cameras through pipelines until told to stop.",
    "config": "Check a configuration, and describe it for editors.",
    "install": "Put the daemon in place as a systemd service.",
    "uninstall": "Take away what install put in place.",
    "explain": "Show each tensor of a pipeline: what it is, where it lives, what is copied.",
    "cameras": "List the cameras that are there, and what to write to use one.",
    "module": "Look at, check and pack guests.",
    "model": "Look at and quantize models.",
    "doctor": "Say what board this is, and what is wrong with it.",
    "tune": "Find out how a pipeline runs best on this board.",
}

_TOGETHER = {"install": "service", "uninstall": "service"}
"""Commands that share a module, where each has its own name; another's is `command`."""


class _Lazy(click.Group):
    """Imports a command's module when it is called: `--help` and start-up stay fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module = import_module(f"sanderling.cli.{_TOGETHER.get(cmd_name, cmd_name)}")
        name = cmd_name if cmd_name in _TOGETHER else "command"
        command: click.Command = getattr(module, name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(cls=_Lazy, epilog="Example: sanderling run faces.toml --source photo.jpg")
@click.version_option(__version__, prog_name="sanderling")
def cli() -> None:
    """Run quantized models on small boards, every step around them in a sandbox."""


def main() -> None:
    """Run the command line and exit."""
    _speak_for_ourselves()
    sys.exit(_main())


def _speak_for_ourselves() -> None:
    """Write what is said to people to a descriptor of our own.

    While a picture is decoded, descriptor 2 leads elsewhere, so that its decoder's complaints are
    heard. What another thread says at that moment would come late, or not at all.
    """
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):  # closed, as a daemon may have it
        own = os.dup(sys.stderr.fileno())
        sys.stderr = open(  # noqa: SIM115 - for as long as the process lives
            own, "w", buffering=1, encoding=sys.stderr.encoding, errors="backslashreplace"
        )


def _main() -> int:
    try:
        code = cli.main(prog_name="sanderling", standalone_mode=False)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.ClickException as exc:
        return _usage(exc)
    except (click.Abort, KeyboardInterrupt):
        click.echo("sanderling: stopped", err=True)
        return 130
    except (InputError, FrameError) as exc:
        click.echo(f"sanderling: {printable(exc)}", err=True)
        return 2
    except SanderlingError as exc:
        click.echo(f"sanderling: {printable(exc)}", err=True)
        return 1
    except SystemExit:
        return 0  # click's answer to a closed pipe: whoever read our output has left
    except OSError as exc:
        named = f"{exc.filename}: " if exc.filename else ""
        click.echo(printable(f"sanderling: {named}{exc.strerror or exc}"), err=True)
        return 2
    except Exception as exc:
        if os.environ.get("SANDERLING_DEBUG"):
            raise
        click.echo(
            f"sanderling: a fault of ours: {type(exc).__name__}: {printable(exc)}\n"
            "sanderling: run again with SANDERLING_DEBUG=1 for the details to report",
            err=True,
        )
        return 1
    return code if isinstance(code, int) else 0


def _usage(exc: click.ClickException) -> int:
    """A command that was not written as it must be: one line, or the help of a bare group."""
    if isinstance(exc, click.exceptions.NoArgsIsHelpError):
        exc.show()
        return 2
    said = " ".join(exc.format_message().split()).rstrip(".")
    context = exc.ctx if isinstance(exc, click.UsageError) else None
    see = f"; see {context.command_path} --help" if context is not None else ""
    click.echo(f"sanderling: {printable(said)}{see}", err=True)
    return 2
