#!/bin/sh
# SPDX-License-Identifier: MIT
#
# setup.sh: what the build needs, once. Installs the missing packages of packages.txt (as root; an
# ordinary user is told the command), then fetches into third_party/fetched what no installed
# package holds: the kernel's package, and the source of cJSON for static programs.
#
# The fetching uses package lists of its own, made from apt's configured sources, so that it works
# without root, with old or missing lists, and leaves the system's apt as it was. What is already
# there is not fetched again: `rm -r third_party/fetched` asks for newer ones.
set -eu
cd "$(dirname "$0")/../.."
fetched=third_party/fetched

say() {
    echo "setup: $*"
}

# Prints the packages of packages.txt that are not installed.
missing_packages() {
    sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' packages.txt | while read -r package; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
        [ "$status" = installed ] || echo "$package"
    done
}

install_packages() {
    # Words, so that the line breaks become blanks.
    missing=$(missing_packages | xargs)
    if [ -z "$missing" ]; then
        return 0
    fi
    if [ "$(id -u)" != 0 ]; then
        {
            say "these Debian packages are missing: $missing"
            say "install them, then try again:"
            echo "    sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing"
        } >&2
        return 1
    fi
    say "installing $missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q -o DPkg::Lock::Timeout=300 update
    # shellcheck disable=SC2086
    apt-get -q -o DPkg::Lock::Timeout=300 install -y --no-install-recommends $missing
}


fetch_begin() {
    mkdir -p "$fetched"
    work=$(mktemp -d "$PWD/$fetched/.tmp.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/sources"
    # The system's sources, each also as a source of sources.
    for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -f "$f" ] || sed -n 's/^deb\(-src\)*\([[:space:]].*\)$/deb\2\ndeb-src\2/p' "$f" |
            sort -u > "$work/sources/$(basename "$f" .list).list"
    done
    for f in /etc/apt/sources.list.d/*.sources; do
        [ ! -f "$f" ] || sed 's/^Types:.*/Types: deb deb-src/' "$f" > "$work/sources/$(basename "$f")"
    done
    cat > "$work/apt.conf" <<EOF
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$work/sources";
Dir::State::Lists "$work/lists";
Dir::Cache "$work/cache";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
EOF
    export APT_CONFIG="$work/apt.conf"
    say "reading the package lists"
    apt-get -qq update
}

# linux-image-amd64 is empty: the kernel is in the package that it depends on.
fetch_kernel() {
    package=$(apt-cache depends linux-image-amd64 |
        sed -n 's/^ *Depends: \(linux-image-[0-9].*\)$/\1/p' | head -n 1)
    if [ -z "$package" ]; then
        say "no kernel: linux-image-amd64 is not in the package lists of this machine" >&2
        return 1
    fi
    say "fetching $package into $fetched/linux.deb"
    (cd "$work" && apt-get -qq download "$package")
    mv "$work/$package"_*.deb "$fetched/linux.deb"
}

fetch_cjson() {
    say "fetching the source of cJSON into $fetched/cjson"
    (cd "$work" && apt-get -qq source --download-only cjson &&
        dpkg-source --no-check -x cjson_*.dsc cjson > log 2>&1) || {
        cat "$work/log" >&2
        return 1
    }
    mkdir "$work/keep"
    cp "$work/cjson/cJSON.c" "$work/cjson/cJSON.h" "$work/cjson/LICENSE" "$work/keep"
    rm -rf "$fetched/cjson"
    mv "$work/keep" "$fetched/cjson"
}

install_packages
if [ ! -e "$fetched/linux.deb" ] || [ ! -e "$fetched/cjson/cJSON.c" ]; then
    fetch_begin
    [ -e "$fetched/linux.deb" ] || fetch_kernel
    [ -e "$fetched/cjson/cJSON.c" ] || fetch_cjson
fi
# The guest's shell: a copy, so that all that the image is made of stands in one place.
cmp -s /bin/busybox "$fetched/busybox" || install -m 755 /bin/busybox "$fetched/busybox"
