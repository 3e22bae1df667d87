//! WebSocket users: a message for each ticket, and its echo compared with it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::connect::Stream;
use super::scenario::{Reuse, Step, StepBody};
use super::schedule::{Schedule, Ticket};
use super::tally::Ended;
use super::template::Values;
use super::trouble::Trouble;
use super::user::{BREATH, Deadline, Load};

type Socket = WebSocketStream<Stream>;

/// A virtual user with one WebSocket at a time.
pub(super) struct WebSocketUser {
    load: Rc<Load>,
    number: u64,
    /// The kind of message for which the socket was opened: each kind has a path.
    socket: Option<(usize, Socket)>,
    deadline: Deadline,
}

impl WebSocketUser {
    pub(super) fn new(load: Rc<Load>, number: u64) -> Self {
        Self { load, number, socket: None, deadline: Deadline::default() }
    }

    /// Opens the first socket, before the load begins.
    pub(super) async fn prepare(&mut self) {
        let load = self.load.clone();
        if load.scenario.reuse == Reuse::Kept {
            let number = self.number;
            let opening = open(&load, number, 0);
            // Who cannot connect now tries again with the first message, which then counts it.
            self.socket = self.deadline.within(load.scenario.patience, opening).await.ok();
        }
    }

    /// Works until the time is over.
    pub(super) async fn run(mut self, schedule: Rc<Schedule>) {
        let load = self.load.clone();
        while let Some(ticket) = schedule.ticket().await {
            let ended = self.request(&load, ticket).await;
            let refused = matches!(ended.trouble, Some(Trouble::Connect | Trouble::Tls));
            load.tally.borrow_mut().add(ended);
            if refused {
                sleep(BREATH).await;
            }
            if let Some((low, high)) = load.scenario.think_time {
                sleep(Duration::from_millis(fastrand::u64(low..=high))).await;
            }
        }
        if let Some((_, mut socket)) = self.socket.take() {
            self.deadline.within(BREATH, async { Ok(socket.close(None).await) }).await.ok();
        }
    }

    async fn request(&mut self, load: &Load, ticket: Ticket) -> Ended {
        let step = load.requests.choose();
        let Self { socket, deadline, number, .. } = self;
        if load.scenario.reuse == Reuse::New || socket.as_ref().is_some_and(|(of, _)| *of != step) {
            *socket = None;
        }
        let message = message(load, step, *number, ticket);
        let bytes = message.len() as u64;
        let echo = async {
            if socket.is_none() {
                *socket = Some(open(load, *number, step).await?);
            }
            let (_, socket) = socket.as_mut().ok_or(Trouble::Connect)?;
            echo(socket, message).await
        };
        let result = deadline.within(load.scenario.patience, echo).await;
        if result.is_err() {
            self.socket = None;
        }
        let bytes_in = result.as_ref().map_or(0, |()| bytes);
        Ended { step, due: ticket.due, trouble: result.err(), bytes_in, bytes_out: bytes }
    }
}

async fn open(load: &Load, number: u64, step: usize) -> Result<(usize, Socket), Trouble> {
    let chosen = &load.scenario.requests[step];
    let saved = std::collections::BTreeMap::new();
    let values = Values { user: number, count: 0, saved: &saved };
    let url = format!("ws://{}{}", load.scenario.origin.authority(), chosen.path.fill(&values));
    let mut request = url.into_client_request().map_err(|_| Trouble::Request)?;
    for (name, value) in &chosen.headers {
        let value = value.fill(&values).parse().map_err(|_| Trouble::Request)?;
        request.headers_mut().insert(name, value);
    }
    let stream = load.connector.open().await?;
    let (socket, _) = client_async(request, stream).await.map_err(|error| refused(&error))?;
    Ok((step, socket))
}

fn refused(error: &tokio_tungstenite::tungstenite::Error) -> Trouble {
    match error {
        tokio_tungstenite::tungstenite::Error::Http(response) => Trouble::Status(response.status()),
        _ => Trouble::Protocol,
    }
}

fn message(load: &Load, step: usize, number: u64, ticket: Ticket) -> Message {
    let chosen: &Step = &load.scenario.requests[step];
    match &chosen.body {
        StepBody::None => Message::Text(Utf8Bytes::from(ticket.number.to_string())),
        StepBody::Text(template) => {
            let saved = std::collections::BTreeMap::new();
            let values = Values { user: number, count: ticket.number, saved: &saved };
            Message::Text(Utf8Bytes::from(template.fill(&values)))
        }
        StepBody::Pattern(length) => Message::Binary(crate::body::pattern_chunk(*length)),
    }
}

async fn echo(socket: &mut Socket, message: Message) -> Result<(), Trouble> {
    let expected: Bytes = message.clone().into_data();
    socket.send(message).await.map_err(|_| Trouble::Closed)?;
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => return same(&expected, text.as_bytes()),
            Some(Ok(Message::Binary(bytes))) => return same(&expected, &bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(Trouble::Closed),
        }
    }
}

fn same(sent: &[u8], received: &[u8]) -> Result<(), Trouble> {
    match sent == received {
        true => Ok(()),
        false => Err(Trouble::Echo),
    }
}
