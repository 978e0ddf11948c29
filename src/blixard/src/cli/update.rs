//! `blixard vm update`.

use std::collections::{BTreeMap, BTreeSet};

use blixard_node::error::RequestError;
use blixard_node::ids::Generation;
use blixard_node::request::VmView;
use blixard_node::spec::{VmSpec, Wanted};
use blixard_proto::v1;
use blixard_proto::v1::vm_service_client::VmServiceClient;

use super::args::Update;
use super::client::Client;
use super::error::CliError;
use super::output::Output;
use super::view::{self, Delta};
use super::{output, source};
use crate::hypervisor::microvm_nix::{self, NixSpec};
use crate::hypervisor::tool;

pub(super) async fn run(
    args: &Update,
    given: Option<String>,
    client: &mut Client,
    output: Output,
) -> Result<(), CliError> {
    let (name, spec) = source::read(&args.source, given)?;
    let vm = client.get(name.as_str(), false).await?;
    let spec = settled(&vm, spec, output).await;
    client.renew();
    if let Some(expected) = args.generation.filter(|expected| *expected != vm.generation.0) {
        let (expected, actual) = (Generation(expected), vm.generation);
        return Err(RequestError::GenerationConflict { name, expected, actual }.into());
    }
    let changes = changes(&vm.spec, &spec);
    let mut update = view::Update {
        name: name.to_string(),
        updated: false,
        generation: vm.generation.0,
        packages: None,
        changes,
    };
    // A VM that may not be updated is refused before two builds, not after them.
    if (args.dry_run || vm.wanted == Wanted::Stopped) && !update.changes.is_empty() && !args.no_preview {
        update.packages = packages(&vm, &spec, output).await;
        client.renew();
    }
    if !args.dry_run && !update.changes.is_empty() {
        let spec = v1::VmSpec::from(&spec);
        let written = client
            .write(|channel, id| {
                let request = v1::UpdateVmRequest {
                    id: Some(id),
                    name: name.to_string(),
                    // What was shown is what is changed.
                    generation: Some(vm.generation.0),
                    spec: Some(spec.clone()),
                };
                async move { VmServiceClient::new(channel).update(request).await }
            })
            .await?;
        update.updated = true;
        update.generation = written.generation;
    }
    output.show(&update);
    if update.changes.is_empty()
        && vm.artifact.is_some()
        && vm.spec.payload.starts_with("flake")
        && tool::find("nix").is_none()
    {
        output.progress(
            "note: its hosts go on to run what was built first; for another commit of the flake name that commit, as in \
             github:OWNER/REPO/COMMIT#NAME or git+https://…?rev=COMMIT#NAME",
        );
    }
    Ok(())
}

/// The spec with what its flake is at the moment, if nix is on this machine: the same branch may be another one than before.
async fn settled(vm: &VmView, new: VmSpec, output: Output) -> VmSpec {
    let is_flake = matches!(NixSpec::parse(&new.payload), Ok(NixSpec::Flake { locked: None, .. }));
    if new.hypervisor != "microvm-nix" || !is_flake || tool::find("nix").is_none() {
        return new;
    }
    let (old, pinned, mut settled) = (vm.spec.clone(), vm.artifact.clone(), new.clone());
    let settle = move || {
        let options = microvm_nix::Options::of_host()?;
        microvm_nix::settle(&options, (&old, pinned.as_deref()), &mut settled).map(|()| settled)
    };
    let what = match tokio::task::spawn_blocking(settle).await {
        Ok(Ok(settled)) => return settled,
        Ok(Err(reason)) => reason,
        Err(_) => "nix failed".into(),
    };
    output.progress(&format!(
        "what the flake is at the moment is for the first host to find out: {}",
        what.trim_end()
    ));
    new
}

/// How what microvm.nix builds changes, if that can be told on this machine.
async fn packages(vm: &VmView, new: &VmSpec, output: Output) -> Option<String> {
    if [&*vm.spec, new].iter().any(|spec| spec.hypervisor != "microvm-nix") || vm.spec.payload == new.payload
    {
        return None;
    }
    let silent = |reason: &str| {
        output.progress(&format!("what changes in the packages is not shown: {reason}"));
        None
    };
    if tool::find("nix").is_none() {
        return silent("nix is not on this machine");
    }
    let options = match microvm_nix::Options::of_host() {
        Ok(options) => options,
        Err(reason) => return silent(&reason),
    };
    output.progress(
        "builds what it runs now and what it would run, to compare them (--no-preview leaves that out)",
    );
    let (name, old, pinned, new) = (vm.name.clone(), vm.spec.clone(), vm.artifact.clone(), new.clone());
    let preview = move || microvm_nix::preview(&options, &name, (&old, pinned.as_deref()), &new);
    match tokio::task::spawn_blocking(preview).await {
        Ok(Ok(packages)) => Some(packages.trim_end().to_owned()),
        Ok(Err(reason)) => silent(reason.trim_end()),
        Err(_) => silent("the comparison failed"),
    }
}

/// The fields that differ.
fn changes(old: &VmSpec, new: &VmSpec) -> Vec<Delta> {
    let (old, new) = (fields(old), fields(new));
    let all: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differs = all.into_iter().filter(|field| old.get(*field) != new.get(*field));
    differs
        .map(|field| Delta {
            field: field.clone(),
            before: old.get(field).cloned(),
            after: new.get(field).cloned(),
        })
        .collect()
}

/// A spec's fields under the names of VM files, with their values as text.
fn fields(spec: &VmSpec) -> BTreeMap<String, String> {
    let view = view::Spec::from(spec);
    let mut fields = BTreeMap::from([
        ("vcpus".to_owned(), view.vcpus.to_string()),
        ("memory".to_owned(), output::memory(view.memory_mib)),
        ("hypervisor".to_owned(), view.hypervisor.clone()),
        ("restart".to_owned(), view.restart.to_owned()),
        ("failover".to_owned(), view.failover.to_owned()),
        ("local_volume".to_owned(), view.local_volume.to_string()),
    ]);
    if !view.ports.is_empty() {
        let ports: Vec<String> = view.ports.iter().map(ToString::to_string).collect();
        fields.insert("ports".into(), ports.join(", "));
    }
    fields.extend(view.requires.into_iter().map(|(key, value)| (format!("requires.{key}"), value)));
    match view.payload.parse::<toml::Table>() {
        Ok(table) => flatten(&view.hypervisor, &table, &mut fields),
        // Stored by a client of another make.
        Err(_) => {
            fields.insert(view.hypervisor, view.payload);
        }
    }
    fields
}

fn flatten(above: &str, table: &toml::Table, fields: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let key = format!("{above}.{key}");
        match value {
            toml::Value::Table(table) => flatten(&key, table, fields),
            toml::Value::String(text) => {
                fields.insert(key, text.clone());
            }
            value => {
                fields.insert(key, value.to_string());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use expect_test::{Expect, expect};

    use super::super::output::{Format, Show};
    use super::super::vm_file;
    use super::*;

    fn check(old: &str, new: &str, expected: Expect) {
        let spec = |text: &str| vm_file::read("web.toml", text, Path::new("/")).unwrap().spec;
        let update = view::Update {
            name: "web".into(),
            updated: false,
            generation: 1,
            changes: changes(&spec(old), &spec(new)),
            packages: None,
        };
        expected.assert_eq(&update.table(Output::new(Format::Table, 0)));
    }

    #[test]
    fn fields_that_differ_are_shown() {
        let old = "memory = 64\nports = ['80:80']\n[requires]\nzone = 'a'\n[process]\ncommand = ['true']\nenv = { A = '1' }";
        check(
            old,
            old,
            expect![[r#"
            web: nothing changes
        "#]],
        );
        check(
            old,
            "memory = 2048\nvcpus = 2\nrestart = 'never'\n[requires]\nzone = 'b'\nssd = 'yes'\n[process]\ncommand = ['false']",
            expect![[r#"
                web: would change
                  memory: 64MiB -> 2GiB
                  ports: 80:80/tcp -> (none)
                  process.command: ["true"] -> ["false"]
                  process.env.A: 1 -> (none)
                  requires.ssd: (none) -> yes
                  requires.zone: a -> b
                  restart: always -> never
                  vcpus: 1 -> 2
            "#]],
        );
        check(
            old,
            "memory = 64\n[qemu]\nkernel = '/k'",
            expect![[r#"
            web: would change
              hypervisor: process -> qemu
              ports: 80:80/tcp -> (none)
              process.command: ["true"] -> (none)
              process.env.A: 1 -> (none)
              qemu.kernel: (none) -> /k
              requires.zone: a -> (none)
        "#]],
        );
    }

    #[test]
    fn long_texts_are_shown_by_their_lines() {
        let nix = |port: u16| {
            format!(
                "memory = 64\n[microvm-nix]\nfile = '''\n{{ pkgs, ... }}:\n{{\n  a = 1;\n  b = 2;\n  c = 3;\n  \
                 port = {port};\n  d = 4;\n}}\n'''"
            )
        };
        check(
            &nix(80),
            &nix(81),
            expect![[r#"
            web: would change
              microvm-nix.file:
                    b = 2;
                    c = 3;
                -   port = 80;
                +   port = 81;
                    d = 4;
                  }
        "#]],
        );
        check(
            &nix(80),
            "memory = 64\n[microvm-nix]\nflake = 'github:me/vms#web'",
            expect![[r#"
            web: would change
              microvm-nix.file:
                - { pkgs, ... }:
                - {
                -   a = 1;
                -   b = 2;
                -   c = 3;
                -   port = 80;
                -   d = 4;
                - }
              microvm-nix.flake: (none) -> github:me/vms#web
        "#]],
        );
    }
}
