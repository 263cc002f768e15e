"""The guest's files as rules: kernel_elf, kernel_modules, initrd and tools_disk, each one run of a tool.

The kernel's package is what `make setup` fetched; a build before that fails with this advice.
"""

_SETUP = "%s: nothing there; `make setup` fetches it\n"

def _run(ctx, tool, out, inputs, arguments, absent = None):
    """One action that makes `out`; `absent` is the label of an input that setup did not bring."""
    if absent:
        ctx.actions.run_shell(
            outputs = [out],
            command = "printf '%s' \"$1\" >&2; exit 1",
            arguments = [_SETUP % absent],
        )
    else:
        ctx.actions.run(
            outputs = [out],
            inputs = inputs,
            executable = tool,
            arguments = arguments,
            mnemonic = "GuestImage",
            use_default_shell_env = True,
        )
    return [DefaultInfo(files = depset([out]))]

def _deb(ctx):
    """(path, files, absent) of the kernel's package."""
    files = ctx.files.deb
    return (files[0].path, files, None) if files else ("", [], ctx.attr.deb.label)

def _tool(name):
    return attr.label(default = "//cmd/gcs/image:" + name, allow_single_file = True)

_DEB = attr.label(default = "//third_party:linux_deb", allow_files = True)

def _kernel_elf_impl(ctx):
    out = ctx.actions.declare_file(ctx.attr.out)
    path, files, absent = _deb(ctx)
    return _run(ctx, ctx.file._tool, out, files, [path, out.path], absent)

kernel_elf = rule(
    implementation = _kernel_elf_impl,
    attrs = {
        "out": attr.string(mandatory = True),
        "deb": _DEB,
        "_tool": _tool("vmlinux.py"),
    },
)

def _kernel_modules_impl(ctx):
    out = ctx.actions.declare_directory(ctx.label.name)
    path, files, absent = _deb(ctx)
    arguments = [path, out.path, "--boot"] + ctx.attr.boot
    for name, modules in ctx.attr.lists.items():
        arguments += ["--list", name] + modules
    return _run(ctx, ctx.file._tool, out, files, arguments, absent)

kernel_modules = rule(
    implementation = _kernel_modules_impl,
    attrs = {
        "boot": attr.string_list(doc = "names, for /init"),
        "lists": attr.string_list_dict(doc = "names, for when they are needed, by list"),
        "deb": _DEB,
        "_tool": _tool("modules.py"),
    },
)

def _initrd_impl(ctx):
    out = ctx.actions.declare_file(ctx.attr.out)
    named, files, absent = [], [ctx.file.list], None
    for target, name in ctx.attr.files.items():
        if not target.files.to_list():
            absent = target.label
        for file in target.files.to_list():
            named.append("%s=%s" % (name, file.path))
            files.append(file)
    arguments = [ctx.file.list.path, out.path] + named
    return _run(ctx, ctx.file._tool, out, files, arguments, absent)

initrd = rule(
    implementation = _initrd_impl,
    attrs = {
        "out": attr.string(mandatory = True),
        "list": attr.label(mandatory = True, allow_single_file = True),
        "files": attr.label_keyed_string_dict(
            allow_files = True,
            doc = "what the list calls by which name; each is one file or folder",
        ),
        "_tool": _tool("initrd.py"),
    },
)

def _tools_disk_impl(ctx):
    out = ctx.actions.declare_file(ctx.attr.out)
    return _run(ctx, ctx.file._tool, out, [], [out.path] + ctx.attr.programs)

tools_disk = rule(
    implementation = _tools_disk_impl,
    attrs = {
        "out": attr.string(mandatory = True),
        "programs": attr.string_list(mandatory = True, doc = "names, of what is installed here"),
        "_tool": _tool("tools.py"),
    },
)
