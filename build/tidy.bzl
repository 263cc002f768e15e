"""The aspect behind `make lint`: clang-tidy on each C source, and each header compiled alone.

Every file is one action, so what did not change is not looked at again, and two cores work at a
time. Run by build/bin/lint.sh; by hand for one room:

    bazel build --config=tidy //async/...
"""

def _flags(ctx, context):
    """The compiler's flags for this target, but for what only matters to code generation."""
    attr = ctx.rule.attr
    flags = ctx.fragments.cpp.copts + ctx.fragments.cpp.conlyopts
    flags += [ctx.expand_make_variables("copts", f, {}) for f in getattr(attr, "copts", [])]
    flags = [f for f in flags if not f.startswith("-fsanitize") and f != "-Werror"]
    flags += ["-D" + d for d in context.defines.to_list() + getattr(attr, "local_defines", [])]
    flags += ["-iquote" + d for d in context.quote_includes.to_list()]
    flags += ["-I" + d for d in context.includes.to_list()]
    return flags + ["-iquote."]

def _run(ctx, source, inputs, title, command):
    stamp = ctx.actions.declare_file("%s.%s.%s" % (ctx.rule.attr.name, source.basename, title))
    ctx.actions.run_shell(
        inputs = depset([source, ctx.file._config], transitive = [inputs]),
        outputs = [stamp],
        mnemonic = "ClangTidy",
        progress_message = "Checking %s (%s)" % (source.short_path, title),
        # The count of suppressed warnings is no news: the log is shown on failure only.
        command = "%s > %s.log 2>&1 || { sed \"s|$PWD/||\" %s.log; exit 1; } && touch %s" %
                  (command, stamp.path, stamp.path, stamp.path),
        use_default_shell_env = True,
    )
    return stamp

def _tidy_impl(target, ctx):
    attr = ctx.rule.attr
    if not ctx.rule.kind.startswith("cc_") or "no-tidy" in attr.tags:
        return []
    context = cc_common.merge_cc_infos(
        cc_infos = [d[CcInfo] for d in getattr(attr, "deps", []) if CcInfo in d],
    ).compilation_context
    files = getattr(ctx.rule.files, "srcs", []) + getattr(ctx.rule.files, "hdrs", [])
    flags = " ".join(["'%s'" % f for f in _flags(ctx, context)])
    headers = [f for f in files if f.extension in ("h", "inc")]
    inputs = depset(headers, transitive = [context.headers])
    stamps = []
    for f in files:
        if not f.is_source:
            continue
        if f.extension == "c":
            stamps.append(_run(ctx, f, inputs, "tidy", "clang-tidy --quiet --config-file=%s %s -- %s" %
                                                       (ctx.file._config.path, f.path, flags)))
        elif f.extension == "h":
            stamps.append(_run(ctx, f, inputs, "alone", "clang -fsyntax-only -Werror %s -include %s -x c /dev/null" %
                                                        (flags, f.path)))
    return [OutputGroupInfo(tidy = depset(stamps))]

tidy = aspect(
    implementation = _tidy_impl,
    attrs = {
        "_config": attr.label(default = "//:.clang-tidy", allow_single_file = True),
    },
    fragments = ["cpp"],
)
