"""The studio: local web pages on which people decide about money; every number is that of a command.

Stable: `largesse studio`. The modules are private.
"""
