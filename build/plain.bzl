"""plain_binary: a program built without sanitizers or coverage, whoever asks for it.

What runs inside the guest, or between fork and exec, must stay a plain static binary while the
tests around it run under ASan: the transition takes those flags out and builds at -O2 in an
output folder that all configurations share.
"""

_COPT = "//command_line_option:copt"
_LINKOPT = "//command_line_option:linkopt"
_SUFFIX = "//command_line_option:platform_suffix"
_OPTIONS = [_COPT, _LINKOPT, _SUFFIX]

def _clean(flags):
    return [f for f in flags if "sanitize" not in f and f not in ("--coverage", "-O0", "-O1")]

def _plain_impl(settings, _attr):
    suffix = settings[_SUFFIX] or ""
    clang = "clang" in suffix or "fuzz" in suffix
    return {
        _COPT: _clean(settings[_COPT]),
        _LINKOPT: _clean(settings[_LINKOPT]),
        _SUFFIX: "-plain-clang" if clang else "-plain",
    }

_plain = transition(implementation = _plain_impl, inputs = _OPTIONS, outputs = _OPTIONS)

def _binary_impl(ctx):
    out = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(
        output = out,
        target_file = ctx.executable.binary,
        is_executable = True,
    )
    return [DefaultInfo(
        executable = out,
        files = depset([out]),
        runfiles = ctx.runfiles(files = [out]),
    )]

plain_binary = rule(
    implementation = _binary_impl,
    executable = True,
    attrs = {
        "binary": attr.label(cfg = _plain, executable = True, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)
