"""The command line: what commands there are. Each is a file in `commands`; how they speak is in `commands.console`."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from . import __version__
from .commands.audit import audit
from .commands.console import emit, guarded, set_up
from .commands.demo import demo
from .commands.engines import engines_list
from .commands.engines_build import EPILOG as BUILD_EPILOG
from .commands.engines_build import engines_build
from .commands.protect import protect
from .commands.screen import screen
from .commands.serve import serve
from .commands.stages import stages

EPILOG = "Exit codes: 0 done, 1 error, 2 wrong usage or a failed pre-check, 3 rejected, 4 stopped."

app = typer.Typer(
    name="stream-guard",
    help="Protects faces in video against deepfake models, and proves it on the delivered video.",
    epilog=EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
engines = typer.Typer(no_args_is_help=True, help="The networks that come with the package.")


def _print_version(wanted: bool) -> None:
    if wanted:
        guarded(emit)(f"stream-guard {__version__}")


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Log more, and show the traceback of an error.")] = False,
) -> None:
    set_up(debug)


def _add(group: typer.Typer, name: str, command: Callable[..., Any], epilog: str | None = None) -> None:
    """Add a command whose help is its docstring, a paragraph a line: Typer keeps the breaks of all but the first."""
    paragraphs = inspect.getdoc(command) or ""
    told = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs.split("\n\n"))
    group.command(name, help=told, epilog=epilog)(guarded(command))


_add(app, "protect", protect, EPILOG)
_add(app, "audit", audit, EPILOG)
_add(app, "screen", screen, EPILOG)
_add(app, "demo", demo, EPILOG)
_add(app, "serve", serve, EPILOG)
_add(app, "stages", stages)
_add(engines, "list", engines_list)
_add(engines, "build", engines_build, BUILD_EPILOG)
app.add_typer(engines, name="engines")


def main() -> None:
    """The entry point of the command `stream-guard`."""
    app(prog_name="stream-guard")
