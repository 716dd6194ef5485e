"""The fields of the JSON documents that the commands print.

Private: used by `largesse.commands.documents`.
"""
