//! The way of a mail as a collector is told of it: the real program, and a collector that the tests play.

use crate::support::next_hop::{At, NextHop, Rule, Say, Script};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Answers as it is told, 200 when it was told nothing; keeps what it took.
#[derive(Clone, Default)]
struct Collector {
    answers: Arc<Mutex<Vec<(u16, Value)>>>,
    requests: Arc<Mutex<Vec<(HeaderMap, Value)>>>,
    port: u16,
}

impl Collector {
    async fn start() -> Self {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Self { port: socket.local_addr().unwrap().port(), ..Self::default() };
        let app = Router::new().fallback(Self::take).with_state(collector.clone());
        tokio::spawn(async move { axum::serve(socket, app).await });
        collector
    }

    async fn take(State(this): State<Self>, request: Request) -> (StatusCode, Json<Value>) {
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/v1/traces"));
        let headers = request.headers().clone();
        assert_eq!(headers["content-type"], "application/json");
        let body = axum::body::to_bytes(request.into_body(), 1 << 24).await.unwrap();
        let mut answers = this.answers.lock().unwrap();
        let (code, said) = if answers.is_empty() { (200, json!({})) } else { answers.remove(0) };
        if code == 200 {
            this.requests.lock().unwrap().push((headers, serde_json::from_slice(&body).unwrap()));
        }
        (StatusCode::from_u16(code).unwrap(), Json(said))
    }

    fn answering(self, answers: impl IntoIterator<Item = (u16, Value)>) -> Self {
        self.answers.lock().unwrap().extend(answers);
        self
    }

    fn spans(&self) -> Vec<Value> {
        let requests = self.requests.lock().unwrap();
        let scopes =
            requests.iter().flat_map(|(_, body)| body["resourceSpans"].as_array().unwrap()).flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
        scopes.flat_map(|scope| scope["spans"].as_array().unwrap().clone()).collect()
    }

    /// Waits until there are so many spans of this name; fails after a minute.
    async fn until(&self, name: &str, count: usize) -> Vec<Value> {
        let began = Instant::now();
        loop {
            let found: Vec<_> = self.spans().into_iter().filter(|span| span["name"] == name).collect();
            if found.len() >= count {
                return found;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "{} spans {name} in {:#?}", found.len(), self.spans());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_applications_trace_goes_on_through_accept_prepare_commit_and_each_attempt() {
    let collector = Collector::start().await;
    let hop = NextHop::start(Script::modern().rule(Rule::at(At::Message).times(1).then([Say("451 4.3.0 not now")])));
    let headers = "headers = \"Authorization: Bearer secret\"\nservice_name = \"mail-out\"\n";
    let mut relay = RelayProcess::new(&config(&hop, &collector.endpoint(), headers));
    relay.start();
    let reply = send(&relay, &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: vendor=7,\r\n other=8\r\n"), "traced");
    assert!(reply.starts_with("250"), "{reply}");
    let attempts = collector.until("attempt", 2).await;
    let accept = collector.until("accept", 1).await.remove(0);
    let [prepare, commit] = [collector.until("prepare", 1).await.remove(0), collector.until("commit", 1).await.remove(0)];
    assert_eq!(collector.spans().len(), 5);

    assert_eq!((&accept["parentSpanId"], &accept["kind"]), (&json!(SPAN), &json!(2)), "the application's span is the parent");
    let mut ids = vec![SPAN.to_owned(), accept["spanId"].as_str().unwrap().to_owned()];
    for span in [&prepare, &commit, &attempts[0], &attempts[1]] {
        assert_eq!(span["parentSpanId"], accept["spanId"], "{span}");
        ids.push(span["spanId"].as_str().unwrap().to_owned());
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6, "each span has an id of its own");
    for span in collector.spans() {
        assert_eq!((&span["traceId"], &span["traceState"]), (&json!(TRACE), &json!("vendor=7,other=8")));
        assert!(time(&span, "start") <= time(&span, "end"));
    }
    for step in [&prepare, &commit] {
        assert!(time(&accept, "start") <= time(step, "start") && time(step, "end") <= time(&accept, "end"), "within accept: {step}");
    }
    assert!(time(&prepare, "end") <= time(&commit, "start") && time(&attempts[0], "end") < time(&attempts[1], "start"));

    assert_eq!(attempts[0]["status"], json!({ "code": 2, "message": "deferred 4.3.0" }));
    assert_eq!((attribute(&attempts[0], "error.type"), attempts[0]["events"][0]["name"].as_str()), (Some("4.3.0".to_owned()), Some("deferred")));
    assert_eq!((&attempts[1]["status"], attribute(&attempts[1], "error.type"), attempts[1]["kind"].as_u64()), (&json!({}), None, Some(3)));
    assert_eq!(
        (attribute(&attempts[1], "server.address"), attribute(&attempts[1], "network.peer.port")),
        (Some("127.0.0.1".to_owned()), Some(hop.address().port().to_string()))
    );
    assert_eq!(attribute(&attempts[1]["events"][0], "postseal.recipient").as_deref(), Some("example.net"));
    let id = attribute(&accept, "postseal.mail.id").unwrap();
    assert_eq!(attribute(&attempts[1], "postseal.mail.id"), Some(id.clone()));
    let (fields, body) = collector.requests.lock().unwrap()[0].clone();
    assert_eq!(fields["authorization"], "Bearer secret");
    assert_eq!(attribute(&body["resourceSpans"][0]["resource"], "service.name").as_deref(), Some("mail-out"));
    assert!(!collector.requests.lock().unwrap().iter().any(|(_, body)| body.to_string().contains("you@")), "who it was for is nobody's business");

    hop.until(|sessions| sessions.iter().flat_map(|session| &session.transactions).any(|received| received.taken)).await;
    let sent = String::from_utf8_lossy(&hop.messages().pop().unwrap().octets).to_lowercase();
    assert!(sent.contains("dkim-signature:") && !sent.contains("traceparent") && !sent.contains("tracestate") && !sent.contains(TRACE), "{sent}");
    for event in ["mail.accepted", "attempt.deferred", "attempt.delivered"] {
        assert_eq!(relay.wait_for(event)["trace_id"], TRACE, "{event}");
    }
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_sampled_is_told_and_what_is_no_trace_is_removed_all_the_same() {
    let collector = Collector::start().await;
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, &collector.endpoint(), "recipients = \"address\"\n"));
    relay.start();
    for (subject, fields) in [
        ("unsampled", format!("traceparent: 00-{TRACE}-{SPAN}-00\r\n")),
        ("upper", format!("Traceparent: 00-{}-{SPAN}-01\r\nTracestate: a=1\r\n", TRACE.to_uppercase())),
        ("twice", format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n")),
        ("none", String::new()),
    ] {
        assert!(send(&relay, &fields, subject).starts_with("250"), "{subject}");
    }
    assert!(send(&relay, &format!("From: second@example.com\r\ntraceparent: 00-{TRACE}-{SPAN}-01\r\n"), "refused").starts_with("550"));
    let refused = collector.until("accept", 1).await.remove(0);
    assert_eq!((&refused["status"]["code"], attribute(&refused, "error.type").as_deref()), (&json!(2), Some("5.6.0")), "{refused}");
    assert_eq!(relay.wait_for("mail.refused")["trace_id"], TRACE);
    assert!(send(&relay, &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n"), "last").starts_with("250"));
    let attempt = collector.until("attempt", 1).await.remove(0);
    assert_eq!(attribute(&attempt["events"][0], "postseal.recipient").as_deref(), Some("you@example.net"), "as recipients = \"address\" asks");
    assert_eq!(collector.spans().iter().filter(|span| span["name"] == "accept").count(), 2, "the others were not sampled");
    hop.until(|sessions| sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken).count() == 5).await;
    for received in hop.messages() {
        let text = String::from_utf8_lossy(&received.octets).to_lowercase();
        assert!(!text.contains("traceparent") && !text.contains("tracestate"), "{text}");
    }
    let accepted = || relay.log().into_iter().filter(|event| event["event"] == "mail.accepted").collect::<Vec<_>>();
    relay.wait_until("mail.accepted", |_| accepted().len() == 5);
    let traced: Vec<_> = accepted().iter().map(|event| event["trace_id"].clone()).collect();
    assert_eq!(traced, [json!(TRACE), Value::Null, Value::Null, Value::Null, json!(TRACE)], "an unsampled trace is told in the log");
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_of_the_mail_without_a_trace_begins_one() {
    let collector = Collector::start().await;
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, &collector.endpoint(), "sample = \"1\"\n"));
    relay.start();
    assert!(send(&relay, "", "own").starts_with("250"));
    let attempt = collector.until("attempt", 1).await.remove(0);
    let accept = collector.until("accept", 1).await.remove(0);
    assert_eq!((&accept["parentSpanId"], &attempt["parentSpanId"]), (&Value::Null, &accept["spanId"]));
    assert_eq!((relay.wait_for("mail.accepted")["trace_id"].clone(), accept["traceId"].as_str().unwrap().len()), (accept["traceId"].clone(), 32));
    assert_eq!(relay.stop().0, Some(0));
}

/// Asked again where that helps; what is not taken is counted and told, and mail goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_in_trouble_costs_spans_and_nothing_else() {
    let collector = Collector::start().await.answering([(503, json!({}))]);
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, &collector.endpoint(), ""));
    relay.start();
    let traced = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    assert!(send(&relay, &traced, "again").starts_with("250"));
    collector.until("attempt", 1).await;
    assert!(collector.answers.lock().unwrap().is_empty() && !relay.log().iter().any(|event| event["event"] == "spans.dropped"), "503 is asked again");
    let partly = json!({ "partialSuccess": { "rejectedSpans": "2", "errorMessage": "too old" } });
    collector.answers.lock().unwrap().push((200, partly));
    assert!(send(&relay, &traced, "partly").starts_with("250"));
    let dropped = relay.wait_for("spans.dropped");
    assert_eq!((&dropped["spans"], &dropped["error"], &dropped["level"]), (&json!(2), &json!("too old"), &json!("warn")));
    assert_eq!(relay.stop().0, Some(0));

    let refusing = Collector::start().await.answering((0..100).map(|_| (400, json!({}))));
    let mut relay = RelayProcess::new(&config(&hop, &refusing.endpoint(), ""));
    relay.start();
    assert!(send(&relay, &traced, "refused").starts_with("250"));
    assert_eq!(relay.wait_for("spans.dropped")["error"], "the collector answers 400 Bad Request");
    hop.until(|sessions| sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken).count() == 3).await;
    assert_eq!(relay.stop().0, Some(0));
}

/// Nobody listens, and one span may wait: the others are dropped at once, and no reply is later for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_drops_spans_and_delays_no_mail() {
    let hop = NextHop::start(Script::modern());
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap(); // takes connections and says nothing
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    let mut relay = RelayProcess::new(&config(&hop, &endpoint, "queue_max = 1\ntimeout = \"1s\"\n"));
    relay.start();
    let traced = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n");
    let began = Instant::now();
    for number in 0..20 {
        assert!(send(&relay, &traced, &format!("mail {number}")).starts_with("250"));
    }
    hop.until(|sessions| sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken).count() == 20).await;
    assert!(began.elapsed() < Duration::from_secs(40), "{:?}", began.elapsed());
    let dropped = relay.wait_for("spans.dropped");
    assert!(dropped["spans"].as_u64().unwrap() >= 60, "of eighty, few found room: {dropped}");
    assert_eq!(relay.stop().0, Some(0));
}

impl Collector {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

fn send(relay: &RelayProcess, fields: &str, subject: &str) -> String {
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    client.send("app@example.com", &["you@example.net"], &format!("{fields}{}", message(subject))).unwrap()
}

fn time(span: &Value, which: &str) -> u64 {
    span[format!("{which}TimeUnixNano")].as_str().unwrap().parse().unwrap()
}

/// Whatever kind of value it is.
fn attribute(of: &Value, key: &str) -> Option<String> {
    let found = of["attributes"].as_array()?.iter().find(|attribute| attribute["key"] == key)?;
    let value = found["value"].as_object()?.values().next()?;
    Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn config(hop: &NextHop, endpoint: &str, more: &str) -> String {
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "opportunistic"
        [deliver]
        retry = ["1s"]
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [otlp]
        endpoint = "{endpoint}"
        {more}
        "#,
        hop.address().ip(),
        hop.address().port()
    )
}
