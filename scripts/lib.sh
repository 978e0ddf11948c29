# What the test scripts share: daemons on free ports in a folder of their own, and their end whatever happens.
# Sourced, not run. Needs nothing beyond bash, coreutils, sed and cargo.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# What may be set from outside: the binary under test.
if [[ -z ${BLIXARD:-} ]]; then
    cargo build --quiet --manifest-path "$root/Cargo.toml" -p blixard
    BLIXARD=${CARGO_TARGET_DIR:-$root/target}/debug/blixard
fi

# Nothing of the caller's settings may leak into the daemons.
for variable in $(compgen -v BLIXARD_); do unset "$variable"; done

work=$(mktemp -d "${TMPDIR:-/tmp}/blixard-test.XXXXXX")
began=$SECONDS
declare -A pids=() addresses=()

say() { printf '[%2ds] %s\n' $((SECONDS - began)) "$*"; }

fail() {
    say "FAILED: $*" >&2
    for log in "$work"/*.log; do
        [[ -e $log ]] && printf -- '--- %s\n' "${log##*/}" >&2 && tail -n 25 "$log" >&2
    done
    exit 1
}

# The processes of supervisors whose folder is in $work.
supervisors() {
    local cmdline
    for cmdline in /proc/[0-9]*/cmdline; do
        if { tr '\0' ' ' <"$cmdline"; } 2>/dev/null | grep -qF "supervise --dir $work/"; then
            cmdline=${cmdline#/proc/}
            echo "${cmdline%/cmdline}"
        fi
    done
}

cleanup() {
    local status=$?
    trap - EXIT
    local pid
    for pid in "${pids[@]}" $(supervisors); do kill -KILL "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

# start_node ID [PEER_ID]...: on a free port the first time, and on the same port again after that.
start_node() {
    local id=$1 peer arguments=()
    shift
    for peer in "$@"; do arguments+=(--peer "$peer:${addresses[$peer]}"); done
    : >"$work/$id.log"
    "$BLIXARD" node --id "$id" --bind "${addresses[$id]:-127.0.0.1:0}" --data-dir "$work/$id" \
        --vcpus 4 --memory 1024 "${arguments[@]}" 2>>"$work/$id.log" &
    pids[$id]=$!
    until addresses[$id]=$(sed -n 's/.* bound=\([0-9.:]*\) .*/\1/p' "$work/$id.log" | head -n 1); [[ -n ${addresses[$id]} ]]; do
        kill -0 "${pids[$id]}" 2>/dev/null || fail "node $id did not start"
        sleep 0.05
    done
}

# ask ID ARGUMENTS...: the client, through that node.
ask() {
    local id=$1
    shift
    "$BLIXARD" "$@" --server "${addresses[$id]}"
}

# A field of pretty-printed JSON on standard input: its first appearance.
field() { sed -n "s/^ *\"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}$/\1/p" | head -n 1; }

# cluster_is ID ROLE COUNT: node ID sees COUNT members of that role.
cluster_is() {
    local count
    count=$(ask "$1" cluster status --format json --timeout 2s 2>/dev/null | grep -c "\"role\": \"$2\"") || true
    [[ $count == "$3" ]]
}

leader() { ask "$1" cluster status --format json --timeout 5s 2>/dev/null | field leader; }

# eventually SECONDS WHAT COMMAND...: until the command succeeds.
eventually() {
    local until=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        ((SECONDS < until)) || fail "waited too long until $what"
        sleep 0.1
    done
}

# stop_node ID: as a service manager does; it must end well and leave its lock.
stop_node() {
    local status=0
    kill -TERM "${pids[$1]}"
    wait "${pids[$1]}" || status=$?
    unset "pids[$1]"
    [[ $status == 0 ]] || fail "node $1 ended with $status after SIGTERM"
}

# kill_node ID: as a power loss does.
kill_node() {
    kill -KILL "${pids[$1]}"
    wait "${pids[$1]}" 2>/dev/null || true
    unset "pids[$1]"
}

# vm_file NAME [TOML]: a VM that writes down each second of its life, with its host's folder out of the way.
vm_file() {
    cat >"$work/$1.toml" <<TOML
memory = 64
${2:-}
[process]
command = ["sh", "-c", "while :; do date +%s%N >> '$work/$1.life'; sleep 0.1; done"]
TOML
}

# alive NAME: it wrote something in the last second.
alive() {
    local last
    last=$(tail -n 1 "$work/$1.life" 2>/dev/null) || return 1
    [[ -n $last ]] && (($(date +%s%N) - last < 1000000000))
}

dead() { ! alive "$1"; }
