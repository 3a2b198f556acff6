"""docs/events.md: every record, with an example."""

from __future__ import annotations

import textwrap

from docs.generator.examples import EXAMPLES
from docs.generator.fields import ENUMS, PARTS, docstrings, meanings, members, prose, type_text, typed_fields
from docs.generator.markdown import GENERATED, table
from panda_streams import codec
from panda_streams.domain.risk.rules import Rule
from panda_streams.domain.signals import Signal
from panda_streams.domain.ticks import Tick
from panda_streams.events import WIRE_EVENTS, Beat, Health, TickBatch, Validated

__all__ = ["events_page"]


def events_page() -> str:
    encoding = textwrap.dedent((codec.__doc__ or "").partition("\n")[2]).strip()
    parts = [
        f"""# Events

{GENERATED.format(source="panda_streams/events.py and panda_streams/domain/")}

What travels on each topic ([topics.md](topics.md)). Every record is JSON. A decimal is a string, exact; a time is an
integer, milliseconds since the epoch. Unknown fields are refused. A record that cannot be decoded goes to a `dlq`
topic with its origin and the reason.

## market.ticks

{encoding}
""",
        _event(TickBatch, "A record with `kind` `ticks`; its second line, if any, is the depth.\n\n"),
        f"### Tick\n\n{prose(Tick)}\n\n" + table(("place", "field", "type"), _tuple_rows(Tick)),
        _event(Beat, "A record with `kind` `beat`.\n\n"),
    ]
    shown: set[type] = set()
    for topic, kinds in WIRE_EVENTS.items():
        name = f"&lt;ns&gt;.{topic}" if topic != "control" else "control and &lt;ns&gt;.control"
        parts.append(f"## {name}\n")
        for kind in kinds:
            parts.append(_again(kind) if kind in shown else _event(kind))
            shown.add(kind)
    parts += ["## Health reports in Redis\n", _event(Health)]
    parts += ["## Parts of events\n", *(_event(part) for part in PARTS)]
    parts += [f"### {enum.__name__}\n\n{prose(enum)}\n\n{members(enum)}" for enum in ENUMS]
    parts.append(
        f"## Reason codes\n\nWhy an arm refuses a signal.\n\n{table(('code', 'refused because'), meanings(Rule))}"
    )
    return "\n".join(parts)


def _event(kind: type, more: str = "") -> str:
    rows = [
        (f"`{name}`", type_text(annotation), _meaning(kind, name))
        for name, annotation in typed_fields(kind)
        if annotation != bytes | None  # the second line, not a field of the first
    ]
    text = f"### {kind.__name__}\n\n{prose(kind)}\n\n{more}"
    text += table(("field", "type", "meaning"), rows)
    if kind in EXAMPLES:
        text += f"\n```json\n{EXAMPLES[kind].decode()}\n```\n"
    return text


def _again(kind: type) -> str:
    """A class that several topics carry is described once."""
    return f"And [{kind.__name__}](#{kind.__name__.lower()}), as above.\n"


def _meaning(kind: type, name: str) -> str:
    """A field's docstring, else that of the field of the same name in a class which all events share."""
    for described in (kind, Signal, Validated):
        if name in docstrings(described):
            return docstrings(described)[name]
    if name == "kind":
        return "Names the class of the record."
    raise LookupError(f"{kind.__module__}.{kind.__name__}.{name} has no docstring: write one below the field")


def _tuple_rows(kind: type) -> list[tuple[str, ...]]:
    return [(str(place), f"`{name}`", type_text(hint)) for place, (name, hint) in enumerate(typed_fields(kind))]
