//! Watches the raw bytes of an HTTP/1 connection and refuses what two parsers could read differently.
//!
//! hyper accepts a little more than RFC 9112 allows (a bare LF, `Content-Length` beside `Transfer-Encoding`), and its
//! parsed headers no longer show it. So this follows heads, bodies and chunks by itself, before hyper sees a byte.

use super::head::{Head, HeadLimits};
use crate::connection::Upgraded;
use crate::refusal::WireRefusal;

/// Where the connection is between messages, and what the current one is made of.
#[derive(Debug)]
pub(crate) struct Framing {
    limits: HeadLimits,
    state: State,
    /// Heads that have passed.
    heads: u32,
}

#[derive(Debug)]
enum State {
    /// Within a head, or between two messages.
    Head(Head),
    /// Within a body of known length.
    Length(u64),
    /// Within a chunked body.
    Chunked(Chunked),
    /// After a head that asks for another protocol: what follows waits for the decision.
    Undecided,
    /// The connection speaks another protocol now.
    Upgraded,
    /// Something was refused; nothing passes any more.
    Refused { refusal: WireRefusal, in_body: bool },
}

/// What a head says of what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyKind {
    /// No body.
    None,
    /// `Content-Length`.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// No body, and the protocol may change after it.
    Upgrade,
}

/// The parts of a chunked body (RFC 9112, section 7.1).
#[derive(Debug)]
enum Chunked {
    /// The size line, so far.
    Size { digits: u32, size: u64, line: SizeLine, length: usize },
    /// Bytes of a chunk still to come.
    Data(u64),
    /// After a chunk: CR LF, how many of the two were seen.
    DataEnd(u8),
    /// Trailer fields, read like the fields of a head.
    Trailer(Head),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SizeLine {
    Digits,
    /// After `;`: an extension's name must follow.
    Name,
    /// Within an extension's name or value.
    Extension,
    /// After CR.
    End,
}

/// The longest chunk-size line with extensions; nobody needs them.
const SIZE_LINE_MAX: usize = 256;

impl Framing {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { limits, state: State::Head(Head::new(limits)), heads: 0 }
    }

    /// How many bytes from the start of `bytes` may pass on. `bytes` starts with what did not pass before.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        loop {
            let rest = &bytes[passed..];
            if rest.is_empty() {
                return passed;
            }
            match self.step(rest) {
                Ok(0) => return passed,
                Ok(count) => passed += count,
                Err(refusal) => {
                    self.state = State::Refused { refusal, in_body: self.in_body() };
                    return passed;
                }
            }
        }
    }

    fn step(&mut self, rest: &[u8]) -> Result<usize, WireRefusal> {
        match &mut self.state {
            State::Head(head) => {
                let Some(end) = head.read(rest)? else { return Ok(0) };
                let kind = head.finish()?;
                self.state = match kind {
                    BodyKind::None => State::Head(Head::new(self.limits)),
                    BodyKind::Length(length) => State::Length(length),
                    BodyKind::Chunked => State::Chunked(Chunked::start()),
                    BodyKind::Upgrade => State::Undecided,
                };
                self.heads += 1;
                Ok(end)
            }
            State::Length(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left -= count as u64;
                if *left == 0 {
                    self.state = State::Head(Head::new(self.limits));
                }
                Ok(count)
            }
            State::Chunked(chunked) => {
                let (count, ended) = chunked.read(rest, self.limits)?;
                if ended {
                    self.state = State::Head(Head::new(self.limits));
                }
                Ok(count)
            }
            State::Undecided | State::Refused { .. } => Ok(0),
            State::Upgraded => Ok(rest.len()),
        }
    }

    /// How many heads have passed since this was last asked.
    pub(crate) fn take_heads(&mut self) -> u32 {
        std::mem::take(&mut self.heads)
    }

    /// Why nothing passes any more, if so.
    pub(crate) fn refusal(&self) -> Option<WireRefusal> {
        if let State::Refused { refusal, .. } = &self.state { Some(*refusal) } else { None }
    }

    /// Whether what was refused lies within a body, whose request is under way already.
    pub(crate) fn refused_in_body(&self) -> bool {
        matches!(self.state, State::Refused { in_body: true, .. })
    }

    /// Whether the next byte starts a message, or belongs to a head that has begun.
    pub(crate) fn in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether a body is under way.
    pub(crate) fn in_body(&self) -> bool {
        matches!(self.state, State::Length(_) | State::Chunked(_))
    }

    /// Whether what follows waits for [`Framing::decide`].
    pub(crate) fn is_undecided(&self) -> bool {
        matches!(self.state, State::Undecided)
    }

    /// The protocol changes, or stays HTTP/1.
    pub(crate) fn decide(&mut self, upgraded: Upgraded) {
        if self.is_undecided() {
            self.state = match upgraded {
                Upgraded::Yes => State::Upgraded,
                Upgraded::No => State::Head(Head::new(self.limits)),
            };
        }
    }
}

impl Chunked {
    fn start() -> Self {
        Self::Size { digits: 0, size: 0, line: SizeLine::Digits, length: 0 }
    }

    /// Reads on; returns how many bytes passed and whether the body has ended.
    fn read(&mut self, rest: &[u8], limits: HeadLimits) -> Result<(usize, bool), WireRefusal> {
        match self {
            Self::Data(left) => {
                let count = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left -= count as u64;
                if *left == 0 {
                    *self = Self::DataEnd(0);
                }
                Ok((count, false))
            }
            Self::DataEnd(seen) => {
                match (*seen, rest[0]) {
                    (0, b'\r') => *seen = 1,
                    (1, b'\n') => *self = Self::start(),
                    _ => return Err(WireRefusal::ChunkEnd),
                }
                Ok((1, false))
            }
            Self::Size { .. } => self.read_size(rest, limits),
            Self::Trailer(trailer) => match trailer.read(rest)? {
                Some(end) => Ok((end, true)),
                None => Ok((0, false)),
            },
        }
    }

    fn read_size(&mut self, rest: &[u8], limits: HeadLimits) -> Result<(usize, bool), WireRefusal> {
        let Self::Size { digits, size, line, length } = self else { return Ok((0, false)) };
        for (index, &byte) in rest.iter().enumerate() {
            *length += 1;
            if *length > SIZE_LINE_MAX {
                return Err(WireRefusal::ChunkSize);
            }
            *line = match (*line, byte) {
                (SizeLine::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if *digits < 15 => {
                    let digit = char::from(byte).to_digit(16).unwrap_or(0);
                    *size = *size << 4 | u64::from(digit);
                    *digits += 1;
                    SizeLine::Digits
                }
                (SizeLine::Digits, b';') if *digits > 0 => SizeLine::Name,
                (SizeLine::Digits, b'\r') if *digits > 0 => SizeLine::End,
                (SizeLine::Extension, b';') => SizeLine::Name,
                (SizeLine::Extension, b'\r') => SizeLine::End,
                (SizeLine::Name, byte) if crate::syntax::is_token(byte) => SizeLine::Extension,
                (SizeLine::Extension, b'"' | b'=' | 0x23..=0x7e) => SizeLine::Extension,
                (SizeLine::Extension, b'!') => SizeLine::Extension,
                (SizeLine::End, b'\n') => {
                    *self = match *size {
                        0 => Self::Trailer(Head::trailer(limits)),
                        size => Self::Data(size),
                    };
                    return Ok((index + 1, false));
                }
                _ => return Err(WireRefusal::ChunkSize),
            };
        }
        Ok((rest.len(), false))
    }
}
