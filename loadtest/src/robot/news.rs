//! One article of each type is written, followed up, and read by the user.

use std::time::Duration;

use serde_json::{Value, json};

use crate::robot::promise::{Broken, Expected, Robot, list, text};
use crate::robot::users::User;

/// The types of news that the portal has, in the order of the aggregate.
pub(crate) const THEMES: [&str; 3] = ["famous", "politics", "sports"];
/// How long after its writing an article may come into sight.
const SIGHT_TIME_MAX: Duration = Duration::from_secs(1);

/// An article in its second version.
#[derive(Clone, Debug)]
pub(crate) struct Article {
    pub(crate) theme: &'static str,
    pub(crate) id: String,
    /// Its only tag.
    pub(crate) label: String,
    pub(crate) title: String,
}

/// Each with a label of its own, in two versions.
pub(crate) async fn publish(robot: &mut Robot) -> Result<Vec<Article>, Broken> {
    let mut articles = Vec::new();
    for theme in THEMES {
        let article = write(robot, theme).await?;
        follow_up(robot, &article).await?;
        articles.push(article);
    }
    Ok(articles)
}

async fn write(robot: &mut Robot, theme: &'static str) -> Result<Article, Broken> {
    let run = robot.run.clone();
    let mut article = Article {
        theme,
        id: String::new(),
        label: format!("{theme}-{run}"),
        title: format!("A robot's {theme} news {run}"),
    };
    let post = robot.at_gateway("POST", path(theme)).json(&draft(&article));
    let promise = format!("a {theme} article is added");
    let answer = robot.expect(&promise, &post, is_article(201, &article, 1)).await?;
    text(&answer, "/news/id").clone_into(&mut article.id);
    Ok(article)
}

async fn follow_up(robot: &mut Robot, article: &Article) -> Result<(), Broken> {
    let Article { theme, id, .. } = article;
    let mut next = draft(article);
    next["id"] = json!(id);
    next["version"] = json!(1);
    let put = robot.at_gateway("PUT", path(theme)).json(&next);
    let promise = format!("a {theme} article gets its next version");
    robot.expect(&promise, &put, is_article(201, article, 2)).await?;
    let promise = format!("a stale version of a {theme} article is refused");
    robot.expect(&promise, &put, is_failure(409)).await?;

    let history = robot.at_gateway("GET", format!("{}/{id}/history", path(theme)));
    let both = Expected::with(200, "versions 2 and 1, and nothing of the refused one", |body| {
        list(body, "/news").iter().map(|it| it["version"].as_u64()).eq([Some(2), Some(1)])
    });
    let promise = format!("a {theme} article has its history");
    robot.expect(&promise, &history, both).await.map(drop)
}

/// The user reads each of them, which the portal notices by the cookie.
pub(crate) async fn read(
    robot: &mut Robot,
    user: &User,
    articles: &[Article],
) -> Result<(), Broken> {
    for article in articles {
        let path = format!("{}/{}", path(article.theme), article.id);
        let get = robot.at_gateway("GET", path);
        let get = get.header("cookie", format!("user_id={}", user.id));
        let promise = format!("the user reads the {} article", article.theme);
        let expected = is_article(200, article, 2);
        robot.expect_within(SIGHT_TIME_MAX, &promise, &get, expected).await?;
    }
    Ok(())
}

pub(crate) fn path(theme: &str) -> String {
    format!("/news/v1/{theme}")
}

pub(crate) fn draft(article: &Article) -> Value {
    let Article { theme: _, id: _, label, title } = article;
    json!({ "title": title, "content": "Written by a robot.", "author": "robot", "tags": [label] })
}

/// `{"status": "fail", "message": …}`
pub(crate) fn is_failure(status: u16) -> Expected {
    Expected::with(status, "status fail and a message", |body| {
        text(body, "/status") == "fail" && !text(body, "/message").is_empty()
    })
}

fn is_article(status: u16, article: &Article, version: u64) -> Expected {
    let Article { theme, id, label, title } = article.clone();
    let words = format!("version {version} of {title:?}, tag {label}");
    Expected::with(status, words, move |body| {
        let came = &body["news"];
        let right_id =
            if id.is_empty() { !text(came, "/id").is_empty() } else { text(came, "/id") == id };
        right_id
            && text(body, "/status") == "success"
            && came["version"] == version
            && came["tags"] == json!([label])
            && text(came, "/title") == title
            && text(came, "/news_type") == theme
    })
}
