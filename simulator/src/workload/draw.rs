//! What chance decides about clients' operations.

use std::sync::Arc;

use blixard_node::request::{Consistency, Read, Request, Write};
use blixard_node::rng::Rng;
use blixard_node::spec::{FailoverPolicy, Labels, Port, Protocol, Resources, RestartPolicy, VmName, VmSpec};
use blixard_node::time::Duration;

use super::WorkloadConfig;
use crate::client::{Client, get};
use crate::scenario::Call;

/// The time between the beginnings of two operations of one client: such that all of them together keep the rate as long as answers
/// come in time, spread evenly around the mean.
pub(crate) fn think(config: &WorkloadConfig, rng: &mut Rng) -> Duration {
    let mean = config.per.0.saturating_mul(config.clients as u64) / config.operations.max(1);
    Duration(rng.between(mean / 2, mean.saturating_add(mean / 2)))
}

/// What a client asks for next, and about which VM of `names`.
pub(crate) fn call(config: &WorkloadConfig, names: usize, rng: &mut Rng) -> (Call, usize) {
    let mix = &config.mix;
    let weights = [mix.create, mix.start, mix.stop, mix.delete, mix.update, mix.get, mix.list];
    let name = rng.below(names.max(1) as u64) as usize;
    let mut draw = rng.below(weights.iter().sum::<u64>().max(1));
    let mut call = Call::List;
    for (each, weight) in Call::ALL.iter().zip(weights) {
        call = *each;
        if draw < weight {
            break;
        }
        draw -= weight;
    }
    (call, name)
}

/// The request for `call`.
pub(super) fn request(
    config: &WorkloadConfig,
    call: Call,
    name: VmName,
    client: &mut Client,
    rng: &mut Rng,
) -> Request {
    let generation = if config.with_generation.draw(rng) { client.generation_of(&name) } else { None };
    let write = match call {
        Call::Create => Write::CreateVm { name, spec: spec(config, rng) },
        Call::Start => Write::StartVm { name, generation },
        Call::Stop => Write::StopVm { name, generation },
        Call::Delete => {
            let keep_volumes = config.keep_volumes.draw(rng);
            Write::DeleteVm { name, generation, keep_volumes }
        }
        Call::Update => Write::UpdateVm { name, generation, spec: spec(config, rng) },
        Call::Get => return get(name),
        Call::List => return list(),
    };
    Request::Write { id: client.next_id(), write }
}

/// The ports of hosts that VMs ask for: few, so that they collide.
pub const PORTS: std::ops::RangeInclusive<u16> = 8_080..=8_083;

fn draw_port(config: &WorkloadConfig, rng: &mut Rng) -> Option<Port> {
    config.ports.draw(rng).then(|| {
        let host = PORTS.start() + rng.below(PORTS.len() as u64) as u16;
        Port { host, guest: 80, protocol: Protocol::Tcp }
    })
}

pub(super) fn spec(config: &WorkloadConfig, rng: &mut Rng) -> Arc<VmSpec> {
    let vcpus = rng.between(1, u64::from(config.vcpus_max.max(1))) as u32;
    let memory_mib = (config.memory_mib_max / 16).max(1) * rng.between(1, 16);
    let restart = match config.restart_seldom.draw(rng) {
        false => RestartPolicy::Always,
        true if rng.ratio(1, 2) => RestartPolicy::OnFailure,
        true => RestartPolicy::Never,
    };
    let failover = if config.failover_waits.draw(rng) { FailoverPolicy::Wait } else { FailoverPolicy::Move };
    Arc::new(VmSpec {
        resources: Resources { vcpus, memory_mib },
        requires: Labels::new(),
        restart,
        failover,
        local_volume: config.local_volume.draw(rng),
        hypervisor: config.hypervisor.clone(),
        payload: String::new(),
        ports: draw_port(config, rng).into_iter().collect(),
    })
}

pub(super) fn list() -> Request {
    Request::Read { read: Read::ListVms, consistency: Consistency::Linearizable }
}
