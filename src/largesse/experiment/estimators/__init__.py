"""Estimators of an effect: difference in means, CUPED, CUPAC, MLRATE, STATE; their standard errors and their agreement.

Stable: the names that `largesse.experiment` exports; import them from there.
"""
