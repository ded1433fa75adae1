"""Appraise many recorded responses, and check them against each other."""
