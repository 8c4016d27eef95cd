"""What the reference pages of docs/ have to say, told from the code."""

import inspect
from argparse import Action
from collections.abc import Callable, Iterator
from typing import Any, Final

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand

from instant_notifications.admin.words import MEANINGS
from instant_notifications.statuses import STAGES, is_final

OURS: Final = "instant_notifications"
EVERY_COMMAND_HAS: Final = {action.dest for action in BaseCommand().create_parser("", "")._actions}


def commands() -> Iterator[str]:
    """A section for each command, but for those of the example project."""
    for name, app in sorted(get_commands().items()):
        if str(app).startswith(OURS):
            command = load_command_class(str(app), name)
            arguments = command.create_parser("manage.py", name)._actions
            rows = [_row(each) for each in arguments if each.dest not in EVERY_COMMAND_HAS]
            table = ["", "| Argument | |", "|---|---|", *rows] if rows else []
            yield "\n".join([f"## {name}", "", " ".join(command.help.split()), *table])


def _row(action: Action) -> str:
    flag = action.option_strings[-1] if action.option_strings else ""
    value = " or ".join(action.choices or ()) or action.metavar or ("" if flag else action.dest)
    return f"| `{f'{flag} {value}'.strip()}` | {(action.help or '') % vars(action)} |"


def signature(function: Callable[..., Any]) -> str:
    """As a reader calls it, without types."""
    named = inspect.signature(function)
    bare = [_bare(each) for each in named.parameters.values()]
    shown = named.replace(parameters=bare, return_annotation=named.empty)
    return f"`{function.__name__}{shown}`"


def _bare(parameter: inspect.Parameter) -> inspect.Parameter:
    default = parameter.default
    plain = str(default) if isinstance(default, str) else default  # not the member of an enum
    return parameter.replace(annotation=parameter.empty, default=plain)


def statuses() -> Iterator[str]:
    for word in STAGES:
        yield f"| `{word}` | {'yes' if is_final(word) else ''} | {MEANINGS[word]} |"
