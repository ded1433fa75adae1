"""Hashes, keys and signatures: the only package of the Verifier that imports `cryptography`."""
