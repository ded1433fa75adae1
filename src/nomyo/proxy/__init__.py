"""The local proxy (extra `proxy`): encrypted, attested chat completions for any program that speaks OpenAI's HTTP API.

The command `nomyo proxy` is its interface. It serves plain HTTP to programs on this machine. A request for a chat
completion is encrypted and sent by one client, whose gate decides on the response. Nothing else is sent anywhere.
"""
