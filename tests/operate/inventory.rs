//! `doctor --inventory` and `config check --dns`: what an operator sees of clients, domains and names before mail flows.

use crate::support::dns::Dns;
use crate::support::relay_process::RelayProcess;
use serde_json::Value;

const CONFIG: &str = r#"[server]
hostname = "relay.example.com"
[listeners.submission]
address = "127.0.0.1:0"
tls = "none"
[identities.app]
networks = ["10.0.0.0/8"]
author_domains = ["example.com"]
[identities.list]
networks = ["192.168.9.0/24"]
mode = "forward"
forward_domain = "lists.example"
[identities.nobody]
author_domains = ["gmail.com"]
[domains."example.com"]
[domains."parked.example"]
parked = true
[routes.recipients]
"x.example" = "out"
[smart_hosts.out]
host = "smtp.out.example"
[resolver]
timeout = "300ms"
attempts = 0
"#;

fn rules(inventory: &Value, list: &str, name: &str) -> String {
    let entry = inventory[list].as_array().unwrap().iter().find(|entry| entry["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let rules = entry["rules"].as_array().unwrap().iter();
    rules.map(|rule| format!("{}={}", rule["rule"].as_str().unwrap(), rule["met"].as_str().unwrap())).collect::<Vec<_>>().join(" ")
}

#[test]
fn clients_and_domains_are_listed_with_the_rules_they_meet() {
    let relay = RelayProcess::new(CONFIG);
    let output = relay.postseal(&["doctor", "--inventory", "--json", "--config", "postseal.toml"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let inventory: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rules(&inventory, "clients", "app"), "own-domain=yes own-senders=yes known-hosts=yes");
    assert_eq!(rules(&inventory, "clients", "list"), "own-domain=no own-senders=open known-hosts=yes");
    assert_eq!(rules(&inventory, "clients", "nobody"), "own-domain=no own-senders=yes known-hosts=no");
    assert_eq!(rules(&inventory, "domains", "example.com"), "own-domain=yes known-hosts=open same-domain=yes");
    assert_eq!(rules(&inventory, "domains", "gmail.com"), "own-domain=no known-hosts=open same-domain=yes");
    assert_eq!(rules(&inventory, "domains", "parked.example"), "");
    assert_eq!(relay.postseal(&["doctor", "--inventory", "--strict", "--config", "postseal.toml"]).status.code(), Some(1));
    let text = String::from_utf8(relay.postseal(&["doctor", "--inventory", "--config", "postseal.toml"]).stdout).unwrap();
    assert!(text.contains("NOT met: it belongs to a mailbox provider"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn config_check_asks_the_dns_when_told_to() {
    let good = "relay.example.com A 192.0.2.1\nsmtp.out.example A 192.0.2.2\nb.example.com MX 10 relay.example.com\nb.lists.example MX 10 relay.example.com\nb.gmail.com MX 10 relay.example.com";
    let dns = Dns::serve(good).await;
    let relay = RelayProcess::new(&CONFIG.replace("[resolver]", &format!("[resolver]\nnameservers = [\"{}\"]", dns.address())).replace("300ms", "5s"));
    let check = |more: &[&str]| {
        let output = relay.postseal(&[&["config", "check"], more].concat());
        (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    let (code, text) = check(&[]);
    assert!(code == Some(0) && dns.asked().is_empty(), "{text}");
    let (code, text) = check(&["--dns"]);
    assert!(code == Some(0) && text.contains("no faults") && !dns.asked().is_empty(), "{text}");
    dns.replace(&good.replace("smtp.out.example A 192.0.2.2\n", "").replace("b.lists.example MX 10 relay.example.com", "b.lists.example MX 0 ."));
    let (code, text) = check(&["--dns"]);
    assert!(
        code == Some(1) && text.contains("smart_hosts.out.host: smtp.out.example has no address") && text.contains("b.lists.example takes no mail"),
        "{text}"
    );
    assert!(text.contains("2 faults"), "{text}");
    dns.replace(&good.replace("smtp.out.example A 192.0.2.2", "smtp.out.example SERVFAIL"));
    let (code, text) = check(&["--dns"]);
    assert!(code == Some(3) && text.contains("unknown: smart_hosts.out.host") && !text.contains("fault\n"), "{text}");
    dns.replace(&good.replace("b.example.com MX 10 relay.example.com", "b.example.com A 192.0.2.1"));
    let (code, text) = check(&["--dns"]);
    assert!(code == Some(0) && text.contains("warning: domains.\"example.com\".bounce_domain: b.example.com has no MX record"), "{text}");
}
