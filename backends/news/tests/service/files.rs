//! What can be tried with files alone: stores put back from copies, and a port that is taken.

use news::{ReadSide, Settings};

use crate::homes::Homes;
use crate::rig::{Service, add, draft, everything, written};

const LOG: &str = "event-log.sqlite";
const LATEST: &str = "latest.sqlite";

#[tokio::test]
async fn a_read_side_that_is_gone_behind_or_ahead_is_made_right_at_start() {
    let service = written(&Homes::Embedded).await;
    let home = service.stop().await;
    let path = |file: &str| home.file(file);
    for file in [LOG, LATEST] {
        std::fs::copy(path(file), path(&format!("early-{file}"))).unwrap();
    }
    let service = Service::start_in(home, ReadSide::CatchUp).await;
    let early = everything(&service).await;
    let number = 60; // More than one batch.
    for title in 0..number {
        add(&service, "POST", draft(&title.to_string())).await;
    }
    let late = everything(&service).await;
    assert_eq!(late.as_array().unwrap().len(), 3 + number);

    let home = service.stop().await;
    let path = |file: &str| home.file(file);
    std::fs::copy(path(LATEST), path("late-latest.sqlite")).unwrap();
    std::fs::remove_file(path(LATEST)).unwrap();
    let service = Service::start_in(home, ReadSide::CatchUp).await;
    assert_eq!(everything(&service).await, late, "gone");
    assert_eq!(service.send("POST", "/rebuild", ()).await.status, 200);
    assert_eq!(everything(&service).await, late, "made again");

    let home = service.stop().await;
    let path = |file: &str| home.file(file);
    std::fs::rename(path("early-latest.sqlite"), path(LATEST)).unwrap();
    let service = Service::start_in(home, ReadSide::CatchUp).await;
    assert_eq!(everything(&service).await, late, "behind");

    let home = service.stop().await;
    let path = |file: &str| home.file(file);
    std::fs::rename(path("early-event-log.sqlite"), path(LOG)).unwrap();
    std::fs::rename(path("late-latest.sqlite"), path(LATEST)).unwrap();
    let service = Service::start_in(home, ReadSide::CatchUp).await;
    assert_eq!(everything(&service).await, early, "ahead");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let service = Service::start(&Homes::Embedded).await;
    let other = Homes::Embedded.make();
    let settings = Settings { address: service.address(), ..other.settings(ReadSide::CatchUp) };
    let error = news::start(settings).await.unwrap_err().to_string();
    assert!(error.contains(&service.address().to_string()), "{error}");
}
