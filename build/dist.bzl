"""dist: what `make all` puts into out/, as one folder of links."""

def _dist_impl(ctx):
    outs = []
    for target, path in ctx.attr.files.items():
        files = target[DefaultInfo].files.to_list()
        if len(files) != 1:
            fail("%s has %d files, for %s one is needed" % (target.label, len(files), path))
        out = ctx.actions.declare_file(ctx.label.name + "/" + path)
        ctx.actions.symlink(output = out, target_file = files[0])
        outs.append(out)
    for target, folder in ctx.attr.folders.items():
        for file in target[DefaultInfo].files.to_list():
            out = ctx.actions.declare_file("/".join([ctx.label.name, folder, file.basename]))
            ctx.actions.symlink(output = out, target_file = file)
            outs.append(out)
    return [DefaultInfo(files = depset(outs), runfiles = ctx.runfiles(files = outs))]

dist = rule(
    implementation = _dist_impl,
    attrs = {
        "files": attr.label_keyed_string_dict(
            allow_files = True,
            mandatory = True,
            doc = "each target's one file, and its path in out/",
        ),
        "folders": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "each target's files, and their folder in out/",
        ),
    },
)
