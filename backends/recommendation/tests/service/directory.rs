//! A users service that knows who it is told to know, and can be away.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};

use wire::get_user_data_server::{GetUserData, GetUserDataServer};
use wire::{UserDataRequest, UserDataResponse};

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::too_many_lines,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
mod wire {
    include!(concat!(env!("OUT_DIR"), "/server/user_data.rs"));
}

/// What a directory answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Answers,
    /// Takes the question and says nothing.
    Sulks,
    Fails,
}

/// Users by id, and what was heard.
#[derive(Clone)]
pub(crate) struct Directory {
    names: Arc<Mutex<HashMap<String, String>>>,
    mood: Arc<Mutex<Mood>>,
    correlation_ids: Arc<Mutex<Vec<String>>>,
    address: SocketAddr,
}

/// A directory that listens, until this is dropped.
pub(crate) struct Listening(JoinHandle<()>);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Directory {
    /// A directory and its open port.
    pub(crate) async fn open(names: &[(&str, &str)]) -> (Self, Listening) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = |(id, name): &(&str, &str)| ((*id).to_owned(), (*name).to_owned());
        let directory = Self {
            names: Arc::new(Mutex::new(names.iter().map(own).collect())),
            mood: Arc::new(Mutex::new(Mood::Answers)),
            correlation_ids: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        let listening = directory.serve(listener);
        (directory, listening)
    }

    fn serve(&self, listener: TcpListener) -> Listening {
        let service = GetUserDataServer::new(self.clone());
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let serving = tonic::transport::Server::builder().add_service(service);
        Listening(tokio::spawn(async move { serving.serve_with_incoming(incoming).await.unwrap() }))
    }

    /// Listens again where it did before.
    pub(crate) async fn reopen(&self) -> Listening {
        self.serve(TcpListener::bind(self.address).await.unwrap())
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn add(&self, id: &str, name: &str) {
        self.names.lock().unwrap().insert(id.to_owned(), name.to_owned());
    }

    pub(crate) fn be(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    pub(crate) fn questions(&self) -> usize {
        self.correlation_ids.lock().unwrap().len()
    }

    pub(crate) fn heard(&self, correlation_id: &str) -> bool {
        self.correlation_ids.lock().unwrap().iter().any(|heard| heard == correlation_id)
    }
}

#[tonic::async_trait]
impl GetUserData for Directory {
    async fn get_user(
        &self,
        request: Request<UserDataRequest>,
    ) -> Result<Response<UserDataResponse>, Status> {
        let sent = request.metadata().get("x-correlation-id");
        let correlation_id = sent.map(|id| id.to_str().unwrap().to_owned());
        self.correlation_ids.lock().unwrap().push(correlation_id.unwrap_or_default());
        let mood = *self.mood.lock().unwrap();
        match mood {
            Mood::Answers => {}
            Mood::Sulks => tokio::time::sleep(Duration::from_secs(3600)).await,
            Mood::Fails => return Err(Status::internal("out of order")),
        }
        let id = request.into_inner().id;
        let name = self.names.lock().unwrap().get(&id).cloned();
        let name = name.ok_or_else(|| Status::not_found("no such user"))?;
        let email = format!("{id}@example.org");
        Ok(Response::new(UserDataResponse { id, name, email }))
    }
}
