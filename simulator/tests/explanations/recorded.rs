//! The words for recorded runs. Each run violated something because of a bug that was put there (disks that lie, votes that are not
//! written, …); of its log those lines are left that its explanation stands on. An engineer who sees the lines alone should know
//! what happened: look at them that way when they change.

use blixard_sim::explain;
use blixard_sim::output;
use blixard_sim::trace::file::read;
use expect_test::{Expect, expect};

use super::folder;

fn check(name: &str, expected: &Expect) {
    let file = folder("tests/explanations").join(format!("{name}.trace"));
    let recording = read(&file).unwrap_or_else(|error| panic!("{error}"));
    let explanation = explain::explain(&recording).expect("a violation");
    expected.assert_eq(&output::explanation(&explanation));
}

#[test]
fn disks_lie() {
    check(
        "disks-lie",
        &expect![[r#"
        why
             88.736287  n6 is the first to carry out entry 586 of term 5 (create vm-6); the disks of n2, n3, n4 and n6 have said that it is durable
             89.110487  n2, n3, n4 and n6 are killed, and what their disks had not synced is gone (crash-all)
             90.556439  n2 comes back with a log that ends at 580, though its disk had said that entry 586 is durable
             90.556439  n3 comes back with a log that ends at 556, though its disk had said that entry 586 is durable
             90.556439  n4 comes back with a log that ends at 559, though its disk had said that entry 586 is durable
             90.556439  n6 comes back with a log that ends at 554, though its disk had said that entry 586 is durable
             92.163692  n3, whose log now ends at 556, votes for n4
             92.163958  n6, whose log now ends at 554, votes for n4
             92.165431  n1, which never held entry 586, votes for n4
             92.168471  n4 leads term 6, with the votes of n1, n3 and n6
             92.168471  leader-completeness: n4 leads term 6 without r586 of term 5, which n6 had carried out; its log ends at 560
    "#]],
    );
}

#[test]
fn deadlines_ignored() {
    check(
        "deadlines-ignored",
        &expect![[r#"
        why
             65.959963  n5 leads term 4
             72.201884  entry 584 assigns vm-3 (vm565) to n1 under e1
             72.268554  vm-3 (vm565) comes alive on n1 under e1, to be killed at 75.248 s unless its lease is renewed
             72.285490  n1 is granted a lease until 75.268 s by n5
             72.285490  n1 tells its hypervisor to let its VMs live until 75.268 s
             73.007077  the process of n1 stands still for 11.8 s; its VMs run on
             75.271994  that deadline passes, and vm-3 (vm565) lives on on n1
             81.780320  the process of n1 stands still for 2.8 s; its VMs run on
             84.583602  entry 601: stop vm-3 (vm565)
             84.852747  vm-3 (vm565) under e1 is dead on n1, 9.5 s after its deadline
             84.852747  leases: Run { vm: vm565, epoch: e1 } was alive on n1 until 915.922419s: its lease ended 906.336394s and it had 100ms to die
    "#]],
    );
}

#[test]
fn vote_not_persisted() {
    check(
        "vote-not-persisted",
        &expect![[r#"
        why
             52.727828  n3 votes for n2 in term 80: its disk was given term 80, but no vote
             52.727828  n3 is killed (crash)
             52.729694  n3 comes back: its disk holds term 80 and no vote
             52.765083  n3 votes for n1 too, in the same term 80
             52.773805  n2 leads term 80, with the vote of n3
             52.808644  n1 leads term 80, with the vote of n3
             52.808644  election-safety: n2 and n1 both lead term 80
    "#]],
    );
}

#[test]
fn term_not_persisted() {
    check(
        "term-not-persisted",
        &expect![[r#"
        why
             42.184111  n2 votes for n4 in term 3: nothing of term 3 was given to its disk
             42.187551  n4 leads term 3, with the votes of n2, n3 and n5
             61.785713  n2 is killed, and what its disk had not synced is gone (crash-leader)
             67.735915  n2 comes back: its disk holds term 2 and no vote; it knows nothing of term 3
            123.074762  n2 votes for n5 too, in the same term 3
            123.074953  so did n3, n5 and n4: first for one, then for the other
            123.076271  n5 leads term 3, with the votes of n1, n2, n3 and n4
            123.076271  election-safety: n4 and n5 both lead term 3
    "#]],
    );
}

#[test]
fn stale_set_accepted() {
    check(
        "stale-set-accepted",
        &expect![[r#"
        why
              1.802673  n1 leads term 2
             39.759466  entry 304 assigns vm-1 (vm297) to n4 under e1
             41.329263  entry 338 assigns vm-1 (vm297) to n1 under e2
             41.342909  partition: n1, n3 and n6 and the others do not reach each other for 7.7 s
             41.459037  vm-1 (vm297) comes alive on n1 under e2, to be killed at 44.420 s unless its lease is renewed
             42.011643  n1, which believes to lead, grants itself a lease until 44.461 s
             42.011643  n1 tells its hypervisor to let its VMs live until 44.461 s
             42.839657  an answer of n1 to n4 arrives after 2.3 s: it is as of entry 318
             42.840660  n4 works from the assignments as of entry 318, an older one than entry 330's, which it had
             42.875284  vm-1 (vm297) comes alive on n4 under e1, to be killed at 43.589 s unless its lease is renewed
             42.875284  single-run: vm297 runs twice: on n1 under e2 since 41.459037s and on n4 under e1 since 42.875284s
    "#]],
    );
}

#[test]
fn lease_without_quorum() {
    check(
        "lease-without-quorum",
        &expect![[r#"
            why
                 58.026902  entry 430 assigns vm-2 (vm270) to n2 under e5
                 58.197323  one-way cut: messages from n2, n3, n4 and n6 to the others are lost for 12.1 s
                 58.406828  the process of n2 stands still for 7.4 s; its VMs run on
                 61.190626  n1 writes entry 449, that n2 is given up
                 67.769160  n2 leads term 5
                 68.127873  vm-2 (vm270) comes alive on n2 under e5, to be killed at 71.117 s unless its lease is renewed
                 68.137992  n2, which believes to lead, grants itself a lease until 71.137 s
                 68.137992  n2 tells its hypervisor to let its VMs live until 71.137 s
                 68.303180  entry 441: stop vm-2 (vm270)
                 68.303180  entry 443: stop vm-2 (vm270)
                 68.303180  entry 449 is carried out: n2 is given up, although the lease it works with runs until 71.137 s, n2 leads term 5 by then
                 68.303180  leases: n2 was given up at r449 (68.303180s) while Run { vm: vm270, epoch: e5 } runs there since 68.127873s
        "#]],
    );
}

#[test]
fn read_index_skipped() {
    check(
        "read-index-skipped",
        &expect![[r#"
        why
             68.610178  client 6 asks to get vm-2, and is told "wanted-running", vm11 at g6, as of entry 199
             68.612955  client 0 asks to get vm-2, and is told "wanted-running", vm11 at g6, as of entry 200
             68.618617  n1 has carried out entry 201
             68.662558  n1 opens its disk: term 111, a log that ends at 202
             68.671822  client 2 asks to get vm-2, and is told "wanted-running", vm11 at g6, as of entry 201
             68.864038  client 0 asks to get vm-2; by then some client has been told of entry 201
             68.865792  n1 leads term 112
             68.889075  n1 has heard from nobody that it still leads since the question came to it, and has carried out no entry of term 112 yet
             68.889075  n1, which believes to lead term 112, answers; it has carried out entries up to 193
             68.926538  client 0 is told "wanted-running", vm11 at g6, as of entry 193
             68.926538  real-time-order: client 0 was answered as of r193 although r201 had been told before it asked Read { read: GetVm { name: vm-2 }, consistency: Linearizable }
    "#]],
    );
}

#[test]
fn released_before_commit() {
    check(
        "released-before-commit",
        &expect![[r#"
        why
             98.789613  n2 answers to n8, which was asked, as of entry 610; the disks of n2 have said that it is durable, on n1 and n3 its write is under way
             98.789613  only now n2 begins the write of that turn (a snapshot at 610): what it answered did not wait for that
             98.792413  client 3 is told that its write is done, at entry 610
             98.792413  durability: client 3 was told of r610, but no node has carried out more than r609
    "#]],
    );
}

#[test]
fn artifact_ignored() {
    check(
        "artifact-ignored",
        &expect![[r#"
        why
             22.683556  entry 42: create vm-18 (vm42)
             26.205011  entry 72: stop vm-18 (vm42)
             26.624213  entry 76: start vm-18 (vm42), on n1 under e1
             27.259050  vm-18 (vm42) executes ac9234462ef43163 on n1 under e1
             27.259050  vm-18 (vm42) comes alive on n1 under e1
             27.424691  entry 90: stop vm-18 (vm42)
             27.558861  vm-18 (vm42) is dead on n1
             30.296497  entry 130: start vm-18 (vm42), on n3 under e2
             30.742518  vm-18 (vm42) executes ac9234462ef43163 on n3 under e2
             30.742518  vm-18 (vm42) comes alive on n3 under e2
             32.778083  entry 159: stop vm-18 (vm42)
             33.709757  vm-18 (vm42) is dead on n3
             36.138962  entry 196: start vm-18 (vm42), on n3 under e3
             36.611953  vm-18 (vm42) executes 88bcf97d437b4e69 on n3 under e3, not ac9234462ef43163, though nothing has updated it
             36.611953  vm-18 (vm42) comes alive on n3 under e3
             36.611953  artifacts: vm42 executes 88bcf97d437b4e69 on n3 under e3, and executed ac9234462ef43163 on n1
    "#]],
    );
}

#[test]
fn purged_when_stopped() {
    check(
        "purged-when-stopped",
        &expect![[r#"
        why
             21.498036  entry 28: create vm-3 (vm28)
             21.989584  entry 30: start vm-3 (vm28), on n1 under e1
             22.434880  entry 36: stop vm-3 (vm28)
             22.497839  n1 removes for good what it kept of vm-3 (vm28)
             22.497839  no entry deletes vm-3 (vm28): the newest about it is 36 (stop)
             22.497839  volumes: n1 has removed what it kept of vm28, which nobody had asked for
    "#]],
    );
}
