process CYTOVOX_RUN {
    tag "$meta.id"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"

    input:
    tuple val(meta), path(recording)

    output:
    tuple val(meta), path("*_dcn.rtdc"), emit: result
    tuple val(meta), path("*.json")    , emit: report
    path "versions.yml"                , emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    cytovox run \\
        ${recording} \\
        --out ${prefix}_dcn.rtdc \\
        --workers ${task.cpus} \\
        --findings-ok \\
        --json \\
        ${args} \\
        > ${prefix}.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        cytovox: \$(cytovox --version | sed 's/^cytovox //')
    END_VERSIONS
    """

    stub:
    def prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}_dcn.rtdc
    touch ${prefix}.json

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        cytovox: \$(cytovox --version | sed 's/^cytovox //')
    END_VERSIONS
    """
}
