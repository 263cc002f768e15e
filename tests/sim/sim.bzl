"""sim_test: one cmocka program over the simulated world, tests/sim/<name>.c."""

def sim_test(name, deps = [], **kwargs):
    native.cc_test(
        name = name,
        size = kwargs.pop("size", "small"),
        # Seconds of the CPU, but under the sanitizers and beside others they are minutes.
        timeout = kwargs.pop("timeout", "moderate"),
        srcs = [name + ".c"],
        deps = deps + [
            "//async",
            "//third_party:cmocka",
            "//tests/unit:cm",
        ],
        **kwargs
    )
