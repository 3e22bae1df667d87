//! Finds the end of a head, line by line, as its bytes arrive.

use std::ops::Range;

use memchr::memchr_iter;

use super::fields;
use crate::refusal::WireRefusal;

/// What a head is held to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// All of it, in bytes.
    pub(crate) bytes: usize,
    /// Its fields.
    pub(crate) count: usize,
    /// How its lines may end.
    pub(crate) line_ends: LineEnds,
}

/// How lines may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineEnds {
    /// CR LF and nothing else: from clients.
    Strict,
    /// LF alone, too: some servers write it, and nobody behind us reads it again (RFC 9112, section 2.2).
    Lenient,
}

/// What the lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A request line or a status line, then fields.
    Message,
    /// Fields alone.
    Trailer,
}

/// The lines of a head, as far as they have come. Offsets count from the head's first byte; what was read is not read
/// again.
#[derive(Debug)]
pub(crate) struct Lines {
    kind: Kind,
    /// Where each line starts, and in the end where the empty one does.
    starts: Vec<u32>,
    scanned: usize,
    /// Lines that were judged while the head was not complete.
    judged: usize,
}

impl Lines {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, starts: Vec::new(), scanned: 0, judged: 0 }
    }

    /// Ready for the next head, without giving memory back.
    pub(crate) fn clear(&mut self) {
        self.starts.clear();
        self.scanned = 0;
        self.judged = 0;
    }

    /// Reads on in `bytes`, which start with the head. Returns its length once its empty line is there.
    pub(crate) fn scan(
        &mut self,
        bytes: &[u8],
        limits: HeadLimits,
    ) -> Result<Option<usize>, WireRefusal> {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        let from = self.scanned;
        for at in memchr_iter(b'\n', &bytes[from..]) {
            let at = from + at;
            self.scanned = at + 1;
            if self.scanned > limits.bytes {
                return Err(WireRefusal::HeaderBytes);
            }
            let start = self.starts.last().map_or(0, |start| *start as usize);
            let line = &bytes[start..at];
            let is_empty = match line {
                [] | [.., 0..=b'\x0c' | b'\x0e'..] if limits.line_ends == LineEnds::Strict => {
                    self.judge_complete(bytes)?;
                    self.judge_text(line)?;
                    return Err(WireRefusal::BareLf);
                }
                [] | [b'\r'] => true,
                _ => false,
            };
            if is_empty && self.may_be_skipped(start) {
                self.starts[0] = offset(at + 1)?;
                continue;
            }
            if is_empty {
                return self.end(start, at);
            }
            // A message has one line before its fields.
            let lines_max = limits.count + usize::from(self.kind == Kind::Message);
            if self.starts.len() > lines_max {
                return Err(WireRefusal::HeaderCount);
            }
            self.starts.push(offset(at + 1)?);
        }
        if bytes.len() > limits.bytes {
            return Err(WireRefusal::HeaderBytes);
        }
        self.scanned = bytes.len();
        self.judge_complete(bytes)?;
        self.judge_partial(bytes, from)?;
        Ok(None)
    }

    /// One empty line before a message is let pass (RFC 9112, section 2.2).
    fn may_be_skipped(&self, start: usize) -> bool {
        self.kind == Kind::Message && self.starts.len() == 1 && start == 0
    }

    fn end(&self, start: usize, at: usize) -> Result<Option<usize>, WireRefusal> {
        let nothing_before = self.kind == Kind::Message && self.starts.len() == 1;
        if nothing_before && start > 0 { Err(WireRefusal::RequestLine) } else { Ok(Some(at + 1)) }
    }

    /// What is wrong already need not be waited for: whoever speaks TLS here hears of it at once.
    fn judge_partial(&self, bytes: &[u8], judged: usize) -> Result<(), WireRefusal> {
        let start = self.starts.last().map_or(0, |start| *start as usize);
        // The last byte may have been a CR whose LF was still to come.
        let line = &bytes[start.max(judged.saturating_sub(1))..];
        self.judge_text(line.strip_suffix(b"\r").unwrap_or(line))
    }

    /// The same for lines of which the head's end is still to come. A head that is complete is judged as it is parsed.
    fn judge_complete(&mut self, bytes: &[u8]) -> Result<(), WireRefusal> {
        let first = self.kind == Kind::Message;
        for (index, range) in self.ranges(bytes).enumerate().skip(self.judged) {
            match index {
                0 if first => in_first_line(&bytes[range])?,
                _ => fields::judge(&bytes[range])?,
            }
        }
        self.judged = self.starts.len() - 1;
        Ok(())
    }

    fn judge_text(&self, text: &[u8]) -> Result<(), WireRefusal> {
        match self.starts.len() {
            1 if self.kind == Kind::Message => in_first_line(text),
            _ => fields::control(text).map_or(Ok(()), Err),
        }
    }

    /// The line before the fields, without its end. Of a complete head.
    pub(crate) fn first(&self, bytes: &[u8]) -> Range<usize> {
        self.ranges(bytes).next().unwrap_or(0..0)
    }

    /// The fields' lines, without their ends. Of a complete head.
    pub(crate) fn fields<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        self.ranges(bytes).skip(usize::from(self.kind == Kind::Message))
    }

    /// How many fields there are. Of a complete head.
    pub(crate) fn field_count(&self) -> usize {
        self.starts.len().saturating_sub(1 + usize::from(self.kind == Kind::Message))
    }

    fn ranges<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
        self.starts.windows(2).map(|pair| {
            let (start, end) = (pair[0] as usize, pair[1] as usize - 1);
            let end = if bytes[start..end].last() == Some(&b'\r') { end - 1 } else { end };
            start..end
        })
    }
}

fn offset(at: usize) -> Result<u32, WireRefusal> {
    u32::try_from(at).map_err(|_| WireRefusal::HeaderBytes)
}

/// A control byte before the fields.
fn in_first_line(text: &[u8]) -> Result<(), WireRefusal> {
    match fields::control(text) {
        None => Ok(()),
        Some(WireRefusal::FieldValue) => Err(WireRefusal::Target),
        Some(other) => Err(other),
    }
}
