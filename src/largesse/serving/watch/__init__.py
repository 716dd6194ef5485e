"""What a monitor of a campaign reads: the log of decisions by day, and the signals that say whether something is wrong.

Stable: `monitor` and what it returns; import them from `largesse.serving`.
"""
