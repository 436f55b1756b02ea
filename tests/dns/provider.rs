//! The API of a provider: PowerDNS's, as a small server here that keeps one zone, so that requests travel as they would.

use postseal::dns::publish::provider::{Provider, Service, Settings};
use postseal::dns::publish::{Change, Done, Edit, Publish as _, PublishFault};
use postseal::dns::{self, Data, Kind, Resolver};
use postseal::mail::Domain;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[tokio::test]
async fn records_are_written_through_an_api() {
    let api = Api::start();
    let publisher = api.publisher("right token");
    let name = domain("ps1._domainkey.example.com");
    assert_eq!(publisher.zone_of(&name).await, Ok(domain("example.com")));
    let long = format!("v=DKIM1; k=rsa; p={}", "A".repeat(392));
    assert_eq!(put(&publisher, &name, &[], &[&long]).await, Ok(Done::Made));
    let kept = api.zone.lock().unwrap().clone();
    assert_eq!(kept["ps1._domainkey.example.com. TXT"][0].matches('"').count(), 4, "cut into two strings: {kept:?}");
    assert_eq!(put(&publisher, &name, &[&long], &[&long]).await, Ok(Done::Already));
    assert_eq!(put(&publisher, &name, &[&long], &["v=DKIM1; p="]).await, Ok(Done::Made));
    assert_eq!(publisher.look(&name.clone().into(), Kind::Txt).await.unwrap().data, [Data::Txt("v=DKIM1; p=".to_owned())]);
    assert_eq!(put(&publisher, &name, &["v=DKIM1; p="], &[]).await, Ok(Done::Made));
    let zone: Vec<String> = api.zone.lock().unwrap().keys().cloned().collect();
    assert_eq!(zone, ["_dmarc.example.com. TXT"], "nothing else was touched");
}

#[tokio::test]
async fn what_somebody_else_wrote_meanwhile_stays() {
    let api = Api::start();
    let publisher = api.publisher("right token");
    let fault = put(&publisher, &domain("_dmarc.example.com"), &[], &["v=DMARC1; p=none"]).await.unwrap_err();
    assert!(matches!(fault, PublishFault::Changed { .. }), "{fault}");
}

#[tokio::test]
async fn a_wrong_token_and_a_wrong_zone_are_told() {
    let api = Api::start();
    let name = domain("ps1._domainkey.example.com");
    let fault = put(&api.publisher("wrong token"), &name, &[], &["x"]).await.unwrap_err();
    assert!(matches!(fault, PublishFault::BadToken { .. }) && !fault.to_string().contains("wrong token"), "{fault}");
    let fault = put(&api.publisher("right token"), &domain("ps1.example.org"), &[], &["x"]).await.unwrap_err();
    assert!(fault.to_string().contains("writes the zone example.com only"), "{fault}");
}

/// The records of `example.com`, by name and type, behind an API on a loopback port. It ends with the test's process.
struct Api {
    address: SocketAddr,
    zone: Arc<Mutex<BTreeMap<String, Vec<String>>>>,
}

impl Api {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let zone = Arc::new(Mutex::new(BTreeMap::from([("_dmarc.example.com. TXT".to_owned(), vec!["\"v=DMARC1; p=reject\"".to_owned()])])));
        let kept = zone.clone();
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(stream, &kept)));
        Self { address, zone }
    }

    fn publisher(&self, token: &str) -> Provider {
        let settings = Settings {
            service: Service::PowerDns,
            zone: Some(domain("example.com")),
            token: token.into(),
            account: None,
            endpoint: Some(format!("http://{}", self.address)),
            timeout: Duration::from_secs(20),
        };
        let nobody = dns::Settings { nameservers: Some(vec!["127.0.0.1:9".parse().unwrap()]), ..dns::Settings::default() };
        Provider::new(settings, Arc::new(Resolver::new(&nobody).unwrap()))
    }
}

/// One request a connection: GET shows the zone, PATCH replaces or deletes sets of records.
fn answer(stream: TcpStream, zone: &Mutex<BTreeMap<String, Vec<String>>>) {
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let field = |name: &str| {
        head.iter().find_map(|line| line.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned()))
    };
    let mut body = vec![0; field("content-length").map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    let request = head[0].split(' ').collect::<Vec<_>>();
    let (code, answer) = match (request[0], field("x-api-key").as_deref()) {
        (_, key) if key != Some("right token") => (401, String::new()),
        _ if !request[1].starts_with("/api/v1/servers/localhost/zones/example.com.") => (404, String::new()),
        ("GET", _) => (200, shown(&zone.lock().unwrap())),
        ("PATCH", _) => {
            change(&mut zone.lock().unwrap(), &serde_json::from_slice(&body).unwrap());
            (204, String::new())
        }
        (other, _) => panic!("{other}"),
    };
    let _ = write!(
        reader.get_mut(),
        "HTTP/1.1 {code} -\r\nContent-Length: {}\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{answer}",
        answer.len()
    );
}

fn shown(zone: &BTreeMap<String, Vec<String>>) -> String {
    let set = |(key, contents): (&String, &Vec<String>)| {
        let (name, kind) = key.split_once(' ').unwrap();
        let records: Vec<Value> = contents.iter().map(|content| json!({ "content": content, "disabled": false })).collect();
        json!({ "name": name, "type": kind, "ttl": 3600, "records": records })
    };
    json!({ "rrsets": zone.iter().map(set).collect::<Vec<_>>() }).to_string()
}

fn change(zone: &mut BTreeMap<String, Vec<String>>, wanted: &Value) {
    for set in wanted["rrsets"].as_array().unwrap() {
        let key = format!("{} {}", set["name"].as_str().unwrap(), set["type"].as_str().unwrap());
        match set["changetype"].as_str().unwrap() {
            "DELETE" => drop(zone.remove(&key)),
            "REPLACE" => {
                let contents = set["records"].as_array().unwrap().iter().map(|record| record["content"].as_str().unwrap().to_owned());
                zone.insert(key, contents.collect());
            }
            other => panic!("{other}"),
        }
    }
}

async fn put(publisher: &Provider, name: &Domain, before: &[&str], after: &[&str]) -> Result<Done, PublishFault> {
    let texts = |texts: &[&str]| texts.iter().map(|text| Data::Txt((*text).to_owned())).collect();
    let edit = Edit { owner: name.clone().into(), kind: Kind::Txt, ttl: Duration::from_hours(1), before: texts(before), after: texts(after) };
    publisher.publish(&Change { zone: None, edits: vec![edit] }).await
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}
