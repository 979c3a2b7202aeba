"""The local page: look at recordings, tune, run folders and see results, in a browser."""
