//! `blixard node …`.
#![cfg_attr(
    madsim,
    expect(dead_code, unused_imports, reason = "a simulated build parses, but does not run a node")
)]

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use blixard_node::command::HostSpec;
use blixard_node::config::{NodeConfig, Settings};
use blixard_node::ids::{ClusterId, NodeId};
use blixard_node::level::Level;
use blixard_node::spec::{Labels, Resources, validate_labels};
use clap::{Args, ValueEnum};

use crate::daemon::{self, AnyDisk, Config, DataDir, End, HostClock, Parts, Storage};
use crate::discovery::{self, Candidate, Discovery, Spec};
use crate::hypervisor::run_dir::StateDir;
use crate::hypervisor::{self, Backends, Manager, Options};
use crate::net::Transport;
use crate::watchdog::{NotedClock, Vitals, Watchdog};

/// The exit code when the arguments cannot work.
const EXIT_USAGE: u8 = 2;
/// The exit code when the cluster refuses this node.
const EXIT_REFUSED: u8 = 3;

const AFTER_HELP: &str = "\
With neither --peer nor --discover and an empty data directory it begins a new cluster; with peers it joins theirs, and with \
--discover it waits until it finds a member to join through. A data directory that has content goes on where it was.

Exit codes: 0 ended as asked (SIGTERM, SIGINT), 1 failed, 2 bad arguments, 3 refused by the cluster.";

/// The log's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum LogFormat {
    /// Lines for people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// What starts a VM's supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
enum SuperviseWith {
    /// The daemon itself
    #[default]
    Daemon,
    /// The host's systemd: a transient unit for each run
    Systemd,
    /// This user's systemd
    SystemdUser,
}

/// The arguments of `blixard node`.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct NodeArgs {
    /// This member's id, 1 or more; never used before in its cluster
    #[arg(long, env = "BLIXARD_ID", value_parser = clap::value_parser!(u64).range(1..))]
    id: u64,
    /// The address to listen on, for clients and peers
    #[arg(long, env = "BLIXARD_BIND", value_name = "ADDR:PORT", default_value = "127.0.0.1:7001")]
    bind: SocketAddr,
    /// The address that others reach this member under, if it is another than --bind
    #[arg(long, env = "BLIXARD_ADVERTISE", value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// A member to join through, as [ID:]HOST:PORT; repeat it or separate several by commas
    #[arg(
        long = "peer",
        env = "BLIXARD_PEER",
        value_name = "[ID:]HOST:PORT",
        value_delimiter = ',',
        value_parser = discovery::candidate
    )]
    peers: Vec<Candidate>,
    /// Where to find members: file:PATH, dns:NAME[:PORT] or tailscale[:TAG]; repeat it or separate several by commas
    #[arg(long, env = "BLIXARD_DISCOVER", value_name = "SOURCE", value_delimiter = ',')]
    discover: Vec<Spec>,
    /// Where tailscaled serves its local API, for --discover tailscale
    #[arg(
        long,
        env = "BLIXARD_TAILSCALE_SOCKET",
        value_name = "PATH",
        default_value = discovery::TAILSCALE_SOCKET
    )]
    tailscale_socket: PathBuf,
    /// Begin a new cluster although there are peers; without effect once the data directory has content
    #[arg(long, env = "BLIXARD_BOOTSTRAP")]
    bootstrap: bool,
    /// Where state is kept [default: ~/.local/state/blixard/node-ID, for root /var/lib/blixard/node-ID]
    #[arg(long, env = "BLIXARD_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The storage engine
    #[arg(long, env = "BLIXARD_STORAGE_MODE", value_enum, default_value_t)]
    storage: Storage,
    /// What the VMs' supervisors are started by, and outlive the daemon under
    #[arg(long, env = "BLIXARD_SUPERVISE_WITH", value_enum, default_value_t)]
    supervise_with: SuperviseWith,
    /// A hardware watchdog to feed while this host keeps its leases, as in /dev/watchdog; it resets the host when nothing else can
    /// end a VM in time
    #[arg(long, env = "BLIXARD_WATCHDOG", value_name = "DEVICE")]
    watchdog: Option<PathBuf>,
    /// Virtual CPUs to offer to VMs [default: those of this host]
    #[arg(long, env = "BLIXARD_VCPUS", value_name = "N")]
    vcpus: Option<u32>,
    /// Memory to offer to VMs, in MiB [default: four fifths of this host's]
    #[arg(long, env = "BLIXARD_MEMORY", value_name = "MIB")]
    memory: Option<u64>,
    /// A label of this host, as KEY=VALUE; repeat it or separate several by commas
    #[arg(
        long = "label",
        env = "BLIXARD_LABEL",
        value_name = "KEY=VALUE",
        value_delimiter = ',',
        value_parser = parse_label
    )]
    labels: Vec<(String, String)>,
    /// The newest feature level to speak, below what this version could: the cluster stays at it as long as this member does
    /// [default: the newest, see docs/protocol.md]
    #[arg(long, env = "BLIXARD_FEATURE_LEVEL", value_name = "N", value_parser = feature_level)]
    feature_level: Option<Level>,
    /// Listen beyond loopback although nothing is encrypted and nobody is authenticated: whoever reaches the port controls the VMs
    #[arg(long, env = "BLIXARD_INSECURE")]
    insecure: bool,
    /// What to log: a level, or directives such as `info,blixard::net=debug`
    #[arg(long, env = "BLIXARD_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// The log's format; it goes to stderr
    #[arg(long, env = "BLIXARD_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

fn feature_level(text: &str) -> Result<Level, String> {
    let (first, newest) = (Level::FIRST, Level::NEWEST);
    let level = text.parse().ok().map(Level).filter(|level| (first..=newest).contains(level));
    level.ok_or_else(|| format!("this version speaks levels {first} to {newest}"))
}

fn parse_label(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("{text:?} is no label: write KEY=VALUE"))?;
    Ok((key.into(), value.into()))
}

/// Why the node does not run, or no more.
struct Failure {
    exit: u8,
    code: &'static str,
    reason: String,
}

impl Failure {
    fn usage(reason: impl Into<String>) -> Self {
        Self { exit: EXIT_USAGE, code: "BLX-NODE-008", reason: reason.into() }
    }

    fn failed(code: &'static str, error: impl std::fmt::Display) -> Self {
        Self { exit: 1, code, reason: error.to_string() }
    }

    /// Says it in the log's own format.
    fn tell(&self, format: LogFormat) -> ExitCode {
        let Self { exit, code, reason } = self;
        match format {
            LogFormat::Text => drop(writeln!(std::io::stderr(), "error[{code}]: {reason}")),
            LogFormat::Json => tracing::error!(code, "{reason}"),
        }
        ExitCode::from(*exit)
    }
}

/// Runs the daemon.
pub(super) fn run(args: NodeArgs) -> ExitCode {
    let format = args.log_format;
    match start_logging(&args.log, format).and_then(|()| start(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(format),
    }
}

/// The simulated runtime runs daemons from tests, not from a command line.
#[cfg(madsim)]
fn start(args: NodeArgs) -> Result<(), Failure> {
    drop(args);
    Err(Failure::usage("this is a simulated build: it has no network of its own"))
}

#[cfg(not(madsim))]
fn start(args: NodeArgs) -> Result<(), Failure> {
    check_bind(args.bind.ip(), args.insecure).map_err(Failure::usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("BLX-NODE-010", format!("cannot start: {error}")))?;
    let ended = runtime.block_on(serve(args));
    // The turn loop's thread has ended, or may hang on its disk for ever.
    runtime.shutdown_background();
    match ended? {
        End::Retired | End::Abandoned => Ok(()),
        End::Refused { reason } => Err(Failure {
            exit: EXIT_REFUSED,
            code: "BLX-NODE-004",
            reason: format!("the cluster refuses this node: {reason}"),
        }),
    }
}

#[cfg(not(madsim))]
async fn serve(args: NodeArgs) -> Result<End, Failure> {
    let listener = tokio::net::TcpListener::bind(args.bind).await.map_err(|error| {
        Failure::failed(
            "BLX-NODE-007",
            format!("cannot listen on {}: {error}; give another --bind", args.bind),
        )
    })?;
    let bound = listener.local_addr().map_err(|error| Failure::failed("BLX-NODE-007", error))?;
    if args.insecure && !bound.ip().is_loopback() {
        tracing::warn!(%bound, "INSECURE: nothing is encrypted and nobody is authenticated; whoever reaches this port controls the VMs");
    }
    let data_dir = DataDir::open(&data_dir(&args)?).map_err(|error| Failure::failed(error.code(), error))?;
    let hypervisors = hypervisor::Config::new(data_dir.path().join("vms"));
    let mut config = config(&args, bound, &hypervisors)?;
    tracing::info!(
        id = %config.node.id,
        %bound,
        data_dir = %data_dir.path().display(),
        version = env!("CARGO_PKG_VERSION"),
        "starts"
    );
    let shutdown = signals().map_err(|error| Failure::failed("BLX-NODE-010", error))?;
    let mut shutdown = std::pin::pin!(shutdown);
    let (store_dir, storage) = (data_dir.path().to_owned(), args.storage);
    let mut discovery = discovery(&args, bound);
    let mut opened = None;
    if !discovery.is_empty() && !config.bootstrap {
        let (disk, is_member) = look_into(storage, &store_dir).await?;
        opened = Some(disk);
        if !is_member && config.node.peers.is_empty() {
            let found = tokio::select! {
                found = discovery.wait() => found,
                () = &mut shutdown => return Ok(End::Retired),
            };
            config.node.peers = found.into_iter().map(|found| (found.node, found.address)).collect();
        }
    }
    let runs =
        StateDir::open(&hypervisors.state_dir).map_err(|error| Failure::failed("BLX-NODE-009", error))?;
    let vitals = Arc::<Vitals>::default();
    let watchdog = watchdog(&args, &vitals, &config)?;
    let units = match args.supervise_with {
        SuperviseWith::Daemon => None,
        SuperviseWith::Systemd => Some(Manager::System),
        SuperviseWith::SystemdUser => Some(Manager::User),
    };
    let options = Options { vitals: Arc::clone(&vitals), units };
    let parts = Parts {
        clock: NotedClock { clock: HostClock, vitals },
        open_disk: move || opened.map_or_else(|| AnyDisk::open(storage, &store_dir), Ok),
        open_hypervisor: move |sink| Backends::open_with(hypervisors, sink, options),
        transport: Transport::tcp(listener),
        runs: Some(runs),
    };
    let beside = move |node, peers| async move {
        if !discovery.is_empty() {
            discovery::fill(discovery, node, peers).await;
        }
    };
    let ended = daemon::run_with(config, parts, beside, shutdown).await;
    let ended = ended.map_err(|error| match error.code() {
        code @ "BLX-NODE-011" => Failure { exit: EXIT_REFUSED, code, reason: error.to_string() },
        code => Failure::failed(code, error),
    })?;
    if let Some(Err(error)) = watchdog.map(Watchdog::disarm) {
        tracing::error!(%error, "the watchdog cannot be stopped: this host is about to be reset");
    }
    Ok(ended)
}

/// The watchdog, if there is to be one. From here on it resets this host unless it is fed.
#[cfg(not(madsim))]
fn watchdog(args: &NodeArgs, vitals: &Arc<Vitals>, config: &Config) -> Result<Option<Watchdog>, Failure> {
    let Some(device) = &args.watchdog else { return Ok(None) };
    let lease = std::time::Duration::from_nanos(config.settings.lease_ttl.as_nanos());
    let started = Watchdog::start(device, Arc::clone(vitals), lease).map_err(|error| {
        let device = device.display();
        Failure::usage(format!("the watchdog {device} cannot be used: {error}; give another device, or none"))
    })?;
    tracing::info!(device = %device.display(), "the watchdog runs");
    Ok(Some(started))
}

/// Opens the disk and tells whether it is a member's.
#[cfg(not(madsim))]
async fn look_into(storage: Storage, store_dir: &std::path::Path) -> Result<(AnyDisk, bool), Failure> {
    use blixard_runtime::Disk as _;

    let store_dir = store_dir.to_owned();
    let opened = tokio::task::spawn_blocking(move || {
        let mut disk = AnyDisk::open(storage, &store_dir)?;
        let identity = disk.load()?.identity;
        Ok((disk, identity.is_some_and(|identity| identity.cluster != ClusterId(0))))
    });
    let opened = opened.await.map_err(|error| Failure::failed("BLX-NODE-010", error))?;
    opened.map_err(|error: blixard_runtime::DiskError| Failure::failed(error.code(), error))
}

/// What is known of where members are, beyond those with an id and an address.
fn discovery(args: &NodeArgs, bound: SocketAddr) -> Discovery {
    let own = [Some(bound.to_string()), args.advertise.clone()];
    Discovery {
        me: NodeId(args.id),
        own_addresses: own.into_iter().flatten().collect(),
        port: bound.port(),
        fixed: args.peers.iter().filter(|peer| peer.expected.is_none()).cloned().collect(),
        specs: args.discover.clone(),
        tailscale_socket: args.tailscale_socket.clone(),
        connect: crate::net::connect(),
        said: discovery::Said::default(),
    }
}

/// Done at the first SIGTERM or SIGINT. A second one ends the process at once.
#[cfg(not(madsim))]
fn signals() -> std::io::Result<impl Future<Output = ()> + Send> {
    use tokio::signal::unix::{SignalKind, signal};

    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "ends: hands over first; the VMs run on until their lease ends");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("ends at once");
            std::process::exit(1);
        });
    })
}

fn check_bind(ip: IpAddr, insecure: bool) -> Result<(), String> {
    if ip.is_loopback() || insecure {
        return Ok(());
    }
    Err(format!(
        "listening on {ip} is refused: there is no encryption and no authentication yet, so whoever reaches the port \
         would control the VMs; bind a loopback address, or give --insecure on a network you trust"
    ))
}

fn data_dir(args: &NodeArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.data_dir {
        return Ok(path.clone());
    }
    let name = format!("node-{}", args.id);
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/blixard").join(name));
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let base = state.or_else(home).ok_or_else(|| Failure::usage("there is no HOME: give --data-dir"))?;
    Ok(base.join("blixard").join(name))
}

fn config(args: &NodeArgs, bound: SocketAddr, hypervisors: &hypervisor::Config) -> Result<Config, Failure> {
    let id = NodeId(args.id);
    let mut labels: Labels = args.labels.iter().cloned().collect();
    for probe in Backends::probe(hypervisors) {
        let name = probe.name;
        match probe.result {
            Ok(details) => {
                tracing::info!(name, details, "hypervisor");
                labels.insert(format!("hypervisor.{name}"), "true".into());
            }
            Err(reason) => {
                tracing::info!(name, reason, "no such hypervisor on this host; see `blixard doctor`");
            }
        }
    }
    if labels.contains_key(Level::LABEL) {
        return Err(Failure::usage(format!("the label {} is the node's own: do not give it", Level::LABEL)));
    }
    validate_labels(&labels).map_err(Failure::usage)?;
    let named = |peer: &Candidate| Some((peer.expected?, peer.address.clone()));
    let mut peers: Vec<(NodeId, String)> = args.peers.iter().filter_map(named).collect();
    peers.retain(|(peer, _)| *peer != id);
    let alone = peers.is_empty() && discovery(args, bound).is_empty();
    let advertised = args.advertise.clone().unwrap_or_else(|| bound.to_string());
    if bound.ip().is_unspecified() && args.advertise.is_none() {
        return Err(Failure::usage(format!(
            "{} is no address to be reached under: give --advertise",
            bound.ip()
        )));
    }
    let host = HostSpec { address: advertised, capacity: capacity(args), labels };
    let feature_level = args.feature_level.unwrap_or_default();
    Ok(Config {
        bootstrap: args.bootstrap || alone,
        node: NodeConfig { feature_level, ..NodeConfig::new(id, host, peers) },
        settings: Settings::default(),
        seed: random_seed().map_err(|error| Failure::failed("BLX-NODE-010", error))?,
        own_thread: true,
    })
}

fn random_seed() -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(u64::from_ne_bytes(bytes))
}

fn capacity(args: &NodeArgs) -> Resources {
    let cpus =
        || std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(1));
    let memory_mib = args.memory.unwrap_or_else(|| total_memory_mib() / 5 * 4);
    Resources { vcpus: args.vcpus.unwrap_or_else(cpus), memory_mib }
}

fn total_memory_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    // No /proc: offer nothing, rather than what may not be there.
    kib.map_or(0, |kib| kib >> 10)
}

fn start_logging(filter: &str, format: LogFormat) -> Result<(), Failure> {
    use tracing_subscriber::EnvFilter;

    let filter =
        EnvFilter::try_new(filter).map_err(|error| Failure::usage(format!("--log {filter:?}: {error}")))?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            log.with_ansi(colours).init();
        }
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_beyond_loopback_must_be_asked_for() {
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        assert!(check_bind(ip("127.0.0.1"), false).is_ok());
        assert!(check_bind(ip("::1"), false).is_ok());
        assert!(check_bind(ip("0.0.0.0"), false).is_err());
        assert!(check_bind(ip("192.168.1.5"), false).is_err());
        assert!(check_bind(ip("192.168.1.5"), true).is_ok());
    }
}
