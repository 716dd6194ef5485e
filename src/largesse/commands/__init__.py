"""One module per command, named as the command: what `largesse fit` does is `largesse.commands.fit.fit`.

Beside them: `load` reads the files of a campaign, `campaign` says what its configuration means for the rows, `procedure` is how
`fit` learns and chooses, `run_folder` opens a finished run, `findings` turns numbers into parts of a report.

Stable: the names in `__all__` of the modules of the commands (docs/stability.md).
"""
