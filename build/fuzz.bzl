"""fuzz_target: one LLVMFuzzerTestOneInput(), as a fuzzer and as a test over its kept corpus."""

def fuzz_target(name, srcs, deps, copts = [], **kwargs):
    """Makes NAME (a libFuzzer program, for `make fuzz`) and NAME_corpus_test (an ordinary test).

    The test runs every file of corpus/NAME/ and what is near it (//tests/fuzz:corpus_main.c).

    Args:
      name: of the fuzzer, and of its corpus folder.
      srcs: where LLVMFuzzerTestOneInput() is.
      deps: what it needs.
      copts: further flags of the compiler.
      **kwargs: for both targets.
    """
    native.cc_binary(
        name = name,
        testonly = True,
        srcs = srcs,
        copts = copts + ["-fsanitize=fuzzer"],
        linkopts = ["-fsanitize=fuzzer"],
        tags = ["fuzz", "manual"],
        deps = deps,
        **kwargs
    )
    native.cc_test(
        name = name + "_corpus_test",
        size = "small",
        srcs = srcs,
        args = ["%s/corpus/%s" % (native.package_name(), name)],
        copts = copts,
        data = native.glob(["corpus/%s/**" % name], allow_empty = False),
        deps = deps + ["//tests/fuzz:corpus_main"],
        **kwargs
    )
