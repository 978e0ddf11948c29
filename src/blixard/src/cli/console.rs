//! `blixard vm console`.

use std::io::{self, IsTerminal, Read};
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use blixard_proto::v1::guest_service_client::GuestServiceClient;
use blixard_proto::v1::{ConsoleInput, ConsoleOpen, ConsoleOutput};
use rustix::termios::{OptionalActions, OutputModes, Termios, tcgetattr, tcsetattr};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::args::{Console, Escape};
use super::client::Client;
use super::error::CliError;
use super::logs::print;
use super::output::Output;
use super::vm::check_name;

/// The most bytes sent at once.
const READ_MAX: usize = 4 << 10;

/// Chunks between the terminal and the connection.
const CHUNKS_MAX: usize = 16;

/// How long the last keys may take to the guest.
const FINISH_MAX: Duration = Duration::from_secs(1);

/// Why a session ended without a failure.
enum End {
    Detached,
    /// The guest's side was closed.
    Closed,
    /// Standard input was over, and the guest silent since then.
    Silent,
    /// Nobody reads what is printed.
    Unread,
    Signal,
}

pub(super) async fn run(args: &Console, client: &mut Client, output: Output) -> Result<(), CliError> {
    let name = check_name(args.vm.name())?.to_string();
    let (sender, stream) = open(client, &name, args.stale).await?;
    let typed = io::stdin().is_terminal();
    let escape = if typed { args.escape } else { Escape(None) };
    let raw = typed.then(Raw::begin).transpose();
    let raw = raw.map_err(|error| CliError::Usage(format!("the terminal cannot be used: {error}")))?;
    if typed {
        let how = match escape {
            Escape(Some(_)) => format!("{escape} detaches"),
            Escape(None) => "no key detaches: end this program to do so".into(),
        };
        output.progress(&format!("attached to {name}; {how}\r"));
    }
    client.renew();
    let session =
        Session { sender: Some(sender), stream, escape, linger: args.linger, linger_max: client.time_left() };
    let ended = session.run().await;
    drop(raw);
    match ended {
        Ok(End::Detached) => output.progress(&format!("\ndetached from {name}; it runs on")),
        Ok(End::Closed) => output.progress(&format!("\nthe console of {name} was closed: the VM has ended")),
        Ok(End::Silent | End::Unread | End::Signal) => {}
        Err(status) => {
            let reason = client.broke(&status)?;
            let reason = format!("the console of {name} broke off: {reason}");
            return Err(CliError::Unreachable { servers: Vec::new(), reason });
        }
    }
    Ok(())
}

async fn open(
    client: &mut Client,
    name: &str,
    stale: bool,
) -> Result<(mpsc::Sender<ConsoleInput>, Streaming<ConsoleOutput>), CliError> {
    client
        .call(|channel| {
            let open = ConsoleOpen { name: name.to_owned(), stale, vm: None };
            async move {
                let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
                // Takes it at once: the channel is empty.
                let _ = sender.try_send(ConsoleInput { open: Some(open), ..ConsoleInput::default() });
                let answer = GuestServiceClient::new(channel).console(ReceiverStream::new(receiver)).await?;
                Ok(Response::new((sender, answer.into_inner())))
            }
        })
        .await
}

struct Session {
    /// None once standard input is over.
    sender: Option<mpsc::Sender<ConsoleInput>>,
    stream: Streaming<ConsoleOutput>,
    escape: Escape,
    linger: Duration,
    /// For a guest that is never silent.
    linger_max: Duration,
}

impl Session {
    async fn run(mut self) -> Result<End, Status> {
        let mut keys = read_input();
        let mut signals = Signals::new()?;
        let mut heard = Instant::now();
        let mut ended = heard;
        loop {
            tokio::select! {
                biased;
                () = signals.next() => return Ok(End::Signal),
                () = sleep_until((heard + self.linger).min(ended + self.linger_max)), if self.sender.is_none() => {
                    return Ok(End::Silent);
                }
                said = self.stream.message() => match said? {
                    Some(ConsoleOutput { data }) => {
                        heard = Instant::now();
                        if !print(&data) {
                            return Ok(End::Unread);
                        }
                    }
                    None => return Ok(End::Closed),
                },
                typed = keys.recv(), if self.sender.is_some() => match typed {
                    Some(typed) => {
                        if !self.send(&typed).await {
                            self.finish().await;
                            return Ok(End::Detached);
                        }
                    }
                    None => {
                        self.sender = None;
                        heard = Instant::now();
                        ended = heard;
                    }
                },
            }
        }
    }

    /// Sends what was typed, up to the key that detaches. False when that came.
    async fn send(&mut self, typed: &[u8]) -> bool {
        let until = self.escape.0.and_then(|key| typed.iter().position(|byte| *byte == key));
        let data = typed[..until.unwrap_or(typed.len())].to_vec().into();
        if let Some(sender) = &self.sender {
            // Fails when the stream is over; that is told on its other side.
            let _ = sender.send(ConsoleInput { open: None, data, end: until.is_some() }).await;
        }
        until.is_none()
    }

    /// Waits until what was typed has gone to the guest.
    async fn finish(&mut self) {
        let _ = timeout(FINISH_MAX, async {
            while let Ok(Some(ConsoleOutput { data })) = self.stream.message().await {
                print(&data);
            }
        })
        .await;
    }
}

/// Reads standard input on a thread of its own, which is left behind when the program ends: nothing wakes a blocked read.
fn read_input() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    thread::spawn(move || {
        let mut buffer = [0; READ_MAX];
        loop {
            match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if sender.blocking_send(buffer[..count].to_vec()).is_err() => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
    receiver
}

/// What would end the program with the terminal left raw.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> io::Result<Self> {
        let [a, b, c] = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        Ok(Self([signal(a)?, signal(b)?, signal(c)?]))
    }

    async fn next(&mut self) {
        let [a, b, c] = &mut self.0;
        tokio::select! {
            _ = a.recv() => {}
            _ = b.recv() => {}
            _ = c.recv() => {}
        }
    }
}

/// A terminal that passes every key on. As it was again when this is dropped, also by a panic.
struct Raw(Termios);

impl Raw {
    fn begin() -> io::Result<Self> {
        let before = tcgetattr(io::stdin().as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        // A program that runs as a VM ends its lines with a line feed alone; to a guest that says both it does no harm.
        raw.output_modes |= OutputModes::OPOST | OutputModes::ONLCR;
        tcsetattr(io::stdin().as_fd(), OptionalActions::Drain, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Drain, &self.0);
    }
}
