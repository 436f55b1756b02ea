//! The page in Chromium, driven by WebDriver: a relay with real traffic, seen light and dark, wide and narrow, with script and without.
//! Pictures of all that are left below the build's folder, in `tmp/pictures`.

use crate::support::browser::{Browser, Looks};
use crate::support::lab::{APPLICATION, Lab, Plan, Submission};
use crate::support::smtp_sink::SmtpSink;
use crate::support::{Peer, free_port, missing, python, run};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;

const WIDE: Looks = Looks { width: 1280, dark: false, script: true };
const ALL: [Looks; 6] = [
    WIDE,
    Looks { dark: true, ..WIDE },
    Looks { width: 360, ..WIDE },
    Looks { width: 360, dark: true, script: true },
    Looks { script: false, ..WIDE },
    Looks { width: 360, dark: true, script: false },
];

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_relay_at_work_is_whole_in_a_browser_however_it_is_looked_at() {
    if missing(&[Peer::Bind, Peer::SmtpSink, Peer::Chromium]) {
        return;
    }
    let world = World::start();
    let browser = Browser::start().await;
    let mail = world.deferred_mail();
    let pages = ["/", "/?span=day", "/queue", "/queue/example.net", "/domains", "/mail?q=slow%40example.net", &format!("/mail/{mail}"), "/attention", "/mail"];
    for looks in ALL {
        browser.look(looks).await;
        for path in pages.iter().filter(|path| looks.script || **path != "/?span=day") {
            browser.open(&world.at(path)).await;
            let seen = format!("{path} as {looks:?}");
            let file = picture(path, looks);
            browser.picture(&file).await;
            browser.reads(&["relay.example.com"]).await;
            if looks.script {
                let (across, room) = (browser.run(ACROSS).await, looks.width);
                assert!(across.as_u64().unwrap() <= u64::from(room), "{seen} is {across} wide, see {}", file.display());
                let faint = browser.run(CONTRAST).await;
                assert_eq!(faint, json!([]), "{seen} has text that is hard to read, see {}", file.display());
                assert_eq!(browser.run(STRUCTURE).await, json!([]), "{seen}");
            }
            assert_eq!(browser.console().await, Vec::<String>::new(), "{seen}");
        }
    }
    browser.end().await;
    world.lab.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mail_is_found_by_recipient_held_and_released_with_and_without_a_script() {
    if missing(&[Peer::Bind, Peer::SmtpSink, Peer::Chromium]) {
        return;
    }
    let world = World::start();
    let browser = Browser::start().await;
    for (script, attempts) in [(false, 1), (true, 2)] {
        world.lab.event("attempt.deferred", |event| event["recipient"] == "slow@example.net" && event["attempts"] == attempts);
        browser.look(Looks { script, ..WIDE }).await;
        browser.open(&world.at("/mail")).await;
        browser.write("#q", "slow@example.net").await;
        browser.click(".search button").await;
        browser.reads(&["1 mail found.", "Deferred"]).await;
        browser.click("tbody th a").await;
        browser.arrives_at(&world.at(&format!("/mail/{}", world.deferred_mail()))).await;
        browser.reads(&["450 4.3.0", "slow@example.net", "From the client application", "Next attempt", "mx.example.net"]).await;
        browser.click("form[action$=hold] button").await;
        browser.reads(&["1 recipient held.", "Held by a person"]).await;
        browser.click("form[action$=release] button").await;
        browser.reads(&["1 recipient released."]).await;
    }
    browser.open(&world.at("/domains")).await;
    // Signing, of a domain; list.example has no key.
    browser.reads(&["What doctor says", "Signing", "1 of 2 domains needs you."]).await;
    assert_eq!(browser.console().await, Vec::<String>::new());
    browser.end().await;
    world.lab.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_script_the_page_stays_fresh_and_keeps_what_is_open() {
    if missing(&[Peer::Bind, Peer::SmtpSink, Peer::Chromium]) {
        return;
    }
    let world = World::start();
    let browser = Browser::start().await;
    browser.look(WIDE).await;
    browser.open(&world.at("/")).await;
    browser.click("#figures summary").await;
    let accepted = "Number(document.querySelector('.chart.accepted .total').textContent.split(' ')[0])";
    let before = browser.run(&format!("return {accepted}")).await.as_u64().unwrap();
    for number in 0..3 {
        world.submit(&format!("fresh-{number}@fine.example"));
    }
    browser.until(&format!("return {accepted} === {}", before + 3)).await;
    assert_eq!(browser.run("return document.querySelector('#figures').open").await, json!(true));
    assert_eq!(browser.console().await, Vec::<String>::new());
    browser.end().await;
    world.lab.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_html_without_a_fault() {
    if missing(&[Peer::Bind, Peer::SmtpSink, Peer::Html5lib]) {
        return;
    }
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let world = World::start();
    let script = "import sys, html5lib\nhtml5lib.HTMLParser(strict=True).parse(sys.stdin.buffer.read(), transport_encoding='utf-8')\n";
    for path in [
        "/",
        "/?span=day",
        "/queue",
        "/queue/example.net",
        "/domains",
        "/mail",
        "/mail?q=slow%40example.net",
        &format!("/mail/{}", world.deferred_mail()),
        "/attention",
        "/mail/none",
    ] {
        let text = reqwest::get(world.at(path)).await.unwrap().text().await.unwrap();
        let (code, said) = run(Command::new(python()).args(["-c", script]), text.as_bytes());
        assert_eq!(code, 0, "{path}: {said}\n{text}");
    }
    world.lab.stop();
}

/// A relay whose mail to `fine.example` arrives, to `example.net` is deferred, and to `gone.example` fails.
struct World {
    lab: Lab,
    _fine: SmtpSink,
    _slow: SmtpSink,
}

impl World {
    fn start() -> Self {
        let port = free_port();
        let fine = SmtpSink::start_at([127, 0, 0, 5].into(), port, &[]);
        let slow = SmtpSink::start_at([127, 0, 0, 1].into(), port, &["-r", "RCPT"]);
        let zone = "fine.example. IN MX 10 mx.fine.example.\nmx.fine.example. IN A 127.0.0.5\n";
        let lab = Lab::start(&Plan { mx_port: port, retry: Some("[\"30m\"]"), zone, ..Plan::default() });
        let world = Self { lab, _fine: fine, _slow: slow };
        for number in 0..12 {
            world.submit(&format!("reader-{number}@fine.example"));
        }
        world.submit("slow@example.net");
        world.submit("nobody@gone.example");
        world.lab.event("attempt.deferred", |event| event["recipient"] == "slow@example.net");
        world.lab.event("attempt.failed", |event| event["recipient"] == "nobody@gone.example");
        world
    }

    fn submit(&self, recipient: &str) {
        let message = format!("From: App <app@example.com>\r\nTo: {recipient}\r\nSubject: <script>alert(1)</script>\r\n\r\nHello.\r\n");
        let rcpt = format!("<{recipient}>");
        let reply = self.lab.submit(&Submission { client: APPLICATION, mail: "<app@example.com>", rcpts: &[&rcpt], message: message.as_bytes() });
        assert!(reply.starts_with("250 "), "{reply}");
    }

    fn deferred_mail(&self) -> String {
        self.lab.event("attempt.deferred", |event| event["recipient"] == "slow@example.net")["mail_id"].as_str().unwrap().to_owned()
    }

    fn at(&self, path: &str) -> String {
        let opened = self.lab.event("admin.opened", |_| true);
        format!("http://{}{path}", opened["address"].as_str().unwrap())
    }
}

fn picture(path: &str, looks: Looks) -> PathBuf {
    let name = path.trim_start_matches('/').replace(['/', '?', '%'], "-");
    let name = if name.is_empty() { "now" } else { &name };
    let Looks { width, dark, script } = looks;
    let file = format!("{name}-{width}{}{}.png", if dark { "-dark" } else { "" }, if script { "" } else { "-no-script" });
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures").join(file)
}

/// How wide the page is; wider than the window, it would have to be moved from side to side.
const ACROSS: &str = "return Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)";

/// Texts whose colour is too near to that of their ground (WCAG 2.2, 1.4.3: 4.5 to 1, 3 to 1 for large text).
const CONTRAST: &str = r#"
const channel = (value) => { value /= 255; return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const parse = (text) => text.match(/[\d.]+/g).map(Number);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = parse(getComputedStyle(at).backgroundColor);
    if (colour.length < 4 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const faint = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
  if (!text || element.closest("svg, script") || !element.getClientRects().length) continue;
  const style = getComputedStyle(element), size = parseFloat(style.fontSize);
  const [a, b] = [light(parse(style.color)), light(ground(element))];
  const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
  if (ratio < (large ? 3 : 4.5)) faint.push(`${text}: ${ratio.toFixed(2)}`);
}
return faint;
"#;

/// What somebody who does not see the page would miss.
const STRUCTURE: &str = r#"
const faults = [];
if (document.querySelectorAll("h1").length !== 1) faults.push("there is not one h1");
for (const landmark of ["header", "nav", "main", "footer"]) if (!document.querySelector(landmark)) faults.push("there is no " + landmark);
for (const table of document.querySelectorAll("table")) if (!table.caption || !table.querySelector("th[scope]")) faults.push("a table has no caption or header");
for (const control of document.querySelectorAll("button, a[href]")) if (!(control.textContent || control.ariaLabel || "").trim()) faults.push("a control has no name: " + control.outerHTML);
for (const field of document.querySelectorAll("input:not([type=hidden])")) if (!field.labels.length) faults.push("a field has no label");
for (const picture of document.querySelectorAll("svg")) if (picture.ariaHidden !== "true" && !picture.querySelector("title")) faults.push("a picture has no title");
const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
if (new Set(ids).size !== ids.length) faults.push("an id stands there twice");
return faults;
"#;
