"""The encrypting chat client; not written yet.

The Verifier that it will ask before it hands a completion over is `nomyo_attest`, complete on its own.
"""
