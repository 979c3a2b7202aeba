"""The conveyor: from a job to a finished file."""
