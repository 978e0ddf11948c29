//! tonic over turmoil's TCP.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use blixard::net::{Connect, Serve, Transport, endpoint};
use blixard_tests::shell::PORT;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Uri;
use tonic::transport::server::Connected;
use turmoil::net::{TcpListener, TcpStream};

/// A connection that a server has taken.
struct Taken(TcpStream);

impl Connected for Taken {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl AsyncRead for Taken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, into)
    }
}

impl AsyncWrite for Taken {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Connects with the daemon's own settings for endpoints.
pub(crate) fn connect() -> Connect {
    let dial = |uri: Uri| async move {
        let host = uri.host().unwrap_or_default().to_owned();
        let stream = TcpStream::connect((host, uri.port_u16().unwrap_or(PORT))).await?;
        Ok::<_, io::Error>(TokioIo::new(stream))
    };
    std::sync::Arc::new(move |address| {
        Box::pin(async move {
            let connector = tower::service_fn(dial);
            Ok(endpoint(&address)?.connect_with_connector(connector).await?)
        })
    })
}

/// The way in and out of the present host.
pub(crate) async fn transport() -> io::Result<Transport> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let serve: Serve = Box::new(move |router, shutdown| {
        Box::pin(async move {
            let (taken, incoming) = mpsc::channel(16);
            let accepts = tokio::spawn(async move {
                loop {
                    let stream = listener.accept().await.map(|(stream, _)| Taken(stream));
                    if taken.send(stream).await.is_err() {
                        return;
                    }
                }
            });
            let served = router.serve_with_incoming_shutdown(ReceiverStream::new(incoming), shutdown).await;
            accepts.abort();
            Ok(served?)
        })
    });
    Ok(Transport { connect: connect(), serve })
}
