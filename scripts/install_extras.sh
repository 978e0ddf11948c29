#!/usr/bin/env bash
# Installs what tests need beside Rust: QEMU, binutils for the tiny guest, Nix and tools around them for those with real hypervisors, Chromium for
# that of reports. Tests whose tools are missing say so and pass, so this never fails: as root on Debian it installs what is missing, elsewhere it
# says what to install.
set -euo pipefail

declare -A package=(
    [qemu-system-x86_64]=qemu-system-x86 [qemu-img]=qemu-utils [as]=binutils [nix]=nix-bin [ip]=iproute2
    [chromium]=chromium [chromedriver]=chromium-driver
)
look() {
    missing=()
    for program in "${!package[@]}"; do
        command -v "$program" >/dev/null || missing+=("${package[$program]}")
    done
}
install() {
    apt-get "${options[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1
}
export DEBIAN_FRONTEND=noninteractive
options=(-qq -o Acquire::Retries=1 -o Acquire::http::Timeout=20 -o DPkg::Lock::Timeout=60)
# Twice: QEMU of one version may take the tools of another one away.
for _ in 1 2; do
    look
    if [ ${#missing[@]} -eq 0 ]; then
        exit 0
    fi
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "extras: to run every test install the equivalent of these Debian packages: ${missing[*]}"
        exit 0
    fi
    if install || { apt-get "${options[@]}" update >/dev/null 2>&1 && install; }; then
        echo "extras: installed ${missing[*]}"
    else
        echo "extras: ${missing[*]} cannot be installed (offline?): tests that need them are skipped"
        exit 0
    fi
done
