//! How a command fails: a sentence, a stable code, an exit code.

use std::fmt;
use std::process::ExitCode;

use blixard_node::error::RequestError;
use blixard_proto::error::GuestError;
use serde::Serialize;

/// The exit codes, as documented in `docs/cli.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed in a way that has no code of its own.
    Failed = 1,
    /// The command or a file given to it is wrong. Nothing was sent.
    Usage = 2,
    /// There is no such VM or host.
    NotFound = 3,
    /// It exists already, has changed, or is in no state for this.
    Conflict = 4,
    /// No host has room.
    NoRoom = 5,
    /// No server could be reached, or it took longer than `--timeout`. The command may yet take effect.
    Unavailable = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CliError {
    /// The cluster's answer.
    Request(Box<RequestError>),
    /// There is no output or no console.
    Guest(Box<GuestError>),
    /// The command cannot be understood, or a file it names.
    Usage(String),
    /// No server answered within the timeout.
    Unreachable {
        /// Those tried.
        servers: Vec<String>,
        /// The last one's trouble.
        reason: String,
    },
    /// The change was taken, and its outcome did not show within the timeout.
    Pending {
        /// What was waited for.
        what: String,
        /// How it stands, and why.
        stands: String,
    },
    /// The change was taken, and something else came of it.
    Otherwise {
        /// What came of it.
        what: String,
    },
    /// Somebody else changed the same thing meanwhile.
    Overtaken {
        /// What happened.
        what: String,
    },
    /// The server refused, for a reason that this version does not know.
    Refused {
        /// The server's code, or gRPC's.
        code: String,
        /// The server's words.
        message: String,
    },
    /// A server's answer makes no sense.
    BadAnswer {
        /// What is odd about it.
        reason: String,
    },
}

impl CliError {
    /// All codes that are given here; the others are [`RequestError::code`]'s.
    pub const CODES: &'static [&'static str] =
        &["BLX-CLI-001", "BLX-CLI-002", "BLX-CLI-003", "BLX-CLI-004", "BLX-CLI-005", "BLX-CLI-006"];

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Request(error) => error.code(),
            Self::Guest(error) => error.code(),
            Self::Usage(_) => "BLX-CLI-001",
            Self::Unreachable { .. } => "BLX-CLI-002",
            Self::Pending { .. } => "BLX-CLI-003",
            Self::Otherwise { .. } => "BLX-CLI-004",
            Self::Overtaken { .. } => "BLX-CLI-005",
            Self::BadAnswer { .. } => "BLX-CLI-006",
            Self::Refused { code, .. } => code,
        }
    }

    /// The exit code.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Request(error) => exit_of(error),
            Self::Guest(error) => match **error {
                GuestError::NoOutput { .. } => Exit::NotFound,
                GuestError::NotRunning { .. } | GuestError::NoConsole { .. } => Exit::Conflict,
                GuestError::HostUnreachable { .. } => Exit::Unavailable,
            },
            Self::Usage(_) => Exit::Usage,
            Self::Unreachable { .. } | Self::Pending { .. } => Exit::Unavailable,
            Self::Otherwise { .. } | Self::Refused { .. } | Self::BadAnswer { .. } => Exit::Failed,
            Self::Overtaken { .. } => Exit::Conflict,
        }
    }
}

fn exit_of(error: &RequestError) -> Exit {
    match error {
        RequestError::VmUnknown { .. } | RequestError::HostUnknown { .. } => Exit::NotFound,
        RequestError::VmExists { .. }
        | RequestError::GenerationConflict { .. }
        | RequestError::VmDeleting { .. }
        | RequestError::VmNotStopped { .. }
        | RequestError::HostBusy { .. }
        | RequestError::LastVoter { .. }
        | RequestError::IdTaken { .. }
        | RequestError::NotAVoter { .. }
        | RequestError::BelowLevel { .. } => Exit::Conflict,
        RequestError::NoRoom { .. } | RequestError::TooManyVms { .. } => Exit::NoRoom,
        RequestError::NoLeader | RequestError::Unknown { .. } | RequestError::Overloaded { .. } => {
            Exit::Unavailable
        }
        RequestError::BadSpec { .. } => Exit::Usage,
        RequestError::SessionExpired { .. } | RequestError::IdReused { .. } => Exit::Failed,
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request(error) => write!(f, "{error}"),
            Self::Guest(error) => write!(f, "{error}"),
            Self::Usage(reason) => write!(f, "{reason}"),
            Self::Unreachable { servers, reason } => {
                let all =
                    if servers.len() > 1 { format!(" from {}", servers.join(", ")) } else { String::new() };
                write!(
                    f,
                    "no answer{all} ({reason}): is `blixard node` running there, and is --server right?"
                )
            }
            Self::Pending { what, stands } => {
                write!(
                    f,
                    "{what}: not within the time allowed (--timeout); it goes on in the cluster, at the moment it is {stands}"
                )
            }
            Self::Otherwise { what } | Self::Overtaken { what } => write!(f, "{what}"),
            Self::Refused { message, .. } => write!(f, "{message}"),
            Self::BadAnswer { reason } => write!(
                f,
                "the server's answer makes no sense: {reason}; do client and server have the same version?"
            ),
        }
    }
}

impl From<RequestError> for CliError {
    fn from(error: RequestError) -> Self {
        Self::Request(Box::new(error))
    }
}

impl From<GuestError> for CliError {
    fn from(error: GuestError) -> Self {
        Self::Guest(Box::new(error))
    }
}

/// A failure as JSON and YAML.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ErrorView {
    error: ErrorBody,
}

#[derive(Clone, Debug, Serialize)]
struct ErrorBody {
    code: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    exit_code: u8,
}

impl ErrorView {
    /// `name` is the VM or host that the command was about.
    pub(super) fn new(error: &CliError, name: Option<&str>) -> Self {
        let body = ErrorBody {
            code: error.code().to_owned(),
            message: error.to_string(),
            name: name.map(str::to_owned),
            exit_code: error.exit() as u8,
        };
        Self { error: body }
    }
}
