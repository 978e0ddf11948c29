//! `blixard vm ports`.

use std::net::IpAddr;

use blixard_node::error::RequestError;
use blixard_node::request::{ClusterView, VmView};
use blixard_node::spec::VmSpec;

use super::client::Client;
use super::error::CliError;
use super::output::Output;
use super::view::{PortList, PortRow};
use super::vm::check_name;
use crate::hypervisor::microvm_nix::NixSpec;
use crate::hypervisor::qemu::QemuSpec;

pub(super) async fn run(
    names: &[String],
    stale: bool,
    client: &mut Client,
    output: Output,
) -> Result<(), CliError> {
    let (revision, mut vms) = client.list(stale).await?;
    for name in names {
        let name = check_name(name)?;
        if !vms.iter().any(|vm| vm.name == name) {
            return Err(RequestError::VmUnknown { name }.into());
        }
    }
    vms.retain(|vm| names.is_empty() || names.iter().any(|name| name == vm.name.as_str()));
    let cluster = client.status(stale).await?;
    let ports = vms.iter().flat_map(|vm| rows(vm, &cluster)).collect();
    output.show(&PortList { revision, ports });
    Ok(())
}

fn rows(vm: &VmView, cluster: &ClusterView) -> Vec<PortRow> {
    let node = vm.assigned.map(|(node, _)| node);
    let member = cluster.members.iter().find(|member| Some(member.node) == node);
    let listens = listens(&vm.spec);
    let address = member.map(|member| match listens {
        Some(ip) if !ip.is_unspecified() => ip.to_string(),
        _ => host_part(&member.address).to_owned(),
    });
    let row = |port: &blixard_node::spec::Port| PortRow {
        vm: vm.name.to_string(),
        phase: vm.phase.to_string(),
        node: node.map(|node| node.0),
        address: address.clone(),
        host_port: port.host,
        guest_port: port.guest,
        protocol: port.protocol.to_string(),
        host_only: listens.is_some_and(|ip| ip.is_loopback()),
    };
    vm.spec.ports.iter().map(row).collect()
}

/// The address of its host on which a VM's ports are; none for all of them, or for one that only the VM knows.
fn listens(spec: &VmSpec) -> Option<IpAddr> {
    let loopback = IpAddr::from([127, 0, 0, 1]);
    match spec.hypervisor.as_str() {
        "qemu" => Some(QemuSpec::parse(&spec.payload).ok()?.listen.unwrap_or(loopback)),
        "microvm-nix" => match NixSpec::parse(&spec.payload).ok()? {
            NixSpec::File { .. } => Some(loopback),
            NixSpec::Flake { .. } => None,
        },
        _ => None,
    }
}

/// The host of `host:port`, an IPv6 address without its brackets.
fn host_part(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address() {
        for (address, host) in
            [("10.0.0.1:7001", "10.0.0.1"), ("[fd00::1]:7001", "fd00::1"), ("a.b:1", "a.b")]
        {
            assert_eq!(host_part(address), host);
        }
    }
}
