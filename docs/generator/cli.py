"""docs/cli.md: the commands."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

from docs.generator.markdown import GENERATED, plain, table
from panda_streams.cli import panda

__all__ = ["cli_page"]


def cli_page() -> str:
    parts = [
        f"""# The panda command

{GENERATED.format(source="panda_streams/cli/")}

What `panda --help` and `panda COMMAND --help` say. Each command reads the [settings](settings.md) of its environment.
"""
    ]
    root = click.Context(panda, info_name="panda")
    parts += [_command(command, context) for command, context in _commands(panda, root)]
    return "\n".join(parts)


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    yield command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from _commands(found, click.Context(found, info_name=name, parent=context))


def _command(command: click.Command, context: click.Context) -> str:
    arguments = [
        str(one.metavar or (one.name or "").upper()) for one in command.params if isinstance(one, click.Argument)
    ]
    if isinstance(command, click.Group):
        arguments.append("[COMMAND]" if command.invoke_without_command else "COMMAND")
    path = context.command_path
    usage = " ".join([path, *arguments])
    text = f"## {path}\n\n`{usage}`\n\n{plain(inspect.cleandoc(command.help or ''))}\n"
    rows = [_option(one) for one in command.params if isinstance(one, click.Option)]
    return text + (f"\n{table(('option', 'default', 'meaning'), rows)}" if rows else "")


def _option(option: click.Option) -> tuple[str, ...]:
    takes = "" if option.is_flag else f" {option.metavar or option.type.name.split()[0].upper()}"
    default = "required" if option.required else f"`{option.default}`" if option.show_default else ""
    return "`" + "`, `".join(f"{name}{takes}" for name in option.opts) + "`", default, plain(option.help or "")
