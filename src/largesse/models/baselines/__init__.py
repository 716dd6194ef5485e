"""The papers' comparison methods, with the published network.

Stable: the names that `largesse.models` exports; import them from there.
"""
