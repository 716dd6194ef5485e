"""Decision factors (DHCL): scores whose order, or comparison with a price, solves the allocation."""
