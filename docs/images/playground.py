"""Take the picture of the server's playground.

`python docs/images/playground.py` writes playground.png; it needs Chromium.
"""

from __future__ import annotations

import io
import shutil
import threading
import time
from pathlib import Path

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright

from provence_rag import Provence
from provence_rag.server import ServerSettings, create_app

IMAGE = Path(__file__).with_name("playground.png")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NUM_COLORS = 64
"""Enough for text and a few areas, and a third of the bytes."""


def photograph(url: str) -> bytes:
    """The page after its English example, as PNG."""
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, BROWSERS)))
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1120, "height": 880}, color_scheme="light")
        page.set_default_timeout(120_000)  # milliseconds
        page.goto(url)
        page.get_by_role("button", name="English").click()
        page.wait_for_selector("article")
        page.get_by_label("Scores of sentences").check()
        taken = page.screenshot()
        browser.close()
    return taken


def draw() -> None:
    """Serve the bundled model, and photograph its page."""
    app = create_app(ServerSettings(model=Provence.from_pretrained()))
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.1)
    try:
        taken = photograph(f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}")
    finally:
        server.should_exit = True
        thread.join()
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(NUM_COLORS).save(IMAGE, optimize=True)


if __name__ == "__main__":
    draw()
