"""The HTTP service of campaigns: decisions, outcomes and their money, for `largesse serve` and `python -m largesse.serving`.

Private: its addresses and documents are stable as docs/reference/http.md has them, its modules are not.
"""
