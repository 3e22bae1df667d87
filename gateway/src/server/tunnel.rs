//! Two connections that have left HTTP: bytes go through in both directions until either side ends.

use std::rc::Rc;

use tokio::io::{AsyncWriteExt, copy_bidirectional};
use tokio::time::sleep;

use crate::connection::{Connection, Tunnel};
use crate::socket::Socket;

/// Runs until both sides have ended, or the process drains and `server.drain.upgraded` has passed.
pub(super) async fn run(
    mut client: Socket,
    first: Vec<u8>,
    tunnel: Tunnel,
    connection: &Rc<Connection>,
) {
    let Tunnel { mut server, first: first_of_server, finish, held: _held } = tunnel;
    let worker = &connection.worker;
    let _upgraded = worker.process.metrics.upgraded();
    let talk = async {
        server.write_all(&first).await?;
        client.write_all(&first_of_server).await?;
        copy_bidirectional(&mut client, &mut server).await
    };
    let drained = async {
        if !worker.draining.get() {
            worker.drain.notified().await;
        }
        sleep(worker.current().config.server.drain.upgraded).await;
    };
    tokio::select! {
        // Who ended the talk, and how, is theirs to know; the log has the bytes.
        talked = talk => {
            if let (Some(mut finish), Ok((up, down))) = (finish, talked) {
                finish.bytes_out = down;
                finish.bytes_in = Some(Rc::new(std::cell::Cell::new(up)));
            }
        }
        () = drained => {
            if let Some(mut finish) = finish {
                finish.reason = "drained";
            }
        }
    }
}
