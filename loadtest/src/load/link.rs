//! A user's way to the server: a connection of its own, or a stream of one that it shares.

use std::rc::Rc;

use super::connect::Connector;
use super::http::Connection;
use super::scenario::{Protocol, Reuse};
use super::trouble::Trouble;

/// An HTTP/2 connection where those who share it find it.
pub(super) type Shared = Rc<tokio::sync::Mutex<Option<Connection>>>;

pub(super) struct Link {
    protocol: Protocol,
    reuse: Reuse,
    connection: Option<Connection>,
    shared: Shared,
}

impl Link {
    pub(super) const fn new(protocol: Protocol, reuse: Reuse, shared: Shared) -> Self {
        Self { protocol, reuse, connection: None, shared }
    }

    /// A connection that takes a request now.
    pub(super) async fn ready(
        &mut self,
        connector: &Connector,
    ) -> Result<&mut Connection, Trouble> {
        let usable = match (&mut self.connection, self.reuse) {
            (Some(connection), Reuse::Kept) => connection.is_open().await,
            (Some(_), Reuse::New) | (None, _) => false,
        };
        if !usable {
            self.connection = Some(self.open(connector).await?);
        }
        self.connection.as_mut().ok_or(Trouble::Connect)
    }

    async fn open(&self, connector: &Connector) -> Result<Connection, Trouble> {
        if self.protocol != Protocol::Http2 {
            return Connection::http1(connector.open().await?).await;
        }
        if self.reuse == Reuse::New {
            return Connection::http2(connector.open().await?).await;
        }
        let mut shared = self.shared.lock().await;
        if let Some(connection) = shared.as_mut()
            && connection.is_open().await
            && let Some(another) = connection.another()
        {
            return Ok(another);
        }
        let opened = Connection::http2(connector.open().await?).await?;
        let ours = opened.another().ok_or(Trouble::Protocol)?;
        *shared = Some(opened);
        Ok(ours)
    }

    /// After trouble, or where each request has a connection of its own.
    pub(super) fn close(&mut self) {
        self.connection = None;
    }
}
