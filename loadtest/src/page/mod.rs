//! A result as one HTML file that holds everything it shows: for `loadtest run` and for `loadtest compare`.

use std::path::Path;

use serde_json::Value;

use crate::failure::Failure;

/// The frame; `{{style}}`, `{{document}}` and `{{script}}` stand in it in this order.
const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");

/// In the order in which they rest on each other.
const SCRIPTS: [&str; 6] = [
    include_str!("draw.js"),
    include_str!("plots.js"),
    include_str!("document.js"),
    include_str!("run.js"),
    include_str!("resilience.js"),
    include_str!("page.js"),
];

/// Writes `document`, as `loadtest run --json` or `loadtest compare --json` prints it, as a page.
pub(crate) fn write(document: &Value, file: &Path) -> Result<(), Failure> {
    std::fs::write(file, page(document))
        .map_err(|source| Failure::File { path: file.to_owned(), source })
}

/// The same for a document that was kept in a file.
pub(crate) fn draw(result: &Path, file: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(result)
        .map_err(|source| Failure::File { path: result.to_owned(), source })?;
    let document =
        serde_json::from_str(&text).map_err(|_| Failure::Unreadable { path: result.to_owned() })?;
    write(&document, file)
}

fn page(document: &Value) -> String {
    let mut page = String::new();
    let mut rest = PAGE;
    // From front to back, so that nothing that was put in is taken for a place.
    for (place, content) in [
        ("{{style}}", STYLE),
        ("{{document}}", &embedded(document)),
        ("{{script}}", &SCRIPTS.concat()),
    ] {
        let (before, after) = rest.split_once(place).unwrap_or((rest, ""));
        page.extend([before, content]);
        rest = after;
    }
    page + rest
}

/// JSON in a script element ends at `</script`, and `<!--` changes how it is read; in JSON `<` stands in strings only,
/// where it may be written otherwise.
fn embedded(document: &Value) -> String {
    document.to_string().replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// As measured on 2026-11-23, paths shortened: of scenarios, growth and instructions, which are three runs.
    const SAMPLE: &str = include_str!("sample.json");

    fn comparison() -> Value {
        serde_json::from_str(SAMPLE).expect("a document")
    }

    fn run() -> Value {
        json!({
            "scenario": "mixed", "url": "http://127.0.0.1:8080", "protocol": "http/1.1", "loop": "open", "rate": 2000,
            "connections": 64, "streams": 1, "threads": 1, "seconds": 3.0, "requests": 6000, "failed": 1,
            "errors": { "timeout": 1 }, "requests_per_second": 2000.1, "bytes_in": 1, "bytes_out": 1,
            "connections_opened": 64, "handshakes": { "full": 0, "resumed": 0 },
            "latency_ms": { "min": 0.1, "mean": 0.4, "p50": 0.3, "p99": 1.0, "p99_9": 3.0, "max": 4.0 },
            "percentiles": [[0.0, 0.1], [50.0, 0.3], [99.0, 1.0], [99.9, 3.0], [100.0, 4.0]],
            "timeline": [
                { "second": 0, "requests": 2000, "failed": 0, "p50_ms": 0.3, "p99_ms": 1.0, "max_ms": 3.0 },
                { "second": 1, "requests": 2000, "failed": 1, "p50_ms": 0.4, "p99_ms": 1.1, "max_ms": 4.0 },
            ],
            "by_request": { "page": { "requests": 6000, "failed": 1, "latency_ms": { "p50": 0.3 } } },
            "ledger": { "sent": 6000, "answered": 5999, "arrived": 6000, "lost": 0 },
            "generator": { "cpu_us_per_request": 4.1 },
        })
    }

    /// What a browser takes for the content of the element `document`.
    fn read_back(page: &str) -> Value {
        let begin = page.find("id=\"document\">").expect("the element") + "id=\"document\">".len();
        let length = page[begin..].to_lowercase().find("</script").expect("its end");
        serde_json::from_str(&page[begin..begin + length]).expect("JSON")
    }

    #[test]
    fn the_page_holds_the_document_as_it_was() {
        for document in [comparison(), run()] {
            assert_eq!(read_back(&page(&document)), document);
        }
    }

    #[test]
    fn nothing_in_a_document_breaks_out_of_it() {
        let nasty = "# </script><script>alert(1)</script> </SCRIPT > <!-- <script> ]]> {{style}} {{script}} \u{2028}";
        let document = json!({ "scenarios": [], "command": nasty });
        let page = page(&document);
        assert_eq!(read_back(&page), document);
        assert_eq!(page.matches("</script").count(), 3);
        assert!(!page.contains("alert(1)</script") && !page.contains("<!--"));
    }

    #[test]
    fn the_page_asks_the_network_for_nothing() {
        let page = page(&json!({}));
        assert!(page.contains("default-src 'none'"));
        assert!(!page.contains("{{"), "every place is filled");
        for address in ["http:", "https:", "@import", "url("] {
            let allowed = page.matches("http://www.w3.org/2000/svg").count()
                * usize::from(address == "http:");
            assert_eq!(page.matches(address).count(), allowed, "{address}");
        }
    }

    #[test]
    fn a_page_is_written_as_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("page.html");
        write(&run(), &file).expect("written");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), page(&run()));
        assert!(write(&run(), &folder.path().join("no/page.html")).is_err());
        let result = folder.path().join("result.json");
        std::fs::write(&result, comparison().to_string()).expect("written");
        draw(&result, &file).expect("drawn");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), page(&comparison()));
        std::fs::write(&result, "{").expect("written");
        assert!(matches!(draw(&result, &file), Err(Failure::Unreadable { .. })));
    }

    /// What a browser makes of the page; `None` where none is installed.
    fn drawn(document: &Value) -> Option<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("page.html");
        write(document, &file).expect("written");
        let mut profile = std::ffi::OsString::from("--user-data-dir=");
        profile.push(folder.path());
        // Virtual time: the browser ends when the page has nothing left to do, and at the latest after so many ms.
        let output = std::process::Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"])
            .arg(profile)
            .arg("--dump-dom")
            .arg(&file)
            .output();
        match output {
            Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("chromium: {error}"),
        }
    }

    #[test]
    fn a_browser_draws_every_plot_without_an_error() {
        // Of a comparison: one over all, three a scenario, one a ladder, one a count of instructions.
        let mut expected = vec![(comparison(), 1 + 3 * 2 + 1 + 1), (run(), 3)];
        // Half of what there could be: as it was with wrk, which tells no seconds, and without a reference.
        let bare = json!({ "scenarios": [{ "name": "plain", "base": null, "proxies": [{
            "name": "haproxy", "logged": null, "percentiles": [[50.0, 1.0], [99.0, 2.0]], "timeline": [null, []],
            "figures": { "cpu_us_per_request": { "median": 17.0, "ratio": null, "rounds": [17.0] } } }],
            "left_out": [{ "name": "caddy", "reason": "not installed" }] }] });
        expected.extend([(bare, 1), (json!({ "scenarios": [] }), 0)]);
        let proxy = json!({ "name": "gateway", "figures": { "errors_percent": 25.0, "p99_quotient": null }, "kept": false,
            "errors": { "timeout": 500 }, "config": "threads = 1", "timeline": [
                { "second": 0, "requests": 9, "failed": 0, "p99_ms": 1.0 }, { "second": 1, "requests": 9, "failed": 3, "p99_ms": 3000.0 }] });
        let failing = json!({ "scenarios": [], "resilience": [{ "part": "faults", "name": "hangs", "does": "it never answers",
            "promise": "few errors", "columns": [{ "key": "errors_percent", "title": "errors %" },
                { "key": "p99_quotient", "title": "after ÷ before" }], "proxies": [proxy],
            "left_out": [{ "name": "haproxy", "reason": "not installed" }] }] });
        expected.push((failing, 2));
        let step = |rate: u32, p99: f64| {
            json!({ "rate": rate, "requests_per_second": rate, "failed": 0, "keeps_up": p99 < 9.0,
                "latency_ms": { "p50": 0.1, "p99": p99 } })
        };
        let steps = [step(1_000, 1.0), step(1_250, 20.0)];
        let mut ramp = run();
        ramp["ramp"] = json!({ "saturation": 1_000, "steps": steps });
        let nothing =
            json!({ "scenario": "slow", "ramp": { "saturation": null, "steps": [steps[1]] } });
        expected.extend([(ramp, 4), (nothing, 0)]);
        for (document, plots) in expected {
            let Some(page) = drawn(&document) else { return };
            let body = page.split_once("<main").expect("a page").1;
            let body = body.split_once("<script").expect("the document").0;
            assert!(
                page.contains("<div id=\"trouble\" role=\"alert\" hidden=\"\"></div>"),
                "{body}"
            );
            assert_eq!(body.matches("<svg viewBox=\"0 0 ").count(), plots, "{body}");
            assert!(
                body.contains("<h1>") && !body.contains("NaN") && !body.contains("undefined"),
                "{body}"
            );
        }
    }
}
