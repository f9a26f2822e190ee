//! The page of `replay --html`, in a browser.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    chromium::document,
    program::{data, run},
};

/// Moves every slider to every limit, as a finger does, and writes down what the page says then.
const MOVES: &str = r#"
<pre id="moved" hidden></pre>
<script>
const moved = [...document.querySelectorAll(".trial")].map((trial) => {
  const slider = trial.querySelector("input");
  const line = trial.parentElement.querySelector("svg .limit");
  const at = [];
  for (let value = 0; value <= slider.max; value++) {
    slider.value = value;
    slider.dispatchEvent(new Event("input"));
    const figure = (name) => trial.querySelector(`[data-figure=${name}]`).textContent;
    const chosen = trial.parentElement.querySelector("tr.chosen");
    at.push({ limit: figure("limit"), refused: figure("refused"), keys: figure("keys"), share: figure("share"),
              y: Number(line.getAttribute("y1")), row: chosen.cells[1].textContent });
  }
  const svg = trial.parentElement.querySelector("svg").getBoundingClientRect();
  return { rule: trial.dataset.rule, quota: trial.dataset.quota, hidden: trial.hidden, at,
           width: svg.width, height: svg.height, top: Number(trial.dataset.top), bottom: Number(trial.dataset.bottom) };
});
document.getElementById("moved").textContent = JSON.stringify({
  moved, loaded: performance.getEntriesByType("resource").length,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth, width: innerWidth,
});
</script>
"#;

/// A page, and the figures that it shows.
struct Sample {
    _folder: tempfile::TempDir,
    page: PathBuf,
    figures: Value,
}

fn sample(log: &str) -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("report.html");
    let run = run(&["replay", "--rules", &data("rules.toml"), log, "--json", "--html", &page.display().to_string()]);
    assert_eq!(run.code, 0, "{}", run.stderr);
    Sample { page, figures: serde_json::from_str(&run.stdout).unwrap(), _folder: folder }
}

/// Returns the text between two marks of a document.
fn between<'a>(document: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = document.split_once(from).unwrap_or_else(|| panic!("no {from}"));
    rest.split_once(to).unwrap().0
}

fn plain(grouped: &Value) -> u64 {
    grouped.as_str().unwrap().replace(',', "").parse().unwrap()
}

#[test]
fn every_position_of_a_slider_shows_the_figures_of_the_json() {
    let sample = sample(&data("combined.log"));
    let html = fs::read_to_string(&sample.page).unwrap().replace("</body>", &format!("{MOVES}</body>"));
    fs::write(&sample.page, html).unwrap();
    let document = document(&sample.page, &["--window-size=500,900"]);
    let seen: Value = serde_json::from_str(between(&document, "<pre id=\"moved\" hidden=\"\">", "</pre>")).unwrap();
    let moved = seen["moved"].as_array().unwrap();
    let index = |value: &Value| value.as_str().unwrap().parse::<usize>().unwrap();
    assert_eq!(moved.len(), 3, "two quotas of one rule and one of another");
    for trial in moved {
        let quota = &sample.figures["rules"][index(&trial["rule"])]["quotas"][index(&trial["quota"])];
        let candidates = quota["candidates"].as_array().unwrap();
        let positions = trial["at"].as_array().unwrap();
        assert_eq!((positions.len(), &trial["hidden"]), (candidates.len(), &Value::Bool(false)));
        for (position, candidate) in positions.iter().zip(candidates) {
            for figure in ["limit", "refused", "keys"] {
                assert_eq!(Value::from(plain(&position[figure])), candidate[figure], "{figure}: {position}");
            }
            assert_eq!(position["row"], position["refused"], "the row of the table is the one that is chosen");
        }
        let heights: Vec<f64> = positions.iter().map(|position| position["y"].as_f64().unwrap()).collect();
        let (top, bottom) = (trial["top"].as_f64().unwrap(), trial["bottom"].as_f64().unwrap());
        assert!(heights.is_sorted_by(|lower, higher| lower > higher), "{heights:?}");
        assert!(heights.iter().all(|y| (top..bottom).contains(y)), "{heights:?} in {top}..{bottom}");
        assert!(trial["width"].as_f64().unwrap() > 300.0 && trial["height"].as_f64().unwrap() > 100.0, "{trial}");
    }
    assert_eq!(
        (&seen["loaded"], &seen["overflow"]),
        (&Value::from(0), &Value::from(0)),
        "it is whole, and fits a phone"
    );
}

#[test]
fn a_page_without_scripts_has_the_figures_all_the_same() {
    let sample = sample(&data("combined.log"));
    // A frame that may run no scripts, and that the page around it may look into.
    let page = fs::read_to_string(&sample.page).unwrap().replace('&', "&amp;").replace('"', "&quot;");
    let around = sample.page.with_file_name("around.html");
    let look = "onload = () => seen.textContent = frame.contentDocument.documentElement.outerHTML";
    let frame = format!("<iframe id=\"frame\" sandbox=\"allow-same-origin\" srcdoc=\"{page}\"></iframe>");
    fs::write(&around, format!("<!doctype html>{frame}<pre id=\"seen\"></pre><script>{look}</script>")).unwrap();
    let document = document(&around, &[]);
    let seen = between(&document, "<pre id=\"seen\">", "</pre>");
    let document = seen.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    assert!(document.contains("<div class=\"trial\" hidden=\"\""), "a slider that does nothing is not shown");
    assert!(document.contains("<svg") && document.contains("class=\"limit\""));
    for candidate in sample.figures["rules"][0]["quotas"][0]["candidates"].as_array().unwrap() {
        let (limit, refused, keys) = (&candidate["limit"], &candidate["refused"], &candidate["keys"]);
        assert!(document.contains(&format!("<td>{limit}</td><td>{refused}</td><td>{keys}</td>")), "{candidate}");
    }
    for key in sample.figures["rules"][0]["top_keys"].as_array().unwrap() {
        assert!(document.contains(&format!("title=\"{}\"", key["key"].as_str().unwrap())), "{key}");
    }
}

#[test]
fn what_a_client_has_sent_is_no_part_of_the_page() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    let lines = ["%3Cimg src=x onerror=alert(1)%3E", "</script><script>document.title='taken'</script>"]
        .map(|path| format!("192.0.2.1 - - [29/Feb/2024:00:00:01 +0000] \"GET /bots/{path}/export HTTP/1.1\" 200 1\n"));
    fs::write(&log, lines.concat() + "</script><script>document.title='taken'</script>\n").unwrap();
    let sample = sample(&log.display().to_string());
    let document = document(&sample.page, &[]);
    assert!(between(&document, "<title>", "</title>").contains("rules.toml"));
    assert!(!document.contains("<img") && document.contains("&lt;img src=x"), "{document}");
}
