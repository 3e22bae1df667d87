//! What each endpoint answers.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Buf as _;
use http::Request;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::Control;
use super::bearer::{Credentials, credentials};
use super::endpoints::{Access, Action, Endpoint, Found, find};
use super::faults::{Reminder, faults};
use super::reply::{self, Denial, Reply};
use super::upstreams::{OrderedView, upstreams};
use super::{question, view};
use crate::observe::exposition;
use crate::observe::metrics::Metrics;
use crate::upstream::view::Order;

/// The most a body may have: a configuration of ten thousand routes fits.
const BODY_BYTES_MAX: usize = 1_024 * 1_024;

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// The endpoints and what they need.
pub(super) struct Api {
    control: Arc<dyn Control>,
    metrics: &'static Metrics,
    /// Checks and reloads are heavy: one at a time, the others wait within their connection's deadline.
    heavy: Mutex<()>,
    started: SystemTime,
    faults: Reminder,
}

impl Api {
    /// An API over this gateway.
    pub(super) fn new(control: Arc<dyn Control>, metrics: &'static Metrics) -> Self {
        Self {
            control,
            metrics,
            heavy: Mutex::new(()),
            started: SystemTime::now(),
            faults: Reminder::default(),
        }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Reply {
        let answered = match find(request.method(), request.uri().path()) {
            Found::Endpoint(endpoint) => self.permitted(endpoint, request).await,
            Found::OtherMethod(allow) => Err(Denial::MethodNotAllowed { allow }),
            Found::Nothing => Err(Denial::NotFound),
        };
        answered.unwrap_or_else(|denial| reply::denied(&denial))
    }

    async fn permitted(
        &self,
        endpoint: &Endpoint,
        request: Request<Incoming>,
    ) -> Result<Reply, Denial> {
        if endpoint.access == Access::WithToken {
            let loaded = self.control.loaded();
            match credentials(request.headers(), loaded.token.as_deref()) {
                Credentials::Right => {}
                Credentials::Wrong => return Err(Denial::WrongToken),
                Credentials::NoToken => return Err(Denial::NoToken),
            }
        }
        self.act(endpoint, request).await
    }

    async fn act(&self, endpoint: &Endpoint, request: Request<Incoming>) -> Result<Reply, Denial> {
        let control = &*self.control;
        Ok(match endpoint.action {
            Action::Page => reply::text(HTML, include_str!("page.html")),
            Action::Alive => reply::text(PLAIN, "alive\n"),
            Action::Ready => match control.ready() {
                Ok(()) => reply::json(&view::Ready { ready: true }),
                Err(reasons) => reply::not_ready(reasons),
            },
            Action::Metrics => self.exposition().await?,
            Action::OpenApi => reply::text(JSON, include_str!("openapi.json")),
            Action::Status => reply::json(&view::status(control, self.started)),
            Action::Routes => reply::json(&view::routes(&control.loaded().config)),
            Action::Upstreams => reply::json(&upstreams(control)),
            Action::Limits => reply::json(&view::limits(&control.loaded().config.limits)),
            Action::Config => reply::json(&view::config(control)),
            Action::Check => self.check(request).await?,
            Action::Reload => self.reload().await?,
            Action::Explain => self.explain(request).await?,
            Action::Faults => reply::json(&faults(&control.loaded().config)),
            Action::EnableFaults => self.enable_faults(request).await?,
            Action::DisableFaults => {
                self.faults.disable();
                reply::json(&faults(&control.loaded().config))
            }
            Action::Order(order) => {
                self.order(endpoint.parameters(request.uri().path()), order).await?
            }
        })
    }

    async fn exposition(&self) -> Result<Reply, Denial> {
        let metrics = self.metrics;
        let control = Arc::clone(&self.control);
        let exposed = spawn_blocking(move || metrics.exposition(&control.readings())).await;
        let text = exposed.map_err(|_| Denial::Failed)?;
        let text = text.map_err(|_| Denial::Failed)?;
        Ok(reply::text(exposition::CONTENT_TYPE, text))
    }

    async fn check(&self, request: Request<Incoming>) -> Result<Reply, Denial> {
        let text = text_of(request.into_body()).await?;
        let control = Arc::clone(&self.control);
        let turn = self.heavy.lock().await;
        let checked = spawn_blocking(move || control.check(&text)).await;
        drop(turn);
        Ok(match checked.map_err(|_| Denial::Failed)? {
            Ok(()) => reply::json(&view::Checked { ok: true }),
            Err(problems) => reply::refused_config(&problems),
        })
    }

    async fn reload(&self) -> Result<Reply, Denial> {
        let control = Arc::clone(&self.control);
        let turn = self.heavy.lock().await;
        let reloaded = spawn_blocking(move || control.reload()).await;
        drop(turn);
        Ok(match reloaded.map_err(|_| Denial::Failed)? {
            Ok(reloaded) => reply::json(&view::ReloadedView::from(reloaded)),
            Err(problems) => reply::refused_config(&problems),
        })
    }

    /// Obeys for the servers that these parameters of the path name.
    async fn order(&self, parameters: Vec<String>, order: Order) -> Result<Reply, Denial> {
        let [upstream, server] =
            <[String; 2]>::try_from(parameters).map_err(|_| Denial::NotFound)?;
        let control = Arc::clone(&self.control);
        let obeyed = spawn_blocking(move || {
            let servers = control.order(&upstream, &server, order)?;
            Ok(OrderedView { upstream, servers })
        });
        let obeyed = obeyed.await.map_err(|_| Denial::Failed)?;
        Ok(reply::json(&obeyed.map_err(Denial::Unknown)?))
    }

    async fn enable_faults(&self, request: Request<Incoming>) -> Result<Reply, Denial> {
        let text = text_of(request.into_body()).await?;
        let loaded = self.control.loaded();
        let enabled = self.faults.enable(&text, &loaded.config);
        enabled.map_err(|error| Denial::Body(error.to_string()))?;
        Ok(reply::json(&faults(&loaded.config)))
    }

    async fn explain(&self, request: Request<Incoming>) -> Result<Reply, Denial> {
        let text = text_of(request.into_body()).await?;
        let question = question::read(&text).map_err(|error| Denial::Body(error.to_string()))?;
        let control = Arc::clone(&self.control);
        // Plugins are set up for it: as heavy as a check.
        let turn = self.heavy.lock().await;
        let explained = spawn_blocking(move || control.explain(&question)).await;
        drop(turn);
        match explained.map_err(|_| Denial::Failed)? {
            Ok(explained) => Ok(reply::json(&explained)),
            // The configuration in use was built once already.
            Err(_) => Err(Denial::Failed),
        }
    }
}

/// The whole body as text.
async fn text_of(body: Incoming) -> Result<String, Denial> {
    let too_large = Denial::BodyTooLarge { bytes_max: BODY_BYTES_MAX };
    // A client that says it before sending is spared the sending.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(too_large);
    }
    let collected =
        Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| match error
            .downcast_ref::<LengthLimitError>(
        ) {
            Some(_) => too_large,
            None => Denial::BodyBroken,
        })?;
    let mut body = collected.aggregate();
    let bytes = body.copy_to_bytes(body.remaining());
    String::from_utf8(bytes.into()).map_err(|_| Denial::BodyNotText)
}
