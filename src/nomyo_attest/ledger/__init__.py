"""The evidence ledger: what came with each answer and what was found of it, kept as a chain of lines."""
