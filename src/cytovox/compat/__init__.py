"""Names of other programs, so that what was written for them runs here."""
