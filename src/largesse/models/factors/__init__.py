"""Decision factors (DHCL): scores whose order, or comparison with a price, solves the allocation.

Stable: the names that `largesse.models` exports; import them from there.
"""
