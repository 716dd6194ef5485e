"""The pages of the studio, one module each: from what is open and the parameters of the address to a view.

Private: used by `largesse.web`.
"""
