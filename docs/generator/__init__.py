"""The reference pages of docs/, made from the code: one module a page."""

from __future__ import annotations

from pathlib import Path

from docs.generator.alerts import alerts_page
from docs.generator.charges import charges_page
from docs.generator.cli import cli_page
from docs.generator.events import events_page
from docs.generator.instruments import instruments_page
from docs.generator.markdown import DOCS
from docs.generator.orders import orders_page
from docs.generator.risk import risk_page
from docs.generator.settings import settings_page
from docs.generator.strategies import strategies_page
from docs.generator.topics import topics_page

__all__ = ["pages"]


def pages() -> dict[Path, str]:
    """Every generated page, by its path; some keep their heads as they are on disk."""
    return {
        DOCS / "topics.md": topics_page(),
        DOCS / "events.md": events_page(),
        DOCS / "settings.md": settings_page(),
        DOCS / "cli.md": cli_page(),
        DOCS / "charges.md": charges_page(),
        DOCS / "strategies.md": strategies_page(DOCS / "strategies.md"),
        DOCS / "instruments.md": instruments_page(DOCS / "instruments.md"),
        DOCS / "orders.md": orders_page(DOCS / "orders.md"),
        DOCS / "risk.md": risk_page(DOCS / "risk.md"),
        DOCS / "alerts.md": alerts_page(DOCS / "alerts.md"),
    }
