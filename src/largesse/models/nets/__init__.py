"""Networks: the response network, its training loops, checkpoints and losses."""
