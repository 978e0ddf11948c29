//! The addresses of a name.

use super::Candidate;

/// Asks the system's resolver for the A and AAAA records of `name`.
///
/// # Errors
/// When the name cannot be resolved.
pub(super) async fn resolve(name: &str, port: u16) -> Result<Vec<Candidate>, String> {
    let found = tokio::net::lookup_host((name, port))
        .await
        .map_err(|error| format!("cannot resolve {name}: {error}"))?;
    Ok(found.map(|address| Candidate::at(address.to_string())).collect())
}
