//! A real Prometheus scrapes a relay at work, evaluates the alert rules, and is asked every question of the dashboard.

use crate::support::lab::{APPLICATION, Lab, Plan, Submission};
use crate::support::postfix::{Postfix, Setup};
use crate::support::scrape::{Scraped, get};
use crate::support::{Peer, Process, folder, free_port, missing, program, run, wait_for, wait_or_tell};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

const PEERS: [Peer; 4] = [Peer::Bind, Peer::Postfix, Peer::Prometheus, Peer::Root];

#[test]
fn prometheus_reads_the_page_the_rules_and_every_panel() {
    if missing(&PEERS) {
        return;
    }
    let port = free_port();
    let access = "gone@example.net 550 5.1.1 no such user here\ngrey@example.net 450 4.2.0 Greylisted, come back later";
    let lab = Lab::start(&Plan { mx_port: port, ..Plan::default() });
    let certificate = Some(lab.authority.issue("mx.example.net"));
    let domains = &["example.net", "example.com"];
    let _postfix = Postfix::start(&Setup { hostname: "mx.example.net", domains, port: Some(port), access, certificate, ..Setup::default() });
    let prometheus = Prometheus::start(&lab.relay.admin());
    // A first look at all the zeros: what grows afterwards is seen to grow.
    wait_for("the first scrape", || prometheus.value("postseal_accepted_messages_total").filter(|count| *count == 0.0));

    for (recipient, number) in [("you@example.net", 6), ("gone@example.net", 1), ("grey@example.net", 1)] {
        for at in 0..number {
            let reply = submit(&lab, recipient, &format!("From: App <app@example.com>\r\nTo: {recipient}\r\nSubject: {at}\r\n\r\nHello.\r\n"));
            assert!(reply.starts_with("250 "), "{reply}");
        }
    }
    let refused = submit(&lab, "you@example.net", "From: App <app@example.org>\r\nTo: you@example.net\r\nSubject: foreign\r\n\r\nHello.\r\n");
    assert!(refused.starts_with("550 5.7.1"), "{refused}");

    // Six delivered, and the notice of the bounce; each with its reason.
    for (question, count) in [
        ("postseal_accepted_messages_total", 8.0),
        ("sum(postseal_delivered_recipients_total)", 7.0),
        ("sum(postseal_bounced_recipients_total{reason=\"user-unknown\"})", 1.0),
        ("postseal_refusals_total{at=\"message\",reason=\"policy\"}", 1.0),
        ("sum(postseal_spooled_mails_total{kind=\"notice\"})", 1.0),
        ("sum(postseal_queue_recipients)", 1.0),
        ("sum(postseal_next_hop_sessions_total{tls=\"TLSv1.3\"}) > bool 0", 1.0),
        ("sum(postseal_deferred_recipients_total{reason=\"rate-limited\"}) > bool 0", 1.0),
        ("histogram_quantile(0.5, sum by (le) (rate(postseal_submission_seconds_bucket[2m]))) > bool 0", 1.0),
    ] {
        wait_or_tell(
            || prometheus.value(question).filter(|value| (value - count).abs() < 1e-9),
            || format!("{question} = {count}; it is {:?}", prometheus.value(question)),
        );
    }
    let (_, page) = get(&lab.relay.admin(), "/metrics");
    let (code, said) = run(Command::new(program("promtool").unwrap()).args(["check", "metrics"]), page.as_bytes());
    assert!(code == 0 && said.is_empty(), "promtool: {said}");
    assert!(Scraped::read(&page).samples.len() < 2000, "{} samples", Scraped::read(&page).samples.len());

    rules_are_evaluated(&prometheus);
    panels_show_something(&prometheus);

    lab.stop();
    let state = |prometheus: &Prometheus| prometheus.rules().into_iter().find(|rule| rule["name"] == "PostsealDown").unwrap()["state"].clone();
    wait_for("the alert that the relay is gone", || (state(&prometheus) == "pending").then_some(()));
}

#[test]
fn alerts_fire_when_they_should_and_sleep_when_not() {
    if missing(&[Peer::Prometheus]) {
        return;
    }
    let docker = Path::new(env!("CARGO_MANIFEST_DIR")).join("docker/prometheus");
    let promtool = || Command::new(program("promtool").unwrap());
    let (code, said) = run(promtool().args(["check", "rules"]).arg(docker.join("postseal.rules.yml")), b"");
    assert!(code == 0, "{said}");
    let (code, said) = run(promtool().args(["test", "rules"]).arg(docker.join("rules.test.yml")), b"");
    assert!(code == 0 && said.contains("SUCCESS"), "{said}");
    // Each alert has a test in which it fires, and a sentence that says what to do.
    let (rules, tests) = (std::fs::read_to_string(docker.join("postseal.rules.yml")).unwrap(), std::fs::read_to_string(docker.join("rules.test.yml")).unwrap());
    let alerts: Vec<_> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 15, "{alerts:?}");
    let untested: Vec<_> = alerts.iter().filter(|alert| !tests.contains(&format!("alertname=\"{alert}\""))).collect();
    assert_eq!(untested, Vec::<&&str>::new());
    for word in ["summary:", "runbook:", "severity:"] {
        assert_eq!(rules.matches(word).count(), alerts.len(), "{word}");
    }
}

/// Every rule of the file was loaded and evaluated without a fault, and none is raised by a relay that works.
fn rules_are_evaluated(prometheus: &Prometheus) {
    let rules = wait_for("the evaluation of all rules", || {
        let rules = prometheus.rules();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    });
    let text = std::fs::read_to_string(docker().join("prometheus/postseal.rules.yml")).unwrap();
    assert_eq!(rules.len(), text.matches("- alert:").count());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
}

/// Every question of every panel is answered with a series, and every panel has a number to show.
fn panels_show_something(prometheus: &Prometheus) {
    let dashboard: Value = serde_json::from_str(&std::fs::read_to_string(docker().join("grafana/postseal.json")).unwrap()).unwrap();
    let panels: Vec<&Value> = dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row").collect();
    assert!(panels.len() > 30);
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{}", panel["title"]);
        let questions: Vec<String> = targets.iter().map(|target| filled(target["expr"].as_str().unwrap())).collect();
        let shows_something = || {
            let answers: Vec<Vec<f64>> = questions.iter().map(|question| prometheus.values(question)).collect();
            let is_whole = answers.iter().all(|values| !values.is_empty()) && answers.iter().flatten().any(|value| value.is_finite());
            is_whole.then_some(())
        };
        wait_or_tell(shows_something, || {
            format!("the panel {}: {:?}", panel["title"], questions.iter().map(|q| (q, prometheus.values(q))).collect::<Vec<_>>())
        });
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap().iter().filter(|variable| variable["type"] == "query") {
        let query = variable["definition"].as_str().unwrap();
        let (metric, label) = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).unwrap().split_once(", ").unwrap();
        assert!(!prometheus.values(&format!("count by ({label}) ({metric})")).is_empty(), "{query}");
    }
}

/// As Grafana asks, everything chosen.
fn filled(question: &str) -> String {
    question.replace("$__rate_interval", "2m").replace("$instance", ".*").replace("$provider", ".*")
}

fn submit(lab: &Lab, recipient: &str, message: &str) -> String {
    lab.submit(&Submission { client: APPLICATION, mail: "<app@example.com>", rcpts: &[&format!("<{recipient}>")], message: message.as_bytes() })
}

fn docker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docker")
}

/// A Prometheus that scrapes one relay each second, with our rules.
struct Prometheus {
    address: String,
    _process: Process,
    _folder: TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Self {
        let (folder, port) = (folder("prometheus"), free_port());
        let config = folder.path().join("prometheus.yml");
        let rules = docker().join("prometheus/postseal.rules.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [{}]\nscrape_configs:\n  - job_name: postseal\n    static_configs: [{{ targets: [\"{target}\"] }}]\n",
            rules.display()
        );
        std::fs::write(&config, text).unwrap();
        let address = format!("127.0.0.1:{port}");
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let process = Process::spawn("prometheus", &program("prometheus").unwrap(), &arguments, &folder.path().join("log"));
        let process = process.wait_for_port(port);
        wait_for("Prometheus", || get(&address, "/-/ready").0.contains(" 200 ").then_some(()));
        Self { address, _process: process, _folder: folder }
    }

    /// The values of an instant vector, or of a scalar.
    fn values(&self, question: &str) -> Vec<f64> {
        let answer = self.ask(&format!("/api/v1/query?query={}", escaped(question)));
        let number = |value: &Value| value[1].as_str().unwrap().parse::<f64>().unwrap();
        match answer["resultType"].as_str() {
            Some("scalar") => vec![number(&answer["result"])],
            _ => answer["result"].as_array().unwrap().iter().map(|series| number(&series["value"])).collect(),
        }
    }

    fn value(&self, question: &str) -> Option<f64> {
        self.values(question).first().copied()
    }

    fn rules(&self) -> Vec<Value> {
        let groups = self.ask("/api/v1/rules");
        groups["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
    }

    fn ask(&self, path: &str) -> Value {
        let (head, body) = get(&self.address, path);
        let answer: BTreeMap<String, Value> = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {head} {body}"));
        assert_eq!(answer["status"], "success", "{path}: {body}");
        answer["data"].clone()
    }
}

fn escaped(question: &str) -> String {
    question.bytes().map(|octet| if octet.is_ascii_alphanumeric() { char::from(octet).to_string() } else { format!("%{octet:02X}") }).collect()
}
