#!/usr/bin/env bash
# A full round on three nodes: VMs run, the leader is killed together with its VMs' host, what was acknowledged is still
# there, the VMs move and run once each, the killed node comes back.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

start_node 1
eventually 15 "the first node leads" cluster_is 1 leader 1
start_node 2 1
start_node 3 1
eventually 15 "all three vote" cluster_is 1 voter 2
say "three voters"

for vm in a b c; do
    vm_file "$vm"
    ask $((RANDOM % 3 + 1)) vm create "$vm" --config "$work/$vm.toml"
done
ask 2 vm start a b c
for vm in a b c; do eventually 5 "VM $vm works" alive "$vm"; done
say "three VMs run"
ask 3 vm list

was=$(leader 1)
other=$((was % 3 + 1))
on_leader=()
for vm in a b c; do
    [[ $(ask "$other" vm status "$vm" --format json | field node) == "$was" ]] && on_leader+=("$vm")
done
[[ ${#on_leader[@]} -gt 0 ]] || fail "no VM is on the leader: they are not spread"
kill_node "$was"
say "killed the leader, node $was, host of ${on_leader[*]}"

# A write through a survivor takes effect as soon as another leads.
vm_file d
ask "$other" vm create d --config "$work/d.toml"
[[ $(leader "$other") != "$was" ]] || fail "the dead node still leads"
say "node $(leader "$other") leads; a write went through"

moved() {
    local node
    node=$(ask "$other" vm status "$1" --format json 2>/dev/null | field node)
    [[ -n $node && $node != "$was" ]] && alive "$1"
}
for vm in "${on_leader[@]}"; do eventually 30 "VM $vm runs elsewhere" moved "$vm"; done
for vm in a b c; do
    # Each line of a life is followed by a sleep of 0.1 s: two lives at once would write lines closer together.
    awk 'NR > 1 && $1 - last < 50000000 { close_by++ } { last = $1 } END { exit close_by > 2 }' "$work/$vm.life" \
        || fail "VM $vm ran twice at once"
done
say "its VMs run elsewhere, each once"

start_node "$was"
eventually 15 "the killed node is back" cluster_is "$was" voter 2
[[ $(ask "$was" vm list --format json | grep -c '"name"') == 4 ]] || fail "something acknowledged is missing"
say "node $was is back and knows all four VMs"

ask "$was" vm stop a b c
for vm in a b c; do eventually 5 "VM $vm is dead" dead "$vm"; done
ask "$was" vm delete a b c d
for id in 1 2 3; do stop_node "$id"; done
say "passed"
