//! Two connections that have left HTTP: bytes go through in both directions until either side ends.
//!
//! When the process ends, WebSockets are told so by a close frame (1001, "going away", RFC 6455, section 7.4.1) to both
//! sides, between two frames; other protocols are cut.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::watch;
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
    let (told, leave) = watch::channel(false);
    let ended = {
        let (mut client_read, mut client_write) = split(&mut client);
        let (mut server_read, mut server_write) = split(&mut server);
        let upwards =
            pin!(up.pipe(&mut client_read, &mut server_write, GOING_AWAY_MASKED, leave.clone()));
        let downwards =
            pin!(down.pipe(&mut server_read, &mut client_write, GOING_AWAY, leave.clone()));
        tokio::select! {
            () = talk(upwards, downwards, websocket) => Ended::Talked,
            () = silence(&moved, idle) => Ended::Silent,
            () = drained(&worker, websocket, &told) => Ended::Cut,
        }
    };
    finish.bytes_out = down.bytes;
    finish.bytes_in = Some(Rc::new(Cell::new(up.bytes)));
    match ended {
        Ended::Talked if !*leave.borrow() => {}
        Ended::Talked | Ended::Cut => finish.reason = "drained",
        Ended::Silent => finish.reason = ResponseBodyError::Idle.reason(),
    }
    drop(finish);
    drop(server);
    drop(timeout(PATIENCE, linger::drain(&mut client)).await);
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
async fn drained(worker: &Worker, websocket: bool, told: &watch::Sender<bool>) {
    if !worker.draining.get() {
        worker.drain.notified().await;
    }
    sleep(worker.current().config.server.drain.upgraded).await;
    if websocket {
        told.send_replace(true);
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

    async fn send<T: AsyncWriteExt + Unpin>(&mut self, to: &mut T, bytes: &[u8]) -> io::Result<()> {
        if let Some(frames) = &mut self.frames {
            frames.see(bytes);
        }
        self.bytes += bytes.len() as u64;
        self.moved.set(Instant::now());
        to.write_all(bytes).await?;
        // TLS keeps what the socket did not take at once.
        to.flush().await
    }

    /// Copies until `from` ends, or a frame has ended and the tunnel is to end, too.
    async fn pipe(
        &mut self,
        from: &mut ReadHalf<&mut Socket>,
        to: &mut WriteHalf<&mut Socket>,
        goodbye: &[u8],
        mut leave: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let between_frames = self.frames.as_ref().is_some_and(Frames::at_boundary);
            tokio::select! {
                biased;
                _ = leave.wait_for(|told| *told), if between_frames => {
                    to.write_all(goodbye).await?;
                    return to.flush().await;
                }
                read = from.read(&mut piece) => match read? {
                    0 => return to.shutdown().await,
                    count => self.send(to, &piece[..count]).await?,
                }
            }
        }
    }
}
