"""Facts in, text out: attestation results, decoded evidence, rules and policies for people and for scripts.

Pure: nothing here reads a file, a clock or a terminal, and nothing prints. Whatever came from outside is cleaned on its
way into a line of text (`clean.py`); how wide a line is and whether it has color is said by a `Look` (`look.py`).
"""
