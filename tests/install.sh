# Sourced by what needs packages of the system: `install WHAT PACKAGE...`, where WHAT is for people who have no apt-get.

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        echo "$0: \`$*\` has to be run as root, and there is no sudo here" >&2
        return 1
    fi
}

# What it is for people, and the packages.
install() {
    local what=$1
    shift
    if ! command -v apt-get >/dev/null; then
        echo "$0: install $what; without apt-get I cannot" >&2
        return 1
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get update -qq
    # Without RUNLEVEL a package would start its service; the tests start servers of their own.
    as_root env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -qq -y "$@"
}
