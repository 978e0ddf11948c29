//! How connections are made and taken: TCP in production, anything else in a simulation.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

pub use tonic::transport::server::Router;

/// Any error of a transport.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Connects to an address.
pub type Connect = Arc<dyn Fn(String) -> Boxed<Result<Channel, AnyError>> + Send + Sync>;

/// Done when the server shall end.
pub type Shutdown = Boxed<()>;

/// Serves all services until it is told to end.
pub type Serve = Box<dyn FnOnce(Router, Shutdown) -> Boxed<Result<(), AnyError>> + Send>;

/// A way out and a way in.
pub struct Transport {
    /// The way out.
    pub connect: Connect,
    /// The way in.
    pub serve: Serve,
}

impl std::fmt::Debug for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// How often an idle connection is tried, and how long the answer may take: a peer that vanished without a word must
/// be noticed well within a lease.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// An endpoint with this crate's settings, for any connector.
///
/// # Errors
/// When `address` is no `host:port`.
pub fn endpoint(address: &str) -> Result<Endpoint, AnyError> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(KEEPALIVE)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

/// Connects by TCP (the simulated one under `--cfg madsim`).
#[must_use]
pub fn connect() -> Connect {
    Arc::new(|address| Box::pin(async move { Ok(endpoint(&address)?.connect().await?) }))
}

impl Transport {
    /// TCP, on a listener that is bound already.
    #[cfg(not(madsim))]
    #[must_use]
    pub fn tcp(listener: tokio::net::TcpListener) -> Self {
        use tonic::transport::server::TcpIncoming;

        let serve: Serve = Box::new(|router, shutdown| {
            let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
            Box::pin(async move { Ok(router.serve_with_incoming_shutdown(incoming, shutdown).await?) })
        });
        Self { connect: connect(), serve }
    }

    /// The simulated network.
    #[cfg(madsim)]
    #[must_use]
    pub fn simulated(address: std::net::SocketAddr) -> Self {
        let serve: Serve = Box::new(move |router, shutdown| {
            Box::pin(async move { Ok(router.serve_with_shutdown(address, shutdown).await?) })
        });
        Self { connect: connect(), serve }
    }
}
