"""plain_binary: a static program without sanitizers, whoever asks for it;
plain_files: the same for what is made of such programs, so that it is made once.

What runs inside the guest, or between fork and exec, must stay a plain static binary while the
tests around it run under ASan: the transition takes those flags out, builds at -O2 and switches
//third_party's libraries to their static flavour. `binary` is an ordinary cc_binary, tagged manual
so that nobody builds it any other way.

Not a position-independent one: it would be at another address in every process, so that an
emulating VMM translates it anew each time. Measured in the guest: 6 ms more for each exec of it.

Every configuration of one compiler lands in the same output folder, so that the program, and the
guest's image made from it, is built once. That needs each of the options below to change in every
one of them (Bazel names the folder after the options that a transition changed).
"""

_COPT = "//command_line_option:copt"
_LINKOPT = "//command_line_option:linkopt"
_SUFFIX = "//command_line_option:platform_suffix"
_STATIC = "//build:static"

_OTHERS = ["-O0", "-O1"]
_OURS = ["-fno-pie", "-static"]

def _clean(flags):
    return [f for f in flags if "sanitize" not in f and f not in _OTHERS + _OURS]

def _plain_impl(settings, _attr):
    suffix = settings[_SUFFIX] or ""
    if not suffix.startswith("-plain"):
        suffix = "-plain" + (suffix if suffix in ("-clang", "-fuzz") else "")
    return {
        _COPT: _clean(settings[_COPT]) + ["-fno-pie"],
        _LINKOPT: _clean(settings[_LINKOPT]) + ["-static"],
        _STATIC: True,
        _SUFFIX: suffix,
    }

_plain = transition(
    implementation = _plain_impl,
    inputs = [_COPT, _LINKOPT, _SUFFIX],
    outputs = [_COPT, _LINKOPT, _STATIC, _SUFFIX],
)

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

def _files_impl(ctx):
    return [DefaultInfo(
        files = depset(ctx.files.srcs),
        runfiles = ctx.runfiles(files = ctx.files.srcs),
    )]

plain_files = rule(
    implementation = _files_impl,
    attrs = {
        "srcs": attr.label_list(cfg = _plain, mandatory = True, allow_files = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
)

def _flag_impl(_ctx):
    return []

plain_flag = rule(
    implementation = _flag_impl,
    build_setting = config.bool(flag = False),
)
