"""Write the diagrams of the documentation as SVG: `python docs/images/diagrams.py`.

Each diagram has its own background and follows the color scheme of the reader; it fits on the screen of a phone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from pathlib import Path

HERE = Path(__file__).parent
WIDTH = 560
STYLE = """
    text { font: 14px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1c2430 }
    .small { font-size: 12px; fill: #4a5568 }
    .strong { font-weight: 600 }
    .panel { fill: #f7f9fc; stroke: #d5dce6 }
    .plain { fill: #ffffff; stroke: #8795a8 }
    .ours { fill: #dbeafe; stroke: #2563eb }
    .tpm { fill: #fef3c7; stroke: #b45309 }
    .good { fill: #dcfce7; stroke: #15803d }
    .group { fill: none; stroke: #8795a8; stroke-dasharray: 5 4 }
    .line { stroke: #4a5568; stroke-width: 1.5; fill: none }
    .life { stroke: #8795a8; stroke-dasharray: 3 4 }
    .head { fill: #4a5568 }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6ebf2 }
      .small { fill: #b3bfd0 }
      .panel { fill: #171c24; stroke: #333d4b }
      .plain { fill: #232b36; stroke: #75849a }
      .ours { fill: #1e3a6d; stroke: #7aa7f8 }
      .tpm { fill: #55390b; stroke: #e5a93c }
      .good { fill: #14532d; stroke: #4ade80 }
      .line { stroke: #b3bfd0 }
      .head { fill: #b3bfd0 }
    }
"""


class Drawing:
    """An SVG of a given height, drawn from top to bottom."""

    def __init__(self, title: str, height: int) -> None:
        self.title = title
        self.height = height
        self.parts: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "", anchor: str = "middle") -> None:
        """Write one line, whose baseline is at `y`."""
        self.parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>')

    def lines(self, x: float, y: float, text: str, kind: str = "small", anchor: str = "middle") -> None:
        """Write several small lines, 15 pixels apart."""
        for number, line in enumerate(text.splitlines()):
            self.text(x, y + 15 * number, line, kind, anchor)

    def box(self, x: int, y: int, w: int, h: int, title: str, text: str = "", kind: str = "plain") -> None:
        """Draw a box with a title and small lines, centered."""
        self.parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" class="{kind}"/>')
        count = len(text.splitlines())
        top = y + h / 2 + 5 - 7.5 * count
        self.text(x + w / 2, top, title, "strong")
        self.lines(x + w / 2, top + 18, text)

    def group(self, x: int, y: int, w: int, h: int, title: str, title_y: int) -> None:
        """Draw a dashed frame with a title at its left."""
        self.parts.append(f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="6" class="group"/>')
        self.text(x + 10, title_y, title, "small strong", "start")

    def arrow(self, x1: int, y1: int, x2: int, y2: int) -> None:
        """Draw an arrow."""
        self.parts.append(f'<path d="M{x1} {y1}L{x2} {y2}" class="line" marker-end="url(#head)"/>')

    def lifeline(self, x: int, y1: int, y2: int) -> None:
        """Draw the dashed lifeline of a participant."""
        self.parts.append(f'<path d="M{x} {y1}V{y2}" class="life"/>')

    def svg(self) -> str:
        """Return the content of the file."""
        head = (
            '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
            '<path d="M0 0L8 4L0 8z" class="head"/></marker>'
        )
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<style>{STYLE}</style>",
                f"<defs>{head}</defs>",
                f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{self.height - 1}" rx="8" class="panel"/>',
                *self.parts,
                "</svg>\n",
            ]
        )


def overview() -> Drawing:
    """Draw the two packages, the server, and recorded responses."""
    d = Drawing("The client encrypts the prompt; the verifier appraises the evidence that comes with the response", 330)
    d.box(14, 40, 116, 96, "Your program")
    d.box(206, 40, 136, 96, "nomyo", "the client,\nwith a gate", "ours")
    d.box(430, 40, 116, 96, "Server", "with a TPM", "tpm")
    d.arrow(132, 66, 202, 66)
    d.text(167, 58, "prompt", "small")
    d.arrow(204, 112, 134, 112)
    d.lines(167, 128, "completion\nor error")
    d.arrow(344, 66, 426, 66)
    d.lines(386, 43, "encrypted\nprompt")
    d.arrow(428, 112, 346, 112)
    d.lines(386, 128, "encrypted\nresponse,\nevidence")
    d.box(206, 226, 136, 80, "nomyo_attest", "the verifier", "ours")
    d.arrow(252, 138, 252, 222)
    d.text(244, 186, "evidence", "small", "end")
    d.arrow(296, 224, 296, 140)
    d.text(304, 204, "verdict", "small", "start")
    d.box(14, 226, 116, 80, "Policy", "values that\nyou accept")
    d.arrow(132, 266, 202, 266)
    d.box(430, 226, 116, 80, "Recordings", "responses,\nledgers")
    d.arrow(428, 266, 346, 266)
    d.text(386, 258, "audit", "small")
    return d


def concepts() -> Drawing:
    """Draw the path from the boot of a machine to a quote and its appraisal."""
    d = Drawing("Software is measured into PCRs; the TPM signs the PCRs as a quote; the verifier compares them", 560)
    d.group(14, 14, 532, 100, "1. The machine boots. Each stage measures the next one.", 32)
    d.box(30, 44, 148, 56, "Firmware", "code")
    d.box(206, 44, 148, 56, "Secure Boot", "state and keys")
    d.box(382, 44, 148, 56, "Linux IMA", "programs")
    d.group(14, 150, 532, 222, "2. The TPM signs the result.", 362)
    for x, number in ((30, 0), (206, 7), (382, 10)):
        d.arrow(x + 74, 102, x + 74, 162)
        d.box(x, 166, 148, 44, f"PCR {number}", "", "tpm")
        d.arrow(x + 74, 212, 280 + (x - 206) // 3, 258)
    d.text(112, 138, "hashes", "small", "start")
    d.box(160, 262, 240, 76, "Quote", "a digest of the PCRs, a nonce,\nthe clock, signed by the AIK", "tpm")
    d.box(426, 276, 106, 48, "AIK", "signing key", "tpm")
    d.arrow(424, 300, 404, 300)
    d.box(28, 276, 106, 48, "Nonce", "from your call")
    d.arrow(136, 300, 156, 300)
    d.arrow(280, 340, 280, 424)
    d.lines(292, 402, "evidence: quote, PCR values, public key", anchor="start")
    d.box(160, 428, 240, 60, "Verifier", "checks signature, nonce, key, values", "ours")
    d.box(28, 434, 106, 48, "Policy", "known values")
    d.arrow(136, 458, 156, 458)
    d.arrow(280, 490, 280, 510)
    d.box(160, 514, 240, 34, "Verdict", "", "good")
    return d


def gate() -> Drawing:
    """Draw the order of events in a call."""
    d = Drawing("The order of events of a call with a policy: the prompt is sent before the evidence arrives", 560)
    program, client, server = 76, 280, 484
    for x, name, kind in ((program, "Your program", "plain"), (client, "Client", "ours"), (server, "Server", "tpm")):
        d.box(x - 62, 14, 124, 36, name, "", kind)
        d.lifeline(x, 52, 546)
    d.text(178, 76, "prompt", "small")
    d.arrow(program, 82, client - 2, 82)
    d.box(186, 96, 188, 84, "Encrypt", "random payload id,\nserver key (pin checked),\nprompt encrypted to it", "ours")
    d.text(382, 190, "encrypted prompt", "small")
    d.arrow(client, 198, server - 2, 198)
    d.box(396, 214, 150, 84, "Respond", "decrypt the prompt,\nrun the model,\nquote the PCRs", "tpm")
    d.text(382, 316, "encrypted response", "small")
    d.arrow(server, 324, client + 2, 324)
    d.box(186, 340, 188, 64, "Binding check", "this request?\nthis security tier?", "ours")
    d.box(186, 416, 188, 64, "Appraisal", "is the evidence affirmed\nby the policy?", "ours")
    d.lines(178, 498, "affirmed: completion")
    d.arrow(client, 504, program + 2, 504)
    d.lines(178, 526, "otherwise: AttestationError")
    d.arrow(client, 532, program + 2, 532)
    return d


def audit() -> Drawing:
    """Draw the stages of an audit."""
    d = Drawing("The stages of an audit: sources, chunks, worker processes, store, cross-record checks, reports", 340)
    d.box(14, 20, 150, 64, "Sources", "files, folders,\nstandard input")
    d.box(205, 20, 150, 64, "Chunks", "1 MiB of\nconsecutive records", "ours")
    d.box(396, 20, 150, 64, "Workers", "appraise records,\nsum up", "ours")
    d.arrow(166, 52, 201, 52)
    d.arrow(357, 52, 392, 52)
    d.arrow(471, 86, 471, 134)
    d.text(463, 114, "rows, facts, sums", "small", "end")
    d.box(396, 138, 150, 64, "Parent process", "puts results\nin order", "ours")
    d.arrow(471, 204, 471, 252)
    d.lines(479, 224, "one row for\neach record", anchor="start")
    d.box(396, 256, 150, 64, "Verdicts", "a file of rows\n(--out)")
    d.arrow(394, 170, 359, 170)
    d.box(205, 138, 150, 64, "Store", "SQLite: facts,\ncounts", "tpm")
    d.arrow(203, 170, 168, 170)
    d.box(14, 138, 150, 64, "Cross-record", "checks, in SQL", "ours")
    d.arrow(89, 204, 89, 252)
    d.box(14, 256, 150, 64, "Summary", "incidents, counts,\nprofiles", "ours")
    d.arrow(166, 288, 201, 288)
    d.box(205, 256, 150, 64, "Reports", "HTML, JUnit,\nSARIF, text …", "good")
    return d


DIAGRAMS: dict[str, Callable[[], Drawing]] = {
    "overview.svg": overview,
    "concepts.svg": concepts,
    "gate.svg": gate,
    "audit.svg": audit,
}


def main() -> int:
    """Write the diagrams to the folder of this file."""
    for name, draw in DIAGRAMS.items():
        (HERE / name).write_text(draw().svg(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
