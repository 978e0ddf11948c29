//! What is printed. Whoever has stopped reading does not want the rest: a closed pipe is no error, and what else was asked for, such as
//! files and the exit code, is as if everything had been read.

use std::fmt::Display;
use std::io::{ErrorKind, Write, stderr, stdout};

/// Prints a line.
pub(crate) fn line(text: impl Display) {
    print(&mut stdout().lock(), &format!("{text}\n"));
}

/// Prints what has its own ends of lines.
pub(crate) fn text(text: impl Display) {
    print(&mut stdout().lock(), &text.to_string());
}

/// Tells a line on stderr. There is nobody to complain to when that cannot be.
pub(crate) fn tell(text: impl Display) {
    let _ = stderr().lock().write_all(format!("{text}\n").as_bytes());
}

fn print(out: &mut impl Write, text: &str) {
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        tell(format_args!("error: cannot print: {error}"));
    }
}
