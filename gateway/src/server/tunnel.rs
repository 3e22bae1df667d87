//! Two connections that have left HTTP: bytes go through in both directions until either side ends.
//!
//! When the process ends, WebSockets are told so by a close frame (1001, "going away", RFC 6455, section 7.4.1) to both
//! sides, between two frames; other protocols are cut.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::linger;
use super::websocket::Frames;
use crate::connection::Tunnel;
use crate::finish::Finish;
use crate::socket::Socket;
use crate::upstream::response_body::ResponseBodyError;
use crate::worker::Worker;

/// Close, 1001, from a server: not masked.
const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xe9];
/// The same from a client: masked, with a key of zeros.
const GOING_AWAY_MASKED: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];
/// How long a side may take to come to the end of a frame, once the tunnel is to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is read at once.
const PIECE: usize = 8192;

/// Runs until both sides have ended, nothing has moved for `timeout.idle`, or the process drains and
/// `server.drain.upgraded` has passed.
pub(super) async fn run(
    mut client: Socket,
    first: Vec<u8>,
    tunnel: Tunnel,
    mut finish: Box<Finish>,
) {
    let Tunnel { mut server, first: first_of_server, websocket, idle } = tunnel;
    let worker = Rc::clone(finish.worker());
    let _upgraded = worker.process.metrics.upgraded();
    let moved = Cell::new(Instant::now());
    let (mut up, mut down) = (Way::new(websocket, &moved), Way::new(websocket, &moved));
    let begun = async {
        up.send(&mut server, &first).await?;
        down.send(&mut client, &first_of_server).await
    };
    if begun.await.is_err() {
        return;
    }
    let leave = Cell::new(false);
    let (client, server) = (RefCell::new(client), RefCell::new(server));
    let ended = {
        let upwards = pin!(up.pipe(&client, &server, GOING_AWAY_MASKED, &leave));
        let downwards = pin!(down.pipe(&server, &client, GOING_AWAY, &leave));
        // In any order: a side that always has bytes must not keep the others from being looked at.
        tokio::select! {
            () = talk(upwards, downwards, websocket) => Ended::Talked,
            () = silence(&moved, idle) => Ended::Silent,
            () = drained(&worker, websocket, &leave) => Ended::Cut,
        }
    };
    finish.bytes_out = down.bytes;
    finish.bytes_in = Some(Rc::new(Cell::new(up.bytes)));
    match ended {
        Ended::Talked if !leave.get() => {}
        Ended::Talked | Ended::Cut => finish.reason = "drained",
        Ended::Silent => finish.reason = ResponseBodyError::Idle.reason(),
    }
    drop(finish);
    drop(server);
    drop(timeout(PATIENCE, linger::drain(&mut client.into_inner())).await);
}

/// Both directions, until both have ended or one has failed. A WebSocket's side that ends its stream has said all and
/// hears nothing any more (RFC 6455, section 7.1.1): then what is still on its way gets a moment.
async fn talk<F>(up: Pin<&mut F>, down: Pin<&mut F>, websocket: bool)
where
    F: Future<Output = io::Result<()>>,
{
    let (mut up, mut down) = (up, down);
    let (first, other) = tokio::select! {
        ended = &mut up => (ended, down),
        ended = &mut down => (ended, up),
    };
    match first {
        Err(_) => {}
        Ok(()) if websocket => drop(timeout(PATIENCE, other).await),
        Ok(()) => drop(other.await),
    }
}

/// Until nothing has moved for `idle`.
async fn silence(moved: &Cell<Instant>, idle: Duration) {
    loop {
        let end = moved.get() + idle;
        if Instant::now() >= end {
            return;
        }
        sleep_until(end).await;
    }
}

/// Until the process must end; WebSockets are told before.
async fn drained(worker: &Worker, websocket: bool, leave: &Cell<bool>) {
    if !worker.draining.get() {
        worker.drain.notified().await;
    }
    sleep(worker.current().config.server.drain.upgraded).await;
    if websocket {
        leave.set(true);
        // Both directions are in this task, and look at it when they are polled next.
        yield_now().await;
        sleep(PATIENCE).await;
    }
}

enum Ended {
    Talked,
    Silent,
    Cut,
}

/// One direction.
struct Way<'a> {
    frames: Option<Frames>,
    bytes: u64,
    /// When something last went either way.
    moved: &'a Cell<Instant>,
}

impl<'a> Way<'a> {
    fn new(websocket: bool, moved: &'a Cell<Instant>) -> Self {
        Self { frames: websocket.then(Frames::default), bytes: 0, moved }
    }

    fn see(&mut self, bytes: &[u8]) {
        if let Some(frames) = &mut self.frames {
            frames.see(bytes);
        }
        self.bytes += bytes.len() as u64;
        self.moved.set(Instant::now());
    }

    async fn send(&mut self, to: &mut Socket, bytes: &[u8]) -> io::Result<()> {
        self.see(bytes);
        to.write_all(bytes).await?;
        // TLS keeps what the socket did not take at once.
        to.flush().await
    }

    /// Copies until `from` ends, or a frame has ended and the tunnel is to end, too.
    async fn pipe(
        &mut self,
        from: &RefCell<Socket>,
        to: &RefCell<Socket>,
        goodbye: &[u8],
        leave: &Cell<bool>,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let between_frames = self.frames.as_ref().is_some_and(Frames::at_boundary);
            let read = poll_fn(|cx| match between_frames && leave.get() {
                true => Poll::Ready(Ok(None)),
                false => read(from, &mut piece, cx).map_ok(Some),
            });
            match read.await? {
                None => return write(to, goodbye).await,
                Some(0) => return poll_fn(|cx| shutdown(to, cx)).await,
                Some(count) => {
                    self.see(&piece[..count]);
                    write(to, &piece[..count]).await?;
                }
            }
        }
    }
}

/// The number of bytes that came; 0 is the end.
fn read(from: &RefCell<Socket>, piece: &mut [u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    let mut room = ReadBuf::new(piece);
    let read = Pin::new(&mut *from.borrow_mut()).poll_read(cx, &mut room);
    read.map_ok(|()| room.filled().len())
}

/// Writes all of it, and what TLS keeps of it.
async fn write(to: &RefCell<Socket>, bytes: &[u8]) -> io::Result<()> {
    let mut gone = 0;
    poll_fn(|cx| {
        let to = &mut *to.borrow_mut();
        while gone < bytes.len() {
            match ready!(Pin::new(&mut *to).poll_write(cx, &bytes[gone..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => gone += count,
            }
        }
        Pin::new(to).poll_flush(cx)
    })
    .await
}

fn shutdown(to: &RefCell<Socket>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    Pin::new(&mut *to.borrow_mut()).poll_shutdown(cx)
}
