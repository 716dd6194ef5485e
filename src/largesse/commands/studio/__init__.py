"""What the studio computes: budgets, segments, rules, single units and proofs of a run, each equal to what its command says.

Private: used by `largesse.web`.
"""
