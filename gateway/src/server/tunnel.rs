//! Two connections that have left HTTP: bytes go through in both directions until either side ends.
//!
//! When the process ends, WebSockets are told so by a close frame (1001, "going away", RFC 6455, section 7.4.1) to both
//! sides, between two frames; other protocols are cut.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::linger;
use super::websocket::Frames;
use crate::connection::{Connection, Tunnel};
use crate::socket::Socket;

/// Close, 1001, from a server: not masked.
const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xe9];
/// The same from a client: masked, with a key of zeros.
const GOING_AWAY_MASKED: &[u8] = &[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe9];
/// How long a side may take to come to the end of a frame, once the tunnel is to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// What is read at once.
const PIECE: usize = 8192;

/// Runs until both sides have ended, or the process drains and `server.drain.upgraded` has passed.
pub(super) async fn run(
    mut client: Socket,
    first: Vec<u8>,
    tunnel: Tunnel,
    connection: &Rc<Connection>,
) {
    let Tunnel { mut server, first: first_of_server, finish, held: _held, websocket } = tunnel;
    let worker = &connection.worker;
    let _upgraded = worker.process.metrics.upgraded();
    let (mut up, mut down) = (Way::new(websocket), Way::new(websocket));
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
        let talk = async {
            tokio::join!(
                up.pipe(&mut client_read, &mut server_write, GOING_AWAY_MASKED, leave.clone()),
                down.pipe(&mut server_read, &mut client_write, GOING_AWAY, leave.clone()),
            )
        };
        let drained = async {
            if !worker.draining.get() {
                worker.drain.notified().await;
            }
            sleep(worker.current().config.server.drain.upgraded).await;
            if websocket {
                told.send_replace(true);
                sleep(PATIENCE).await;
            }
        };
        tokio::select! {
            _ = talk => Ended::Talked,
            () = drained => Ended::Cut,
        }
    };
    if let Some(mut finish) = finish {
        finish.bytes_out = down.bytes.get();
        finish.bytes_in = Some(Rc::new(Cell::new(up.bytes.get())));
        if *leave.borrow() || matches!(ended, Ended::Cut) {
            finish.reason = "drained";
        }
    }
    drop(timeout(PATIENCE, linger::drain(&mut client)).await);
}

enum Ended {
    Talked,
    Cut,
}

/// One direction.
struct Way {
    frames: Option<Frames>,
    bytes: Rc<Cell<u64>>,
}

impl Way {
    fn new(websocket: bool) -> Self {
        Self { frames: websocket.then(Frames::default), bytes: Rc::default() }
    }

    async fn send<T: AsyncWriteExt + Unpin>(&mut self, to: &mut T, bytes: &[u8]) -> io::Result<()> {
        if let Some(frames) = &mut self.frames {
            frames.see(bytes);
        }
        self.bytes.set(self.bytes.get() + bytes.len() as u64);
        to.write_all(bytes).await
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
