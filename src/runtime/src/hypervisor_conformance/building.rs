//! What is built for a VM: the very same on every host, kept between runs, gone after a purge.

use std::sync::Arc;

use blixard_node::hypervisor::{ARTIFACT_LEN_MAX, Done, HypervisorError, HypervisorRequest, Run};

use super::trial::{NEXT, RUN, Trial, vm_name};
use super::{Bench, Case, LONG};

pub(super) fn cases<B: Bench>() -> Vec<Case<B>> {
    vec![
        ("what is prepared again is the same", prepared_again),
        ("another artifact than agreed is refused", another_artifact),
        ("a lost reply to a preparation is made good by another one", lost_preparation),
        ("a purge is refused while the VM is alive", purge_of_the_living),
        ("a purge removes what was kept, and the next preparation makes it anew", purged),
    ]
}

impl<B: Bench> Trial<B> {
    fn purge_request(&self, run: Run) -> HypervisorRequest {
        HypervisorRequest::Purge { run, name: vm_name(run), spec: self.obedient() }
    }
}

fn prepared_again<B: Bench>(t: &mut Trial<B>) {
    t.ready(RUN);
    if let Some(artifact) = t.artifact(RUN) {
        assert!((1..=ARTIFACT_LEN_MAX).contains(&artifact.len()), "{}: {artifact:?}", t.name);
    }
    let kept = t.bench.kept();
    t.ready(RUN);
    t.ready(NEXT);
    let same = t.bench.kept();
    t.expect(&same, &kept);
    t.expect_nothing_listed();
    t.run(NEXT, LONG);
    // Also while it runs.
    t.ready(NEXT);
    t.expect_listed(NEXT);
    t.stop_in_order(NEXT);
    let same = t.bench.kept();
    t.expect(&same, &kept);
}

fn another_artifact<B: Bench>(t: &mut Trial<B>) {
    let spec = t.ready(RUN);
    let other = Some("another-artifact".to_owned());
    let (name, artifact) = (vm_name(RUN), other.clone());
    match t.call(HypervisorRequest::Prepare { run: RUN, name, spec: Arc::clone(&spec), artifact }) {
        Err(HypervisorError::Prepare { reason }) => {
            assert!(reason.contains("another-artifact"), "{}: {reason}", t.name);
        }
        // Told that there is none, the agent refuses by itself.
        Ok(Done::Prepared { artifact: None }) => {}
        answer => panic!("{}: {answer:?}", t.name),
    }
    if t.artifact(RUN).is_some() {
        let deadline = t.bench.now() + LONG;
        let name = vm_name(RUN);
        let start = HypervisorRequest::Start { run: RUN, name, spec, artifact: other, deadline };
        let started = t.call(start);
        assert!(
            matches!(started, Err(HypervisorError::Prepare { .. } | HypervisorError::Start { .. })),
            "{}: {started:?}",
            t.name
        );
    }
    t.expect_alive(RUN, false);
    t.expect_nothing_listed();
    t.run(RUN, LONG);
}

fn lost_preparation<B: Bench>(t: &mut Trial<B>) {
    let spec = t.obedient();
    let prepare = t.prepare_request(RUN, spec);
    t.submit_unheard(prepare);
    t.run(RUN, LONG);
    t.expect_listed(RUN);
    t.stop_in_order(RUN);
}

fn purge_of_the_living<B: Bench>(t: &mut Trial<B>) {
    t.run(RUN, LONG);
    let kept = t.bench.kept();
    for run in [RUN, NEXT] {
        let purge = t.purge_request(run);
        let purged = t.call(purge);
        t.expect(&purged, &Err(HypervisorError::AlreadyRunning { epoch: RUN.epoch }));
    }
    let same = t.bench.kept();
    t.expect(&same, &kept);
    t.expect_alive(RUN, true);
    t.expect_listed(RUN);
    t.expect_no_exit();
    t.stop_in_order(RUN);
}

fn purged<B: Bench>(t: &mut Trial<B>) {
    t.run(RUN, LONG);
    let kept = t.bench.kept();
    t.stop_in_order(RUN);
    for _ in 0..2 {
        let purge = t.purge_request(RUN);
        let purged = t.call(purge);
        t.expect(&purged, &Ok(Done::Purged));
        let nothing = t.bench.kept();
        t.expect(&nothing, &Vec::new());
    }
    t.run(NEXT, LONG);
    let anew = t.bench.kept();
    t.expect(&anew, &kept);
    t.stop_in_order(NEXT);
    let purge = t.purge_request(NEXT);
    let purged = t.call(purge);
    t.expect(&purged, &Ok(Done::Purged));
}
