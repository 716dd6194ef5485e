"""Turns the results of a command into the sections of its report and into JSON.

Private: used by `largesse.commands`.
"""
