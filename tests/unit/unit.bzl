"""unit_test: one cmocka program, tests/unit/<name>.c, over the rooms it names."""

def unit_test(name, deps, srcs = [], **kwargs):
    native.cc_test(
        name = name,
        size = kwargs.pop("size", "small"),
        srcs = [name + ".c", "cm.h"] + srcs,
        deps = deps + [
            ":heap",
            "//third_party:cmocka",
        ],
        **kwargs
    )
