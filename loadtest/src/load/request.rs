//! Requests ready to be sent: what is the same each time is built once.

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE};
use http::{HeaderName, HeaderValue, Request, Uri};

use super::scenario::{Protocol, Scenario, Step, StepBody, Url};
use super::template::Values;
use super::trouble::Trouble;
use crate::body::Body;

/// A scenario's requests and how often each is chosen.
pub(super) struct Requests {
    origin: Url,
    protocol: Protocol,
    ready: Vec<Ready>,
    /// For each request the sum of the weights up to it.
    bounds: Vec<u64>,
    steps: Vec<Step>,
}

/// The parts of a request that are the same each time.
struct Ready {
    head: Option<Request<()>>,
    body: ReadyBody,
}

enum ReadyBody {
    Empty,
    Bytes(Bytes),
    Pattern(u64),
    Filled,
}

impl Requests {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let mut requests = Self {
            origin: scenario.origin.clone(),
            protocol: scenario.protocol,
            ready: Vec::new(),
            bounds: Vec::new(),
            steps: scenario.requests.clone(),
        };
        let mut sum = 0;
        for step in &scenario.requests {
            sum += u64::from(step.weight);
            requests.bounds.push(sum);
            let ready = Ready { head: requests.constant_head(step), body: ReadyBody::of(step) };
            requests.ready.push(ready);
        }
        requests
    }

    /// The place of a request, by the weights.
    pub(super) fn choose(&self) -> usize {
        let Some(&sum) = self.bounds.last().filter(|_| self.bounds.len() > 1) else { return 0 };
        let chance = fastrand::u64(..sum);
        self.bounds.partition_point(|&bound| bound <= chance)
    }

    /// A request of the load.
    pub(super) fn request(
        &self,
        place: usize,
        values: &Values<'_>,
    ) -> Result<Request<Body>, Trouble> {
        let ready = &self.ready[place];
        let step = &self.steps[place];
        let head = match &ready.head {
            Some(head) => head.clone(),
            None => self.head(step, values)?,
        };
        let body = match &ready.body {
            ReadyBody::Empty => Body::empty(),
            ReadyBody::Bytes(bytes) => Body::from(bytes.clone()),
            ReadyBody::Pattern(length) => Body::Pattern(*length),
            ReadyBody::Filled => filled(step, values),
        };
        Ok(head.map(|()| body))
    }

    /// A request that is sent once, as for a login.
    pub(super) fn build(&self, step: &Step, values: &Values<'_>) -> Result<Request<Body>, Trouble> {
        Ok(self.head(step, values)?.map(|()| filled(step, values)))
    }

    fn constant_head(&self, step: &Step) -> Option<Request<()>> {
        let constant = step.path.constant().is_some()
            && step.headers.iter().all(|(_, value)| value.constant().is_some());
        let nobody = Values { user: 0, count: 0, saved: &std::collections::BTreeMap::new() };
        constant.then(|| self.head(step, &nobody).ok()).flatten()
    }

    fn head(&self, step: &Step, values: &Values<'_>) -> Result<Request<()>, Trouble> {
        let path = step.path.fill(values);
        let authority = self.origin.authority();
        let mut request = Request::new(());
        let target = match self.protocol {
            Protocol::Http1 | Protocol::WebSocket => path,
            Protocol::Http2 => format!("{}://{authority}{path}", self.origin.scheme()),
        };
        *request.uri_mut() = target.parse::<Uri>().map_err(|_| Trouble::Request)?;
        *request.method_mut() = step.method.clone();
        let headers = request.headers_mut();
        if self.protocol != Protocol::Http2 {
            headers.insert(HOST, value(&authority)?);
        }
        if step.grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        for (name, template) in &step.headers {
            let name: &HeaderName = name;
            headers.insert(name, value(&template.fill(values))?);
        }
        Ok(request)
    }
}

fn value(text: &str) -> Result<HeaderValue, Trouble> {
    HeaderValue::from_str(text).map_err(|_| Trouble::Request)
}

fn filled(step: &Step, values: &Values<'_>) -> Body {
    match &step.body {
        StepBody::None => Body::empty(),
        StepBody::Pattern(length) => Body::Pattern(*length),
        StepBody::Text(template) => Body::from(framed(step, template.fill(values).into())),
    }
}

/// A gRPC message has its length before it.
fn framed(step: &Step, text: Bytes) -> Bytes {
    if !step.grpc {
        return text;
    }
    let mut message = BytesMut::with_capacity(text.len() + 5);
    message.put_u8(0);
    message.put_u32(text.len() as u32);
    message.extend_from_slice(&text);
    message.freeze()
}

impl ReadyBody {
    fn of(step: &Step) -> Self {
        match &step.body {
            StepBody::None if step.grpc => Self::Bytes(framed(step, Bytes::new())),
            StepBody::None => Self::Empty,
            StepBody::Pattern(length) if step.grpc => {
                let text: Vec<u8> = (0..*length).map(|place| (place % 251) as u8).collect();
                Self::Bytes(framed(step, text.into()))
            }
            StepBody::Pattern(length) => Self::Pattern(*length),
            StepBody::Text(template) => match template.constant() {
                Some(text) => Self::Bytes(framed(step, Bytes::copy_from_slice(text.as_bytes()))),
                None => Self::Filled,
            },
        }
    }
}
