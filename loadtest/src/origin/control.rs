//! What an origin does whatever it is asked, and a second address on which that is changed while it runs.

use std::convert::Infallible;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::sleep;

use super::Origin;
use super::answers::{self, Answer};
use super::played::Broken;
use super::script::{Mistake, Script, Unknown, milliseconds, positive};

/// The origin as a whole: what it does to requests that ask for nothing themselves.
#[derive(Default)]
pub(super) struct Behaviour {
    manner: Manner,
    capacity: Option<Capacity>,
    /// For requests without a script of their own.
    pub(super) script: Option<Script>,
}

/// Whether requests are answered at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Manner {
    #[default]
    Well,
    /// Takes requests and never answers.
    Hangs,
    /// Takes requests and closes the connection.
    Closes,
    /// As if the process had ended: nobody listens, and every connection is closed.
    Dead,
}

/// So many requests are worked on at once, each for so long; the others wait their turn.
struct Capacity {
    places: Semaphore,
    each: Duration,
}

impl Behaviour {
    /// Reads `hang`, `close`, `die`, `capacity=PLACES:MS` and what a request may ask for, joined by `&`.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        let mut behaviour = Self::default();
        let mut rest = Vec::new();
        for word in text.split('&').filter(|word| !word.is_empty()) {
            match word.split_once('=') {
                None if word == "hang" => behaviour.manner = Manner::Hangs,
                None if word == "close" => behaviour.manner = Manner::Closes,
                None if word == "die" => behaviour.manner = Manner::Dead,
                Some(("capacity", value)) => {
                    behaviour.capacity = Some(capacity(value).ok_or_else(|| Mistake::Value {
                        key: "capacity".to_owned(),
                        value: value.to_owned(),
                        wanted: "PLACES:MS",
                    })?);
                }
                _ => rest.push(word),
            }
        }
        if !rest.is_empty() {
            behaviour.script = Some(Script::parse(&rest.join("&"), Unknown::Refused)?);
        }
        Ok(behaviour)
    }

    pub(super) fn is_dead(&self) -> bool {
        self.manner == Manner::Dead
    }

    /// Waits until the request may be answered, if it ever may.
    pub(super) async fn admit(&self) -> Result<(), Broken> {
        match self.manner {
            Manner::Well => {}
            Manner::Hangs => pending::<()>().await,
            Manner::Closes | Manner::Dead => return Err(Broken),
        }
        if let Some(Capacity { places, each }) = &self.capacity {
            let _place: SemaphorePermit<'_> = places.acquire().await.map_err(|_| Broken)?;
            sleep(*each).await;
        }
        Ok(())
    }
}

fn capacity(text: &str) -> Option<Capacity> {
    let (places, each) = text.split_once(':')?;
    let places = positive(places).filter(|&places| places <= Semaphore::MAX_PERMITS)?;
    Some(Capacity { places: Semaphore::new(places), each: milliseconds(each)? })
}

/// Serves the control's own address until it is dropped.
pub(super) async fn serve(listener: TcpListener, origin: Rc<Origin>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::task::yield_now().await;
            continue;
        };
        let origin = origin.clone();
        let service = service_fn(move |request| answer(request, origin.clone()));
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        tokio::task::spawn_local(async move {
            // Who asks sees for himself that the connection broke.
            connection.await.ok();
        });
    }
}

async fn answer(request: Request<Incoming>, origin: Rc<Origin>) -> Result<Answer, Infallible> {
    let path = request.uri().path();
    Ok(match (request.method(), path) {
        (&Method::PUT, "/behaviour") => {
            match Behaviour::parse(request.uri().query().unwrap_or_default()) {
                Ok(behaviour) => {
                    origin.behaviour.send_replace(Rc::new(behaviour));
                    answers::json_reply(&json!({}))
                }
                Err(mistake) => answers::refused(&mistake),
            }
        }
        (&Method::GET, "/counts") => {
            answers::json_reply(&json!({ "requests": origin.requests.get() }))
        }
        (method, "/ledger") => answers::report(method, &origin),
        _ => answers::wrong(),
    })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::time::{Instant, timeout};

    use super::*;
    use crate::connection::fetch;
    use crate::failure::Failure;
    use crate::origin::start_controlled;

    async fn turn(control: SocketAddr, behaviour: &str) {
        let path = format!("/behaviour?{behaviour}");
        let answer = fetch(control, "PUT", &path).await.expect("answered");
        assert_eq!(answer.status, 200, "{behaviour}");
    }

    async fn ask(origin: SocketAddr) -> Result<u16, Failure> {
        fetch(origin, "GET", "/bytes/300").await.map(|answer| answer.status)
    }

    #[tokio::test(flavor = "local")]
    async fn an_origin_takes_another_behaviour_and_becomes_well_again() {
        let (origin, control) = start_controlled().await.expect("free ports");
        turn(control, "errors=1:503").await;
        assert_eq!(ask(origin).await.expect("answered"), 503);
        turn(control, "close").await;
        assert!(matches!(ask(origin).await, Err(Failure::Http(_))));
        turn(control, "reset=100").await;
        assert!(matches!(ask(origin).await, Err(Failure::Http(_))));
        turn(control, "delay=30").await;
        let begun = Instant::now();
        assert_eq!(ask(origin).await.expect("answered"), 200);
        assert!(begun.elapsed() >= Duration::from_millis(29));
        turn(control, "hang").await;
        let hung = timeout(Duration::from_millis(100), ask(origin)).await;
        assert!(hung.is_err(), "{hung:?}");
        turn(control, "").await;
        assert_eq!(ask(origin).await.expect("answered"), 200);
        let counts = fetch(control, "GET", "/counts").await.expect("answered").body;
        assert_eq!(counts, r#"{"requests":6}"#);
    }

    #[tokio::test(flavor = "local")]
    async fn a_dead_origin_refuses_connections_and_keeps_its_ledger() {
        let (origin, control) = start_controlled().await.expect("free ports");
        let mut kept = crate::connection::Connection::open(origin).await.expect("open");
        turn(control, "die").await;
        // The connection ends, as with a process: its next request is not answered.
        let request = kept.request("GET", "/x", crate::body::Body::empty()).expect("valid");
        assert!(kept.exchange(request).await.is_err());
        assert!(matches!(ask(origin).await, Err(Failure::Socket { .. })));
        turn(control, "").await;
        let begun = Instant::now();
        while ask(origin).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(5), "it does not come back");
        }
        let counts = fetch(control, "GET", "/counts").await.expect("answered").body;
        assert_eq!(counts, r#"{"requests":1}"#);
    }

    #[tokio::test(flavor = "local")]
    async fn a_full_origin_lets_the_others_wait() {
        let (origin, control) = start_controlled().await.expect("free ports");
        turn(control, "capacity=2:50").await;
        let begun = Instant::now();
        let all = futures_util::future::join_all((0..6).map(|_| ask(origin))).await;
        assert!(all.into_iter().all(|status| status.is_ok_and(|status| status == 200)));
        assert!(begun.elapsed() >= Duration::from_millis(149), "{:?}", begun.elapsed());
    }

    #[test]
    fn a_behaviour_that_is_none_is_refused() {
        for text in ["hung", "capacity=0:20", "capacity=5", "delay=x"] {
            assert!(Behaviour::parse(text).is_err(), "{text}");
        }
    }
}
