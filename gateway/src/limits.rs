//! How many connections there may be: in all, and from one client.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections. Touched once per connection, never per request; the map is as long as there are connections.
#[derive(Debug, Default)]
pub(crate) struct Connections {
    open: AtomicUsize,
    clients: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that was let in; gives its place back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    client: IpAddr,
}

/// Which bound a connection ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// `limits.connections`.
    Process,
    /// `limits.connections-per-client`.
    Client,
    /// None is let in: the process has too much to do.
    Overload,
}

impl Full {
    /// The word for it in metrics.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Process => "connections",
            Self::Client => "connections-per-client",
            Self::Overload => "overload",
        }
    }
}

impl Connections {
    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Lets a connection in, or says which bound it ran into.
    pub(crate) fn enter(
        self: &Arc<Self>,
        client: IpAddr,
        limits: &crate::config::Limits,
    ) -> Result<Place, Full> {
        // Relaxed: the count bounds a resource, it publishes nothing.
        if self.open.fetch_add(1, Ordering::Relaxed) >= limits.connections {
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Process);
        }
        let client = network(client);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let count = clients.entry(client).or_default();
        if *count >= limits.connections_per_client {
            if *count == 0 {
                clients.remove(&client);
            }
            self.open.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Client);
        }
        *count += 1;
        Ok(Place { connections: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open.fetch_sub(1, Ordering::Relaxed);
        let mut clients = self.connections.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = clients.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                clients.remove(&self.client);
            }
        }
    }
}

/// An IPv6 client has a whole /64 to itself; it counts as one.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)))
        }
    }
}
