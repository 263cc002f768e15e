# SPDX-License-Identifier: MIT
#
# The door to the build: Bazel does the work (build/README.md). Every target sets up first, which
# takes no time where nothing is missing.

.PHONY: all setup boot test soak lint format bench fuzz install uninstall deb clean

# The programs, the kernel and the guest's image, in out/.
all: setup
	@build/bin/dist.sh

# Installs what packages.txt lists (as root; else says what to run) and fetches the kernel.
setup:
	@build/bin/setup.sh

# Boots a utility VM, runs CMD (or a small command of its own) in it, shows what came back and how
boot: all
	@build/bin/boot.py $(CMD)

# Every test, under the sanitizers. TESTS='//async/... //tests/unit/...' for fewer.
test: setup
	@build/bin/test.py $(TESTS)

# What takes longer than a test may: the tests tagged soak, under the sanitizers, one after the other.
soak: setup
	@build/bin/soak.sh $(TESTS)

# Both compilers, layering, format, clang-tidy and the rules of tests/tidy.
lint: setup
	@build/bin/lint.sh

format:
	@build/bin/format.sh

# Prints the table of times and sizes, with machine and method.
bench: all
	@build/bin/bench.sh

# Runs each fuzzer for SECONDS (default 60).
fuzz: setup
	@build/bin/fuzz.sh $(SECONDS)

# Copies what `make all` built to PREFIX (/usr/local), libraries to LIBDIR (PREFIX/lib), with DESTDIR
# before every path; builds only what is not there yet.
install:
	@build/bin/install.sh

uninstall:
	@build/bin/install.sh --uninstall

# A Debian package, out/uvm_VERSION_ARCH.deb.
deb: all
	@build/bin/deb.sh

clean:
	rm -rf out
	bazel clean
