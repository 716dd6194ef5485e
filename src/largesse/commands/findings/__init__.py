"""What a command found, as parts of a report and as plain values.

Private: used by `largesse.commands`.
"""
