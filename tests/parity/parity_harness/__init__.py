"""Compare whole runs of the pipeline with those of dcnum, its peer."""
