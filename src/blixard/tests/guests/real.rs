//! The same with daemons and supervisors as they ship: each a process of its own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use super::*;

/// A daemon, killed with its VMs when dropped.
struct Daemon {
    child: Child,
    address: String,
    folder: tempfile::TempDir,
}

impl Daemon {
    fn start(id: u64, through: Option<&Self>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_blixard"));
        command.args(["node", "--log", "warn", "--memory", "1024", "--vcpus", "4"]).env_clear();
        command.args(["--id", &id.to_string(), "--bind", &free.to_string()]);
        command.args(["--label", &format!("host={id}"), "--data-dir"]).arg(folder.path().join("data"));
        if let Some(peer) = through {
            command.args(["--peer", &peer.address]);
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, address: free.to_string(), folder }
    }

    fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_blixard"));
        command.args(args.split_whitespace()).env_clear().env("BLIXARD_SERVER", &self.address);
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn ok(&self, args: &str) -> String {
        let output = self.command(args).output().unwrap();
        assert!(output.status.success(), "{args}: {}", said(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two daemons; VMs that the first one is told of run on the second.
fn two_daemons(command: &str) -> [Daemon; 2] {
    let first = Daemon::start(1, None);
    until("it leads", || first.command("cluster status").output().unwrap().status.success());
    let second = Daemon::start(2, Some(&first));
    until("both are members", || {
        first.ok("cluster status --format json").matches("\"address\"").count() == 2
    });
    let head = "memory = 64\nrestart = 'never'\n[requires]\nhost = '2'\n[process]\n";
    fs::write(first.folder.path().join("vm.toml"), format!("{head}command = {command}\n")).unwrap();
    first.ok("vm create sh --config vm.toml");
    first.ok("vm start sh");
    [first, second]
}

#[test]
fn a_follower_goes_on_through_another_member_where_it_was() {
    let count = "['sh', '-c', 'i=0; while :; do echo $i; i=$((i+1)); sleep 0.1; done']";
    let [first, second] = two_daemons(count);
    let third = Daemon::start(3, Some(&first));
    until("all vote", || first.ok("cluster status --format json").matches("\"voter\"").count() == 2);
    let servers = format!("{},{},{}", first.address, third.address, second.address);
    let follower = Running::start(first.command("vm logs sh -f").env("BLIXARD_SERVER", servers));
    let count = || follower.out().lines().count();
    until("it follows", || count() > 3);
    let mut console = Running::start(first.command("vm console sh --linger 1h").stdin(Stdio::piped()));
    until("it is attached", || !console.out().is_empty());
    drop(first);
    // Nobody knows what the guest was told meanwhile, so it does not go on.
    assert_eq!(console.exit(), Some(6));
    assert!(console.err().contains("the console of sh broke off"), "{}", console.err());
    until("the connection breaks", || follower.err().contains("the connection broke"));
    let broke = count();
    until("it goes on", || count() > broke + 5);
    let out = follower.out();
    let whole = &out[..out.rfind('\n').unwrap()];
    let lost = whole.lines().enumerate().find(|(at, line)| at.to_string() != *line);
    assert_eq!(lost, None, "every line came once");
}

#[test]
fn a_shell_that_runs_as_a_vm_is_spoken_to_from_another_host() {
    let [first, second] = two_daemons("['sh']");
    let mut console = Running::start(first.command("vm console sh --linger 1h").stdin(Stdio::piped()));
    let mut tell = |text: &str| console.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    tell("echo $((6 * 7))\n");
    until("it answers", || first.ok("vm logs sh") == "42\n");
    assert_eq!(second.ok("vm logs sh -n 1"), "42\n");
    tell("echo bye; exit 0\n");
    console.until_out("42\nbye\n");
    assert_eq!(console.exit(), Some(0));
    assert!(console.err().contains("the console of sh was closed"), "{}", console.err());
    until("it has ended", || first.ok("vm status sh").contains("sh: exited"));
    assert_eq!(first.ok("vm logs sh"), "42\nbye\n");
    first.ok("vm delete sh");
}
