"""planted_suite: a test program a second time, over a library with the bugs of async/plant.h."""

def planted_suite(name, src, deps, hdrs = []):
    native.cc_binary(
        name = name,
        testonly = True,
        srcs = [src] + hdrs,
        deps = [":planted"] + deps + [
            "//async",
            "//third_party:cmocka",
            "//tests/unit:cm",
        ],
    )
