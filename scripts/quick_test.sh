#!/usr/bin/env bash
# One node, one VM: created, started, seen running, stopped, deleted. Then the node goes and comes back with what it knew.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_node 1
eventually 15 "the node leads" cluster_is 1 leader 1
say "one node leads"

vm_file web
ask 1 vm create web --config "$work/web.toml"
ask 1 vm start web
eventually 5 "the VM's process works" alive web
say "the VM runs"

[[ $(ask 1 vm status web --format json | field phase) == running ]] || fail "status says otherwise"
if ask 1 vm create web --config "$work/web.toml" 2>"$work/again"; then fail "a taken name was given again"; fi
grep -q "BLX-VM-001" "$work/again" || fail "the error has no code: $(cat "$work/again")"

stop_node 1
[[ -z $(find "$work/1" -name '*.lock' -path "$work/1/*.lock" -not -path '*/vms/*') ]] || fail "a lock was left"
start_node 1
eventually 15 "the node leads again" cluster_is 1 leader 1
[[ $(ask 1 vm status web --format json | field wanted) == running ]] || fail "the restarted node forgot the VM"
eventually 15 "the VM's process works again" alive web
say "the node was restarted; the VM is still there"

ask 1 vm stop web
eventually 5 "the VM's process is dead" dead web
[[ $(ask 1 vm list --format json | field phase) == stopped ]] || fail "a stopped VM is not listed as stopped"
ask 1 vm delete web
if ask 1 vm status web 2>/dev/null; then fail "a deleted VM is still there"; fi
say "the VM is stopped and deleted"

stop_node 1
say "passed"
