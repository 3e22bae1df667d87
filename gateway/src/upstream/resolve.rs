//! Resolves the names of servers in the background, again when their TTL ends; the last good answer is kept.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use tokio::time::{Instant, sleep_until};

use super::Upstream;

/// An answer is used at least this long, whatever its TTL: a TTL of 0 must not become a flood of queries.
const TTL_MIN: Duration = Duration::from_secs(1);
/// An answer is asked again at the latest after this.
const TTL_MAX: Duration = Duration::from_secs(300);
/// After a failed look-up.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the servers of `upstream` resolved until nobody holds it any more. Runs on the control runtime.
pub(crate) async fn keep_resolved(upstream: Weak<Upstream>, resolver: Arc<TokioResolver>) {
    loop {
        let Some(held) = upstream.upgrade() else { return };
        let mut answers: HashMap<String, Vec<IpAddr>> = HashMap::new();
        let mut again = Instant::now() + TTL_MAX;
        for name in held.names() {
            match look_up(&resolver, name).await {
                Ok((addresses, until)) => {
                    again = again.min(until);
                    answers.insert(name.to_owned(), addresses);
                }
                // What was known stays; the state shows in the admin's view of the servers.
                Err(()) => again = again.min(Instant::now() + RETRY),
            }
        }
        held.set_resolved(None, |name| answers.get(name).cloned());
        drop(held);
        sleep_until(again).await;
    }
}

/// The addresses in an order of their own, so that an answer that is only shuffled changes nothing.
async fn look_up(resolver: &TokioResolver, name: &str) -> Result<(Vec<IpAddr>, Instant), ()> {
    let answer = resolver.lookup_ip(name).await.map_err(|_| ())?;
    let mut addresses: Vec<IpAddr> = answer.iter().collect();
    if addresses.is_empty() {
        return Err(());
    }
    addresses.sort();
    addresses.dedup();
    let until = Instant::from_std(answer.valid_until());
    let now = Instant::now();
    Ok((addresses, until.clamp(now + TTL_MIN, now + TTL_MAX)))
}

/// A resolver with the system's settings (`/etc/resolv.conf`, `/etc/hosts`).
pub(crate) fn system_resolver() -> Option<Arc<TokioResolver>> {
    let builder = TokioResolver::builder_tokio().ok()?;
    builder.build().ok().map(Arc::new)
}
