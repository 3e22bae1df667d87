//! Two connections that have left HTTP: bytes go through in both directions until either side ends.
//!
//! Each direction is a task: a message wakes only its own, which costs half of what one task for both did. When the
//! process ends, WebSockets are told so by a close frame (1001, "going away", RFC 6455, section 7.4.1) to both sides,
//! between two frames; other protocols are cut.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

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
/// Silence is looked for so many times in `timeout.idle`, instead of asking for the time with every message: a tunnel
/// ends at most a part of this late.
const LOOKS: u32 = 8;

type Shared = Rc<RefCell<Socket>>;

/// Runs until both sides have ended, nothing has moved for `timeout.idle`, or the process drains and
/// `server.drain.upgraded` has passed.
pub(super) async fn run(client: Socket, first: Vec<u8>, tunnel: Tunnel, mut finish: Box<Finish>) {
    let Tunnel { server, first: first_of_server, websocket, idle } = tunnel;
    let worker = Rc::clone(finish.worker());
    let _upgraded = worker.process.metrics.upgraded();
    let (client, server) = (Rc::new(RefCell::new(client)), Rc::new(RefCell::new(server)));
    let mut up = Running::start(Way::new(&client, &server, websocket, first));
    let mut down = Running::start(Way::new(&server, &client, websocket, first_of_server.into()));
    let ways = [Rc::clone(&up.way), Rc::clone(&down.way)];
    let ended = tokio::select! {
        () = talk(&mut up, &mut down, websocket) => Ended::Talked,
        () = silence(&ways, idle) => Ended::Silent,
        () = drained(&worker) => Ended::Drained,
    };
    if websocket && matches!(ended, Ended::Drained) {
        drop(timeout(PATIENCE, take_leave(&mut up, &mut down)).await);
    }
    finish.bytes_out = down.bytes();
    finish.bytes_in = Some(Rc::new(Cell::new(up.bytes())));
    match ended {
        Ended::Talked => {}
        Ended::Drained => finish.reason = "drained",
        Ended::Silent => finish.reason = ResponseBodyError::Idle.reason(),
    }
    drop(finish);
    up.stop().await;
    down.stop().await;
    drop((up, down, ways, server));
    if let Some(client) = Rc::into_inner(client) {
        drop(timeout(PATIENCE, linger::drain(&mut client.into_inner())).await);
    }
}

/// Both directions, until both have ended or one has failed. A WebSocket's side that ends its stream has said all and
/// hears nothing any more (RFC 6455, section 7.1.1): then what is still on its way gets a moment.
async fn talk(up: &mut Running, down: &mut Running, websocket: bool) {
    let (first, other) = tokio::select! {
        ended = up.ended() => (ended, down),
        ended = down.ended() => (ended, up),
    };
    match first {
        Err(_) => {}
        Ok(()) if websocket => drop(timeout(PATIENCE, other.ended()).await),
        Ok(()) => drop(other.ended().await),
    }
}

/// Until nothing has moved for `idle`.
async fn silence(ways: &[Rc<RefCell<Way>>], idle: Duration) {
    let (mut seen, mut silent) = (0_u64, 0);
    while silent < LOOKS {
        sleep(idle / LOOKS).await;
        let moved = ways.iter().map(|way| way.borrow().bytes).sum();
        silent = if moved == seen { silent + 1 } else { 0 };
        seen = moved;
    }
}

/// Until the process must end.
async fn drained(worker: &Worker) {
    if !worker.draining.get() {
        worker.drain.notified().await;
    }
    sleep(worker.current().config.server.drain.upgraded).await;
}

/// Lets both directions come to the end of their frame, and says goodbye there.
async fn take_leave(up: &mut Running, down: &mut Running) {
    for (running, goodbye) in [(&mut *up, GOING_AWAY_MASKED), (&mut *down, GOING_AWAY)] {
        running.stop().await;
        running.way.borrow_mut().goodbye = Some(goodbye);
        running.go_on();
    }
    drop(tokio::join!(up.ended(), down.ended()));
}

enum Ended {
    Talked,
    Silent,
    Drained,
}

/// A direction, and the task that serves it until it is dropped.
struct Running {
    way: Rc<RefCell<Way>>,
    task: JoinHandle<io::Result<()>>,
}

impl Running {
    fn start(way: Way) -> Self {
        let way = Rc::new(RefCell::new(way));
        Self { task: serve(&way), way }
    }

    /// Serves the direction again, after it was stopped.
    fn go_on(&mut self) {
        self.task = serve(&self.way);
    }

    /// Until the direction has ended.
    async fn ended(&mut self) -> io::Result<()> {
        (&mut self.task).await.unwrap_or_else(|_| Err(io::ErrorKind::Interrupted.into()))
    }

    /// Ends the task, wherever it is; what the direction has read and not written stays in it.
    async fn stop(&mut self) {
        if !self.task.is_finished() {
            self.task.abort();
            drop((&mut self.task).await);
        }
    }

    fn bytes(&self) -> u64 {
        self.way.borrow().bytes
    }
}

fn serve(way: &Rc<RefCell<Way>>) -> JoinHandle<io::Result<()>> {
    let way = Rc::clone(way);
    spawn_local(poll_fn(move |cx| way.borrow_mut().poll(cx)))
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One direction. Whoever polls it may stop at any time, and another may go on.
struct Way {
    from: Shared,
    to: Shared,
    frames: Option<Frames>,
    /// Said at the end of a frame, and then this direction ends.
    goodbye: Option<&'static [u8]>,
    bytes: u64,
    piece: Vec<u8>,
    /// What of `piece` was read and has to be written.
    waiting: std::ops::Range<usize>,
    stage: Stage,
}

/// How far a direction is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It reads what comes.
    Reads,
    /// What waits is written, and what TLS keeps of it.
    Writes,
    /// The goodbye is written; nothing comes after it.
    Leaves,
    /// `from` has ended, and `to` has to hear of it.
    Ends,
}

impl Way {
    /// A direction that begins with what came together with the request or the response.
    fn new(from: &Shared, to: &Shared, websocket: bool, first: Vec<u8>) -> Self {
        let mut way = Self {
            from: Rc::clone(from),
            to: Rc::clone(to),
            frames: websocket.then(Frames::default),
            goodbye: None,
            bytes: 0,
            piece: first,
            waiting: 0..0,
            stage: Stage::Reads,
        };
        way.see(way.piece.len());
        way.piece.resize(PIECE.max(way.piece.len()), 0);
        way
    }

    /// So many bytes have come to the front of the piece.
    fn see(&mut self, count: usize) {
        if let Some(frames) = &mut self.frames {
            frames.see(&self.piece[..count]);
        }
        self.bytes += count as u64;
        self.waiting = 0..count;
        if count > 0 {
            self.stage = Stage::Writes;
        }
    }

    /// Copies until `from` ends, or a frame has ended and the tunnel is to end, too.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.stage {
                Stage::Reads if self.may_leave() => self.leave(),
                Stage::Reads => match ready!(self.poll_read(cx))? {
                    0 => self.stage = Stage::Ends,
                    count => self.see(count),
                },
                Stage::Writes => {
                    ready!(self.poll_write(cx))?;
                    self.stage = Stage::Reads;
                }
                Stage::Leaves => return self.poll_write(cx),
                Stage::Ends => return Pin::new(&mut *self.to.borrow_mut()).poll_shutdown(cx),
            }
        }
    }

    /// Whether there is a goodbye to say, and no frame in the middle of which it would stand.
    fn may_leave(&self) -> bool {
        self.goodbye.is_some() && self.frames.as_ref().is_none_or(Frames::at_boundary)
    }

    fn leave(&mut self) {
        let goodbye = self.goodbye.take().unwrap_or_default();
        self.piece[..goodbye.len()].copy_from_slice(goodbye);
        self.waiting = 0..goodbye.len();
        self.stage = Stage::Leaves;
    }

    /// The number of bytes that came; 0 is the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut room = ReadBuf::new(&mut self.piece);
        let read = Pin::new(&mut *self.from.borrow_mut()).poll_read(cx, &mut room);
        read.map_ok(|()| room.filled().len())
    }

    /// Writes what waits, and what TLS keeps of it.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let to = &mut *self.to.borrow_mut();
        while !self.waiting.is_empty() {
            let rest = &self.piece[self.waiting.clone()];
            match ready!(Pin::new(&mut *to).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.waiting.start += count,
            }
        }
        Pin::new(to).poll_flush(cx)
    }
}
