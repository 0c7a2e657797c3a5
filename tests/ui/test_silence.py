"""A connection that dies without a word, as when a laptop sleeps or a train enters a tunnel."""

import socket
import threading
from contextlib import suppress

import pytest

from tests.ui.server import Site

playwright = pytest.importorskip("playwright.sync_api")
pytestmark = [pytest.mark.browser, pytest.mark.long]  # the page waits for ten seconds before it gives up
PATIENCE_MS = 90_000


class Cable:
    """Relays connections to a port, until they are cut: then they stay open, and nothing comes through."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._alive = threading.Event()
        self._alive.set()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """New connections are fine."""
        self._alive.clear()
        self._alive = threading.Event()
        self._alive.set()

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                far = socket.create_connection(("127.0.0.1", self._port))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._relay, args=(*ends, self._alive), daemon=True).start()

    @staticmethod
    def _relay(source: socket.socket, target: socket.socket, alive: threading.Event) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if alive.is_set():
                    target.sendall(data)
            if alive.is_set():
                target.shutdown(socket.SHUT_WR)


def test_a_page_whose_connection_died_without_a_word_goes_on(site: Site, page: playwright.Page) -> None:
    cable = Cable(int(site.url.rpartition(":")[2]))
    site.stage.base()
    page.goto(f"http://127.0.0.1:{cable.port}")
    link = page.locator("#link")
    playwright.expect(link).to_contain_text("live")
    cable.cut()
    playwright.expect(link).to_contain_text("last seen", timeout=PATIENCE_MS)
    site.stage.canary("while nothing came through")
    playwright.expect(page.locator("#title")).to_contain_text("Version 2 is on trial", timeout=PATIENCE_MS)
    playwright.expect(link).to_contain_text("live", timeout=PATIENCE_MS)
    cable.close()
