//! The little of HTTP/1.1 (RFC 9112) that a controller needs: requests without a body, and answers taken as they come, in pieces.

/// The most bytes of an answer's head. One that is longer is none.
const HEAD_LEN_MAX: usize = 16 << 10;

/// The most bytes of an answer's body.
const BODY_LEN_MAX: usize = 192 << 10;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
    /// The server sends no other over this connection.
    pub(super) is_last: bool,
}

impl Answer {
    pub(super) fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Takes answers out of what has come.
#[derive(Debug, Default)]
pub(super) struct Answers {
    came: Vec<u8>,
}

/// A request without a body, such as a server on a Unix socket takes it.
pub(super) fn request(method: &str, path: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n").into_bytes()
}

impl Answers {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.came.extend_from_slice(bytes);
    }

    /// The next answer, once all of it has come; `closed` when nothing more will.
    ///
    /// # Errors
    /// What is no answer about it. Nothing that comes over this connection can be understood then.
    pub(super) fn take(&mut self, closed: bool) -> Result<Option<Answer>, &'static str> {
        loop {
            let Some(head_len) = find(&self.came, b"\r\n\r\n") else {
                return if self.came.len() > HEAD_LEN_MAX { Err("its head has no end") } else { Ok(None) };
            };
            let head = std::str::from_utf8(&self.came[..head_len]).map_err(|_| "its head is no text")?;
            let head = Head::read(head)?;
            let rest = &self.came[head_len + 4..];
            if (100..200).contains(&head.status) {
                self.came.drain(..head_len + 4);
                continue;
            }
            let Some((body, len)) = head.body(rest, closed)? else { return Ok(None) };
            let is_last = head.closes || head.length == Length::UntilClosed;
            self.came.drain(..head_len + 4 + len);
            return Ok(Some(Answer { status: head.status, body, is_last }));
        }
    }
}

/// What is read of an answer's head.
#[derive(Debug)]
struct Head {
    status: u16,
    length: Length,
    closes: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

impl Head {
    fn read(head: &str) -> Result<Self, &'static str> {
        let mut lines = head.split("\r\n");
        let mut words = lines.next().unwrap_or_default().split(' ');
        let version = words.next().unwrap_or_default();
        let status = words.next().and_then(|word| word.parse().ok());
        let (true, Some(status)) = (version.starts_with("HTTP/1."), status) else {
            return Err("it does not begin as HTTP/1.1 does");
        };
        let mut length = Length::UntilClosed;
        let mut closes = version == "HTTP/1.0";
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") && length != Length::Chunked {
                let known: usize = value.parse().map_err(|_| "its length is no number")?;
                length = Length::Known(known);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                length = Length::Chunked;
            } else if name.eq_ignore_ascii_case("connection") {
                closes |= value.eq_ignore_ascii_case("close");
            }
        }
        if status == 204 || status == 304 {
            length = Length::Known(0);
        }
        match length {
            Length::Known(len) if len > BODY_LEN_MAX => Err("its body is too long"),
            _ => Ok(Self { status, length, closes }),
        }
    }

    /// The body, and how many bytes it takes; none while it is not all there.
    fn body(&self, rest: &[u8], closed: bool) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
        match self.length {
            Length::Known(len) => Ok(rest.get(..len).map(|body| (body.to_vec(), len))),
            Length::Chunked => chunked(rest),
            Length::UntilClosed if rest.len() > BODY_LEN_MAX => Err("its body is too long"),
            Length::UntilClosed => Ok(closed.then(|| (rest.to_vec(), rest.len()))),
        }
    }
}

/// A body in chunks, with what comes after the last one (RFC 9112, section 7.1).
fn chunked(rest: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let mut body = Vec::new();
    let mut at = 0;
    loop {
        let Some(line) = find(&rest[at..], b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&rest[at..at + line]).unwrap_or_default();
        let size = size.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16).map_err(|_| "a chunk's size is no number")?;
        at += line + 2;
        if size == 0 {
            // Trailers end with an empty line; mostly there is only that one.
            let trailers = &rest[at..];
            let end = if trailers.starts_with(b"\r\n") {
                Some(2)
            } else {
                find(trailers, b"\r\n\r\n").map(|end| end + 4)
            };
            return Ok(end.map(|end| (body, at + end)));
        }
        if body.len() + size > BODY_LEN_MAX {
            return Err("its body is too long");
        }
        let Some(chunk) = rest.get(at..at + size + 2) else { return Ok(None) };
        body.extend_from_slice(&chunk[..size]);
        at += size + 2;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fed whole and byte by byte, it has to come out the same.
    fn taken(bytes: &str, closed: bool) -> Vec<(u16, String, bool)> {
        let shown = |answer: Answer| {
            (answer.status, String::from_utf8_lossy(&answer.body).into_owned(), answer.is_last)
        };
        let mut whole = Answers::default();
        whole.push(bytes.as_bytes());
        let mut all = Vec::new();
        while let Some(answer) = whole.take(closed).unwrap() {
            all.push(shown(answer));
        }
        let (mut pieces, mut again) = (Answers::default(), Vec::new());
        for (at, byte) in bytes.bytes().enumerate() {
            pieces.push(&[byte]);
            while let Some(answer) = pieces.take(closed && at + 1 == bytes.len()).unwrap() {
                again.push(shown(answer));
            }
        }
        assert_eq!(all, again);
        all
    }

    #[test]
    fn answers_are_taken_in_every_form() {
        let plain = "HTTP/1.1 204 No Content\r\nServer: x\r\nConnection: keep-alive\r\n\r\n\
                     HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        assert_eq!(taken(plain, false), [(204, String::new(), false), (200, "hello".into(), false)]);
        let chunked = "HTTP/1.1 500 Error\r\nTransfer-Encoding: chunked\r\n\r\n\
                       3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n\
                       HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n";
        assert_eq!(taken(chunked, false), [(500, "abc0123456789".into(), false), (404, String::new(), true)]);
        assert_eq!(taken("HTTP/1.1 200 OK\r\n\r\nall of it", true), [(200, "all of it".into(), true)]);
        assert_eq!(taken("HTTP/1.1 200 OK\r\n\r\nall of it", false), [], "it may go on");
        let informed = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        assert_eq!(taken(informed, false), [(204, String::new(), false)]);
        assert_eq!(taken("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", true), [], "cut off");
    }

    #[test]
    fn what_is_no_answer_is_refused_and_nothing_grows_without_bound() {
        let refused = |bytes: &str| {
            let mut answers = Answers::default();
            answers.push(bytes.as_bytes());
            answers.take(false).is_err()
        };
        assert!(refused("SSH-2.0-x\r\n\r\n"));
        assert!(refused("HTTP/1.1 abc\r\n\r\n"));
        assert!(refused("HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n"));
        assert!(refused("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n"));
        assert!(refused("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n"));
        assert!(refused("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFF\r\n"));
        assert!(refused(&"x".repeat(HEAD_LEN_MAX + 1)));
    }
}
