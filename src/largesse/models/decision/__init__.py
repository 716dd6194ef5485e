"""Decision-focused learning: networks and corrections trained by what their decisions bring on the trial."""
