"""What is to be done, as data: options, registry and identity."""
