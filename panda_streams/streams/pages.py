"""The worker's own pages on 127.0.0.1: readiness and tables. They read, they never write."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable
from typing import Any

import faust
import orjson

from panda_streams.streams.health import Health
from panda_streams.streams.rows import LogTable

__all__ = ["add_pages"]

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body{{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em}}
table{{border-collapse:collapse}}
td,th{{border-bottom:1px solid #ccc;padding:.3em .8em;text-align:left;vertical-align:top}}
summary{{cursor:pointer;padding:.2em 0}}
pre{{margin:0 0 1em 1em;white-space:pre-wrap;word-break:break-word}}</style>
<h1>{title}</h1>{body}</html>"""


def add_pages(app: faust.App, name: str, tables: list[LogTable], look: Callable[[], Awaitable[Health]]) -> None:
    """Serve `/ready/`, `/tables/` and `/tables/<name>/`; the tables as a page, or as JSON with `?format=json`."""
    by_name = {table.name: table for table in tables}

    @app.page("/ready/", name="ready")
    async def ready(view: Any, request: Any) -> Any:
        health = await look()
        body = {"name": name, "ready": health.ready, "checks": health.checks, "lag": health.lag}
        return view.json(body, status=200 if health.ready else 503)

    @app.page("/tables/", name="tables")
    async def all_tables(view: Any, request: Any) -> Any:
        counts = [{"name": table.name, "help": table.help, "rows": sum(1 for _ in table.rows())} for table in tables]
        if _wants_json(request):
            return view.json({"name": name, "tables": counts})
        lines = "".join(
            f'<tr><td><a href="/tables/{row["name"]}/">{row["name"]}</a><td>{row["rows"]}<td>{row["help"]}</tr>'
            for row in counts
        )
        return view.html(
            _PAGE.format(title=f"Tables of {name}", body=f"<table><tr><th>table<th>rows<th></tr>{lines}</table>")
        )

    @app.page("/tables/{table}/", name="table")
    async def one_table(view: Any, request: Any, table: str) -> Any:
        if table not in by_name:
            return view.json({"error": f"no table {table!r} here", "tables": sorted(by_name)}, status=404)
        rows = {key.decode(): orjson.loads(value) for key, value in sorted(by_name[table].rows())}
        if _wants_json(request):
            return view.json({"name": name, "table": table, "rows": rows})
        lines = "".join(
            f"<details{' open' if len(rows) == 1 else ''}><summary>{html.escape(key)}</summary>"
            f"<pre>{html.escape(orjson.dumps(row, option=orjson.OPT_INDENT_2).decode())}</pre></details>"
            for key, row in rows.items()
        )
        nothing = "<p>No row is on this worker's partitions yet.</p>"
        return view.html(_PAGE.format(title=f"Table {table} of {name}", body=lines or nothing))


def _wants_json(request: Any) -> bool:
    return request.query.get("format") == "json" or "application/json" in request.headers.get("Accept", "")
