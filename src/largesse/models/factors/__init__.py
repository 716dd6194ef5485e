"""Decision factors (DHCL): scores learned so that sorting them, or comparing them with a price, solves the allocation.

Stable: the names that `largesse.models` exports; import them from there.
"""
