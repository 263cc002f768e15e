"""What an installation has and a room by itself has not: the library in one piece, its headers
under the names that embedders use, files that a program prints about itself.
"""

def _archive_impl(ctx):
    linking = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
    ).linking_context
    objects = []
    inputs = linking.linker_inputs.to_list()
    if ctx.attr.package:
        inputs = [i for i in inputs if i.owner.package == ctx.attr.package]
    for library in [l for i in inputs for l in i.libraries]:
        # Position-independent where there are both kinds: the shared library is made of these.
        objects += library.pic_objects or library.objects
    out = ctx.actions.declare_file(ctx.attr.out)
    arguments = ctx.actions.args()
    # q, not r: rooms have files of the same name. D: the same bytes each time.
    arguments.add("qcsD")
    arguments.add(out)
    arguments.add_all(objects)
    ctx.actions.run_shell(
        inputs = objects,
        outputs = [out],
        mnemonic = "Archive",
        command = "ar \"$@\"",
        arguments = [arguments],
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([out]))]

archive = rule(
    doc = "One static library of everything that `deps` need, system libraries excepted.",
    implementation = _archive_impl,
    attrs = {
        "deps": attr.label_list(mandatory = True, providers = [CcInfo]),
        "out": attr.string(mandatory = True),
        "package": attr.string(doc = "only what is of this package; the rest is linked beside it"),
    },
)

def public_headers(name, headers):
    """Copies headers to include/uvm/, where they name each other as embedders name them.

    Args:
      name: of the group of them.
      headers: each header's name there, and its label here.
    """
    paths = {n: l[2:].replace(":", "/") for n, l in headers.items()}
    renames = " ".join(["-e 's|%s|uvm/%s|g'" % (p, n) for n, p in paths.items()])
    for header, label in headers.items():
        native.genrule(
            name = "%s_%s" % (name, header),
            srcs = [label],
            outs = ["include/uvm/" + header],
            cmd = """
                sed %s $< > $@
                if grep -n '#include "' $@ | grep -v '"uvm/\\(%s\\)"'; then
                    echo '%s includes what is not installed' >&2
                    exit 1
                fi
            """ % (renames, "\\|".join(headers.keys()), label),
        )
    native.filegroup(
        name = name,
        srcs = [":include/uvm/" + h for h in headers],
    )

def _printed_impl(ctx):
    out = ctx.actions.declare_file(ctx.attr.out)
    ctx.actions.run_shell(
        outputs = [out],
        tools = [ctx.executable.program],
        mnemonic = "Print",
        command = "out=$1 && shift && \"$@\" > \"$out\"",
        arguments = [out.path, ctx.executable.program.path] + ctx.attr.arguments,
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([out]))]

# Not a genrule: that would build the program a second time, as a tool of the build.
printed = rule(
    doc = "What a program prints, as the configuration at hand builds it.",
    implementation = _printed_impl,
    attrs = {
        "arguments": attr.string_list(),
        "out": attr.string(mandatory = True),
        "program": attr.label(cfg = "target", executable = True, mandatory = True),
    },
)
