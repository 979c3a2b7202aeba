"""Who does the work: workers, progress, logs. No science."""
