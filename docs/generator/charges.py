"""docs/charges.md: the charges, with the source of each rate."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from docs.generator.fields import docstrings
from docs.generator.markdown import GENERATED, table
from panda_streams.domain.charges import Head, exercise_charges, segment_of
from panda_streams.domain.contract_note import printed
from panda_streams.domain.tariff import SCHEDULE, Rate, Rates, Segment, rates_on

__all__ = ["charges_page"]


def charges_page() -> str:
    parts = [
        f"""# Charges

{GENERATED.format(source="panda_streams/domain/tariff.py, charges.py and contract_note.py")}

What a trade costs at Zerodha. A fill carries its charges head by head, unrounded; the contract note of the day rounds
them over the account, and the difference is posted to the strategies by turnover. Rates are shares of the turnover, of
the premium for options. Each holds from the day shown until the next of its segments; one that is older than its source
shows a day on which it held.

{_paragraph(rates_on, 1)}

## Heads

{table(("head", "is for"), [(f"`{head.value}`", docstrings(Head)[head.name]) for head in Head])}
## Rounding

{_paragraph(printed, 1)}

## Known differences

{_paragraph(segment_of, 1)}

{_paragraph(exercise_charges, 2)}

Not known here either: the ₹50 that Zerodha asks for each order by which it squares a position off itself, its brokerage
on contracts that expire, the dearer groups of BSE's shares, and the DP charge of women, ₹12.75 instead of ₹13.
"""
    ]
    for item, field in docstrings(Rates).items():
        rows = [_rate_row(rate) for rate in SCHEDULE if rate.item == item]
        parts.append(f"## {item}\n\n{field}\n\n" + table(("segments", "from", "rate", "source"), rows))
    return "\n".join(parts)


def _paragraph(described: Callable[..., Any], number: int) -> str:
    """A paragraph of a docstring, the first being 0."""
    return inspect.cleandoc(described.__doc__ or "").split("\n\n")[number]


def _rate_row(rate: Rate) -> tuple[str, ...]:
    segments = "all" if set(rate.segments) == set(Segment) else ", ".join(rate.segments)
    return segments, f"{rate.since.day} {rate.since:%b %Y}", f"{rate.amount:f} {rate.unit}", rate.source
