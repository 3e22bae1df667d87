//! Bodies that plugins want whole, or changed on the way.

use bytes::{Bytes, BytesMut};
use http::{Response, header, response};
use http_body_util::{BodyExt, Limited};
use plugins::Exchange;

use crate::body::{Changed, Payload};
use crate::chain::BodyStep;
use crate::reply::Failure;
use crate::upstream::CallError;
use crate::upstream::request_body::RequestBody;

/// The whole request body, for a plugin that wants it: within its limit, and held to what a streaming one is held to.
pub(crate) async fn collect(mut body: RequestBody, limit: usize) -> Result<Bytes, Failure> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Failure::Call(CallError::Body(error)))?;
        let data = frame.into_data().unwrap_or_default();
        if whole.len() + data.len() > limit {
            return Err(Failure::BodyTooLong);
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole.freeze())
}

enum NotCollected {
    TooLong,
    Broken,
}

async fn collect_within<B>(body: B, limit: usize) -> Result<Bytes, NotCollected>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => Err(NotCollected::TooLong),
        Err(_) => Err(NotCollected::Broken),
    }
}

/// Runs what plugins want done to a response body. From the first that wants it whole, it is in memory.
pub(crate) async fn change_body(
    exchange: &mut Exchange,
    head: &mut response::Parts,
    mut payload: Payload,
    steps: Vec<BodyStep>,
) -> Result<Payload, Failure> {
    head.headers.remove(header::CONTENT_LENGTH);
    let mut transforms = Vec::new();
    for step in steps {
        match step {
            BodyStep::Stream(transform) => transforms.push(transform),
            BodyStep::Whole { plugin, limit } => {
                payload = attach(payload, std::mem::take(&mut transforms))?;
                let body = gather(payload, limit).await?;
                let (empty, ()) = Response::new(()).into_parts();
                let mut response = Response::from_parts(std::mem::replace(head, empty), body);
                let done = plugin.whole_response(exchange, &mut response).done().await;
                done.map_err(Failure::Refused)?;
                let (parts, body) = response.into_parts();
                *head = parts;
                payload = Payload::Whole(body);
            }
        }
    }
    attach(payload, transforms)
}

/// Puts transforms before a body; one that is in memory passes through them at once.
fn attach(
    payload: Payload,
    mut transforms: Vec<Box<dyn plugins::Transform>>,
) -> Result<Payload, Failure> {
    if transforms.is_empty() {
        return Ok(payload);
    }
    Ok(match payload {
        Payload::Upstream(body) => Payload::Changed(Box::new(Changed::new(body, transforms))),
        Payload::Whole(bytes) => {
            let start =
                crate::chain::transform(&mut transforms, bytes).map_err(Failure::Refused)?;
            let rest = crate::chain::end_transforms(&mut transforms).map_err(Failure::Refused)?;
            Payload::Whole(if rest.is_empty() { start } else { [start, rest].concat().into() })
        }
        Payload::Changed(mut changed) => {
            changed.add(transforms);
            Payload::Changed(changed)
        }
        Payload::Empty => Payload::Empty,
    })
}

async fn gather(payload: Payload, limit: usize) -> Result<Bytes, Failure> {
    let collected = match payload {
        Payload::Empty => return Ok(Bytes::new()),
        Payload::Whole(bytes) if bytes.len() > limit => Err(NotCollected::TooLong),
        Payload::Whole(bytes) => return Ok(bytes),
        Payload::Upstream(body) => collect_within(*body, limit).await,
        Payload::Changed(changed) => collect_within(*changed, limit).await,
    };
    collected.map_err(|error| match error {
        NotCollected::TooLong => Failure::ResponseTooLong,
        NotCollected::Broken => Failure::ResponseBroken,
    })
}
