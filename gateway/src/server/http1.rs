//! Speaks HTTP/1.1 with a client: one request after the other, from its head to the last byte of its response.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Version, header, request};
use http_body::{Body as _, Frame};
use tokio::time::Instant;

use crate::body::Body;
use crate::connection::Connection;
use crate::deadline::Timer;
use crate::finish::Finish;
use crate::http1::output::Coding;
use crate::http1::request_head::Told;
use crate::http1::response_head::{self, Framing, Goodbye};
use crate::http1::wire::{Wire, WireBody};
use crate::incoming::Incoming;
use crate::proxy;
use crate::refusal::WireRefusal;
use crate::splice::{self, Piped};

/// A connection without a request for this long is put to rest.
const QUIET: Duration = Duration::from_secs(1);

/// How speaking HTTP/1 ended.
pub(super) enum Ended {
    /// Nothing is under way; the connection may rest.
    Quiet,
    /// The last response has gone out, or broke off.
    Over,
    /// A response broke off whose end is the end of the connection: it must not look complete.
    Cut,
    /// The client has gone.
    Gone,
    /// The client takes nothing of what is sent.
    Stuck,
    /// A head was refused.
    Refused(WireRefusal),
    /// 101 has gone out: the tunnel takes over, and the request ends when it does.
    Switched(Box<Finish>),
}

/// Speaks until the connection is idle or over.
pub(super) async fn speak(wire: &Rc<RefCell<Wire>>, connection: &Rc<Connection>) -> Ended {
    // One request after the other stands here; it is too large to be handed from function to function.
    let (mut parts, ()) = Request::new(()).into_parts();
    loop {
        let told = match next_head(wire, connection, &mut parts).await {
            Ok(told) => told,
            Err(ended) => return ended,
        };
        match exchange(wire, connection, &mut parts, told.persistent).await {
            Ok(()) => {}
            Err(ended) => return ended,
        }
    }
}

/// Waits for the next request: within the header timeout from its first byte on.
async fn next_head(
    wire: &RefCell<Wire>,
    connection: &Connection,
    parts: &mut request::Parts,
) -> Result<Told, Ended> {
    let mut timer = connection.timer(Version::HTTP_11);
    let mut since = None;
    poll_fn(|cx| {
        let wire = &mut *wire.borrow_mut();
        loop {
            match wire.next_head(parts) {
                Ok(Some(told)) => return Poll::Ready(Ok(told)),
                Ok(None) => {}
                Err(refusal) => return Poll::Ready(Err(Ended::Refused(refusal))),
            }
            match wire.poll_fill(cx) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(Err(Ended::Gone)),
                Poll::Pending => break,
            }
        }
        if wire.reading.is_idle() {
            let quiet = timer.poll(cx, connection.last_active.get() + QUIET);
            return quiet.map(|()| Err(Ended::Quiet));
        }
        let since = *since.get_or_insert_with(Instant::now);
        let patience = connection.worker.current().config.limits.header_timeout;
        let refused = Ended::Refused(WireRefusal::HeaderTimeout);
        timer.poll(cx, since + patience).map(|()| Err(refused))
    })
    .await
}

/// One request and its response. `Err`: the connection does not go on.
async fn exchange(
    wire: &Rc<RefCell<Wire>>,
    connection: &Rc<Connection>,
    parts: &mut request::Parts,
    persistent: bool,
) -> Result<(), Ended> {
    let asked = Asked { version: parts.version, is_head: parts.method == Method::HEAD };
    let has_body = !wire.borrow().reading.body_is_over();
    let incoming = if has_body { Incoming::Http1(WireBody::new(wire)) } else { Incoming::Empty };
    let body = {
        let mut answering = pin!(proxy::answer(connection, parts, incoming));
        poll_fn(|cx| match answering.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => wire.borrow_mut().poll_gone(cx).map(|()| Err(Ended::Gone)),
        })
        .await?
    };
    if body.head().status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(switch(wire, connection, body).await);
    }
    let mut responding = Responding::begin(wire, connection, body);
    let framing = framing(&responding.body, asked);
    let goodbye = match framing {
        Framing::UntilClose => Goodbye::Closes,
        Framing::None
        | Framing::Kept
        | Framing::Told(_)
        | Framing::Length(_)
        | Framing::Chunked => responding.goodbye(persistent),
    };
    responding.write_head(framing, goodbye.said_to(asked.version));
    if let Err(ended) = poll_fn(|cx| responding.poll(cx)).await {
        responding.body.break_off();
        return Err(ended);
    }
    drop(responding);
    wire.borrow_mut().output.give_back_pipe();
    match goodbye {
        Goodbye::Stays if wire.borrow().reading.body_is_over() => Ok(()),
        Goodbye::Stays | Goodbye::Closes => Err(Ended::Over),
    }
}

/// Sends the head of a 101; whatever comes then is not HTTP.
async fn switch(wire: &RefCell<Wire>, connection: &Connection, body: Body) -> Ended {
    let mut progress = Progress::new(connection);
    response_head::write_switch(wire.borrow_mut().begin_response(), body.head());
    match poll_fn(|cx| progress.poll_write(cx, &mut wire.borrow_mut())).await {
        Ok(()) => Ended::Switched(body.into_finish()),
        Err(ended) => ended,
    }
}

/// What a request says of the form of its response.
#[derive(Clone, Copy, Debug)]
struct Asked {
    version: Version,
    is_head: bool,
}

/// How the body is delimited (RFC 9112, section 6.3).
fn framing(body: &Body, asked: Asked) -> Framing {
    let head = body.head();
    let exact = body.size_hint().exact();
    if head.status == StatusCode::NO_CONTENT || head.status.is_informational() {
        return Framing::None;
    }
    if asked.is_head || head.status == StatusCode::NOT_MODIFIED {
        return match exact {
            Some(length) if length > 0 && !head.headers.contains_key(header::CONTENT_LENGTH) => {
                Framing::Told(length)
            }
            Some(_) | None => Framing::Kept,
        };
    }
    match exact {
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_11 => Framing::Chunked,
        None => Framing::UntilClose,
    }
}

/// A response on its way out.
struct Responding<'a> {
    wire: &'a Rc<RefCell<Wire>>,
    connection: &'a Connection,
    body: Body,
    coding: Coding,
    progress: Progress<'a>,
    state: State,
    /// What is long enough goes by a pipe, as far as there is one.
    piped: Piped,
    /// How the connection ends if the body breaks off.
    cut: Ended,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// More of the body is to come.
    Body,
    /// All of it was given to be written.
    Written,
}

impl<'a> Responding<'a> {
    fn begin(wire: &'a Rc<RefCell<Wire>>, connection: &'a Connection, body: Body) -> Self {
        let progress = Progress::new(connection);
        let (coding, state, cut) = (Coding::Plain, State::Body, Ended::Over);
        Self { wire, connection, body, coding, progress, state, piped: Piped::No, cut }
    }

    /// Whether the connection closes after this response.
    fn goodbye(&self, persistent: bool) -> Goodbye {
        let connection = self.connection;
        let limit = connection.worker.current().config.limits.requests_per_connection;
        let ends = connection.worker.draining.get() || connection.served.get() >= limit;
        // What is left of a body that nobody reads any more is thrown away; if it has not come yet, nobody waits for it.
        let is_read = Rc::strong_count(self.wire) > 1;
        let reading = &mut self.wire.borrow_mut().reading;
        let unread = !reading.body_is_over() && !is_read && !reading.skip_body();
        // A refusal that makes what follows doubtful says so itself.
        let refused =
            self.body.head().headers.get(header::CONNECTION).is_some_and(|said| said == "close");
        if persistent && !ends && !unread && !refused { Goodbye::Stays } else { Goodbye::Closes }
    }

    fn write_head(&mut self, framing: Framing, connection: Option<&'static [u8]>) {
        match framing {
            Framing::None | Framing::Kept | Framing::Told(_) => {
                self.body.forgo();
                self.state = State::Written;
            }
            Framing::Chunked => self.coding = Coding::Chunked,
            Framing::UntilClose => self.cut = Ended::Cut,
            Framing::Length(length)
                if length >= splice::LONG && self.wire.borrow().takes_pipe() =>
            {
                self.piped = Piped::Yes;
            }
            Framing::Length(_) => {}
        }
        let date = &self.connection.worker.date.get().0;
        let mut wire = self.wire.borrow_mut();
        response_head::write(wire.begin_response(), self.body.head(), framing, connection, date);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        loop {
            let has_room = self.wire.borrow().output.has_room();
            if self.state == State::Written {
                return self.progress.poll_write(cx, &mut self.wire.borrow_mut());
            }
            if !has_room {
                ready!(self.poll_room(cx))?;
            }
            if self.piped == Piped::Yes && self.body.left_for_pipe().is_some() {
                match self.poll_pipe(cx) {
                    Poll::Ready(Ok(())) => continue,
                    Poll::Ready(Err(ended)) => return Poll::Ready(Err(ended)),
                    Poll::Pending => return self.poll_while_waiting(cx),
                }
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
                return self.poll_while_waiting(cx);
            };
            let mut wire = self.wire.borrow_mut();
            match frame.transpose() {
                Ok(Some(frame)) => self.add(frame, &mut wire),
                Ok(None) => self.end(&mut wire, None),
                Err(_) => {
                    drop(wire);
                    return Poll::Ready(Err(self.cut_off(cx)));
                }
            }
        }
    }

    /// What came before goes out; the missing rest tells the client.
    fn cut_off(&mut self, cx: &mut Context<'_>) -> Ended {
        drop(self.wire.borrow_mut().poll_write(cx));
        std::mem::replace(&mut self.cut, Ended::Over)
    }

    /// Moves a part of the body from socket to socket. Without a pipe the rest is read.
    fn poll_pipe(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let mut wire = self.wire.borrow_mut();
        let Some(pipe) = wire.output.pipe(|| self.connection.worker.pipes.lend()) else {
            self.piped = Piped::No;
            return Poll::Ready(Ok(()));
        };
        let moved = ready!(self.body.poll_pipe(cx, pipe));
        drop(wire);
        if moved.is_err() {
            return Poll::Ready(Err(self.cut_off(cx)));
        }
        if self.body.is_end_stream() {
            self.state = State::Written;
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the client has taken what was written. If it sends before it reads, and the server does the same, they
    /// wait for each other unless the upload goes on meanwhile.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let written = self.progress.poll_write(cx, &mut self.wire.borrow_mut());
        if written.is_pending() {
            self.body.poll_upload(cx);
        }
        written
    }

    fn add(&mut self, frame: Frame<Bytes>, wire: &mut Wire) {
        match frame.into_data() {
            Ok(data) => wire.output.add(data, self.coding),
            Err(trailers) => return self.end(wire, trailers.trailers_ref()),
        }
        if wire.output.has_room() && self.body.is_end_stream() {
            self.end(wire, None);
        }
    }

    fn end(&mut self, wire: &mut Wire, trailers: Option<&HeaderMap>) {
        wire.output.end(self.coding, trailers);
        self.state = State::Written;
    }

    /// The server has nothing more at the moment: what there is goes out, and the client is watched.
    fn poll_while_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let mut wire = self.wire.borrow_mut();
        if let Poll::Ready(Err(ended)) = self.progress.poll_write(cx, &mut wire) {
            return Poll::Ready(Err(ended));
        }
        wire.poll_gone(cx).map(|()| Err(Ended::Gone))
    }
}

/// Writes, and notices a client that takes no byte for `limits.send-timeout`.
struct Progress<'a> {
    connection: &'a Connection,
    timer: Option<Timer>,
    /// Since when nothing has gone, and what had gone by then.
    blocked: Option<(Instant, u64)>,
}

impl<'a> Progress<'a> {
    fn new(connection: &'a Connection) -> Self {
        Self { connection, timer: None, blocked: None }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, wire: &mut Wire) -> Poll<Result<(), Ended>> {
        match wire.poll_write(cx) {
            Poll::Ready(Ok(())) => {
                self.blocked = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(_)) => Poll::Ready(Err(Ended::Gone)),
            Poll::Pending => self.poll_stuck(cx, wire.output.written()).map(Err),
        }
    }

    fn poll_stuck(&mut self, cx: &mut Context<'_>, written: u64) -> Poll<Ended> {
        let since = match self.blocked {
            Some((since, then)) if then == written => since,
            Some(_) | None => {
                let now = Instant::now();
                self.blocked = Some((now, written));
                now
            }
        };
        let patience = self.connection.worker.current().config.limits.send_timeout;
        let timer = self.timer.get_or_insert_with(|| self.connection.timer(Version::HTTP_11));
        timer.poll(cx, since + patience).map(|()| Ended::Stuck)
    }
}
