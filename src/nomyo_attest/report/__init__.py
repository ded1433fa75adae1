"""Reports: results, summaries and policies as text, JSON, HTML, Markdown, JUnit, SARIF and annotations.

Every report is a function of plain data. It reads no clock and no file, and every text from outside is sanitized by
`formatting`.
"""
