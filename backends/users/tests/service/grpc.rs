//! What other services see, over gRPC.

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};
use user_data::UserDataRequest;
use user_data::get_user_data_client::GetUserDataClient;

use crate::rig::{Service, Stores, on_both_kinds_of_stores, path_of};

/// What the build script made of the `.proto` file.
mod user_data {
    #![allow(warnings, clippy::all, clippy::pedantic, reason = "generated code")]
    include!(concat!(env!("OUT_DIR"), "/client/user_data.rs"));
}

on_both_kinds_of_stores!(a_user_is_told_by_id_and_others_are_not_found);

async fn a_user_is_told_by_id_and_others_are_not_found(stores: Stores) {
    let service = Service::start(stores).await;
    let ann = service.create("ann").await;
    let endpoint = Endpoint::new(format!("http://{}", service.grpc_address())).unwrap();
    let mut client = GetUserDataClient::new(endpoint.connect().await.unwrap());

    let id = ann["id"].as_str().unwrap().to_owned();
    let found = ask(&mut client, &id).await.unwrap();
    assert_eq!(
        (found.id, found.name, found.email),
        (id, "ann".to_owned(), "ann@example.org".to_owned())
    );
    for unknown in ["8d5e7a52-2f9b-4b0c-9a55-0d3d8d3f3f5e", "1", ""] {
        let status = ask(&mut client, unknown).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound, "{unknown}");
        assert_eq!(status.message(), "no user has this id");
    }
    let refused = ask(&mut client, &"x".repeat(5000)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{}", refused.message());
    service.send("DELETE", &path_of(&ann), ()).await;
    let gone = ask(&mut client, ann["id"].as_str().unwrap()).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    drop(client);
    service.stop().await;
}

async fn ask(
    client: &mut GetUserDataClient<Channel>,
    id: &str,
) -> Result<user_data::UserDataResponse, tonic::Status> {
    let mut request = Request::new(UserDataRequest { id: id.to_owned() });
    request.metadata_mut().insert("x-correlation-id", "abc-123".parse().unwrap());
    let response = client.get_user(request).await?;
    assert_eq!(response.metadata().get("x-correlation-id").unwrap(), "abc-123");
    Ok(response.into_inner())
}
