"""Where the program of a bundle begins; see cytovox.spec."""

import multiprocessing

if __name__ == "__main__":
    # A worker process is this program, started again.
    multiprocessing.freeze_support()
    from cytovox.__main__ import run

    run()
