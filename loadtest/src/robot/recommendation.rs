//! What the user has read is known to recommendation soon after, and counted once.

use std::time::Duration;

use serde_json::{Value, json};

use crate::robot::Step;
use crate::robot::news::Article;
use crate::robot::promise::{Broken, Expected, Robot, list, text};
use crate::robot::question::Question;
use crate::robot::users::User;

/// How long after the last reading the labels may come.
const LABELS_TIME_MAX: Duration = Duration::from_secs(1);

/// Both ways: the user's labels, and the label's users.
pub(crate) async fn recommend(
    robot: &mut Robot,
    user: &User,
    articles: &[Article],
) -> Result<(), Broken> {
    let labels: Vec<String> = articles.iter().map(|article| article.label.clone()).collect();
    let instead = "\"viewed\" is posted to recommendation by the robot";
    let published = robot.leaves_to_gateway(Step::Viewed, instead);
    if !published {
        for article in articles {
            let promise =
                format!("recommendation takes that the {} article was viewed", article.theme);
            let event = viewed(robot, user, article);
            robot.expect(&promise, &event, Expected::status(202)).await?;
        }
    }
    let question = labels_of(robot, user);
    let promise = "the labels of what was read are the user's";
    robot.expect_within(LABELS_TIME_MAX, promise, &question, has_each(&labels)).await?;
    if !published {
        tell_again(robot, user, articles).await?;
    }
    for label in labels {
        let question = robot.at_gateway("GET", format!("/recommendation/v1/label/{label}"));
        let (id, words) = (user.id.clone(), format!("the user {} alone", user.id));
        let found = Expected::with(200, words, move |body| {
            list(body, "/users").iter().map(|reader| text(reader, "/id")).eq([id.as_str()])
        });
        robot.expect(&format!("{label} has its reader"), &question, found).await?;
    }
    Ok(())
}

/// An event that comes twice is counted once. When a later one is counted, the second telling has been looked at too.
async fn tell_again(robot: &mut Robot, user: &User, articles: &[Article]) -> Result<(), Broken> {
    let mut labels = Vec::new();
    for article in articles {
        let event = viewed(robot, user, article);
        let promise = format!("the same event of the {} article is taken again", article.theme);
        robot.expect(&promise, &event, Expected::status(202)).await?;
        labels.push(article.label.clone());
    }
    let later = Article {
        theme: "famous",
        id: format!("later-{}", robot.run),
        label: format!("later-{}", robot.run),
        title: String::new(),
    };
    let event = viewed(robot, user, &later);
    robot.expect("a later event is taken", &event, Expected::status(202)).await?;
    labels.push(later.label);
    let question = labels_of(robot, user);
    let promise = "an event that was told twice is counted once";
    robot.expect_within(LABELS_TIME_MAX, promise, &question, has_each_once(&labels)).await.map(drop)
}

fn viewed(robot: &Robot, user: &User, article: &Article) -> Question {
    let Article { theme, id, label, title: _ } = article;
    let event = json!({
        "id": format!("robot-{label}"),
        "user_id": user.id,
        "news": { "id": id, "news_type": theme, "tags": [label] },
    });
    robot.at_recommendation("POST", "/events/viewed").json(&event)
}

fn labels_of(robot: &Robot, user: &User) -> Question {
    robot.at_gateway("GET", format!("/recommendation/v1/user/{}", user.id))
}

/// An article may have been read more than once before it was seen in its last version.
fn has_each(labels: &[String]) -> Expected {
    let labels = labels.to_vec();
    Expected::with(200, labels.join(", "), move |body| {
        labels.iter().all(|label| count(body, label) >= Some(1))
    })
}

fn has_each_once(labels: &[String]) -> Expected {
    let words = format!("{}, each counted once", labels.join(", "));
    let labels = labels.to_vec();
    Expected::with(200, words, move |body| labels.iter().all(|label| count(body, label) == Some(1)))
}

fn count(body: &Value, label: &str) -> Option<u64> {
    let known = list(body, "/labels").iter().find(|it| text(it, "/label") == label)?;
    known["count"].as_u64()
}
