//! A file of addresses, one a line: `ADDR` or `ID:ADDR`. `#` begins a comment.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use blixard_node::ids::NodeId;

use super::Candidate;

/// The largest file that is read, in bytes.
const FILE_LEN_MAX: u64 = 1 << 20;

/// Reads the file.
///
/// # Errors
/// When it cannot be read, is too large, or has a line that is no address: it may be half written, so none of it is
/// taken.
pub(super) async fn read(path: &Path) -> Result<Vec<Candidate>, String> {
    let path = path.to_owned();
    // A file may be on a network that hangs.
    let read = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        let read = File::open(&path).and_then(|file| file.take(FILE_LEN_MAX + 1).read_to_string(&mut text));
        match read {
            Err(error) => Err(format!("cannot read {}: {error}", path.display())),
            Ok(_) if text.len() as u64 > FILE_LEN_MAX => {
                Err(format!("{} is larger than {FILE_LEN_MAX} bytes", path.display()))
            }
            Ok(_) => parse(&text).map_err(|reason| format!("{}, {reason}", path.display())),
        }
    });
    read.await.map_err(|error| error.to_string())?
}

fn parse(text: &str) -> Result<Vec<Candidate>, String> {
    let mut candidates = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            candidates.push(candidate(line).map_err(|reason| format!("line {}: {reason}", number + 1))?);
        }
    }
    Ok(candidates)
}

/// An address with the id of who should answer there, or without.
///
/// # Errors
/// When it is neither `HOST:PORT` nor `ID:HOST:PORT`.
pub fn candidate(text: &str) -> Result<Candidate, String> {
    let rule =
        || format!("{text:?} is no address: write [ID:]HOST:PORT, such as 10.0.0.2:7001 or 2:10.0.0.2:7001");
    let (expected, address) = match text.split_once(':') {
        Some((id, address)) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
            let id = id.parse().ok().filter(|id| *id > 0).ok_or_else(rule)?;
            (Some(NodeId(id)), address)
        }
        _ => (None, text),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(rule)?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_fits = match bracketed {
        Some(ip) => ip.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty()
                && !host.contains([':', '/', '@', '[', ']'])
                && !host.contains(char::is_whitespace)
        }
    };
    if !host_fits || !port.parse::<u16>().is_ok_and(|port| port > 0) {
        return Err(rule());
    }
    Ok(Candidate { address: address.into(), expected })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_addresses_with_or_without_an_id() {
        let text = "# the first three\n10.0.0.1:7001\n\n 2:10.0.0.2:7001  # by the door\n3:[fd00::3]:7001\r\nhost:1\n[::1]:2";
        let read: Vec<_> = parse(text)
            .expect("reads")
            .into_iter()
            .map(|candidate| (candidate.expected.map(|node| node.0), candidate.address))
            .collect();
        let wanted = [
            (None, "10.0.0.1:7001"),
            (Some(2), "10.0.0.2:7001"),
            (Some(3), "[fd00::3]:7001"),
            (None, "host:1"),
            (None, "[::1]:2"),
        ];
        assert_eq!(read, wanted.map(|(node, address)| (node, address.to_owned())));
    }

    #[test]
    fn a_bad_line_is_named() {
        for wrong in [
            "10.0.0.1",
            "0:a:1",
            "2:",
            "7:7001",
            "::1:7001",
            "a:0",
            "a:70000",
            "a b:1",
            "http://a:1",
            "[x]:1",
        ] {
            let words = parse(&format!("ok:1\n{wrong}\n")).expect_err(wrong);
            assert!(words.starts_with("line 2: ") && words.contains(wrong), "{words}");
        }
    }
}
