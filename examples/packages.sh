# Sourced by the scripts beside it, from the root of the sources: packages, the build, and words. $0 names the script.
export LC_ALL=C.UTF-8

build_packages='gcc meson ninja-build pkg-config libblis-dev zlib1g-dev libjpeg-dev libpng-dev libwebp-dev libcairo2-dev libjansson-dev'
wallpaper_packages='mate-backgrounds lomiri-wallpapers-16.04 lxqt-themes plasma-workspace-wallpapers'

say() { printf '\n== %s\n' "$*"; }
stop() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# The packages of "$@" that are not there.
missing() {
    for package; do
        dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf ' %s' "$package"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else stop "needs root or sudo for: $*"
    fi
}

install() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
}

# Installs what is missing of the packages to build with, of the wallpapers and of "$@".
install_packages() {
    command -v apt-get >/dev/null || stop "installs packages with apt-get; elsewhere, follow its steps by hand"
    needed=$(missing $build_packages "$@")
    wallpapers=$(missing $wallpaper_packages)
    if [ "$needed$wallpapers" ]; then
        say "installing$needed$wallpapers"
        as_root apt-get update -q
        [ -z "$needed" ] || install $needed
        for package in $wallpapers; do # not every release has all of them; some are enough
            install "$package" || echo "$package cannot be installed: fewer backgrounds"
        done
    fi
}

build_program() {
    say "building in ./build"
    [ -f build/build.ninja ] || meson setup build -Dtests=false
    ninja -C build examples/program/cribo
}
