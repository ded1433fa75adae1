"""Regenerate the pictures of docs/report.md: `python docs/images/report.py`. Needs Chromium.

It generates the example fleet, audits it and takes pictures of the report, as in the example of that page.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Name → the sections shown, width and height in pixels.
PICTURES = {
    "report.png": (("result", "incidents"), 1100, 1668),
    "report-timeline.png": (("timeline",), 1100, 810),
    "report-profiles.png": (("profiles",), 1100, 890),
}


def main() -> int:
    """Write the pictures beside this file."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"no browser: none of {', '.join(BROWSERS)} is there", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        attest("example", "fleet", "fleet", folder=folder, statuses={0})
        audit = ("audit", "fleet/recorded", "--policy", "fleet/policy.toml", "--html", "report.html")
        attest(*audit, folder=folder, statuses={1})
        for picture, (sections, width, height) in PICTURES.items():
            options = [
                "--headless=new",
                "--no-sandbox",  # a container has none, and the page is our own
                "--disable-gpu",
                "--hide-scrollbars",
                "--blink-settings=preferredColorScheme=1",
                f"--user-data-dir={folder / 'profile'}",
                f"--window-size={width},{height}",
                f"--screenshot={HERE / picture}",
            ]
            part = folder / "part.html"
            part.write_text(only(sections, (folder / "report.html").read_text("utf-8")), "utf-8")
            subprocess.run([browser, *options, part.as_uri()], check=True, capture_output=True, timeout=60)
            print(f"{HERE / picture}: {(HERE / picture).stat().st_size:,} bytes")
    return 0


def only(sections: tuple[str, ...], page: str) -> str:
    """The report with some of its sections; with the first one go the title and the contents."""
    start, end = page.index("<main>"), page.index("</main>")
    found = re.findall(r'<section id="([a-z]+)".*?</section>', page[start:end], re.DOTALL)
    head = page[:start] if found[0] in sections else page[: page.index("<header>")]
    shown = (re.search(f'<section id="{name}".*?</section>', page, re.DOTALL) for name in sections)
    return head + "<main>" + "".join(one[0] for one in shown if one) + "</main></body></html>"


def attest(*arguments: str, folder: Path, statuses: set[int]) -> None:
    """Run the command in `folder`; another status than the one expected is an error."""
    command = [sys.executable, "-m", "nomyo_attest.cli", *arguments]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode not in statuses:
        raise SystemExit(f"{' '.join(command)} ended with status {done.returncode}:\n{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
