#!/usr/bin/env bash
# Three hosts, two VMs: a cluster is begun, VMs run, a daemon is killed and its VM does not notice, a host is lost and its VM runs
# again elsewhere, once. Everything on this machine, in /tmp/blixard-three-hosts, on the ports 7101 to 7103 of loopback addresses.
#
# Needs the Rust toolchain; the VM `counter` also QEMU and binutils: where they are missing it is a process like the other one.
# BLIXARD names a binary that is built already.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=/tmp/blixard-three-hosts
if [[ -z ${BLIXARD:-} ]]; then
    cargo build --quiet --manifest-path "$root/Cargo.toml" -p blixard
    BLIXARD=${CARGO_TARGET_DIR:-$root/target}/debug/blixard
fi
for variable in $(compgen -v BLIXARD_); do unset "$variable"; done
export BLIXARD_SERVER=127.0.0.1:7101,127.0.0.2:7102,127.0.0.3:7103

# A command as the reader would type it, then what it prints.
show() {
    printf '\n$ %s\n' "$*"
    "$@" 2>&1
}
tell() { printf '\n# %s\n' "$*"; }
blixard() { "$BLIXARD" "$@"; }

declare -A daemons=()
start_host() {
    local id=$1 peers=()
    [[ $id == 1 ]] || peers=(--peer 1:127.0.0.1:7101)
    "$BLIXARD" node --id "$id" --bind "127.0.0.$id:710$id" --data-dir "$work/host-$id" \
        --vcpus 4 --memory 1024 "${peers[@]}" 2>>"$work/host-$id.log" &
    daemons[$id]=$!
    disown # or the shell would tell of its end
}
gone() { ! kill -0 "$1" 2>/dev/null; }
kill_daemon() {
    kill -KILL "${daemons[$1]}"
    until_true gone "${daemons[$1]}"
}
# The supervisors of a host's VMs; a VM dies with its supervisor.
supervisors() { pgrep -f "^blixard supervise --dir $work/host-$1/" || true; }
lose_host() {
    kill -KILL "${daemons[$1]}" $(supervisors "$1")
    until_true gone "${daemons[$1]}"
}
cleanup() {
    local status=$? id
    trap - EXIT
    for id in "${!daemons[@]}"; do kill -KILL "${daemons[$id]}" $(supervisors "$id") 2>/dev/null || true; done
    [[ $status == 0 ]] || tail -n 20 "$work"/*.log >&2
    exit "$status"
}
until_true() {
    local until=$((SECONDS + 40))
    until "$@"; do
        ((SECONDS < until)) || { echo "waited too long until: $*" >&2; exit 1; }
        sleep 0.2
    done
}
# So many members vote, and all are in touch.
vote() {
    local status
    status=$(blixard cluster status --format json 2>/dev/null) || return 1
    [[ $(grep -cE '"role": "(voter|leader)"' <<<"$status") == "$1" && $(grep -c '"healthy": true' <<<"$status") == "$1" ]]
}
node_of() { blixard vm status "$1" --format json 2>/dev/null | sed -n 's/^ *"node": \([0-9]*\),*$/\1/p'; }
phase_of() { blixard vm status "$1" --format json 2>/dev/null | sed -n 's/^ *"phase": "\(.*\)",*$/\1/p'; }
runs_elsewhere() { [[ $(phase_of "$1") == running && $(node_of "$1") != "$2" ]]; }

rm -rf "$work"
mkdir -p "$work"
trap cleanup EXIT
counter=$here/counter.toml
if ! qemu-system-x86_64 --version >/dev/null 2>&1 || ! "$root/tests/guest/build.sh" "$work/guest.elf" 2>/dev/null; then
    echo "QEMU or binutils is missing: the VM counter is a process, too"
    sed 's/"clock"/"counter"/' "$here/clock.toml" >"$work/counter.toml"
    counter=$work/counter.toml
fi

tell "Host 1 begins a cluster, hosts 2 and 3 join it."
start_host 1
until_true vote 1
start_host 2
start_host 3
until_true vote 3
show blixard cluster status

tell "Two VMs."
show blixard vm create --config "${here#"$PWD"/}/clock.toml"
show blixard vm create --config "${counter#"$PWD"/}"
show blixard vm start clock counter
show blixard vm list
sleep 1
show blixard vm logs counter --lines 2

was=$(node_of counter)
tell "The daemon of host $was is killed. Its VM does not notice: the next daemon takes it over, in the same life."
kill_daemon "$was"
start_host "$was"
until_true vote 3
sleep 1
show blixard vm status counter
show blixard vm logs counter --lines 2

tell "Host $was is lost, with all that runs on it. Its VM is started elsewhere as soon as it is certain that it is dead there."
lost=$SECONDS
lose_host "$was"
until_true runs_elsewhere counter "$was"
tell "after $((SECONDS - lost)) s"
show blixard vm list
sleep 1
show blixard vm logs counter --lines 2
show blixard vm events counter

tell "The host comes back. What has moved stays where it is."
start_host "$was"
until_true vote 3
show blixard cluster status

tell "The end."
show blixard vm stop clock counter
show blixard vm delete clock counter
