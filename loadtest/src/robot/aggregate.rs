//! One page of all types lists the three articles, in the order of the types.

use crate::robot::Step;
use crate::robot::news::{Article, path};
use crate::robot::promise::{Broken, Expected, Robot, list, text};

/// The newest come first, so that these are enough.
const PAGE: &str = "1/20";

/// Asks for the aggregate, or for its parts.
pub(crate) async fn list_all(robot: &mut Robot, articles: &[Article]) -> Result<(), Broken> {
    let instead = "the aggregate is joined by the robot from the pages of the three types";
    if robot.leaves_to_gateway(Step::Aggregate, instead) {
        let question = robot.at_gateway("GET", format!("{}/{PAGE}", path("all")));
        let promise = "the aggregate lists all three articles";
        return robot.expect(promise, &question, lists(articles)).await.map(drop);
    }
    for article in articles {
        let question = robot.at_gateway("GET", format!("{}/{PAGE}", path(article.theme)));
        let promise = format!("the {} page lists the article", article.theme);
        robot.expect(&promise, &question, lists(std::slice::from_ref(article))).await?;
    }
    Ok(())
}

/// These, in this order, whatever stands between them.
fn lists(articles: &[Article]) -> Expected {
    let ids: Vec<String> = articles.iter().map(|article| article.id.clone()).collect();
    let words = format!("status success and {}", ids.join(" before "));
    Expected::with(200, words, move |body| {
        let came: Vec<&str> = list(body, "/news").iter().map(|it| text(it, "/id")).collect();
        let mut rest = came.iter();
        let in_order = ids.iter().all(|id| rest.any(|came| came == id));
        in_order && text(body, "/status") == "success"
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn articles_are_listed_in_the_order_of_the_types() {
        let article = |id: &str| Article {
            theme: "famous",
            id: id.to_owned(),
            label: String::new(),
            title: String::new(),
        };
        let expected = lists(&[article("a"), article("b")]);
        for (came, right) in [
            (json!([{ "id": "x" }, { "id": "a" }, { "id": "y" }, { "id": "b" }]), true),
            (json!([{ "id": "b" }, { "id": "a" }]), false),
            (json!([{ "id": "a" }]), false),
            (json!(null), false),
        ] {
            let body = json!({ "status": "success", "news": came });
            assert_eq!(expected.accepts(200, &body), right, "{body}");
        }
    }
}
