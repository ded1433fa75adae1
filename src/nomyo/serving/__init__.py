"""Serve an ASGI application over HTTP: what the router and the local proxy have in common.

It needs starlette, uvicorn and h11, which the extras `router` and `proxy` install.
"""
