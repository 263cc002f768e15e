"""marked_suite: a test program a second time, over a library with the marks of async/mark.h."""

def marked_suite(name, src, deps):
    native.cc_binary(
        name = name,
        testonly = True,
        srcs = [src],
        deps = [":marked"] + deps + [
            "//async",
            "//third_party:cmocka",
            "//tests/unit:cm",
        ],
    )
