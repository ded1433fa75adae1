"""Format results, summaries and policies as text, JSON, HTML, Markdown, JUnit, SARIF and annotations.

A report is a pure function of plain data: it reads no clock and no file. All text from outside is sanitized by
`formatting`.
"""
