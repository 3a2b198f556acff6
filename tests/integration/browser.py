"""A headless Chromium for tests of pages, driven over its own debugging protocol."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.polling import eventually_async

__all__ = ["Page", "find_chromium", "open_page"]

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
]


def find_chromium() -> str | None:
    """The path of Chromium or Chrome, if this machine has one."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Page:
    """One tab."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0

    async def call(self, method: str, **params: Any) -> Any:
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            answer = await self._socket.receive_json(timeout=15)
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return (await self.call("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def text(self) -> str:
        """What a person can read."""
        return str(await self.evaluate("document.body ? document.body.innerText : ''"))

    async def shows(self, *words: str) -> str:
        """Wait until the page shows all of the words, and return its text."""

        async def check() -> str:
            text = await self.text()
            missing = [word for word in words if word not in text]
            assert not missing, f"{missing} not in {text!r}"
            return text

        return await eventually_async(check, what=f"the page shows {words}")


@asynccontextmanager
async def open_page(chromium: str, url: str, profile: Path, *, width: int = 1280) -> AsyncIterator[Page]:
    """Open `url` in a new browser, which ends with the context."""
    process = await asyncio.create_subprocess_exec(
        chromium,
        *_FLAGS,
        f"--user-data-dir={profile}",
        f"--window-size={width},1200",
        url,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        port_file = profile / "DevToolsActivePort"

        async def port() -> str:
            return port_file.read_text().split("\n")[0] if port_file.exists() else ""

        number = await eventually_async(port, timeout_s=30, what="Chromium runs")
        async with aiohttp.ClientSession() as session:

            async def tab() -> str:
                async with session.get(f"http://127.0.0.1:{number}/json") as answer:
                    pages = [one for one in await answer.json() if one["type"] == "page"]
                return str(pages[0]["webSocketDebuggerUrl"]) if pages else ""

            address = await eventually_async(tab, what="a tab is open")
            async with session.ws_connect(address, max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        await process.wait()
