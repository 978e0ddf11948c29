//! What `--discover` takes.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where to look for members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    /// A file of addresses, read anew in each round.
    File {
        /// Where it is.
        path: PathBuf,
    },
    /// The A and AAAA records of a name, through the system's resolver.
    Dns {
        /// The name.
        name: String,
        /// The members' port; none for this node's own.
        port: Option<u16>,
    },
    /// The nodes of this host's tailnet.
    Tailscale {
        /// Those that carry this ACL tag alone, as `tag:NAME`; none for all.
        tag: Option<String>,
    },
}

/// A value that names no source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} names no source: {reason}; write file:PATH, dns:NAME[:PORT] or tailscale[:TAG]")]
pub struct BadSpec {
    /// The value.
    pub value: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path } => write!(f, "file:{}", path.display()),
            Self::Dns { name, port: Some(port) } => write!(f, "dns:{name}:{port}"),
            Self::Dns { name, port: None } => write!(f, "dns:{name}"),
            Self::Tailscale { tag: None } => f.write_str("tailscale"),
            Self::Tailscale { tag: Some(tag) } => write!(f, "tailscale:{tag}"),
        }
    }
}

impl FromStr for Spec {
    type Err = BadSpec;

    fn from_str(text: &str) -> Result<Self, BadSpec> {
        let bad = |reason| BadSpec { value: text.into(), reason };
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (text, None),
        };
        match (kind, rest) {
            ("file", None | Some("")) => Err(bad("the path is missing")),
            ("file", Some(path)) => Ok(Self::File { path: path.into() }),
            ("dns", None | Some("")) => Err(bad("the name is missing")),
            ("dns", Some(rest)) => dns(rest).map_err(bad),
            ("tailscale", None) => Ok(Self::Tailscale { tag: None }),
            ("tailscale", Some(tag)) => tailscale(tag).map_err(bad),
            _ => Err(bad("the kind is unknown")),
        }
    }
}

fn dns(rest: &str) -> Result<Spec, &'static str> {
    let (name, port) = match rest.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (rest, None),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > 255 || !name.chars().all(fits) {
        return Err("that is no host name");
    }
    let port = match port.map(str::parse::<u16>) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err("the port is none from 1 to 65535"),
    };
    Ok(Spec::Dns { name: name.into(), port })
}

fn tailscale(tag: &str) -> Result<Spec, &'static str> {
    let name = tag.strip_prefix("tag:").unwrap_or(tag);
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        return Err("a tag is a letter, then letters, digits and hyphens");
    }
    Ok(Spec::Tailscale { tag: Some(format!("tag:{name}")) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_read_and_told_alike() {
        for (text, told) in [
            ("file:/etc/blixard/peers", "file:/etc/blixard/peers"),
            ("file:a:b", "file:a:b"),
            ("dns:nodes.example.org", "dns:nodes.example.org"),
            ("dns:nodes.example.org:7001", "dns:nodes.example.org:7001"),
            ("tailscale", "tailscale"),
            ("tailscale:blixard", "tailscale:tag:blixard"),
            ("tailscale:tag:blixard", "tailscale:tag:blixard"),
        ] {
            assert_eq!(text.parse::<Spec>().map(|spec| spec.to_string()).as_deref(), Ok(told));
        }
    }

    #[test]
    fn what_names_no_source_is_refused_with_the_choices() {
        for wrong in [
            "",
            "file",
            "file:",
            "dns:",
            "dns::7001",
            "dns:a:0",
            "dns:a:x",
            "dns:a:99999",
            "dns:a b",
            "dns:[::1]:1",
            "tailscale:",
            "tailscale:tag:",
            "tailscale:9",
            "tailscale:a:b",
            "consul:x",
        ] {
            let words = wrong.parse::<Spec>().expect_err(wrong).to_string();
            assert!(words.starts_with(&format!("{wrong:?}")), "{words}");
            assert!(words.ends_with("write file:PATH, dns:NAME[:PORT] or tailscale[:TAG]"), "{words}");
        }
    }
}
