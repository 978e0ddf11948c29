//! Ctrl-C and SIGTERM: the first asks for an orderly end, the second ends at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// What a shell adds to a signal's number.
const OF_SIGNALS: i32 = 128;

/// Whether an orderly end is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    asked: Arc<AtomicBool>,
    /// The signal that asked first, or 0.
    by: Arc<AtomicUsize>,
}

impl Asked {
    /// Listens from now on. Where that cannot be, the signals end the process as they always do.
    pub(crate) fn listen() -> Self {
        let this = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // In this order: what is asked for the first time is not there yet when the conditional end looks.
            let _ = flag::register_conditional_shutdown(signal, OF_SIGNALS + signal, Arc::clone(&this.asked));
            let _ = flag::register_usize(signal, Arc::clone(&this.by), signal.unsigned_abs() as usize);
            let _ = flag::register(signal, Arc::clone(&this.asked));
        }
        this
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// The exit code of a process that was asked to end, as shells give it.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        let signal = u8::try_from(self.by.load(Ordering::Relaxed)).ok()?;
        self.is_asked().then_some(128 + signal)
    }
}
