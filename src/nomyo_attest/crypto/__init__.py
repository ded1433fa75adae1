"""Hashes, keys and signatures: the only importer of `cryptography` in the Verifier's path."""
