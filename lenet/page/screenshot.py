"""A picture of the page, as a README shows one: taken by a browser without a window."""

import io
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from lenet.config import Refusal

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
WIDTH, HEIGHT = 1200, 800  # of the window, in pixels
COLOURS = 64  # as many as the page needs to look as it does; a third of the bytes


def taken(page: Path) -> bytes:
    """A PNG of what a window shows of a page when it is opened; a Refusal where no
    browser is found."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        raise Refusal(f"picture=true needs a browser: install {' or '.join(BROWSERS)}")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.png"
        line = [f"--window-size={WIDTH},{HEIGHT}", f"--user-data-dir={folder}/profile"]
        line += [f"--screenshot={file}", page.resolve().as_uri()]
        done = subprocess.run([browser, *FLAGS, *line], capture_output=True, text=True)
        if not file.exists():
            raise Refusal(f"{browser} took no picture: {done.stderr.strip()[-200:]}", 3)
        seen = Image.open(file).convert("RGB").quantize(COLOURS)
    content = io.BytesIO()
    seen.save(content, format="png", optimize=True)
    return content.getvalue()
