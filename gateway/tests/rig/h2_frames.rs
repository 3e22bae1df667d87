//! HTTP/2 by hand: frames and header blocks as bytes, right or wrong, and a connection that reads what comes back.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Frame types (RFC 9113, section 6).
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

/// Flags.
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;
pub const WITH_PRIORITY: u8 = 0x20;

/// Error codes (RFC 9113, section 7).
pub const PROTOCOL_ERROR: u32 = 1;
pub const INTERNAL_ERROR: u32 = 2;
pub const FLOW_CONTROL_ERROR: u32 = 3;
pub const STREAM_CLOSED: u32 = 5;
pub const FRAME_SIZE_ERROR: u32 = 6;
pub const REFUSED_STREAM: u32 = 7;
pub const CANCEL: u32 = 8;
pub const COMPRESSION_ERROR: u32 = 9;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// Settings.
pub const ENABLE_PUSH: u16 = 2;
pub const INITIAL_WINDOW_SIZE: u16 = 4;
pub const MAX_FRAME_SIZE: u16 = 5;

/// One frame, its length told as it is.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A HEADERS frame that is a whole request without a body.
pub fn headers(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, stream, block)
}

/// A HEADERS frame that a body follows.
pub fn open(stream: u32, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, block)
}

pub fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let payload: Vec<u8> = values
        .iter()
        .flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat())
        .collect();
    frame(SETTINGS, 0, 0, &payload)
}

pub fn priority(stream: u32, depends_on: u32, weight: u8) -> Vec<u8> {
    frame(PRIORITY, 0, stream, &[&depends_on.to_be_bytes()[..], &[weight]].concat())
}

/// HPACK: a literal field without indexing, its name and value in plain bytes (RFC 7541, section 6.2.2).
pub fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0];
    for text in [name, value] {
        integer(&mut field, text.len());
        field.extend(text.as_bytes());
    }
    field
}

/// An integer with a prefix of seven bits, the highest bit 0 (RFC 7541, section 5.1).
fn integer(to: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        to.push(u8::try_from(value).unwrap());
        return;
    }
    to.push(127);
    value -= 127;
    while value >= 128 {
        to.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    to.push(u8::try_from(value).unwrap());
}

/// A header block of literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(name, value)| literal(name, value)).collect()
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// Whether it ends its stream from the gateway's side.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The error code of RST_STREAM or GOAWAY.
    pub fn code(&self) -> u32 {
        let from = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[from..from + 4].try_into().unwrap())
    }

    /// `:status`, which stands first in a response.
    pub fn status(&self) -> u16 {
        assert_eq!(self.kind, HEADERS, "{self:?}");
        // A change of the table's size may stand before it (RFC 7541, section 4.2).
        let skip = self.payload.iter().take_while(|byte| **byte & 0xe0 == 0x20).count();
        let block = &self.payload[skip..];
        match block[0] {
            indexed @ 0x88..=0x8e => {
                [200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]
            }
            0x08 | 0x48 if block[1] & 0x80 == 0 => {
                let digits = &block[2..2 + usize::from(block[1])];
                std::str::from_utf8(digits).unwrap().parse().unwrap()
            }
            0x08 | 0x48 => huffman_digits(&block[2..2 + usize::from(block[1] & 0x7f)]),
            other => panic!("no :status but {other:#x} in {self:?}"),
        }
    }
}

/// Three digits in the Huffman code of RFC 7541, appendix B: 0 to 2 take five bits, the others six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let mut bits =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let mut code = 0;
        for _ in 0..5 {
            code = code << 1 | bits.next().unwrap();
        }
        let digit =
            if code <= 2 { code } else { (code << 1 | bits.next().unwrap()) - 0b01_1001 + 3 };
        number = number * 10 + digit;
    }
    number
}

/// A connection to a server that speaks HTTP/2 with prior knowledge.
pub struct Peer {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Peer {
    /// Connects without a word.
    pub async fn silent(address: SocketAddr) -> Self {
        let stream = soon("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// Connects, and exchanges preface and settings.
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with(address, &[]).await
    }

    /// The same with settings of one's own.
    pub async fn with(address: SocketAddr, values: &[(u16, u32)]) -> Self {
        let mut peer = Self::silent(address).await;
        peer.send(&[PREFACE, &settings(values)].concat()).await;
        let first = peer.next().await.unwrap();
        assert_eq!((first.kind, first.flags), (SETTINGS, 0), "the first frame is SETTINGS");
        peer.send(&frame(SETTINGS, ACK, 0, &[])).await;
        peer.until(|frame| frame.kind == SETTINGS && frame.flags == ACK).await;
        peer
    }

    /// Sends bytes. A connection that is closed already shows when it is read.
    pub async fn send(&mut self, bytes: &[u8]) {
        drop(soon("room to send", self.stream.write_all(bytes)).await);
    }

    /// The next frame; None when the connection has ended, orderly or not.
    pub async fn next(&mut self) -> Option<Frame> {
        soon("a frame", self.read_frame()).await
    }

    /// The next frame, however long it takes. A PING is answered: GOAWAY takes its full effect only then.
    pub async fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(taken) = self.take_frame() {
                if taken.kind == PING && taken.flags & ACK == 0 {
                    self.send(&frame(PING, ACK, 0, &taken.payload)).await;
                }
                return Some(taken);
            }
            match self.stream.read_buf(&mut self.read).await {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let head: [u8; 9] = self.read.get(..9)?.try_into().unwrap();
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let payload = self.read.get(9..9 + length)?.to_vec();
        self.read.drain(..9 + length);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads whatever comes until the connection ends.
    pub async fn end(&mut self) {
        while self.read_frame().await.is_some() {}
    }

    /// The first frame that fits.
    pub async fn until(&mut self, fits: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            match self.next().await {
                Some(frame) if fits(&frame) => return frame,
                Some(_) => {}
                None => panic!("the connection ended before the frame that was waited for"),
            }
        }
    }

    /// Whatever comes until the gateway closes.
    pub async fn rest(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }

    /// Sends a PING and waits for its answer: everything sent before has been read by then.
    pub async fn ping(&mut self) {
        self.send(&frame(PING, 0, 0, b"rig-ping")).await;
        self.until(|frame| frame.kind == PING && frame.flags == ACK).await;
    }
}
