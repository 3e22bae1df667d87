//! Reads a chunked body (RFC 9112, section 7.1) strictly: what two readers could take for different sizes is refused.

use bytes::Bytes;
use http::HeaderMap;

use super::fields;
use super::input::Input;
use super::lines::{HeadLimits, Kind, LineEnds, Lines};
use crate::refusal::WireRefusal;

/// The longest chunk-size line with extensions; nobody needs them.
const SIZE_LINE_MAX: usize = 256;

/// Where the reading of a chunked body stands.
#[derive(Debug)]
pub(crate) struct Chunked {
    state: State,
    limits: HeadLimits,
}

#[derive(Debug)]
enum State {
    /// The size line, so far.
    Size(SizeLine),
    /// Bytes of a chunk still to come.
    Data(u64),
    /// After a chunk: CR LF, how many of the two were seen.
    DataEnd(u8),
    /// Trailer fields, read like the fields of a head.
    Trailer(Lines),
}

#[derive(Clone, Copy, Debug)]
struct SizeLine {
    digits: u32,
    size: u64,
    part: SizePart,
    length: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SizePart {
    Digits,
    /// White space after the digits, which some servers write to be able to fill the size in later.
    Padding,
    /// After `;`: an extension's name must follow.
    Name,
    /// Within an extension's name or value.
    Extension,
    /// After CR.
    End,
}

/// What comes next of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// More has to be read first.
    Missing,
    /// Data.
    Data(Bytes),
    /// The body has ended; these are its trailer fields.
    End(Option<HeaderMap>),
}

impl Chunked {
    pub(crate) fn new(limits: HeadLimits) -> Self {
        Self { state: State::start(), limits }
    }

    /// Reads on, and takes what it reads out of `input`.
    pub(crate) fn next(&mut self, input: &mut Input) -> Result<Piece, WireRefusal> {
        while !input.is_empty() {
            if let Some(piece) = self.step(input)? {
                return Ok(piece);
            }
        }
        Ok(Piece::Missing)
    }

    fn step(&mut self, input: &mut Input) -> Result<Option<Piece>, WireRefusal> {
        let line_ends = self.limits.line_ends;
        match &mut self.state {
            State::Size(line) => {
                let (count, size) = line.read(input.bytes(), line_ends)?;
                input.skip(count);
                match size {
                    Some(0) => self.state = State::Trailer(Lines::new(Kind::Trailer)),
                    Some(size) => self.state = State::Data(size),
                    None => {}
                }
                Ok(None)
            }
            State::Data(left) => {
                let data = input.take_of(left);
                if *left == 0 {
                    self.state = State::DataEnd(0);
                }
                Ok(Some(Piece::Data(data)))
            }
            State::DataEnd(seen) => {
                match (*seen, input.bytes()[0], line_ends) {
                    (0, b'\r', _) => *seen = 1,
                    (1, b'\n', _) | (0, b'\n', LineEnds::Lenient) => self.state = State::start(),
                    (_, _, _) => return Err(WireRefusal::ChunkEnd),
                }
                input.skip(1);
                Ok(None)
            }
            State::Trailer(lines) => match lines.scan(input.bytes(), self.limits)? {
                Some(length) => Ok(Some(Piece::End(trailers(lines, &input.take(length))?))),
                None => Ok(Some(Piece::Missing)),
            },
        }
    }
}

impl State {
    fn start() -> Self {
        Self::Size(SizeLine { digits: 0, size: 0, part: SizePart::Digits, length: 0 })
    }
}

/// The fields behind the last chunk. Those that say how to read a message have no place there (RFC 9110, section 6.5.1).
fn trailers(lines: &Lines, bytes: &Bytes) -> Result<Option<HeaderMap>, WireRefusal> {
    if lines.field_count() == 0 {
        return Ok(None);
    }
    let fields = fields::parse(bytes, lines, |name, _| match *name {
        http::header::HOST
        | http::header::CONTENT_LENGTH
        | http::header::TRANSFER_ENCODING
        | http::header::CONNECTION
        | http::header::UPGRADE
        | http::header::TRAILER
        | http::header::TE => Err(WireRefusal::Trailer),
        _ => Ok(()),
    })?;
    Ok(Some(fields))
}

impl SizeLine {
    /// How many bytes were read, and the size once the line is complete.
    fn read(
        &mut self,
        bytes: &[u8],
        line_ends: LineEnds,
    ) -> Result<(usize, Option<u64>), WireRefusal> {
        for (index, &byte) in bytes.iter().enumerate() {
            self.length += 1;
            if self.length > SIZE_LINE_MAX {
                return Err(WireRefusal::ChunkSize);
            }
            self.part = match (self.part, byte) {
                (SizePart::Digits, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') if self.digits < 15 => {
                    let digit = char::from(byte).to_digit(16).unwrap_or(0);
                    self.size = self.size << 4 | u64::from(digit);
                    self.digits += 1;
                    SizePart::Digits
                }
                (SizePart::Digits, _) if self.digits == 0 => return Err(WireRefusal::ChunkSize),
                (SizePart::Digits | SizePart::Padding, b' ' | b'\t')
                    if line_ends == LineEnds::Lenient =>
                {
                    SizePart::Padding
                }
                (SizePart::End, b'\n') => return Ok((index + 1, Some(self.size))),
                (SizePart::Digits | SizePart::Padding | SizePart::Extension, b'\n')
                    if line_ends == LineEnds::Lenient =>
                {
                    return Ok((index + 1, Some(self.size)));
                }
                (SizePart::Digits | SizePart::Padding | SizePart::Extension, b';') => {
                    SizePart::Name
                }
                (SizePart::Digits | SizePart::Padding | SizePart::Extension, b'\r') => {
                    SizePart::End
                }
                (SizePart::Name, byte) if crate::syntax::is_token(byte) => SizePart::Extension,
                (SizePart::Extension, b'"' | b'=' | b'!' | 0x23..=0x7e) => SizePart::Extension,
                (_, _) => return Err(WireRefusal::ChunkSize),
            };
        }
        Ok((bytes.len(), None))
    }
}
