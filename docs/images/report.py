"""Regenerate the screenshots in docs/report.md: `python docs/images/report.py`. Requires Chromium.

The script generates the example fleet, audits it and takes screenshots of the report, as in the example of that page.
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
# Name → the sections shown, the width and the height in pixels.
SCREENSHOTS = {
    "report.png": (("result", "incidents"), 1100, 1668),
    "report-timeline.png": (("timeline",), 1100, 810),
    "report-profiles.png": (("profiles",), 1100, 890),
}


def main() -> int:
    """Write the screenshots to the folder of this file."""
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print(f"report.py: no browser found; install one of {', '.join(BROWSERS)}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        attest("example", "fleet", "fleet", folder=folder, statuses={0})
        audit = ("audit", "fleet/recorded", "--policy", "fleet/policy.toml", "--html", "report.html")
        attest(*audit, folder=folder, statuses={1})
        for screenshot, (sections, width, height) in SCREENSHOTS.items():
            options = [
                "--headless=new",
                "--no-sandbox",  # containers do not support it, and the page is trusted
                "--disable-gpu",
                "--hide-scrollbars",
                "--blink-settings=preferredColorScheme=1",
                f"--user-data-dir={folder / 'profile'}",
                f"--window-size={width},{height}",
                f"--screenshot={HERE / screenshot}",
            ]
            part = folder / "part.html"
            part.write_text(only(sections, (folder / "report.html").read_text("utf-8")), "utf-8")
            subprocess.run([browser, *options, part.as_uri()], check=True, capture_output=True, timeout=60)
            print(f"{HERE / screenshot}: {(HERE / screenshot).stat().st_size:,} bytes")
    return 0


def only(sections: tuple[str, ...], page: str) -> str:
    """Return the report with only these sections; the title and the contents belong to the first section."""
    start, end = page.index("<main>"), page.index("</main>")
    found = re.findall(r'<section id="([a-z]+)".*?</section>', page[start:end], re.DOTALL)
    head = page[:start] if found[0] in sections else page[: page.index("<header>")]
    shown = (re.search(f'<section id="{name}".*?</section>', page, re.DOTALL) for name in sections)
    return head + "<main>" + "".join(section[0] for section in shown if section) + "</main></body></html>"


def attest(*arguments: str, folder: Path, statuses: set[int]) -> None:
    """Run the command in `folder`; raise `SystemExit` if its status is not in `statuses`."""
    command = [sys.executable, "-m", "nomyo_attest.cli", *arguments]
    completed = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if completed.returncode not in statuses:
        raise SystemExit(f"{' '.join(command)} ended with status {completed.returncode}:\n{completed.stderr}")


if __name__ == "__main__":
    sys.exit(main())
