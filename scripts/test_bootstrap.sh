#!/usr/bin/env bash
# Three nodes become a cluster of three voters. Each answers; two daemons cannot share a data directory; a node that lost
# its disk is refused under its old id; a node stopped by SIGTERM hands leadership over and comes back.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

three_agree() {
    local id
    for id in 1 2 3; do cluster_is "$id" leader 1 && cluster_is "$id" voter 2 || return 1; done
}

start_node 1
eventually 15 "the first node leads" cluster_is 1 leader 1
start_node 2 1
start_node 3 1
eventually 15 "all three vote" three_agree
say "three voters, each answers"
ask 2 cluster status

status=0
"$BLIXARD" node --id 1 --bind 127.0.0.1:0 --data-dir "$work/1" 2>"$work/second.log" || status=$?
[[ $status == 1 ]] || fail "a second daemon on the same data directory ended with $status"
grep -q "in use by another daemon" "$work/second.log" || fail "it does not say why"
status=0
"$BLIXARD" node --id 9 --bind 0.0.0.0:0 --data-dir "$work/9" 2>"$work/beyond.log" || status=$?
[[ $status == 2 ]] || fail "binding beyond loopback ended with $status"
say "a shared data directory and a bind beyond loopback are refused"

was=$(leader 1)
stop_node "$was"
other=$((was % 3 + 1))
new_leader() { local now; now=$(leader "$other"); [[ -n $now && $now != "$was" ]]; }
eventually 5 "another leads" new_leader
say "node $was handed leadership over to node $(leader "$other")"

mv "$work/$was" "$work/$was.lost"
start_node "$was" "$other"
status=0
wait "${pids[$was]}" || status=$?
unset "pids[$was]"
[[ $status == 3 ]] || fail "a node without its disk ended with $status under its old id"
rm -rf "${work:?}/$was"
mv "$work/$was.lost" "$work/$was"
start_node "$was" "$other"
eventually 15 "all three vote again" three_agree
say "refused without its disk, welcome with it"

for id in 1 2 3; do stop_node "$id"; done
say "passed"
