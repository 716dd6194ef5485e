"""Two-stage models: predict value and cost by likelihood, then optimise the allocation."""
