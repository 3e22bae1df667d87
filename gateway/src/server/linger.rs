//! Closing so that the client can still read what was said: a socket closed with unread bytes resets the connection.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::socket::Socket;

/// How long, and how much, is read and thrown away after the last word.
const PATIENCE: Duration = Duration::from_secs(2);
const BYTES_MAX: usize = 1 << 20;

/// Closes a connection; if the client may still be sending, lingers.
pub(super) async fn close(mut socket: Socket, nothing_unread: bool) {
    if nothing_unread {
        // Whoever is at the other end has gone or got everything; there is nobody to tell.
        drop(timeout(PATIENCE, socket.shutdown()).await);
    } else {
        drain(&mut socket).await;
    }
}

/// Ends our side, then reads until the client ends its own.
pub(super) async fn drain(socket: &mut Socket) {
    drop(timeout(PATIENCE, discard(socket)).await);
}

async fn discard(socket: &mut Socket) -> std::io::Result<()> {
    socket.shutdown().await?;
    let mut space = vec![0; 16 * 1024];
    let mut left = BYTES_MAX;
    while left > 0 {
        match socket.read(&mut space).await? {
            0 => break,
            count => left = left.saturating_sub(count),
        }
    }
    Ok(())
}
