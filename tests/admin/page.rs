//! The page over HTTP, from what an outlook gives it: what it shows, what it escapes, what it bounds, whose forms it obeys.

use crate::support::outlook::{Day, EVIL, FORM_TOKEN, Scene, mail};
use postseal::admin::page;
use reqwest::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION};
use reqwest::{Client, Response, StatusCode, redirect};
use std::sync::Arc;

/// The page on loopback.
struct Served {
    scene: Arc<Scene>,
    root: String,
    client: Client,
}

impl Served {
    async fn on(day: Day) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let scene = Arc::new(Scene::of(day));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let root = format!("http://{}", listener.local_addr().unwrap());
        let router = page::router(scene.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { scene, root, client: Client::builder().redirect(redirect::Policy::none()).build().unwrap() }
    }

    async fn get(&self, path: &str) -> Response {
        self.client.get(format!("{}{path}", self.root)).send().await.unwrap()
    }

    async fn text(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        answer.text().await.unwrap()
    }

    /// A form with these fields.
    async fn post(&self, path: &str, fields: &str) -> Response {
        let form = self.client.post(format!("{}{path}", self.root)).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        form.body(fields.to_owned()).send().await.unwrap()
    }
}

/// Every page there is.
fn pages() -> [String; 9] {
    let mail = mail();
    ["/", "/?span=day", "/queue", "/queue/google", "/domains", "/mail", "/mail?q=m.hoffmann%40gmail.com", &format!("/mail/{mail}"), "/attention"]
        .map(str::to_owned)
}

#[tokio::test]
async fn a_quiet_day_is_said_to_be_one() {
    let page = Served::on(Day::Quiet).await;
    let first = page.text("/").await;
    for expected in ["All is well.", "Nothing waits.", "Nothing. It looks after itself.", "Accepted: nobody in the last hour."] {
        assert!(first.contains(expected), "no {expected} in {first}");
    }
    assert!(!first.contains("class=\"badge\""));
    assert!(page.text("/queue").await.contains("Every recipient of every mail has an outcome."));
    assert!(page.text("/attention").await.contains("Nothing needs you."));
    assert!(page.text("/domains").await.contains("Your domain is in order."));
    assert!(page.text("/mail?q=nobody%40example.net").await.contains("No mail found."));
}

#[tokio::test]
async fn traffic_is_told_as_a_picture_in_words_and_in_figures() {
    let page = Served::on(Day::Busy).await;
    let first = page.text("/").await;
    assert!(first.contains("<title id=\"told-accepted\">Accepted: "), "{first}");
    assert!(first.matches("<rect ").count() > 120, "bars of an hour");
    assert_eq!(first.matches("<tr><th scope=\"row\">").count(), 60);
    assert!(first.contains("recipients in the last hour; at most"));
    let day = page.text("/?span=day").await;
    assert_eq!(day.matches("<tr><th scope=\"row\">").count(), 24);
    assert!(day.contains("in an hour, at") || day.contains("in a hour, at"), "{day}");
}

#[tokio::test]
async fn the_queue_is_told_by_provider_in_the_receivers_own_words() {
    let page = Served::on(Day::Busy).await;
    let queue = page.text("/queue").await;
    for expected in [
        "1,385 recipients wait.",
        "for 4 providers",
        "421 4.7.28 Gmail has detected",
        "Too much or too fast for the receiver",
        "Pause until",
        "09:20",
        "no connection: the host did not answer",
    ] {
        assert!(queue.contains(expected), "no {expected} in {queue}");
    }
    let google = page.text("/queue/google").await;
    assert!(google.contains("reader7@gmail.com") && google.contains("<i>nobody</i>"), "{google}");
    assert_eq!(page.get("/queue/nowhere.example").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_journey_is_told_from_the_client_to_what_happens_next() {
    let page = Served::on(Day::Busy).await;
    let found = page.text("/mail?q=m.hoffmann%40gmail.com").await;
    assert!(found.contains("3 mails found.") && found.contains(&format!("/mail/{}", mail())));
    let by_id = page.get(&format!("/mail?q=%20{}", mail())).await;
    assert_eq!((by_id.status(), by_id.headers()[LOCATION].to_str().unwrap()), (StatusCode::SEE_OTHER, format!("/mail/{}", mail()).as_str()));
    let journey = page.text(&format!("/mail/{}", mail())).await;
    for expected in [
        "2 recipients: 1 delivered, 1 waiting.",
        "From the client shop at 10.4.2.17",
        "ps202609a",
        "421 4.7.28",
        "142.250.102.27:25",
        "Next attempt",
        "in 8 min",
        "order-88213",
    ] {
        assert!(journey.contains(expected), "no {expected} in {journey}");
    }
    for path in ["/mail/0000000000", "/mail/nonsense"] {
        assert_eq!(page.get(path).await.status(), StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn domains_show_keys_dmarc_rotation_and_what_doctor_says() {
    let page = Served::on(Day::Busy).await;
    let domains = page.text("/domains").await;
    for expected in [
        "2 of 3 domains need you.",
        "Mail waits",
        "ps202609a",
        "ns2.example.net shows no record",
        "aria-current=\"step\">quarantine",
        "every 180 days",
        "1 to mend",
        "What doctor says",
        "No key",
    ] {
        assert!(domains.contains(expected), "no {expected} in {domains}");
    }
}

#[tokio::test]
async fn what_needs_a_person_comes_with_what_to_do() {
    let page = Served::on(Day::Busy).await;
    let attention = page.text("/attention").await;
    for expected in [
        "4 things need you.",
        "3 are good to know",
        "Mail of news.example.com waits for its key record",
        "postseal dns records news.example.com",
        "Google complains of news.example.com (dkim)",
        "A certificate expires in 9 days",
        "2 recipients are held by a person",
    ] {
        assert!(attention.contains(expected), "no {expected} in {attention}");
    }
    let order: Vec<usize> = [">Now<", ">Soon<", ">Good to know<"].iter().map(|word| attention.find(word).unwrap()).collect();
    assert!(order.is_sorted(), "{order:?}");
    assert!(page.text("/").await.contains("<span class=\"badge\">4</span>"));
}

#[tokio::test]
async fn nothing_that_others_wrote_becomes_a_part_of_the_page() {
    let page = Served::on(Day::Hostile).await;
    let group = format!("/queue/{}", urlencoded(&format!("{EVIL}google")));
    for path in pages().into_iter().chain([group, format!("/mail?q={}", urlencoded(EVIL)), format!("/queue/{}", urlencoded(&format!("{EVIL}nowhere")))]) {
        let text = page.get(&path).await.text().await.unwrap();
        for evil in ["<script>alert", "<img src=x", "\"'><", "&amp;{{7*7}}</", "href=\"\"'"] {
            assert!(!text.contains(evil), "{path} has {evil}: {text}");
        }
        assert!(!text.contains('\u{202e}') && (path == "/mail" || text.contains('\u{fffd}')), "{path} can be turned around");
        assert_eq!(text.matches("<script").count(), 1, "{path} has a script that is not ours");
        assert!(!text.contains(" style=") && !text.contains(" onclick") && !text.contains("javascript:"), "{path}");
    }
}

#[tokio::test]
async fn what_is_too_much_is_bounded_and_said_to_be() {
    let page = Served::on(Day::TooMuch).await;
    for (path, said) in [
        ("/queue", "These are the 100 longest of 10,000."),
        ("/domains", "These are the first 200 of 10000 domains."),
        ("/queue/provider-7", "The first 100,"),
        ("/attention", "and 9901 more"),
    ] {
        let text = page.text(path).await;
        assert!(text.contains(said), "{path}: no {said}");
        assert!(text.len() < 2_000_000, "{path} has {} octets", text.len());
    }
    let journey = page.text(&format!("/mail/{}", mail())).await;
    assert!(journey.contains("These are the first 100 of 10000 recipients.") && journey.len() < 1_000_000);
    assert!(page.text("/").await.len() < 200_000);
}

#[tokio::test]
async fn a_spool_that_does_not_answer_is_told_of_in_its_words() {
    let page = Served::on(Day::Broken).await;
    for path in ["/", "/queue", "/domains", "/mail?q=a%40example.net", "/attention"] {
        let answer = page.get(path).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(answer.text().await.unwrap().contains("too many open files"), "{path}");
    }
}

#[tokio::test]
async fn a_form_is_obeyed_from_the_page_itself_and_from_nowhere_else() {
    let page = Served::on(Day::Busy).await;
    for path in [format!("/mail/{}", mail()), "/domains".to_owned()] {
        let text = page.text(&path).await;
        let token = format!("<input type=\"hidden\" name=\"form_token\" value=\"{FORM_TOKEN}\">");
        assert!(text.contains("<form method=\"post\"") && text.matches("method=\"post\"").count() == text.matches(&token).count(), "{path}: {text}");
    }
    let (form, own) = (format!("/mail/{}/hold", mail()), format!("form_token={FORM_TOKEN}"));
    for foreign in ["", "form_token=", "form_token=another", "form_token=a-token-and-more", "token=a-token"] {
        assert_eq!(page.post(&form, foreign).await.status(), StatusCode::FORBIDDEN, "{foreign}");
        assert_eq!(page.post("/domains/examine", foreign).await.status(), StatusCode::FORBIDDEN, "{foreign}");
    }
    assert!(page.scene.done.lock().unwrap().is_empty());
    let answer = page.post(&form, &own).await;
    let location = answer.headers()[LOCATION].to_str().unwrap().to_owned();
    assert_eq!((answer.status(), location.as_str()), (StatusCode::SEE_OTHER, format!("/mail/{}?done=hold.2", mail()).as_str()));
    assert!(page.text(&location).await.contains("2 recipients held."));
    assert_eq!(page.post("/domains/examine", &own).await.status(), StatusCode::SEE_OTHER);
    assert_eq!(*page.scene.done.lock().unwrap(), [(mail(), "hold"), (mail(), "examine")]);
    assert_eq!(page.get(&form).await.status(), StatusCode::METHOD_NOT_ALLOWED, "a link does nothing");
    assert_eq!(page.post(&format!("/mail/{}/burn", mail()), &own).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn nothing_but_our_own_style_and_script_is_allowed_and_both_are_cached() {
    let page = Served::on(Day::Quiet).await;
    for path in pages() {
        let answer = page.get(&path).await;
        let policy = answer.headers()[CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe") && policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
    }
    for name in ["page.css", "page.js", "mark.svg"] {
        let path = format!("/assets/{name}");
        let tag = page.get(&path).await.headers()[ETAG].clone();
        let again = page.client.get(format!("{}{path}", page.root)).header(IF_NONE_MATCH, tag).send().await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED, "{name}");
        assert!(again.text().await.unwrap().is_empty());
    }
    assert_eq!(page.get("/assets/../Cargo.toml").await.status(), StatusCode::NOT_FOUND);
}

fn urlencoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, octet| {
        let _ = write!(encoded, "%{octet:02X}");
        encoded
    })
}

/// For a look at them without a relay: writes every page of the busy and the quiet day below the build's folder.
#[tokio::test]
async fn every_page_is_whole() {
    for (day, folder) in [(Day::Busy, "busy"), (Day::Quiet, "quiet"), (Day::Hostile, "hostile")] {
        let page = Served::on(day).await;
        let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("page").join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        for path in pages().iter().filter(|path| !(day != Day::Busy && path.starts_with("/queue/"))) {
            let text = page.text(path).await;
            assert!(text.trim_start().starts_with("<!doctype html>") && text.trim_end().ends_with("</html>"), "{path}");
            assert_eq!((text.matches("<h1").count(), text.matches("<main").count()), (1, 1), "{path}");
            std::fs::write(folder.join(path.replace(['/', '?'], "_") + ".html"), text).unwrap();
        }
    }
}
