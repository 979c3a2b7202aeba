"""Wrapper of Snakemake for ``cytovox run``: one recording, one result."""

from snakemake.shell import shell

extra = snakemake.params.get("extra", "")  # noqa: F821 - Snakemake defines it
log = snakemake.log_fmt_shell(stdout=True, stderr=True)  # noqa: F821

# Snakemake deletes the result of a job that ends with another exit code than 0,
# so findings, such as no events, must not be one. They are in the log.
shell(
    "cytovox run {snakemake.input[0]:q} --out {snakemake.output[0]:q}"
    " --workers {snakemake.threads} --findings-ok {extra} {log}"
)
