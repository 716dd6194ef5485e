"""Networks: the response network, its training loops, checkpoints, and what several learners share of them."""
