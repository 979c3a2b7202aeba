"""Measure a recording with dcnum: INPUT OUTPUT BASINS BACKGROUND."""

from __future__ import annotations

import sys
import warnings


def main() -> None:
    """Run the job with default settings and the default number of workers."""
    warnings.simplefilter("ignore")
    from dcnum.logic import DCNumJobRunner, DCNumPipelineJob

    path_in, path_out, basins, background = sys.argv[1:]
    job = DCNumPipelineJob(
        path_in=path_in,
        path_out=path_out,
        basin_strategy=basins,
        background_code=background,
    )
    with DCNumJobRunner(job=job) as runner:
        runner.run()
        if runner.error_tb or runner.state != "done":
            sys.exit(str(runner.error_tb or f"it ended in state '{runner.state}'"))


if __name__ == "__main__":  # its workers import this file, too
    main()
